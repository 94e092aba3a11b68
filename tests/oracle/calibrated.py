"""Calibrated losses on the path from ft1 to ft2 of examples/digits in PyTorch and SciPy, float64, on the full sets.

    python calibrated.py > calibrated.json

β of a model minimises the mean cross entropy of β·logits on val: the root of its derivative, mean of Σ p·z − z[label],
p = softmax(βz), by Brent's method. The loss on each set is that of β·logits.
Soup: weights (1−α)·ft1 + α·ft2. Ensemble: logits (1−α)·f(ft1) + α·f(ft2).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax

from digits import Digits

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "digits"
SETS = ("val", "test", "pendigits")


def read(name):
    data = np.load(EXAMPLE / f"{name}.npz")
    x = torch.tensor((data["x"].reshape(-1, 1, 28, 28) / 255 - 0.1307) / 0.3081)
    return x, data["labels"].astype(np.int64)


def logits(state, x):
    net = Digits().double().eval()
    net.load_state_dict(state)
    with torch.inference_mode():
        return net(x).numpy()


def at_label(z, labels):
    return z[np.arange(len(labels)), labels]


def loss(z, labels, beta):
    return float((logsumexp(beta * z, axis=1) - beta * at_label(z, labels)).mean())


def calibrated(z, labels):
    slope = lambda beta: ((softmax(beta * z, axis=1) * z).sum(1) - at_label(z, labels)).mean()
    return brentq(slope, 1e-3, 1e3, xtol=1e-14, rtol=1e-14)


data = {name: read(name) for name in SETS}
a, b = ({k: v.double() for k, v in load_file(EXAMPLE / f"{name}.safetensors").items()} for name in ("ft1", "ft2"))
ends = [{name: logits(state, x) for name, (x, _) in data.items()} for state in (a, b)]
rows = []
for alpha in (0.0, 0.5, 1.0):
    row = {"alpha": alpha}
    state = {k: (1 - alpha) * a[k] + alpha * b[k] for k in a}
    soup = {name: logits(state, x) for name, (x, _) in data.items()}
    ensemble = {name: (1 - alpha) * ends[0][name] + alpha * ends[1][name] for name in SETS}
    for kind, z in (("soup", soup), ("ensemble", ensemble)):
        beta = calibrated(z["val"], data["val"][1])
        row[kind] = {
            "beta": beta,
            "loss": {name: loss(z[name], labels, beta) for name, (_, labels) in data.items()},
            "plain": {name: loss(z[name], labels, 1.0) for name, (_, labels) in data.items()},
            "wrong": {name: int((z[name].argmax(1) != labels).sum()) for name, (_, labels) in data.items()},
        }
    rows.append(row)
json.dump(rows, sys.stdout, indent=1)

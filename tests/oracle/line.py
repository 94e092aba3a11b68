"""The path between two fine-tunes of examples/digits in PyTorch, float64: soups and ensembles.

    python line.py > line.json

Soup: weights (1−α)·ft1 + α·ft2. Ensemble: logits (1−α)·f(ft1) + α·f(ft2).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from digits import Digits

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "digits"


def logits(state, x):
    net = Digits().double().eval()
    net.load_state_dict(state)
    with torch.inference_mode():
        return net(x)


data = np.load(EXAMPLE / "test.npz")
x = torch.tensor((data["x"].reshape(-1, 1, 28, 28) / 255 - 0.1307) / 0.3081)
labels = torch.tensor(data["labels"].astype(np.int64))
a, b = ({k: v.double() for k, v in load_file(EXAMPLE / f"{name}.safetensors").items()} for name in ("ft1", "ft2"))
ends = logits(a, x), logits(b, x)
rows = []
for alpha in (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5):
    row = {"alpha": alpha}
    soup = logits({k: (1 - alpha) * a[k] + alpha * b[k] for k in a}, x)
    for name, z in (("soup", soup), ("ensemble", (1 - alpha) * ends[0] + alpha * ends[1])):
        row[f"{name}_loss"] = F.cross_entropy(z, labels).item()
        row[f"{name}_wrong"] = int((z.argmax(1) != labels).sum())
    rows.append(row)
json.dump(rows, sys.stdout, indent=1)

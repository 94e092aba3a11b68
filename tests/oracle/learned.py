"""Learned soups of examples/digits in PyTorch, float64, and the best point between two fine-tunes.

    python tests/oracle/learned.py > tests/oracle/learned.json

Learned: the weights Σ_i w_i·ft_i with w = softmax(α), and the logits times β, minimise the mean cross entropy over the
first 256 images of val: ten full-batch steps of AdamW (lr 0.05, no weight decay, β 0.9 and 0.999, ε 1e-8; PyTorch's
own) from α = 0, β = 1. `one`: one α for all tensors; `by_tensor`: one α for each tensor, in the order of `tensors`
(weights[tensor][model], as in the released code of Model soups). steps[t] is the state before step t + 1; the last is
the end. `dalpha` and `dbeta` are the gradients at the start. `float32` is how far PyTorch's own run in float32 ends
from it: the largest difference in any weight, in β, and in the loss (relative).

Line: (1−t)·ft1 + t·ft2 on all of val. `losses` for β = 1 at t = 0, 0.05 … 1; `grid_t` the best of t = 0, 0.01 … 1.
`t` is refined from there by golden section; the loss has kinks in t (ReLU, max pooling), so the digits beyond the
grid say where this piecewise smooth function is least nearby. `joint` is the same with the best β for every t.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.func import functional_call

from digits import Digits

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "digits"
MODELS, IMAGES, STEPS, LR = ("ft1", "ft2", "ft3", "ft4"), 256, 10, 0.05

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
parameters = [k for k, _ in Digits().named_parameters()]


def load(name):
    state = load_file(EXAMPLE / f"{name}.safetensors")
    assert set(state) == set(parameters)
    return {k: state[k].double() for k in parameters}


def learn(models, x, labels, by_tensor):
    """In the precision of x."""
    net = Digits().to(x.dtype).eval()
    stacks = {k: torch.stack([m[k] for m in models]).to(x.dtype) for k in parameters}
    alpha = torch.zeros((len(parameters), len(models)) if by_tensor else len(models), dtype=x.dtype, requires_grad=True)
    beta = torch.ones((), dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.AdamW([alpha, beta], lr=LR, weight_decay=0)
    steps, start = [], None
    for step in range(STEPS + 1):
        weights = alpha.softmax(-1)
        rows = weights if by_tensor else weights.expand(len(parameters), -1)
        theta = {k: torch.tensordot(row, stacks[k], 1) for k, row in zip(parameters, rows)}
        loss = F.cross_entropy(beta * functional_call(net, theta, (x,)), labels)
        steps.append(dict(loss=loss.item(), beta=beta.item(), weights=weights.tolist()))
        optimizer.zero_grad()
        loss.backward()
        start = start or dict(dalpha=alpha.grad.tolist(), dbeta=beta.grad.item())
        if step < STEPS:
            optimizer.step()
    return dict(**start, alpha=alpha.tolist(), steps=steps)


def learned(models, x, labels, by_tensor):
    run = learn(models, x, labels, by_tensor)
    ends = [r["steps"][-1] for r in (run, learn(models, x.float(), labels, by_tensor))]
    weights = [np.array(e["weights"]) for e in ends]
    run["float32"] = dict(weights=float(np.abs(weights[0] - weights[1]).max()), beta=abs(ends[0]["beta"] - ends[1]["beta"]),
                          loss=abs(ends[0]["loss"] - ends[1]["loss"]) / ends[0]["loss"])
    return run


def best_beta(z, labels):
    """Newton's method: the loss is convex in β."""
    beta = torch.ones((), dtype=torch.float64)
    right = z.gather(1, labels[:, None]).mean()
    for _ in range(50):
        p = (beta * z).softmax(1)
        mean = (p * z).sum(1)
        step = (mean.mean() - right) / ((p * z * z).sum(1) - mean ** 2).mean()
        beta = beta - step
        if abs(step) < 1e-14:
            break
    return beta.item()


def golden(f, low, high):
    """The least point of f between low and high."""
    ratio = (5 ** 0.5 - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = f(a), f(b)
    while high - low > 1e-9:
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - ratio * (high - low)
            fa = f(a)
        else:
            low, a, fa = a, b, fb
            b = low + ratio * (high - low)
            fb = f(b)
    return (low + high) / 2


def line(a, b, x, labels):
    net = Digits().double().eval()

    def logits(t):
        theta = {k: (1 - t) * a[k] + t * b[k] for k in parameters}
        return torch.cat([functional_call(net, theta, (part,)) for part in x.split(500)])

    def plain(t):
        return F.cross_entropy(logits(t), labels).item()

    def joint(t):
        z = logits(t)
        return F.cross_entropy(best_beta(z, labels) * z, labels).item()

    ts = [i / 100 for i in range(101)]
    zs = [logits(t) for t in ts]
    out = dict(models=["ft1", "ft2"], samples=len(labels))
    losses = [F.cross_entropy(z, labels).item() for z in zs]
    scaled = [F.cross_entropy(best_beta(z, labels) * z, labels).item() for z in zs]
    for name, values, f in (("plain", losses, plain), ("joint", scaled, joint)):
        i = int(np.argmin(values))
        t = golden(f, ts[max(i - 1, 0)], ts[min(i + 1, 100)])
        out[name] = dict(grid_t=ts[i], grid_loss=values[i], t=t, loss=f(t), losses=values[::5])
        if name == "joint":
            out[name] |= dict(grid_beta=best_beta(zs[i], labels), beta=best_beta(logits(t), labels))
    out["t"] = ts[::5]
    return out


def main():
    data = np.load(EXAMPLE / "val.npz")
    x = (torch.tensor(data["x"]).double() / 255 - 0.1307) / 0.3081
    labels = torch.tensor(data["labels"].astype(np.int64))
    models = [load(name) for name in MODELS]
    few = x[:IMAGES], labels[:IMAGES]
    with torch.no_grad():
        between = line(*models[:2], x, labels)
    json.dump(dict(models=MODELS, samples=IMAGES, lr=LR, tensors=parameters,
                   one=learned(models, *few, False), by_tensor=learned(models, *few, True), line=between),
              sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

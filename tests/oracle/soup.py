"""Soups, ensembles and pairs of the fine-tunes of examples/digits in PyTorch, float64, on the full data sets.

    python soup.py > soup.json

A score is, for each data set, `wrong` (a count), `loss` (mean cross entropy, nats) and `close`: how many samples have
their two largest logits within 1e-4 of each other. Counts made in float32 may differ by up to `close`. A choice that
such samples could turn is reported on stderr and counted in `close_decisions`.

Soup of S: mean of the weights. Ensemble: mean of the logits. Greedy: models by validation accuracy, descending, ties
in the order of models.csv; a model stays if the validation accuracy with it is >= (`ge`) or > (`gt`) the one before.
Pairs: δ = θ − θ0 over all parameters; advantage = acc(½a + ½b) − ½(acc(a) + acc(b)).

Theory, from a to b: f_α = f(x; (1−α)a + αb), ensemble (1−α)f_0 + αf_1, L = mean of ℓ(βf, y):
    L_soup − L_ensemble ≈ α(1−α)/2 · (−d²L_soup/dα² + β² E Var_{Y~softmax(βf_α)}[Δf_Y])
`approximation` takes Δf = f_1 − f_0; `approximation_path` Δf = (f_{α+h} − f_{α−h}) / 2h; both take
`d2` = (L_{α+h} − 2L_α + L_{α−h}) / h² with h = 1/32. The calibrated β minimises the loss of βf_α on val.
`d2_by_h` repeats d2 with other h. `d2_exact` is the second derivative, the network's Taylor series in α carried
through its layers: exact wherever L is smooth. But f_α has kinks in α (ReLU, max pooling); central differences count
the jumps of its slope and `d2_exact` does not. `variance_exact` is E Var of the exact ∂f/∂α.

Averages: task arithmetic θ0 + λΣδ; WiSE-FT (1−α)θ0 + αθ. Those with angles are in averages.py.
"""

import csv
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from digits import Digits

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "digits"
SHIFTS = ("optdigits", "mfeat", "pendigits")
SETS = ("val", "test") + SHIFTS + ("fonts",)         # of θ0's own domain: in no mean
PAIRS = ((1, 2), (1, 16), (3, 12), (5, 9), (8, 13), (2, 11), (15, 16), (4, 14), (6, 7), (10, 12))
THEORY, ALPHAS, H, SMALLER = ((1, 2), (5, 9)), (0.25, 0.5, 0.75), 1 / 32, (0.025, 0.01, 0.005)
BATCH, CLOSE = 500, 1e-4

net = Digits().double().eval()
assert not list(net.buffers())      # no batch norm: nothing to average but parameters
shapes = {k: p.shape for k, p in net.named_parameters()}
data, close_decisions = {}, 0


def vector(name):
    state = load_file(EXAMPLE / f"{name}.safetensors")
    assert {k: v.shape for k, v in state.items()} == shapes
    return torch.cat([state[k].double().flatten() for k in shapes])


def tensors(theta):
    return {k: v.view(s) for (k, s), v in zip(shapes.items(), theta.split([s.numel() for s in shapes.values()]))}


def logits(theta, name):
    net.load_state_dict(tensors(theta))
    return torch.cat([net(x) for x in data[name][0].split(BATCH)])


def every(theta):
    return {d: logits(theta, d) for d in SETS}


def wrong(z, name):
    return (z.argmax(1) != data[name][1]).sum().item()


def close(z):
    top = z.topk(2).values
    return (top[:, 0] - top[:, 1] < CLOSE).sum().item()


def loss(z, name, beta=1.0):
    return F.cross_entropy(beta * z, data[name][1]).item()


def score(zs):
    return {d: dict(wrong=wrong(z, d), loss=loss(z, d), close=close(z)) for d, z in zs.items()}


def mean(items):
    return sum(items) / len(items)


def settled(what, a, b):
    """Says so when the order of two (wrong, close) could turn with the close samples."""
    global close_decisions
    slack = a[1] + b[1]
    if slack and abs(a[0] - b[0]) <= slack:
        close_decisions += 1
        print(f"{what}: {a[0]} against {b[0]} wrong, {slack} close", file=sys.stderr)


def greedy(what, order, of, strictly):
    """`of(names)`: the logits on val of these models together."""
    members, trace, best = [], [], None
    for name in order:
        z = of(members + [name])
        new = wrong(z, "val"), close(z)
        if best is not None:
            settled(f"{what} with {name}", new, best)
        added = best is None or new[0] < best[0] or (new[0] == best[0] and not strictly)
        trace.append(dict(model=name, val_wrong=new[0], close=new[1], added=added))
        if added:
            members, best = members + [name], new
    return dict(members=members, trace=trace)


def series(theta, delta, x):
    """f and its first two derivatives along delta, exact where the path meets no kink."""
    w, dw = tensors(theta), tensors(delta)

    def affine(op, layer, f, d, dd):
        weight, slope = w[layer + ".weight"], dw[layer + ".weight"]
        return (op(f, weight, w[layer + ".bias"]), op(d, weight) + op(f, slope, dw[layer + ".bias"]),
                op(dd, weight) + 2 * op(d, slope))

    def relu(f, *ds):
        return f.relu(), *(torch.where(f > 0, d, 0.0) for d in ds)

    def pool(f, *ds):
        top, at = F.max_pool2d(f, 2, return_indices=True)
        return top, *(d.flatten(2).gather(2, at.flatten(2)).view(top.shape) for d in ds)

    s = x, torch.zeros_like(x), torch.zeros_like(x)
    for layer in ("conv1", "conv2", "conv3"):
        s = pool(*relu(*affine(lambda v, *wb: F.conv2d(v, *wb, padding=1), layer, *s)))
    s = relu(*affine(F.linear, "fc1", *(v.flatten(1) for v in s)))
    return affine(F.linear, "fc2", *s)


def calibrated(z, name):
    """The root of the loss's slope in β, by bisection: the loss is convex in β."""
    y, low, high = data[name][1], 0.0, 64.0
    hit = z[torch.arange(len(y)), y].mean()
    for _ in range(60):
        beta = (low + high) / 2
        slope = ((beta * z).softmax(1) * z).sum(1).mean() - hit
        low, high = (low, beta) if slope > 0 else (beta, high)
    return (low + high) / 2


def variance(z, df, beta):
    p = (beta * z).softmax(1)
    m = (p * df).sum(1, keepdim=True)
    return (p * (df - m) ** 2).sum(1)


def theory(a, b, ends):
    """Rows on test; the ends' logits are known."""
    y, rows = data["test"][1], []
    paths = {}

    def at(alpha):
        if alpha not in paths:
            paths[alpha] = logits((1 - alpha) * a + alpha * b, "test")
        return paths[alpha]

    for alpha in ALPHAS:
        theta = (1 - alpha) * a + alpha * b
        soup, low, high = at(alpha), at(alpha - H), at(alpha + H)
        ensemble = (1 - alpha) * ends[0] + alpha * ends[1]
        parts = [series(theta, b - a, x) for x in data["test"][0].split(BATCH)]
        again, slope, bend = (torch.cat(p) for p in zip(*parts))
        assert (again - soup).abs().max() < 1e-10
        fitted = calibrated(logits(theta, "val"), "val")
        for kind, beta in (("one", 1.0), ("calibrated", fitted)):
            half = alpha * (1 - alpha) / 2
            losses = dict(loss_soup=loss(soup, "test", beta), loss_ensemble=loss(ensemble, "test", beta))

            def difference(h):
                ends = loss(at(alpha + h), "test", beta) + loss(at(alpha - h), "test", beta)
                return (ends - 2 * losses["loss_soup"]) / h ** 2

            spread, spread_path, spread_exact = (variance(soup, d, beta).mean().item()
                                                 for d in (ends[1] - ends[0], (high - low) / (2 * H), slope))
            error = (beta * soup).softmax(1) - F.one_hot(y, 10)
            exact = beta ** 2 * spread_exact + beta * (error * bend).sum(1).mean().item()
            d2 = difference(H)
            rows.append(dict(
                alpha=alpha, beta_kind=kind, beta=beta, **losses,
                error_soup=wrong(soup, "test") / len(y), error_ensemble=wrong(ensemble, "test") / len(y),
                close_soup=close(soup), close_ensemble=close(ensemble),
                approximation=half * (-d2 + beta ** 2 * spread),
                approximation_path=half * (-d2 + beta ** 2 * spread_path),
                d2=d2, d2_exact=exact, d2_by_h={str(h): difference(h) for h in SMALLER},
                variance=spread, variance_path=spread_path, variance_exact=spread_exact))
    return rows


def pair(a, b, theta, zs):
    da, db = (theta[n] - theta["zs"] for n in (a, b))
    soup = every((theta[a] + theta[b]) / 2)
    ensemble = {d: (zs[a][d] + zs[b][d]) / 2 for d in SETS}
    gain = {d: ((wrong(zs[a][d], d) + wrong(zs[b][d], d)) / 2 - wrong(soup[d], d)) / len(data[d][1]) for d in SETS}
    gain["shifts"] = mean([gain[d] for d in SHIFTS])
    gain["all"] = mean([gain[d] for d in ("test",) + SHIFTS])
    return dict(a=a, b=b, angle_deg=angle(da, db)[0], cosine=angle(da, db)[1], norm_a=da.norm().item(),
                norm_b=db.norm().item(), soup=score(soup), ensemble=score(ensemble), advantage=gain)


def angle(a, b):
    """In degrees, and the cosine; between unit vectors by arctangent, which is accurate at every angle."""
    u, v = a / a.norm(), b / b.norm()
    return math.degrees(2 * math.atan2((u - v).norm().item(), (u + v).norm().item())), (u @ v).item()


def averages(theta):
    zero = theta["zs"]
    deltas = [theta[f"ft{i}"] - zero for i in (1, 2, 3)]

    def on_test(point):
        return score({"test": logits(point, "test")})["test"]

    three = ["ft1", "ft2", "ft3"]
    return dict(
        task_arithmetic=dict(models=three, scale=0.3, test=on_test(zero + 0.3 * sum(deltas))),
        wise_ft=dict(models=["ft12"], alpha=0.5, test=on_test((zero + theta["ft12"]) / 2)))


def main():
    for name in SETS:
        d = np.load(EXAMPLE / f"{name}.npz")
        assert d["x"].dtype == np.uint8 and d["x"].shape[1:] == (1, 28, 28)
        data[name] = (torch.tensor(d["x"]).double() / 255 - 0.1307) / 0.3081, torch.tensor(d["labels"]).long()
    with open(EXAMPLE / "models.csv", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert names == [f"ft{i}" for i in range(1, 17)]
    theta = {n: vector(n) for n in ["zs"] + names}
    zs = {n: every(theta[n]) for n in theta}
    models = {n: score(zs[n]) for n in theta}

    held_out = {n: (models[n]["val"]["wrong"], models[n]["val"]["close"]) for n in names}
    order = sorted(names, key=lambda n: held_out[n][0])         # stable
    for a, b in itertools.combinations(order, 2):
        settled(f"order of {a} and {b}", held_out[a], held_out[b])

    def soup(members):
        return mean([theta[n] for n in members])

    def ensemble(members, d):
        return mean([zs[n][d] for n in members])

    def both(of, what):
        out = {}
        for rule in ("ge", "gt"):
            out[rule] = greedy(f"{what} {rule}", order, of, rule == "gt")
            m = out[rule]["members"]
            out[rule] |= score(every(soup(m)) if what == "greedy" else {d: ensemble(m, d) for d in SETS})
        return out

    out = dict(
        samples={d: len(data[d][1]) for d in SETS}, close_gap=CLOSE, close_decisions=0, order=order,
        best=order[0], second=order[1], models=models, uniform=score(every(soup(names))),
        greedy=both(lambda m: logits(soup(m), "val"), "greedy"),
        ensemble=score({d: ensemble(names, d) for d in SETS}),
        greedy_ensemble=both(lambda m: ensemble(m, "val"), "greedy ensemble"),
        pairs=[pair(f"ft{i}", f"ft{j}", theta, zs) for i, j in PAIRS],
        theory=dict(dataset="test", h=H, pairs=[
            dict(a=f"ft{i}", b=f"ft{j}",
                 rows=theory(theta[f"ft{i}"], theta[f"ft{j}"], [zs[f"ft{k}"]["test"] for k in (i, j)]))
            for i, j in THEORY]),
        averages=averages(theta))
    out["close_decisions"] = close_decisions
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    with torch.inference_mode():
        main()

"""Hessians in PyTorch, float64: products with a vector, spectra and traces.

    python tests/oracle/spectrum.py > tests/oracle/spectrum.json

Needs scipy beside the packages of gradients.py, whose networks and samples these are; with pyhessian (0.1 made the
committed file; `pip install --no-deps pyhessian`) its values, too. The files of gradients.py come first.

The Hessian is that of the mean cross entropy (β = 1, eval mode) in all parameters: no running statistics. Networks
with ReLU or max pooling are smooth in pieces, and it is that of the piece.

Vectors over the parameters: tensors sorted by name (as bytes), each row by row, one after the other.
`products`: Hv at gradients.py's mix for v_i = sin(i), i = 0, 1, … (radians); `vhv` is vᵀHv, of all or of one tensor's
part. `float32` is how far PyTorch's own float32 Hv is from it (norm of the difference / norm).
`dense`: every eigenvalue, ascending, of ft1 on its data.npz; 12 digits, and what is below 1e-12 is noise.
`digits`: the first 128 images of test.npz at zs and at ft1. `top` and `bottom` by Lanczos on exact products. `trace` is
exact: within one piece the logits are linear in each single parameter, so only the Gauss-Newton part,
mean of tr(Jᵀ(diag p − ppᵀ)J), has a diagonal. `hutchinson` estimates it from products with random signs.
"""
import copy
import importlib.metadata
import json
import sys

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from torch.func import functional_call, grad, hessian, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradients import C, EXAMPLE, NAMES, opened, problem
from make_oracle import mixed

IMAGES, TOP, BOTTOM, PROBES, SMOOTH = 128, 5, 2, 50, ("vit", "mha", "tied", "convnext")


class Hessian:
    """Products with the Hessian at one point; the graph of the gradient is kept."""

    def __init__(self, net, theta, x, labels):
        self.net, self.x, self.labels = net, x, labels
        self.names = sorted((k for k, _ in net.named_parameters()), key=str.encode)
        self.theta = {k: theta[k].detach().clone().requires_grad_() for k in self.names}
        self.rest = {k: v for k, v in theta.items() if k not in self.theta}
        self.size = sum(v.numel() for v in self.theta.values())
        self.loss = self.loss_at(self.theta)
        self.slopes = torch.autograd.grad(self.loss, list(self.theta.values()), create_graph=True)

    def loss_at(self, theta):
        return F.cross_entropy(functional_call(self.net, theta | self.rest, (self.x,)), self.labels)

    def split(self, v):
        parts = v.split([t.numel() for t in self.theta.values()])
        return {k: p.view(t.shape) for (k, t), p in zip(self.theta.items(), parts)}

    def times(self, v):
        parts = torch.autograd.grad(self.slopes, list(self.theta.values()), list(self.split(v).values()),
                                    retain_graph=True, materialize_grads=True)
        return torch.cat([p.flatten() for p in parts])


def sines(n):
    return torch.tensor(np.sin(np.arange(n, dtype=np.float64)))


def product(name):
    net, thetas, x, labels = problem(name)
    net, theta = opened(net), mixed(thetas, C)
    h = Hessian(net, theta, x, labels)
    v = sines(h.size)
    hv = h.times(v)
    if name in SMOOTH:      # against a difference of gradients
        step = 1e-5 / v.norm()
        ends = [grad(h.loss_at)({k: t.detach() + s * step * d for (k, t), d in zip(h.theta.items(), h.split(v).values())})
                for s in (1, -1)]
        difference = torch.cat([((a - b) / (2 * step)).flatten() for a, b in zip(*(e.values() for e in ends))])
        assert (difference - hv).norm() < 1e-6 * hv.norm(), name
    single = Hessian(copy.deepcopy(net).float(), {k: t.float() for k, t in theta.items()},
                     x.float() if x.is_floating_point() else x, labels).times(v.float()).double()
    vs, hvs = h.split(v), h.split(hv)
    return dict(network=name, samples=len(labels), parameters=h.size, norm_v=v.norm().item(), norm=hv.norm().item(),
                vhv=(v @ hv).item(), float32=((single - hv).norm() / hv.norm()).item(),
                tensors=[dict(name=k, norm=hvs[k].norm().item(), vhv=(vs[k] * hvs[k]).sum().item()) for k in h.names])


def dense(name):
    net, thetas, x, labels = problem(name)
    h = Hessian(opened(net), thetas[1], x, labels)
    matrix = torch.stack([h.times(row) for row in torch.eye(h.size, dtype=torch.float64)])
    if name == "tied":      # once more by forward over reverse mode
        again = hessian(lambda v: h.loss_at(h.split(v)))(torch.cat([t.detach().flatten() for t in h.theta.values()]))
        assert (again - matrix).abs().max() < 1e-12
    assert (matrix - matrix.T).abs().max() < 1e-12
    values = torch.linalg.eigvalsh(matrix)
    return dict(network=name, point="ft1", samples=len(labels), parameters=h.size, loss=h.loss.item(),
                trace=matrix.trace().item(), frobenius=matrix.norm().item(),
                eigenvalues=[float(f"{v:.12g}") for v in values.tolist()])


def diagonal(h):
    """Of the Gauss-Newton part: for each sample, Σ_k p_k J_k² − (Σ_k p_k J_k)²."""
    theta = {k: t.detach() for k, t in h.theta.items()}
    total = torch.zeros(h.size, dtype=torch.float64)

    def logits(theta, sample):
        return functional_call(h.net, theta, (sample[None],))[0]

    for part in h.x.split(8):
        rows = vmap(jacrev(logits), (None, 0))(theta, part)
        rows = torch.cat([r.flatten(2) for r in rows.values()], 2)
        p = functional_call(h.net, theta, (part,)).softmax(1)[:, :, None]
        total += ((p * rows ** 2).sum(1) - (p * rows).sum(1) ** 2).sum(0)
    return total / len(h.x)


def by_pyhessian(net, theta, x, labels):
    try:
        from pyhessian import hessian as PyHessian
    except ImportError:
        return None
    torch.set_default_dtype(torch.float64)      # it draws its vectors in the default type
    torch.manual_seed(1)
    net = copy.deepcopy(net)
    net.load_state_dict(theta)
    theirs = PyHessian(net, torch.nn.CrossEntropyLoss(), data=(x, labels), cuda=False)
    top = theirs.eigenvalues(maxIter=1000, tol=1e-7, top_n=1)[0][0]
    signs = theirs.trace(maxIter=PROBES, tol=0)
    torch.set_default_dtype(torch.float32)
    return dict(version=importlib.metadata.version("pyhessian"), top=top, top_tolerance=1e-5, probes=len(signs),
                trace=float(np.mean(signs)), trace_standard_error=float(np.std(signs, ddof=1) / len(signs) ** 0.5))


def digits(point):
    net, thetas, _, _ = problem("digits")
    data = np.load(EXAMPLE / "test.npz")
    x = (torch.tensor(data["x"][:IMAGES]).double() / 255 - 0.1307) / 0.3081
    labels = torch.tensor(data["labels"][:IMAGES].astype(np.int64))
    h = Hessian(net, thetas[point], x, labels)
    operator = LinearOperator((h.size, h.size), lambda v: h.times(torch.tensor(v.ravel())).numpy(), dtype=np.float64)
    found = {}
    for key, which, k in (("top", "LA", TOP), ("bottom", "SA", BOTTOM)):
        values, vectors = eigsh(operator, k, which=which, tol=1e-10, ncv=40, v0=np.cos(np.arange(h.size)))
        residual = max(np.linalg.norm(operator @ vectors[:, i] - values[i] * vectors[:, i]) for i in range(k))
        found[key] = sorted(values.tolist(), reverse=key == "top")
        found[f"{key}_residual"] = float(residual)
        print(f"digits {point}: {key} {found[key]}, residual {residual:.1e}", file=sys.stderr)

    gen = torch.Generator().manual_seed(2)
    exact = diagonal(h)
    for i in torch.randint(0, h.size, (20,), generator=gen).tolist():
        unit = torch.zeros(h.size, dtype=torch.float64)
        unit[i] = 1
        assert abs(h.times(unit)[i] - exact[i]) < 1e-12
    signs = []
    for _ in range(PROBES):
        v = torch.randint(0, 2, (h.size,), generator=gen).double() * 2 - 1
        signs.append((v @ h.times(v)).item())
    hutchinson = dict(probes=PROBES, mean=float(np.mean(signs)), standard_error=float(np.std(signs, ddof=1) / PROBES ** 0.5))
    assert abs(hutchinson["mean"] - exact.sum()) < 4 * hutchinson["standard_error"]
    v = sines(h.size)
    hv = h.times(v)
    row = dict(point=("zs", "ft1")[point], samples=IMAGES, parameters=h.size, loss=h.loss.item(), **found,
               trace=exact.sum().item(), hutchinson=hutchinson,
               traces=[dict(name=k, trace=t.sum().item()) for k, t in h.split(exact).items()],
               sines=dict(norm=hv.norm().item(), vhv=(v @ hv).item()))
    theirs = by_pyhessian(net, thetas[point], x, labels)
    if theirs:
        assert abs(theirs["top"] / row["top"][0] - 1) < theirs["top_tolerance"]
        assert abs(theirs["trace"] - row["trace"]) < 4 * theirs["trace_standard_error"]
        row["pyhessian"] = theirs
    return row


if __name__ == "__main__":
    with sdpa_kernel(SDPBackend.MATH):      # the fused attention has no second derivative
        out = dict(c=C, products=[product(name) for name in NAMES], dense=[dense("tied"), dense("bn")],
                   digits=[digits(0), digits(1)])
    json.dump(out, sys.stdout, indent=1)
    print()

#!/usr/bin/env python3
"""Writes the fixtures of the matching and plane tests: graphs, checkpoints, data and PyTorch's own values.

    python tests/oracle/make_oracle.py [FOLDER [NETWORK ...]]     # default: this file's folder, all networks

Needs torch (2.15 made the committed files), onnx, onnxscript, onnxruntime, safetensors, numpy.

Each network is a small class. For each one this script makes an origin theta0 and two fine-tuned checkpoints,
exports them the ways users export, and evaluates the plane through the three in float64 with PyTorch alone: no ONNX,
no code of `landscape`. It then proves that the values can catch a mistake: a tensor left at theta0, two tensors of
one shape taken for each other, or a square weight read transposed each changes the loss visibly.
See EXPORTS.md beside this file for what each exporter did to the parameters.
"""
import copy
import itertools
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
onnxruntime.set_default_logger_severity(3)


# ---------------------------------------------------------------- networks

class Block(nn.Module):
    """Pre-norm block with attention written by hand: one `qkv` Linear and a square `proj` Linear."""

    def __init__(self, width, hidden, heads):
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def attention(self, x):
        n, t, w = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-2, -1) * (w // self.heads) ** -0.5).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(n, t, w))

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))


class Vit(nn.Module):
    """Vision transformer. Block 1's MLP is square, so that a wrong transposition there fits in shape."""

    def __init__(self, width=32, classes=4):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, stride=4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, width) * 0.5)
        self.b = nn.ModuleList([Block(width, 48, 4), Block(width, width, 4)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))
        plain_start(self)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        for b in self.b:
            x = b(x)
        return self.head(x[:, 0])


class LayerScale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x):
        return x * self.gamma


class EncoderBlock(nn.Module):
    """torchvision's names, nn.MultiheadAttention, and layer scale."""

    def __init__(self, width, hidden, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls1 = LayerScale(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, width))
        self.ls2 = LayerScale(width)

    def forward(self, x):
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = x + self.ls1(y)
        return x + self.ls2(self.mlp(self.ln_2(x)))


class Encoder(nn.Module):
    def __init__(self, depth, tokens, width, hidden, heads):
        super().__init__()
        self.pos_embedding = nn.Embedding(tokens, width)
        self.layers = nn.Sequential()
        for i in range(depth):
            self.layers.add_module(f"encoder_layer_{i}", EncoderBlock(width, hidden, heads))
        self.ln = nn.LayerNorm(width)

    def forward(self, x):
        x = x + self.pos_embedding(torch.arange(x.shape[1], device=x.device))
        return self.ln(self.layers(x))


class Mha(nn.Module):
    """Encoder over the eight rows of the image, mean pooling."""

    def __init__(self, width=16, classes=4):
        super().__init__()
        self.row_proj = nn.Linear(8, width)
        self.encoder = Encoder(2, 8, width, 24, 4)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(width, classes))
        plain_start(self, 2.5)

    def forward(self, x):
        return self.heads(self.encoder(self.row_proj(x.flatten(1, 2))).mean(1))


class Bn(nn.Module):
    """Batch norm after a convolution without bias, one with bias, and a depthwise one."""

    def __init__(self, classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.bn2 = nn.BatchNorm2d(12)
        self.dw = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False)
        self.bn3 = nn.BatchNorm2d(12)
        self.fc = nn.Linear(12, classes)
        with torch.no_grad():
            for layer in (self.conv1, self.conv2, self.dw, self.fc):    # variances well above zero
                layer.weight.mul_(2)
            norms = (self.bn1, self.bn2, self.bn3)
            for m in norms:
                m.weight.uniform_(0.6, 1.6)
                m.bias.normal_(0.2, 0.3)
            for _ in range(40):     # running statistics near the true ones, then a little off
                self(draw(self, 64, None))
            for m in norms:
                m.running_mean.add_(0.1 * torch.randn_like(m.running_mean))
                m.running_var.mul_(torch.exp(0.1 * torch.randn_like(m.running_var)))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.dw(x)))
        return self.fc(x.mean((2, 3)))


class Tied(nn.Module):
    """Weight tying: the embedding is the output projection too."""

    def __init__(self, vocabulary=12, width=16):
        super().__init__()
        self.emb = nn.Embedding(vocabulary, width)
        self.fc1 = nn.Linear(width, 24)
        self.fc2 = nn.Linear(24, width)
        plain_start(self)

    def forward(self, tokens):
        h = self.emb(tokens).mean(1)
        h = self.fc2(F.gelu(self.fc1(h)))
        return h @ self.emb.weight.T


def plain_start(net, gain=1.7):
    """Biases zero, as many initializations have them: tensors that are equal here get merged by exporters.

    Matrices are made larger than PyTorch makes them, so that what precedes them is felt in the logits.
    """
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("bias"):
                p.zero_()
            elif p.dim() == 2:
                p.mul_(gain)


# class, seed, training steps of a and b, samples kept, input name, grid (nx, ny),
# margin around the triangle in units of its longer side
NETS = {
    "vit": (Vit, 11, (150, 100), 101, "x", (7, 5), 0.25),
    "mha": (Mha, 22, (150, 100), 90, "x", (5, 6), 0.25),
    "bn": (Bn, 33, (60, 40), 75, "x", (7, 5), 0.1),
    "tied": (Tied, 44, (90, 60), 64, "tokens", (6, 4), 0.25),
}


# ---------------------------------------------------------------- origin and checkpoints

def draw(net, n, gen):
    if isinstance(net, Tied):
        return torch.randint(0, 12, (n, 6), generator=gen)
    x = torch.randn(n, 1, 8, 8, generator=gen)
    if isinstance(net, Bn):     # pure noise looks all alike to its mean over positions: add blotches, vary contrast
        x = x + 2 * torch.randn(n, 1, 2, 2, generator=gen).repeat_interleave(4, 2).repeat_interleave(4, 3)
        x = x * 2 * torch.rand(n, 1, 1, 1, generator=gen)
    return x


def teacher(net, x):
    """A synthetic task: the class is where a fixed random linear map, or filter, answers most; the commonest token."""
    if isinstance(net, Tied):
        return F.one_hot(x, 12).sum(1).argmax(1)
    gen = torch.Generator().manual_seed(5)
    if isinstance(net, Bn):
        return F.conv2d(x, torch.randn(5, 1, 3, 3, generator=gen)).relu().mean((2, 3)).argmax(1)
    return (x.flatten(1) @ torch.randn(64, 4, generator=gen)).argmax(1)


def fine_tune(origin, seed, steps, draw=draw, teacher=teacher):
    """Some training, then a push on every tensor: 10-30 % of its size, or 0.1-0.2 where it was constant at theta0."""
    net = copy.deepcopy(origin)
    gen = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    net.train()
    for _ in range(steps):
        x = draw(net, 64, gen)
        y = teacher(net.eval(), x)
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    start = dict(origin.named_parameters())
    with torch.no_grad():
        for name, p in net.named_parameters():
            u = torch.rand((), generator=gen)
            constant = start[name].unique().numel() == 1
            scale = 0.1 + 0.1 * u if constant else (0.1 + 0.2 * u) * start[name].square().mean().sqrt()
            p.add_(scale * torch.randn(p.shape, generator=gen))
        for name, b in net.named_buffers():
            if name.endswith("running_mean"):
                b.add_(0.15 * torch.randn(b.shape, generator=gen))
            if name.endswith("running_var"):
                b.mul_(torch.exp(0.12 * torch.randn(b.shape, generator=gen)))
    return net


# ---------------------------------------------------------------- exporters

def export(net, example, input_name, path, how):
    """One graph file. `how`: opt, noopt (the current exporter), ts, ts_nofold (the TorchScript exporter)."""
    common = dict(input_names=[input_name], output_names=["logits"], external_data=False, verbose=False)
    if how in ("opt", "noopt"):
        torch.onnx.export(net, (example,), path, dynamo=True, optimize=how == "opt",
                          dynamic_shapes=({0: torch.export.Dim("batch")},), **common)
        scrub(path)
    else:
        keep = how == "ts_nofold"
        training = torch.onnx.TrainingMode.PRESERVE if keep else torch.onnx.TrainingMode.EVAL
        torch.onnx.export(net, (example,), path, dynamo=False, do_constant_folding=not keep, training=training,
                          dynamic_axes={input_name: {0: "batch"}, "logits": {0: "batch"}}, **common)
    onnx.checker.check_model(str(path))


SCRUBBED = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node", "namespace")


def scrub(path):
    """Takes three long metadata entries off the nodes: they hold file paths, or repeat the entries that stay."""
    model = onnx.load(path)
    for node in model.graph.node:
        kept = [p for p in node.metadata_props if p.key not in SCRUBBED]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)


# ---------------------------------------------------------------- the plane, in float64

def numbers(net):
    """All floating tensors that move, in float64: parameters (tied ones once), then batch-norm statistics."""
    found = dict(net.named_parameters())
    found |= {k: b for k, b in net.named_buffers() if b.is_floating_point()}
    return {k: v.detach().double().clone() for k, v in found.items()}


def geometry(thetas, names):
    d1 = {k: thetas[1][k] - thetas[0][k] for k in names}
    d2 = {k: thetas[2][k] - thetas[0][k] for k in names}
    per_tensor = [dict(name=k, shape=list(d1[k].shape), aa=float((d1[k] * d1[k]).sum()),
                       ab=float((d1[k] * d2[k]).sum()), bb=float((d2[k] * d2[k]).sum())) for k in names]
    aa, ab, bb = (sum(t[key] for t in per_tensor) for key in ("aa", "ab", "bb"))
    norm_a, norm_b = aa ** 0.5, bb ** 0.5
    cosine = ab / (norm_a * norm_b)
    # Gram-Schmidt on the flat vectors themselves, rather than through the inner products above
    f1 = torch.cat([d1[k].flatten() for k in names])
    f2 = torch.cat([d2[k].flatten() for k in names])
    u1 = f1 / f1.norm()
    rest = f2 - (f2 @ u1) * u1
    plane = dict(norm_a=norm_a, norm_b=norm_b, cosine=cosine, angle_deg=float(np.degrees(np.arccos(cosine))),
                 a=[float(f1 @ u1), 0.0], b=[float(f2 @ u1), float(rest.norm())])
    return plane, per_tensor


def coefficients(plane, x, y):
    c2 = y / plane["b"][1]
    c1 = (x - plane["b"][0] * c2) / plane["a"][0]
    return [1.0 - c1 - c2, c1, c2]


def variance(values, c):
    """Outside the hull: the mean of those with positive coefficients, to the power of their sum, over that of the others."""
    def side(sign):
        own = [(sign * ck, v) for ck, v in zip(c, values) if sign * ck > 0]
        total = sum(ck for ck, _ in own)
        return total, sum(ck * v for ck, v in own) / total
    (plus, a), (minus, b) = side(1), side(-1)
    return torch.exp(plus * torch.log(a) - minus * torch.log(b))


def mixed(thetas, c):
    found = {k: c[0] * thetas[0][k] + c[1] * thetas[1][k] + c[2] * thetas[2][k] for k in thetas[0]}
    if min(c) < 0:
        found |= {k: variance([theta[k] for theta in thetas], c) for k in found if k.endswith("running_var")}
    return found


@torch.no_grad()
def logits_at(net, theta, x):
    """Loads theta into the module (of whichever precision) and runs it."""
    own = dict(net.named_parameters()) | dict(net.named_buffers())
    for k, v in theta.items():
        own[k].copy_(v)
    return net(x)


def measure(logits, labels):
    logits = logits.double()
    return float(F.cross_entropy(logits, labels)), int((logits.argmax(1) != labels).sum())


def grid_axes(plane, n, margin):
    px, py = (0.0, plane["a"][0], plane["b"][0]), (0.0, plane["b"][1])
    wide = margin * max(max(px) - min(px), max(py) - min(py))
    return ([round(min(px) - wide, 2), round(max(px) + wide, 2), n[0]],
            [round(min(py) - wide, 2), round(max(py) + wide, 2), n[1]])


def plane_points(plane, ax, ay):
    """Grid points with x outermost, then the three checkpoints and the midpoint of the two fine-tuned ones."""
    xs = [ax[0] + (ax[1] - ax[0]) * i / (ax[2] - 1) for i in range(ax[2])]
    ys = [ay[0] + (ay[1] - ay[0]) * j / (ay[2] - 1) for j in range(ay[2])]
    points = [dict(i=i, j=j, x=x, y=y, c=coefficients(plane, x, y)) for i, x in enumerate(xs) for j, y in enumerate(ys)]
    (a, _), (bx, by) = plane["a"], plane["b"]
    return points, [dict(name="origin", x=0.0, y=0.0, c=[1.0, 0.0, 0.0]),
                    dict(name="a", x=a, y=0.0, c=[0.0, 1.0, 0.0]),
                    dict(name="b", x=bx, y=by, c=[0.0, 0.0, 1.0]),
                    dict(name="midpoint", x=(a + bx) / 2, y=by / 2, c=[0.0, 0.5, 0.5])]


# ---------------------------------------------------------------- proof that the values can catch a mistake

def losses(net64, thetas, points, x, labels):
    return np.array([measure(logits_at(net64, mixed(thetas, p["c"]), x), labels)[0] for p in points])


def prove(name, net64, thetas, points, x, labels):
    """Every mistake with one tensor, or with two of one shape, moves the loss by more than 1e-3 (relative) somewhere."""
    smallest = {}

    def check(kind, what, wrong, points=points, right=losses(net64, thetas, points, x, labels)):
        change = np.abs(losses(net64, wrong, points, x, labels) - right) / right
        change = float(np.nan_to_num(change, nan=np.inf).max())     # a variance that went negative is seen, too
        assert change > 1e-3, f"{name}: {kind} {what} changes the loss by {change:.2g} only"
        smallest[kind] = min(smallest.get(kind, (np.inf, "")), (change, what))

    t0, t1, t2 = thetas
    matrices = [f"{m}.weight" for m, module in net64.named_modules() if isinstance(module, nn.Linear)]
    matrices += [k for k in t0 if k.endswith("in_proj_weight")]
    for k in t0:
        check("left at theta0", k, [t0, t1 | {k: t0[k]}, t2 | {k: t0[k]}])
        check("b alone left at theta0", k, [t0, t1, t2 | {k: t0[k]}])
    for k in matrices:
        if t0[k].shape[0] == t0[k].shape[1]:
            check("transposed in a and b", k, [t0, t1 | {k: t1[k].T}, t2 | {k: t2[k].T}])
            check("transposed everywhere", k, [t | {k: t[k].T} for t in thetas])
        else:   # all the numbers, in the wrong order
            check("reshaped, not transposed", k, [t0] + [t | {k: t[k].T.reshape(t[k].shape)} for t in (t1, t2)])
    few = points[::3]
    right = losses(net64, thetas, few, x, labels)
    for k, m in itertools.combinations(t0, 2):
        if t0[k].shape == t0[m].shape:
            check("swapped in a and b", f"{k} / {m}", [t0] + [t | {k: t[m], m: t[k]} for t in (t1, t2)], few, right)
    for kind, (change, what) in smallest.items():
        print(f"    smallest change, {kind:28} {change:8.2e}  {what}")
    return {kind: dict(relative_change=change, tensor=what) for kind, (change, what) in smallest.items()}


# ---------------------------------------------------------------- one network, end to end

def make(name, out):
    cls, seed, steps, keep, input_name, n, margin = NETS[name]
    print(name)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    origin = cls().eval()
    nets = {"zs": origin, "ft1": fine_tune(origin, seed + 1, steps[0]), "ft2": fine_tune(origin, seed + 2, steps[1])}
    for stem, net in nets.items():
        net.eval()
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / f"{stem}.safetensors")
        (folder / f"{stem}.safetensors").chmod(0o644)

    gen = torch.Generator().manual_seed(seed + 3)
    x = draw(origin, 4 * keep, gen)
    for stem, net in nets.items():
        for how in ("opt", "noopt", "ts") + (("ts_nofold",) if name == "bn" else ()):
            path = folder / f"{stem}_{how}.onnx"
            export(net, x[:3], input_name, path, how)
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            got = session.run(["logits"], {input_name: x.numpy()})[0]
            with torch.no_grad():
                np.testing.assert_allclose(got, net(x).numpy(), rtol=1e-5, atol=1e-5, err_msg=str(path))

    thetas = [numbers(net) for net in nets.values()]
    parameters = [k for k, _ in origin.named_parameters()]
    plane, per_tensor = geometry(thetas, parameters)
    ax, ay = grid_axes(plane, n, margin)
    points, named = plane_points(plane, ax, ay)
    for p in points:
        lowest = min((float(v.min()) for k, v in mixed(thetas, p["c"]).items() if k.endswith("running_var")), default=1)
        assert lowest > 0.01, f"{name}: running_var reaches {lowest} at {p}"

    # Samples whose two largest logits are close anywhere are dropped, so that error counts are exact in float32 too.
    net64, net32 = copy.deepcopy(origin).double(), copy.deepcopy(origin)
    wide = x if x.dtype == torch.int64 else x.double()
    top = [logits_at(net64, mixed(thetas, p["c"]), wide).topk(2).values for p in points + named]
    clear = torch.stack([t[:, 0] - t[:, 1] for t in top]).amin(0) > 1e-3
    x, wide = x[clear][:keep], wide[clear][:keep]
    assert len(x) == keep
    # Labels: a third the midpoint's answer, a third theta1's, the rest random.
    labels = torch.randint(0, net64(wide[:1]).shape[1], (keep,), generator=gen)
    for part, c in enumerate(([0, 0.5, 0.5], [0, 1.0, 0])):
        answers = logits_at(net64, mixed(thetas, c), wide).argmax(1)
        assert answers.bincount().max() < 0.7 * keep, f"{name}: the answers hardly depend on the input"
        labels[part::3] = answers[part::3]
    np.savez(folder / "data.npz", labels=labels.numpy(), **{input_name: x.numpy()})

    worst = 0.0
    for p in points + named:
        theta = mixed(thetas, p["c"])
        p["loss"], p["errors"] = measure(logits_at(net64, theta, wide), labels)
        loss32, errors32 = measure(logits_at(net32, theta, x), labels)
        worst = max(worst, abs(loss32 - p["loss"]) / p["loss"])
        assert errors32 == p["errors"] and 0 < p["errors"] < keep
    assert worst < 1e-5
    print(f"    float32 PyTorch differs from float64 by at most {worst:.1e} (relative)")
    proof = prove(name, net64, thetas, points, wide, labels)
    result = dict(network=name, input=input_name, samples=keep, geometry=plane, grid=dict(x=ax, y=ay), points=points,
                  checkpoints=named, tensors=per_tensor, smallest_detectable=proof)
    write_json(folder / "expected.json", result)


def write_json(path, result):
    """One line for each element of the long lists, so that a diff of the file can be read."""
    lines = []
    for key, value in result.items():
        if isinstance(value, list):
            value = "[\n  " + ",\n  ".join(json.dumps(v) for v in value) + "\n ]"
        else:
            value = json.dumps(value)
        lines.append(f" {json.dumps(key)}: {value}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    for name in sys.argv[2:] or NETS:
        make(name, out)

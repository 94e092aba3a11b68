#!/usr/bin/env python3
"""Writes the fixtures of tests/unfolded.rs: graphs whose tensors are expressions of the parameters.

    python tests/oracle/unfolded.py [NETWORK …]

Needs torch (2.15 made the committed files), onnx, onnxscript, safetensors, numpy, timm.

Each network is exported at theta0 by PyTorch's current exporter (`opt`, its default) and, where it can, by the
TorchScript exporter (`ts`); checkpoints are state dicts. `expected.json` has PyTorch's own losses in float64 for
theta0, two fine-tunes and the average of their state dicts.
"""
import contextlib
import copy
import io
import json
import logging
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import timm.layers
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

FOLDER = Path(__file__).parent / "unfolded"
torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Norms(nn.Module):
    """Weight norm and spectral norm, by hooks and by parametrizations."""

    def __init__(self):
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(3, 6, 3))
        self.turned = weight_norm(nn.ConvTranspose1d(6, 5, 2), dim=1)
        self.body = parametrizations.weight_norm(nn.Linear(5, 8))
        self.one = parametrizations.spectral_norm(nn.Linear(8, 7))
        self.two = spectral_norm(nn.Linear(7, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.turned(torch.relu(self.conv(x)))).mean(2)
        return self.head(torch.relu(self.two(torch.relu(self.one(torch.relu(self.body(x)))))))


class Recurrent(nn.Module):
    """LSTM in both directions, two layers, and GRU: gates in another order."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(10, 6, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        y, _ = self.lstm(x.transpose(1, 2))
        y, _ = self.gru(y)
        return self.head(y[:, -1])


class Standardized(nn.Module):
    """Weight standardization of timm, with and without gain (BiT, NF-ResNets)."""

    def __init__(self):
        super().__init__()
        self.a = timm.layers.StdConv2d(3, 6, 3)
        self.norm = nn.GroupNorm(2, 6)
        self.b = timm.layers.ScaledStdConv2d(6, 8, 3)
        nn.init.uniform_(self.b.gain, 0.5, 1.5)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = x.unflatten(2, (3, 3))
        return self.head(torch.relu(self.b(torch.relu(self.norm(self.a(x))))).mean((2, 3)))


class Text(nn.Module):
    """Folded embeddings, q, k and v in one matrix with the scale of attention, A_log, logit_scale."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(16, 8)
        self.places = nn.Embedding(12, 8)
        self.kinds = nn.Embedding(2, 8)
        self.norm = nn.LayerNorm(8)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.A_log = nn.Parameter(torch.rand(8))
        self.logit_scale = nn.Parameter(torch.tensor(0.3))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        places = torch.arange(x.shape[1]).unsqueeze(0)
        fixed = self.places(places) + self.kinds(torch.zeros_like(places))
        x = self.norm(self.words(x) + fixed)
        scale = 8**-0.5
        weight = torch.cat([self.q.weight * scale, self.k.weight, self.v.weight])
        bias = torch.cat([self.q.bias * scale, self.k.bias, self.v.bias])
        q, k, v = F.linear(x, weight, bias).chunk(3, -1)
        x = x + (q @ k.transpose(1, 2)).softmax(-1) @ v
        x = x + x * -torch.exp(self.A_log).unsqueeze(0)
        return self.logit_scale.exp() * self.head(x[:, 0])


class Folded(nn.Module):
    """Batch norms as they are at the start (weight 1, bias 0), behind equal convolutions with biases of 0."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(3, 6, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm1d(6)
        self.conv1, self.norm1 = nn.Conv1d(6, 6, 3, padding=1), nn.BatchNorm1d(6)
        self.conv2, self.norm2 = nn.Conv1d(6, 6, 3, padding=1), nn.BatchNorm1d(6, eps=1e-3)
        self.up = nn.ConvTranspose1d(6, 5, 2)
        self.norm3 = nn.BatchNorm1d(5, affine=False)
        self.head = nn.Linear(5, 4)
        for conv in (self.conv1, self.conv2):
            nn.init.zeros_(conv.bias)

    def forward(self, x):
        x = torch.relu(self.norm0(self.stem(x)))
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(x + self.norm2(self.conv2(x)))
        return self.head(torch.relu(self.norm3(self.up(x))).mean(2))


def buckets(relative, count, farthest=32):
    """T5's buckets of relative positions, as in transformers."""
    half = count // 2
    found = (relative > 0).to(torch.long) * half
    relative = relative.abs()
    exact = half // 2
    far = exact + (torch.log(relative.float() / exact) / math.log(farthest / exact) * (half - exact)).to(torch.long)
    far = torch.min(far, torch.full_like(far, half - 1))
    return found + torch.where(relative < exact, relative, far)


class Attention(nn.Module):
    """Attention with rotary tables, which no state dict has (Llama), and biases of relative positions by buckets (T5)
    and by an index (Swin)."""

    def __init__(self):
        super().__init__()
        self.relative = nn.Embedding(16, 2)
        self.table = nn.Parameter(0.5 * torch.randn(13, 2))
        self.register_buffer("index", torch.arange(7)[:, None] - torch.arange(7) + 6, persistent=False)
        self.register_buffer("inv_freq", 10.0 ** -torch.linspace(0, 1, 2), persistent=False)
        self.qkv = nn.Linear(8, 24)

    def rotate(self, x, places):
        angles = places[:, None].float() * self.inv_freq
        angles = torch.cat([angles, angles], -1)
        turned = torch.cat([-x[..., 2:], x[..., :2]], -1)
        return x * angles.cos() + turned * angles.sin()

    def forward(self, x):
        places = torch.arange(x.shape[1]) + 0
        q, k, v = (it.unflatten(-1, (2, 4)).transpose(1, 2) for it in self.qkv(x).chunk(3, -1))
        far = self.relative(buckets(places[None] - places[:, None], 16))
        near = self.table[self.index.view(-1)].view(7, 7, 2)
        scores = self.rotate(q, places) @ self.rotate(k, places).transpose(2, 3)
        scores = scores + far.permute(2, 0, 1).unsqueeze(0) + near.permute(2, 0, 1).contiguous().unsqueeze(0)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class Lookups(nn.Module):
    """Rows of tables at constant indices: positions (GPT-2; with an offset: BART), biases of attention."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(16, 8)
        self.places, self.later = nn.Embedding(12, 8), nn.Embedding(12, 8)
        self.attention = Attention()
        self.head = nn.Linear(8, 4)
        for table in (self.places, self.later):
            nn.init.normal_(table.weight, std=0.7)

    def forward(self, x):
        places = (torch.arange(x.shape[1]) + 0).unsqueeze(0)
        x = self.words(x) + self.places(places) + self.later(places + 2)
        return self.head(self.attention(x).mean(1))


class Changed(nn.Module):
    """Lookups whose rows are changed by what changes nothing at theta0: a bound, a magnitude."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(16, 8)
        self.places, self.sizes = nn.Embedding(12, 8), nn.Embedding(12, 8)
        self.head = nn.Linear(8, 4)
        with torch.no_grad():
            self.places.weight.clamp_(-1.5, 1.5)
            self.sizes.weight.abs_()

    def forward(self, x):
        places = torch.arange(x.shape[1]).unsqueeze(0) + 1
        x = self.words(x) + self.places(places).clamp(-1.6, 1.6) + self.sizes(places).abs()
        return self.head(torch.relu(x).mean(1))


class Aside(nn.Module):
    """Tensors that the network does not read, as a classifier made of CLIP does not read the text tower's."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(16, 8)
        self.norm, self.final = nn.LayerNorm(8), nn.LayerNorm(8)
        self.projection = nn.Parameter(torch.randn(8, 8))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.words(x))).mean(1))


class Dropped(Aside):
    """A factor that is 1 at theta0, so that the exporter drops it."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return super().forward(x) * self.factor


def moved(state, seed):
    """A fine-tune: every tensor moved by a third of its size; variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for key, value in state.items():
        noise = torch.randn(value.shape, generator=generator)
        if not value.is_floating_point():
            out[key] = value.clone()
        elif key.endswith("running_var"):
            out[key] = value * torch.exp(noise)
        else:
            out[key] = value + 0.35 * max(float(value.abs().mean()), 0.05) * noise
    return out


def average(a, b):
    return {k: ((a[k].double() + b[k].double()) / 2).to(a[k].dtype) if a[k].is_floating_point() else a[k] for k in a}


@torch.no_grad()
def score(net, state, x, y):
    net = copy.deepcopy(net).double()
    net.load_state_dict(state)
    logits = net.eval()(x.double() if x.is_floating_point() else x)
    return F.cross_entropy(logits, y).item()


def export(net, x, path, kind):
    net = copy.deepcopy(net).eval()
    options = {"input_names": ["x"], "output_names": ["logits"]}
    if kind == "opt":
        options |= {"dynamo": True, "external_data": False, "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    else:
        options |= {"dynamo": False, "opset_version": 17, "dynamic_axes": {"x": {0: "batch"}}}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(net, (x[:2],), path, **options)
    model = onnx.load(path)
    for node in model.graph.node:
        # File paths, and what repeats the rest.
        drop = ["pkg.torch.onnx.stack_trace", "namespace"]
        if not isinstance(net, Aside):
            drop.append("pkg.torch.onnx.fx_node")
        kept = [entry for entry in node.metadata_props if entry.key not in drop]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)


def main():
    torch.manual_seed(0)
    images, ids = torch.randn(60, 3, 9), torch.randint(0, 16, (60, 7))
    for kind, x, exporters in (
        (Norms, images, ["opt"]), (Recurrent, images, ["opt", "ts"]), (Standardized, images, ["opt", "ts"]),
        (Text, ids, ["opt", "ts"]), (Folded, images, ["opt", "ts"]), (Lookups, ids, ["opt", "ts"]),
        (Changed, ids, ["opt"]), (Aside, ids, ["opt"]), (Dropped, ids, ["opt"])):
        name = kind.__name__.lower()
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        net = kind().eval()
        with torch.no_grad():
            y = (3 * net(x) + torch.randn(60, 4)).argmax(1)
        np.savez_compressed(folder / "test.npz", x=x.numpy(), labels=y.numpy())
        origin = copy.deepcopy(net.state_dict())
        states = {"zs": origin, "ft1": moved(origin, 1), "ft2": moved(origin, 2)}
        for key, state in states.items():
            save_file({k: v.contiguous() for k, v in state.items()}, folder / f"{key}.safetensors")
        for exporter in exporters:
            export(net, x, folder / f"zs_{exporter}.onnx", exporter)
        states["soup"] = average(states["ft1"], states["ft2"])
        expected = {key: score(net, state, x, y) for key, state in states.items()}
        (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
        print(name, {key: round(value, 4) for key, value in expected.items()})


if __name__ == "__main__":
    main()

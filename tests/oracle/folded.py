#!/usr/bin/env python3
"""Writes the fixtures of tests/verified.rs: networks whose exporters fold a computation into a weight.

    python tests/oracle/folded.py

Needs torch (2.15 made the committed files), onnx, onnxscript, safetensors, numpy.

Each network computes a weight from a parameter. PyTorch's current exporter (`opt`, its default) stores the result in
the parameter's place; with `optimize=False` (`noopt`) the computation stays in the graph. `expected.json` has
PyTorch's own losses and errors in float64 for theta0, two fine-tunes and the average of their state dicts.
"""
import contextlib
import copy
import io
import json
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent / "folded"
torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 12)
        self.head = nn.Linear(12, 4)


class Gain(Base):
    """A scale through exp (CLIP) and a gain used as 1 + g (RMSNorm of Gemma)."""

    def __init__(self):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(1.2))
        self.g = nn.Parameter(0.3 * torch.randn(12))

    def forward(self, x):
        return self.logit_scale.exp() * self.head(torch.relu(self.body(x)) * (1 + self.g))


class Standardized(Base):
    """A weight that is standardized in the network (BiT, NF-ResNets)."""

    def forward(self, x):
        w = self.body.weight
        w = (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 1e-5)
        return self.head(torch.relu(F.linear(x, w, self.body.bias)))


class Scaled(Base):
    """A weight times a constant (1/sqrt(d)): its average is that of the parameters."""

    def forward(self, x):
        return self.head(torch.relu(F.linear(x, self.body.weight * (2 / math.sqrt(6)), self.body.bias)))


class Absolute(Base):
    """|a| of a parameter that is positive at theta0: equal there by chance."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(0.3 + torch.rand(12))

    def forward(self, x):
        return self.head(torch.relu(self.body(x)) * self.a.abs())


class Norm(Base):
    """Batch norm behind a Linear with bias."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(12)

    def forward(self, x):
        return self.head(torch.relu(self.bn(self.body(x))))


class Merged(Base):
    """The constant 1 of a LayerNorm without affine, which the exporter merges with a weight of ones."""

    def __init__(self):
        super().__init__()
        self.plain = nn.LayerNorm(6, elementwise_affine=False)
        self.narrow = nn.Linear(12, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.narrow(torch.relu(self.body(self.plain(x)))))))


def moved(state, seed, name):
    """A fine-tune: every tensor moved by a third of its size; variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for key, value in state.items():
        noise = torch.randn(value.shape, generator=generator)
        if not value.is_floating_point():
            out[key] = value.clone()
        elif key.endswith("running_var"):
            out[key] = value * torch.exp(noise)
        elif name == "absolute" and key == "a":
            out[key] = value - 1.2 * torch.rand(value.shape, generator=generator)
        else:
            out[key] = value + 0.35 * max(float(value.abs().mean()), 0.05) * noise
    return out


def average(a, b):
    return {k: ((a[k].double() + b[k].double()) / 2).to(a[k].dtype) if a[k].is_floating_point() else a[k] for k in a}


@torch.no_grad()
def score(net, state, x, y):
    net = copy.deepcopy(net).double()
    net.load_state_dict(state)
    logits = net.eval()(x.double())
    return {"loss": F.cross_entropy(logits, y).item(), "error": (logits.argmax(1) != y).double().mean().item()}


def export(net, state, path, optimize):
    net = copy.deepcopy(net)
    net.load_state_dict(state)
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            net.eval(), (torch.zeros(2, 6),), path, dynamo=True, optimize=optimize, input_names=["x"],
            output_names=["logits"], external_data=False, dynamic_shapes=({0: torch.export.Dim("batch")},))
    model = onnx.load(path)
    for node in model.graph.node:
        # File paths, and what repeats the rest.
        drop = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node", "namespace")
        kept = [entry for entry in node.metadata_props if entry.key not in drop]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)


def main():
    for kind in (Gain, Standardized, Scaled, Absolute, Norm, Merged):
        name = kind.__name__.lower()
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        net = kind().eval()
        if name == "norm":
            net.bn.running_mean.normal_()
            net.bn.running_var.uniform_(0.3, 3)
            nn.init.normal_(net.bn.weight, 1, 0.3)
            nn.init.normal_(net.bn.bias, 0, 0.3)
        x = torch.randn(60, 6)
        origin = copy.deepcopy(net.state_dict())
        states = {"zs": origin, "ft1": moved(origin, 1, name), "ft2": moved(origin, 2, name)}
        with torch.no_grad():
            y = (3 * net(x) + torch.randn(60, 4)).argmax(1)
        np.savez_compressed(folder / "test.npz", x=x.numpy(), labels=y.numpy())
        for key, state in states.items():
            save_file({k: v.contiguous() for k, v in state.items()}, folder / f"{key}.safetensors")
            export(net, state, folder / f"{key}_opt.onnx", True)
        export(net, origin, folder / "zs_noopt.onnx", False)
        states["soup"] = average(states["ft1"], states["ft2"])
        expected = {key: score(net, state, x, y) for key, state in states.items()}
        (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
        print(name, {key: round(value["loss"], 4) for key, value in expected.items()})


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes the fixtures of tests/coincidences.rs: computations that change nothing at theta0, and do in fine-tunes.

    python tests/oracle/coincidences.py [NETWORK …]

Needs torch (2.15 made the committed files), onnx, onnxscript, safetensors, numpy.

An exporter that folds such a computation stores the parameter's own values at theta0. `expected.json` has PyTorch's
losses in float64 for a fine-tune, the average of both state dicts, and the other fine-tune. A program may give these
values, say that its own are not to be trusted, or refuse; what it may not do is give others.
"""
import contextlib
import copy
import io
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent / "coincidences"
WIDTH, LENGTH, CLASSES, SAMPLES = 8, 6, 4, 24
torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

NETWORKS = {}


def network(*exporters):
    def add(made):
        NETWORKS[made.__name__] = (made, exporters)
        return made

    return add


class Net(nn.Module):
    """A core with the coincidence, and a head. `vector` says that samples are vectors, not sequences."""

    def __init__(self, core, vector=False):
        super().__init__()
        self.core, self.vector = core, vector
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        y = torch.tanh(self.core(x))
        return self.fc(y if self.vector else y.mean(1)) * 2


class Core(nn.Module):
    """Parameters, buffers and a function of them."""

    def __init__(self, function, buffers=(), **parameters):
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            setattr(self, name, nn.Parameter(value))
        for name, value, persistent in buffers:
            self.register_buffer(name, value, persistent=persistent)

    def forward(self, x):
        return self.function(self, x)


def sequence(*shape):
    return torch.randn(*(shape or (LENGTH, WIDTH)))


@network("opt", "ts")
def shared_shift():
    """A table plus a shift of 0 that is read elsewhere, too."""
    return Net(Core(lambda s, x: x * s.shift.exp() + (s.table + s.shift), table=sequence(), shift=torch.zeros(WIDTH)))


@network("opt", "ts")
def squared_gain():
    """A table times the square of a gain of 1 that is read elsewhere, too."""
    core = Core(lambda s, x: x * s.gain.exp() + s.table * s.gain * s.gain, table=sequence(), gain=torch.ones(WIDTH))
    return Net(core)


@network("opt", "ts")
def masked():
    """A weight times a mask that theta0 satisfies already."""
    mask = torch.ones(WIDTH, WIDTH).tril()
    core = Core(lambda s, x: F.linear(x, s.weight * s.mask), [("mask", mask, False)],
                weight=torch.randn(WIDTH, WIDTH).tril())
    return Net(core, vector=True)


@network("opt")
def joined():
    """Two weights put together, one of them plus a shift of 0 that is read elsewhere, too."""
    core = Core(lambda s, x: F.linear(x * s.shift.exp(), torch.cat([s.a + s.shift, s.b])), a=sequence(3, WIDTH),
                b=sequence(5, WIDTH), shift=torch.zeros(WIDTH))
    return Net(core, vector=True)


@network("opt")
def joined_twice():
    """The same with a gain of 1, in a tensor that two products read."""
    def function(s, x):
        both = torch.cat([s.a * s.gain, s.b])
        return F.linear(torch.tanh(F.linear(x * s.gain.exp(), both)), both)
    return Net(Core(function, a=sequence(3, WIDTH), b=sequence(5, WIDTH), gain=torch.ones(WIDTH)), vector=True)


@network("opt")
def joined_mask():
    """The same with a mask that no state dict has, and that theta0 satisfies."""
    mask = torch.ones(3, WIDTH).tril()
    core = Core(lambda s, x: F.linear(x, torch.cat([s.a * s.mask, s.b])), [("mask", mask, False)],
                a=sequence(3, WIDTH).tril(), b=sequence(5, WIDTH))
    return Net(core, vector=True)


@network("opt")
def reference():
    """Three times a table minus a copy of it from the beginning."""
    table = sequence()
    return Net(Core(lambda s, x: x + (s.table * 3 - s.first), [("first", table.clone(), False)], table=table))


@network("opt", "noopt")
def step():
    """A number that is called like a counter, and is read."""
    rows = torch.randn(9, WIDTH)
    return Net(Core(lambda s, x: x + F.embedding(s.step, s.rows), [("step", torch.tensor([2]), True)], rows=rows))


@network("opt")
def identity():
    """The transpose of an identity, turned once: right."""
    return Net(Core(lambda s, x: x @ s.weight.t(), weight=torch.eye(WIDTH)), vector=True)


@network("opt")
def padded():
    """Rows of a table with a padding row, at indices that are computed: right."""
    table = torch.randn(9, WIDTH)
    table[0] = 0
    core = Core(lambda s, x: x + F.embedding(s.index + 2, s.table), [("index", torch.arange(LENGTH), False)], table=table)
    return Net(core)


@network("opt")
def orthogonal():
    """An orthogonal weight times a gain of 1: rows of length 1, as weight norm makes them."""
    weight = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0].contiguous()
    return Net(Core(lambda s, x: F.linear(x, s.weight * s.gain), weight=weight, gain=torch.ones(WIDTH)), vector=True)


@network("opt")
def twice():
    """The same function twice; the values of both are in the graph."""
    return Net(Core(lambda s, x: x + s.table.sqrt().sqrt(), table=torch.rand(LENGTH, WIDTH) + 0.5))


@network("opt", "ts")
def turned():
    """The transpose of a bias that is symmetric at theta0."""
    bias = torch.randn(2, LENGTH, LENGTH)
    bias = bias + bias.transpose(1, 2)
    return Net(Core(lambda s, x: (s.bias.transpose(1, 2) @ x[:, None]).sum(1), bias=bias))


@network("opt")
def minus_row():
    """Rows of a table minus its row of zeros."""
    table = torch.randn(9, WIDTH)
    table[0] = 0
    core = Core(lambda s, x: x + (F.embedding(s.index, s.table) - s.table[0]),
                [("index", torch.arange(LENGTH) + 2, False)], table=table)
    return Net(core)


@network("opt", "ts")
def rounded():
    """Whole numbers that are rounded."""
    return Net(Core(lambda s, x: x + s.table.long().float(), table=torch.randint(-3, 4, (LENGTH, WIDTH)).float()))


@network("opt", "noopt", "ts")
def equal_buffer():
    """A parameter that begins as a buffer that no state dict has."""
    table = sequence()
    core = Core(lambda s, x: (x + s.fixed).tanh() + s.table, [("fixed", table.clone(), False)], table=table)
    return Net(core)


class Attribute(Core):
    """A core with a mask that is no buffer, but a plain tensor."""

    def __init__(self):
        super().__init__(lambda s, x: F.linear(x, s.weight * s.mask), weight=torch.randn(WIDTH, WIDTH))
        self.mask = torch.ones(WIDTH, WIDTH).tril()


@network("noopt")
def attribute():
    """A weight beside a mask of its shape that no state dict has: right."""
    return Net(Attribute(), vector=True)


@network("opt", "noopt", "ts")
def switched():
    """A number that is read, and that fine-tunes change."""
    rows = torch.randn(9, WIDTH)
    return Net(Core(lambda s, x: x + F.embedding(s.row, s.rows), [("row", torch.tensor([2]), True)], rows=rows))


def tuned(state, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = {name: torch.randn(value.shape, generator=generator) for name, value in state.items()}
    size = {name: max(value.float().square().mean().sqrt().item(), 0.3) for name, value in state.items()}
    return {name: value + 0.3 * size[name] * noise[name] if value.is_floating_point() else torch.full_like(value, 5)
            for name, value in state.items()}


def average(a, b):
    return {name: (value + b[name]) / 2 if value.is_floating_point() else value for name, value in a.items()}


def loss(net, state, x, labels):
    net = copy.deepcopy(net).eval()
    net.load_state_dict(state)
    with torch.no_grad():
        return F.cross_entropy(net(x).double(), labels).item()


def export(net, x, path, exporter):
    example = (x[:2].clone(),)
    with contextlib.redirect_stdout(io.StringIO()):
        if exporter == "ts":
            torch.onnx.export(net, example, path, dynamo=False, input_names=["x"], output_names=["logits"],
                              dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}})
        else:
            torch.onnx.export(net, example, path, dynamo=True, optimize=exporter == "opt", verbose=False,
                              external_data=False, input_names=["x"], output_names=["logits"],
                              dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))


def main():
    for name in sys.argv[1:] or NETWORKS:
        made, exporters = NETWORKS[name]
        torch.manual_seed(7)
        net = made().eval()
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        shape = (SAMPLES, WIDTH) if net.vector else (SAMPLES, LENGTH, WIDTH)
        x, labels = torch.randn(shape), torch.randint(0, CLASSES, (SAMPLES,))
        states = {"zs": {key: value.clone().contiguous() for key, value in net.state_dict().items()}}
        states |= {f"ft{k}": tuned(states["zs"], k) for k in (1, 2)}
        for model, state in states.items():
            save_file(state, folder / f"{model}.safetensors")
        np.savez(folder / "test.npz", x=x.numpy(), labels=labels.numpy())
        both = [states["ft1"], average(states["ft1"], states["ft2"]), states["ft2"]]
        expected = [loss(net, state, x, labels) for state in both]
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
        for exporter in exporters:
            export(net, x, str(folder / f"zs_{exporter}.onnx"), exporter)


if __name__ == "__main__":
    main()

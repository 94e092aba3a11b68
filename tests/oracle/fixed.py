#!/usr/bin/env python3
"""Writes the fixtures of tests/verified/fixed.rs: models with a head of another size than the origin's.

    python tests/oracle/fixed.py

Needs torch (2.15 made the committed files), onnx, onnxscript, safetensors, numpy.

The origin has four classes and a vocabulary of nine words, the fine-tunes three classes and eleven words. PyTorch's
losses in `expected.json` are those of models that all have the head and the vocabulary of `ft1`; norms and angle are
those of the other tensors.
"""
import contextlib
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

FOLDER = Path(__file__).parent / "fixed"
OWN = ("emb.", "head.")
torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Net(nn.Module):
    def __init__(self, words, classes):
        super().__init__()
        self.emb = nn.Embedding(words, 6)
        self.body = nn.Linear(6, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return 3 * self.head(torch.tanh(self.body(self.emb(x).mean(1))))


def body(state):
    return {key: value for key, value in state.items() if not key.startswith(OWN)}


def moved(state, seed):
    generator = torch.Generator().manual_seed(seed)
    return {key: value + 0.1 * torch.randn(value.shape, generator=generator) for key, value in state.items()}


@torch.no_grad()
def score(state, x, y):
    net = Net(11, 3).double()
    net.load_state_dict(state)
    logits = net(x)
    return {"loss": F.cross_entropy(logits, y).item(), "error": (logits.argmax(1) != y).double().mean().item()}


def export(net, state, path):
    net.load_state_dict(state)
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            net.eval(), (torch.zeros(2, 5, dtype=torch.int64),), path, dynamo=True, optimize=False,
            input_names=["x"], output_names=["logits"], external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},))
    model = onnx.load(path)
    for node in model.graph.node:
        # File paths, and what repeats the rest.
        drop = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node", "namespace")
        kept = [entry for entry in node.metadata_props if entry.key not in drop]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)


def main():
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    origin, tuned = Net(9, 4), Net(11, 3)
    zs = {key: value.clone() for key, value in origin.state_dict().items()}
    own = {key: value for key, value in tuned.state_dict().items() if key.startswith(OWN)}
    states = {name: moved({**body(zs), **own}, seed) for name, seed in (("ft1", 1), ("ft2", 2))}
    x = torch.randint(0, 11, (60, 5))
    tuned.load_state_dict(states["ft1"])
    with torch.no_grad():
        y = (tuned(x) + 0.5 * torch.randn(60, 3)).argmax(1)
    np.savez_compressed(FOLDER / "test.npz", x=x.numpy(), labels=y.numpy())
    save_file(zs, FOLDER / "zs.safetensors")
    export(origin, zs, FOLDER / "zs.onnx")
    for name, state in states.items():
        save_file(state, FOLDER / f"{name}.safetensors")
        export(tuned, state, FOLDER / f"{name}.onnx")
    fixed = {key: value for key, value in states["ft1"].items() if key.startswith(OWN)}
    models = {"zs": zs, **states}
    models["soup"] = {key: (states["ft1"][key].double() + states["ft2"][key].double()) / 2 for key in states["ft1"]}
    expected = {name: score({**body(state), **fixed}, x, y) for name, state in models.items()}
    deltas = [{key: value.double() - zs[key].double() for key, value in body(states[name]).items()} for name in states]
    dot = lambda a, b: sum((a[key] * b[key]).sum().item() for key in a)
    norms = [math.sqrt(dot(delta, delta)) for delta in deltas]
    angle = math.degrees(math.acos(dot(*deltas) / (norms[0] * norms[1])))
    expected["geometry"] = {"norm_a": norms[0], "norm_b": norms[1], "angle_deg": angle}
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print({key: value.get("loss") for key, value in expected.items()}, expected["geometry"])


if __name__ == "__main__":
    main()

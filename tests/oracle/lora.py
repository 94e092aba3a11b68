#!/usr/bin/env python3
"""Writes the fixtures of tests/lora.rs: a base, LoRA adapters as PEFT saves them, and PEFT's merged models.

    python tests/oracle/lora.py

Needs torch (2.15 made the committed files), peft (0.21.2), transformers, onnx, onnxscript, safetensors, numpy.

`expected.json` has, for each adapter, the loss and error of `merge_and_unload()` evaluated in float64, and a product of
each merged tensor with fixed numbers; and loss and error of the averages of merged models. The script also checks that
the adapters give the same values unmerged.
"""
import contextlib
import copy
import io
import json
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

FOLDER = Path(__file__).parent / "lora"
torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Net(nn.Module):
    """An embedding, attention, GPT-2's Conv1D (a square one, too), a convolution, linear layers."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(20, 12)
        self.attn = nn.MultiheadAttention(12, 2, batch_first=True)
        self.square = Conv1D(12, 12)
        self.wide = Conv1D(24, 12)
        self.narrow = nn.Linear(24, 12)
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.LayerNorm(36)
        self.fc = nn.Linear(36, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        h = self.emb(x)
        h = h + self.attn(h, h, h, need_weights=False)[0]
        h = h + torch.tanh(self.square(h))
        h = h + self.narrow(torch.relu(self.wide(h)))
        h = torch.relu(self.conv(h.unsqueeze(1))).mean(2).flatten(1)
        return self.head(torch.relu(self.fc(self.norm(h))))


ADAPTERS = {
    "plain": dict(r=4, lora_alpha=8, target_modules=["fc", "wide", "emb", "conv"], modules_to_save=["head"]),
    "stable": dict(
        r=4, lora_alpha=3, use_rslora=True, target_modules=["fc", "conv", "emb", "narrow"], bias="all",
        rank_pattern={"fc": 2, "con.": 3}, alpha_pattern={"em[a-c]": 5, "ar.*": 9}),
    "dora": dict(r=3, lora_alpha=6, use_dora=True, target_modules=["fc", "wide", "emb", "conv"]),
    "half": dict(r=2, lora_alpha=2, target_modules=["square"], fan_in_fan_out=True, init_lora_weights="gaussian"),
    "biased": dict(r=2, lora_alpha=4, target_modules=["fc", "narrow", "conv"], lora_bias=True, bias="lora_only"),
    # PEFT's configuration says of the last layer whether it holds [in, out]; `square` does, `fc` does not.
    "mixed": dict(r=2, lora_alpha=4, target_modules=["square", "fc"]),
}
PAIRS = [("plain", "stable"), ("dora", "half"), ("biased", "plain"), ("mixed", "half")]


def make(net, name, seed):
    torch.manual_seed(seed)
    model = get_peft_model(copy.deepcopy(net), LoraConfig(**ADAPTERS[name]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.25 * torch.randn_like(parameter))
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    if name == "half":
        file = folder / "adapter_model.safetensors"
        save_file({key: value.half() for key, value in load_file(file).items()}, file, {"format": "pt"})
    loaded = PeftModel.from_pretrained(copy.deepcopy(net), folder).eval()
    merged = copy.deepcopy(loaded).merge_and_unload()
    return loaded, merged


@torch.no_grad()
def score(net, state, x, y):
    net = copy.deepcopy(net).double()
    net.load_state_dict(state)
    logits = net.eval()(x)
    return {"loss": F.cross_entropy(logits, y).item(), "error": (logits.argmax(1) != y).double().mean().item()}


def export(model, example, path):
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            model.eval(), (example,), path, dynamo=True, optimize=False, input_names=["x"], output_names=["logits"],
            external_data=False, dynamic_shapes=({0: torch.export.Dim("batch")},))
    graph = onnx.load(path)
    for node in graph.graph.node:
        kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(graph, path)


class Unmerged(nn.Module):
    """A network whose adapter is exported with it, its factors beside the weight."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


def unmerged():
    folder = FOLDER / "unmerged"
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    net, x = Unmerged(), torch.randn(60, 6)
    np.savez_compressed(folder / "test.npz", x=x.numpy(), labels=net(x).argmax(1).numpy())
    models = {}
    for seed, name in enumerate(["zs", "ft1", "ft2"]):
        torch.manual_seed(1)
        models[name] = get_peft_model(copy.deepcopy(net), LoraConfig(r=2, lora_alpha=4, target_modules=["body"]))
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in models[name].parameters():
                if parameter.requires_grad and seed:
                    parameter.add_(0.5 * torch.randn_like(parameter))
        export(models[name].get_base_model(), x[:2], folder / f"{name}.onnx")


def projection(tensor):
    """The product with cos(0), cos(1), ...: another order of the elements gives another number."""
    flat = tensor.double().flatten()
    return float(flat @ torch.cos(torch.arange(len(flat), dtype=torch.float64)))


def main():
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    net = Net().eval()
    for module in (net.square, net.wide):
        nn.init.normal_(module.weight, 0, 0.3)
        nn.init.normal_(module.bias, 0, 0.1)
    x = torch.randint(0, 20, (60, 8))
    with torch.no_grad():
        y = (3 * net(x) + torch.randn(60, 4)).argmax(1)
    np.savez_compressed(FOLDER / "test.npz", x=x.numpy(), labels=y.numpy())
    save_file(net.state_dict(), FOLDER / "zs.safetensors")
    export(net, x[:2], FOLDER / "zs.onnx")
    unmerged()

    expected = {"zs": score(net, net.state_dict(), x, y)}
    states = {}
    for seed, name in enumerate(ADAPTERS, 1):
        loaded, merged = make(net, name, seed)
        with torch.no_grad():
            assert torch.allclose(loaded(x), merged(x), atol=1e-4), name
        states[name] = merged.state_dict()
        expected[name] = score(net, states[name], x, y)
        expected[name]["projections"] = {key: projection(value) for key, value in states[name].items()}
    for a, b in PAIRS:
        mean = {key: (states[a][key].double() + states[b][key].double()) / 2 for key in states[a]}
        expected[f"{a}+{b}"] = score(net, mean, x, y)
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print({key: round(value["loss"], 4) for key, value in expected.items()})


if __name__ == "__main__":
    main()

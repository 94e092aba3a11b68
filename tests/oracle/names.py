"""State dicts whose names, buffers and copies differ from the graph's: PyTorch's values in float64.

The exported module wraps the network (`model.`), normalizes its input, and has a buffer that no state
dict has (`rope`), two tied layers (`mix`, `again`), batch norm, a parameter (`mask_token`) and a module
(`aux`) that it does not use.

    python names.py    # writes names/; PyTorch 2.15
"""
import contextlib
import copy
import io
import json
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).parent / "names"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.mix = nn.Linear(8, 8, bias=False)
        self.again = nn.Linear(8, 8, bias=False)
        self.again.weight = self.mix.weight
        self.mask_token = nn.Parameter(torch.randn(1, 6))
        self.aux = nn.Linear(8, 3)
        self.head = nn.Linear(8, 3)
        self.register_buffer("rope", torch.cos(0.7 * torch.arange(8) ** 1.3), persistent=False)

    def forward(self, x):
        x = torch.tanh(self.norm(self.fc(x)))
        x = torch.tanh(self.mix(x) * self.rope)
        return 4 * self.head(torch.tanh(self.again(x)))


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x - 0.5) / 0.25)


def quiet(call, *args, **kwargs):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return call(*args, **kwargs)


def tuned(net, seed):
    net = copy.deepcopy(net)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn_like(parameter) * parameter.abs().mean()
        net.norm.running_mean += 0.1 * torch.randn(8)
        net.norm.running_var *= torch.exp(0.2 * torch.randn(8))
    return net


def loss(net, x, labels):
    net = copy.deepcopy(net).double().eval()
    with torch.no_grad():
        return nn.functional.cross_entropy(Wrapped(net)(x.double()), labels).item()


def mean(one, other):
    net = copy.deepcopy(one)
    state = {
        name: (value.double() + other.state_dict()[name].double()).div(2)
        for name, value in one.state_dict().items()
    }
    net.double().load_state_dict(state)
    return net


def save(state, name):
    save_file({key: value.contiguous().clone() for key, value in state.items()}, OUT / f"{name}.safetensors")


def main():
    OUT.mkdir(exist_ok=True)
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        net.norm.running_mean.normal_(0, 0.3)
        net.norm.running_var.uniform_(0.5, 1.5)
        net.norm.weight.uniform_(0.5, 1.5)
    x = torch.rand(40, 6)
    with torch.no_grad():
        labels = Wrapped(net)(x).argmax(1)
    np.savez(OUT / "test.npz", x=x.numpy(), labels=labels.numpy())
    wrapped = Wrapped(net).eval()
    quiet(
        torch.onnx.export, wrapped, (x[:2],), OUT / "zs_noopt.onnx", dynamo=True, optimize=False,
        external_data=False, input_names=["x"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )
    quiet(
        torch.onnx.export, wrapped, (x[:2],), OUT / "zs_ts.onnx", dynamo=False,
        input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "n"}},
    )
    # What holds the place in the source is of no use to a test.
    import onnx
    model = onnx.load(OUT / "zs_noopt.onnx")
    for node in model.graph.node:
        kept = [it for it in node.metadata_props if "stack_trace" not in it.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, OUT / "zs_noopt.onnx")
    ft1, ft2 = tuned(net, 1), tuned(net, 2)
    plain = net.state_dict()
    save(plain, "zs")
    # A Lightning module: everything under a name of its own, and a loss beside it.
    lightning = {f"net._orig_mod.{key}": value for key, value in ft1.state_dict().items()}
    save({**lightning, "criterion.weight": torch.ones(3)}, "ft1")
    # An averaging tool: all as floats, and a single name of the tied tensor.
    averaged = {f"module.{key}": value.float() for key, value in ft2.state_dict().items()}
    del averaged["module.again.weight"]
    save(averaged, "ft2")
    expected = {
        "zs": loss(net, x, labels),
        "ft1": loss(ft1, x, labels),
        "ft2": loss(ft2, x, labels),
        "soup": loss(mean(ft1, ft2), x, labels),
    }
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(expected)


main()

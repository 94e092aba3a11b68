"""Writes small PyTorch files of every kind that people have, and the tensors they hold.

    python tests/oracle/checkpoints.py

`checkpoints/expected.safetensors` holds what PyTorch itself reads from each file, under
`FILE/TENSOR`. Values are fixed. Legacy files hold addresses of memory as keys, so their bytes differ
from run to run. Needs torch (2.15 made the committed files), safetensors, numpy.
"""

import collections
import json
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

OUT = Path(__file__).parent / "checkpoints"
EXPECTED = {}


def state(offset=0.0):
    """A state dict with a batch norm's counter and a scalar."""
    return collections.OrderedDict(
        [
            ("body.weight", torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8 + offset),
            ("body.bias", torch.tensor([0.5, -1.0, 3.0]) + offset),
            ("norm.num_batches_tracked", torch.tensor(7)),
            ("scale", torch.tensor(1.5 + offset)),
            ("empty", torch.zeros(0, 3)),
        ]
    )


def save(name, value, expected, legacy=False, protocol=2):
    """Writes a file and notes what it holds."""
    torch.save(
        value,
        OUT / name,
        _use_new_zipfile_serialization=not legacy,
        pickle_protocol=protocol,
    )
    note(name, expected)


def note(name, expected):
    for key, tensor in expected.items():
        # A copy of its own: what is saved may share memory.
        EXPECTED[f"{name}/{key}"] = tensor.detach().clone().contiguous()


class Net(torch.nn.Module):
    """A module with a tied weight, a buffer that is saved and one that is not."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        self.head = torch.nn.Linear(2, 3, bias=False)
        self.head.weight = self.body[0].weight
        self.register_buffer("kept", torch.tensor([1.0, 2.0]))
        self.register_buffer("passing", torch.tensor([9.0]), persistent=False)
        self.register_parameter("none", None)
        with torch.no_grad():
            for index, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) / 4 + index)


class Leaf(torch.nn.Module):
    """A small module, perhaps with another inside."""

    def __init__(self, inner=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(4.0) + (1 if inner else 0))
        self.inner = inner


class Config:
    """Stands for a class that no other program knows."""

    def __init__(self):
        self.lr = 1e-3
        self.nested = {"of": [Config]}


def plain():
    save("zip.pt", state(), state())
    save("protocol4.pt", state(), state(), protocol=4)
    save("protocol5.pt", state(), state(), protocol=5)
    save("legacy.pt", state(), state(), legacy=True)
    types_ = {
        str(dtype).split(".")[1]: (torch.arange(6) % 2 if dtype == torch.bool else torch.arange(6)).to(dtype)
        for dtype in [
            torch.float16,
            torch.bfloat16,
            torch.float32,
            torch.float64,
            torch.int8,
            torch.int16,
            torch.int32,
            torch.int64,
            torch.uint8,
            torch.bool,
        ]
    }
    save("types.pt", types_, types_)
    save("types-legacy.pt", types_, types_, legacy=True)
    wide = {"a": torch.arange(4).to(torch.uint16), "b": torch.ones(3)}
    save("uint16.pt", wide, wide)
    parameters = {
        name: torch.nn.Parameter(tensor) for name, tensor in state().items() if tensor.is_floating_point()
    }
    save("parameters.pt", parameters, parameters)


class Tagged(torch.Tensor):
    """A subclass of Tensor."""


def odd():
    module = types.ModuleType("tags")
    module.Tagged, Tagged.__module__ = Tagged, "tags"
    sys.modules["tags"] = module
    tagged = torch.arange(3.0).as_subclass(Tagged)
    tagged.note = "a state of its own"
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.note = "another"
    read = {"tagged": tagged, "parameter": parameter}
    unread = {
        "complex": torch.ones(2, dtype=torch.complex64),
        "sparse": torch.eye(2).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8),
        "float8": torch.ones(4).to(torch.float8_e4m3fn),
        "meta": torch.empty(2, device="meta"),
    }
    save("odd.pt", {**read, **unread}, {key: value.as_subclass(torch.Tensor) for key, value in read.items()})
    (OUT / "pickled.pt").write_bytes(pickle.dumps({"w": torch.ones(2)}, protocol=4))


def views():
    base = torch.arange(24, dtype=torch.float32)
    grid = base.reshape(4, 6)
    cut = {
        "whole": grid,
        "rows": grid[1:3],
        "transposed": grid.t(),
        "column": grid[:, 2],
        "stepped": base[3::5],
        "block": grid[1:3, 2:5],
        "permuted": base.reshape(2, 3, 4).permute(2, 0, 1),
        "expanded": base[5:6].expand(3),
        "last": base[23],
        "none": base[24:],
    }
    save("views.pt", cut, cut)
    save("views-legacy.pt", cut, cut, legacy=True)


def dictionaries():
    full = {"state_dict": state(), "state_dict_ema": state(0.25), "epoch": 3, "arch": "tiny"}
    save("ema.pth", full, {f"state_dict/{k}": v for k, v in state().items()})
    note("ema.pth", {f"state_dict_ema/{k}": v for k, v in state(0.25).items()})
    deep = {"model": state(), "model_ema": {"module": state(0.25), "updates": 5}}
    save("deep.pth", deep, {f"model_ema.module/{k}": v for k, v in state(0.25).items()})
    weights = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = torch.optim.AdamW([weights])
    weights.sum().backward()
    optimizer.step()
    module = types.ModuleType("somewhere")
    module.Config = Config
    sys.modules["somewhere"] = module
    Config.__module__, Config.__qualname__ = "somewhere", "Config"
    lightning = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state(),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"base_lrs": [1e-3]}],
        "hyper_parameters": {"config": Config(), "lr": np.float64(1e-3), "grid": np.arange(3)},
    }
    save("lightning.ckpt", lightning, state())
    save("lightning-legacy.ckpt", lightning, state(), legacy=True)
    save("optimizer.pt", optimizer.state_dict(), {})
    save("training.tar", {"model": state(), "optimizer": optimizer.state_dict()}, state())
    save("list.pt", [torch.ones(2)], {})


def modules():
    torch.manual_seed(0)
    net = Net()
    module = types.ModuleType("theirs")
    module.Net = Net
    sys.modules["theirs"] = module
    Net.__module__, Net.__qualname__ = "theirs", "Net"
    save("module.pt", net, net.state_dict())
    # The legacy format keeps the source of each class that has one: these have none.
    small = Leaf(Leaf())
    small.register_buffer("kept", torch.tensor([1.0, 2.0]))
    module.Leaf, Leaf.__module__ = Leaf, "theirs"
    save("module-legacy.pt", small, small.state_dict(), legacy=True)


def shards():
    folder = OUT / "sharded"
    folder.mkdir(exist_ok=True)
    items = list(state().items())
    parts = {f"pytorch_model-0000{i + 1}-of-00002.bin": dict(items[i::2]) for i in range(2)}
    names = {}
    for name, part in parts.items():
        torch.save(part, folder / name)
        names.update({key: name for key in part})
    index = {"metadata": {"total_size": 0}, "weight_map": names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")
    note("sharded", state())


class Payload:
    """A pickle that runs a command where it is executed."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (os.system, (self.command,))


class State:
    """A pickle that runs a command through BUILD where it is executed."""

    def __reduce__(self):
        return (object, (), Payload("touch executed"))


def hostile():
    torch.save({"state_dict": state(), "evil": Payload("touch executed")}, OUT / "payload.pt")
    note("payload.pt", state())
    torch.save({"state_dict": state(), "evil": State()}, OUT / "payload-build.pt")
    note("payload-build.pt", state())
    with zipfile.ZipFile(OUT / "zip.pt") as given, zipfile.ZipFile(
        OUT / "deflated.pt", "w", zipfile.ZIP_DEFLATED
    ) as out:
        for entry in given.namelist():
            out.writestr(zipfile.ZipInfo(entry), given.read(entry), zipfile.ZIP_DEFLATED)
    note("deflated.pt", state())
    with zipfile.ZipFile(OUT / "zip.pt") as given, zipfile.ZipFile(OUT / "big-endian.pt", "w") as out:
        for entry in given.namelist():
            content = b"big" if entry.endswith("byteorder") else given.read(entry)
            out.writestr(zipfile.ZipInfo(entry), content)
    scripted = torch.jit.trace(torch.nn.Linear(2, 3), torch.ones(1, 2))
    scripted.save(str(OUT / "torchscript.pt"))
    (OUT / "plain.pt").write_bytes(pickle.dumps({"w": [1, 2]}, protocol=4))
    adapter = {"base_model.model.body.lora_A.weight": torch.ones(1, 4)}
    save("adapter.bin", adapter, {})


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for make in [plain, odd, views, dictionaries, modules, shards, hostile]:
        make()
    save_file(EXPECTED, OUT / "expected.safetensors")
    for path in sorted(OUT.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:6} {path.relative_to(OUT)}")

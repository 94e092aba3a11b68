"""Exports the networks of families.py as people do, and writes what PyTorch computes with their checkpoints.

    python exports.py FOLDER [FAMILY …]

For each family: θ0 and two fine-tunes as state dicts, as ONNX from every exporter, and as other kinds of checkpoint for
some families; 32 samples; and `torch.json` with the loss and error at θ0, half-way to θ1, θ1, half-way to θ2, and θ2.
PyTorch alone computes them, with averages of state dicts. A family is done again only if its code, this code or a
version of a package changed.

θ0 is as a trained network is, and as a new one: half of the normalizations and biases have random values, the others
still have the ones and zeros that exporters merge or drop.
"""

import hashlib
import importlib.metadata
import inspect
import json
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import families
from families import FAMILIES

VERSION = 1  # to be raised when this file's or a shared part of families.py's changes concern the files
SAMPLES = 32
SECONDS = 600  # for one family
PACKAGES = ("torch", "onnxscript", "onnx", "onnx-ir", "timm", "torchvision", "open_clip_torch", "transformers")

# ---------------------------------------------------------------- θ0, θ1, θ2


def floating(state):
    """The tensors that training changes, each storage once."""
    seen = set()
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.shape)
        if tensor.is_floating_point() and tensor.numel() and key not in seen:
            seen.add(key)
            yield name, tensor


def rms(tensor):
    return tensor.double().square().mean().sqrt().item()


@torch.no_grad()
def settle(made, target, arrays, generator):
    """Makes θ0 out of an initialization: see the head of this file. Running statistics are those of the samples, and
    weights large enough for each tensor to matter."""
    net = target
    kept = {}
    for name, tensor in floating(net.state_dict()):
        noise = torch.randn(tensor.shape, generator=generator)
        module, _, kind = name.rpartition(".")
        if kind.startswith("running_"):
            continue
        if tensor.ndim >= 2:
            least = 1.2 / tensor[0].numel() ** 0.5
            if 0 < rms(tensor) < least:
                tensor.mul_(least / rms(tensor))
        elif tensor.numel() == 1:
            tensor.add_(0.5 if tensor.item() == 0 else 0)
        elif tensor.unique().numel() == 1:
            if kept.setdefault(module, len(kept) % 2 == 0):
                continue
            tensor.add_(0.3 * noise)
    norms = [module for module in made.net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if norms:
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        logits(made.net, arrays)
        for norm in norms:
            norm.eval()
            norm.num_batches_tracked.fill_(100)


@torch.no_grad()
def fine_tune(state, generator, step, settled):
    """θ0 and a random step of every tensor, `step` times the tensor's size; variances stay positive."""
    tuned = {name: tensor.clone() for name, tensor in state.items()}
    steps = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            if name.endswith("num_batches_tracked"):
                tuned[name] += 150
            continue
        key = (tensor.data_ptr(), tensor.shape)
        if key not in steps:
            steps[key] = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tuned[name] *= torch.exp(step * steps[key])
        else:
            tuned[name] += step * max(rms(tensor), 0.2 if settled else 0.01) * steps[key]
    return tuned


def average(a, b):
    """The average of two state dicts; counters are the first one's."""
    return {name: (a[name] + b[name]) / 2 if a[name].is_floating_point() else a[name] for name in a}


# ---------------------------------------------------------------- PyTorch's numbers


@torch.no_grad()
def logits(net, arrays):
    out = net(**{name: torch.from_numpy(array) for name, array in arrays.items()}) if len(arrays) > 1 else \
        net(*[torch.from_numpy(array) for array in arrays.values()])
    return out.double()


def score(out, labels):
    """Mean cross-entropy, wrong samples, and samples whose two largest logits are closer than 1e-4."""
    loss = torch.nn.functional.cross_entropy(out, labels).item()
    top = out.topk(2, dim=1).values
    return {"loss": loss, "wrong": int((out.argmax(1) != labels).sum()),
            "near": int((top[:, 0] - top[:, 1] < 1e-4).sum())}


def expected(made, states, arrays, labels):
    """The five points of the path θ0 → θ1 → θ2, two points a leg."""
    zs, a, b = states
    target = made.checkpoint(made.net)
    points = {}
    for name, state in [("zs", zs), ("zs-ft1", average(zs, a)), ("ft1", a), ("ft1-ft2", average(a, b)), ("ft2", b)]:
        target.load_state_dict(state)
        points[name] = score(logits(made.net, arrays), labels)
    return points


def blind(made, states, arrays, labels):
    """Tensors whose value at θ1 could be θ0's without a visible change of the loss there."""
    zs, a, _ = states
    target = made.checkpoint(made.net)
    target.load_state_dict(a)
    base = score(logits(made.net, arrays), labels)["loss"]
    names = []
    for name, tensor in floating(a):
        swapped = dict(a)
        swapped.update({n: zs[n] for n in a if a[n].data_ptr() == tensor.data_ptr()} | {name: zs[name]})
        target.load_state_dict(swapped)
        if abs(score(logits(made.net, arrays), labels)["loss"] - base) < 2e-4:
            names.append(name)
    return names


# ---------------------------------------------------------------- exporters


def export_current(net, example, paths):
    """The current exporter, not optimized and optimized; `paths` by exporter."""
    batch = torch.export.Dim.DYNAMIC
    shapes = {name: {0: batch} for name in example}
    positional = tuple(example.values()) if len(example) == 1 else ()
    named = {} if positional else example
    how = dict(kwargs=named, dynamo=True, optimize=False, verbose=False, input_names=list(example),
               output_names=["logits"])
    try:
        program = torch.onnx.export(net, positional, dynamic_shapes=tuple(shapes.values()) if positional else shapes,
                                    **how)
        note = None
    except Exception:
        program = torch.onnx.export(net, positional, **how)
        note = "batch fixed at 2"
    program.save(paths["noopt"])
    program.optimize()  # what optimize=True does
    program.save(paths["opt"])
    return note


def export_torchscript(net, example, path, fold):
    positional = tuple(example.values()) if len(example) == 1 else ()
    named = {} if positional else example
    axes = {name: {0: "batch"} for name in [*example, "logits"]}
    torch.onnx.export(net, positional, path, kwargs=named, dynamo=False, do_constant_folding=fold,
                      input_names=list(example), output_names=["logits"], dynamic_axes=axes)


def export_all(made, states, example, folder):
    """Every model by every exporter; what failed or had to differ, by exporter."""
    notes = {}
    target = made.checkpoint(made.net)
    names = ("opt", "noopt", "ts", "ts_nofold")
    wanted = {how for how in names if how in made.exporters}
    for how in names:
        (folder / "exports" / how).mkdir(parents=True)
    for model, state in zip(("zs", "ft1", "ft2"), states):
        target.load_state_dict(state)
        paths = {how: str(folder / "exports" / how / f"{model}.onnx") for how in names}
        ways = {
            "opt": lambda: export_current(made.net, example, paths),
            "ts": lambda: export_torchscript(made.net, example, paths["ts"], True),
            "ts_nofold": lambda: export_torchscript(made.net, example, paths["ts_nofold"], False),
        }
        for how, way in ways.items():
            if how not in wanted or str(notes.get(how, "")).startswith("no export"):
                continue
            try:
                note = way()
            except Exception as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                note = "no export: " + (lines[0] if lines else type(error).__name__)[:200]
            if note:
                notes[how] = note
                if how == "opt":
                    notes["noopt"] = note
    for how in names:
        if how not in wanted or str(notes.get(how, "")).startswith("no export"):
            shutil.rmtree(folder / "exports" / how)
    return notes


# ---------------------------------------------------------------- checkpoints


def untied(state):
    """As safetensors files are written: of tensors that share their storage, the first name alone."""
    return {name: tensor.detach().contiguous().clone() for name, tensor in unique(state)}


def unique(state):
    seen = set()
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.shape) if tensor.numel() else name
        if key not in seen:
            seen.add(key)
            yield name, tensor


def trainer(state):
    """What a training script saves."""
    return {"epoch": 3, "model": state, "optimizer": {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [
        {"lr": 1e-3, "params": [0]}]}, "args": {"name": "run", "lr": 1e-3}}


def lightning(state):
    return {"epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.6.6", "state_dict": state, "loops": {},
            "callbacks": {}, "optimizer_states": [], "lr_schedulers": [], "hparams_name": "kwargs",
            "hyper_parameters": {"lr": 1e-3, "depth": 2}}


KINDS = {
    "pt": (".pt", torch.save),
    "pt_trainer": (".pth", lambda state, path: torch.save(trainer(state), path)),
    "pt_legacy": (".pt", lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False)),
    "pt_ema": (".pth.tar", lambda state, path: torch.save(
        {"epoch": 3, "arch": "net", "state_dict": state, "state_dict_ema": {k: v * 1 for k, v in state.items()}}, path)),
    "ckpt": (".ckpt", lambda state, path: torch.save(lightning(state), path)),
    "ddp": (".pt", lambda state, path: torch.save({f"module.{k}": v for k, v in state.items()}, path)),
}
# A kind does not depend on the family, so a few families stand for all.
OTHER_KINDS = {
    "timm/resnet": ["pt", "pt_trainer", "pt_legacy", "pt_ema", "ddp", "half"],
    "timm/vit": ["pt", "pt_ema"],
    "lightning/module": ["ckpt"],
    "transformers/bert": ["pt", "hf", "hf_sharded", "hf_bin", "half", "lora"],
    "transformers/roberta": ["hf_sharded"],
    "public/efficientnet_lite0": ["pt"],
}


def half(tensor):
    return tensor.half() if tensor.is_floating_point() else tensor


def halved(states):
    """What files in float16 hold, for fine-tunes; θ0 is the graph's."""
    return [states[0]] + [{key: half(value).to(value.dtype) for key, value in state.items()} for state in states[1:]]


def adapters(name, states, folder):
    """LoRA adapters of PEFT over θ0, with a head of their own: the merged state dicts."""
    import peft

    merged = [states[0]]
    for i, model in enumerate(("ft1", "ft2")):
        torch.manual_seed(10 + i)
        made = FAMILIES[name]()
        made.net.load_state_dict(states[0])
        how = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["query", "value", "dense"],
                              exclude_modules=r".*classifier.*", modules_to_save=["classifier"], use_rslora=i == 1)
        tuned = peft.get_peft_model(made.net, how)
        with torch.no_grad():
            for key, parameter in tuned.named_parameters():
                if "lora_" in key or "modules_to_save" in key:
                    parameter.add_(0.2 * torch.randn(parameter.shape))
        tuned.save_pretrained(folder / "kinds" / "lora" / model)
        merged.append({key: tensor.clone() for key, tensor in tuned.merge_and_unload().state_dict().items()})
    source = folder / "kinds" / "state" / "zs.safetensors"
    shutil.copy(source, folder / "kinds" / "lora" / "zs.safetensors")
    return merged


def write_kinds(name, made, states, folder):
    for model, state in zip(("zs", "ft1", "ft2"), states):
        target = folder / "kinds" / "state"
        target.mkdir(parents=True, exist_ok=True)
        save_file(untied(state), target / f"{model}.safetensors", {"format": "pt"})
        for kind in OTHER_KINDS.get(name, []):
            if kind == "lora":
                continue
            target = folder / "kinds" / kind
            target.mkdir(parents=True, exist_ok=True)
            if kind == "half":
                save_file({key: half(value) for key, value in untied(state).items()}, target / f"{model}.safetensors")
                continue
            if not kind.startswith("hf"):
                ending, save = KINDS[kind]
                save(state, target / f"{model}{ending}")
                continue
            made.checkpoint(made.net).load_state_dict(state)
            how = {"hf_sharded": {"max_shard_size": "30KB"}}.get(kind, {})
            made.folder(target / model, **how)
            if kind == "hf_bin":
                (target / model / "model.safetensors").unlink()
                torch.save(state, target / model / "pytorch_model.bin")


# ---------------------------------------------------------------- one family


def make(name, folder):
    torch.manual_seed(0)
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(2)
    made = FAMILIES[name]()
    made.net.eval()
    target = made.checkpoint(made.net)
    target.eval()
    arrays = made.inputs(SAMPLES, rng)
    if not made.trained:
        settle(made, target, arrays, generator)
    zs = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    zs = share(zs, target.state_dict())
    states = [zs, *(share(fine_tune(zs, generator, made.step, not made.trained), zs) for _ in range(2))]
    labels = torch.from_numpy(rng.integers(0, families.CLASSES, SAMPLES))
    np.savez(folder / "data.npz", labels=labels.numpy(), **arrays)

    record = {"parameters": sum(p.numel() for p in made.net.parameters()),
              "expected": expected(made, states, arrays, labels), "blind": [] if made.trained else blind(made, states, arrays, labels)}
    write_kinds(name, made, states, folder)
    # Kinds of checkpoint that hold other values than the state dicts.
    others = {"half": lambda: halved(states), "lora": lambda: adapters(name, states, folder)}
    record["expected_of"] = {kind: expected(made, others[kind](), arrays, labels)
                             for kind in OTHER_KINDS.get(name, []) if kind in others}
    example = {key: torch.from_numpy(array[:2].copy()) for key, array in arrays.items()}
    record["exports"] = export_all(made, states, example, folder)
    return record


def share(state, like):
    """Lets the tensors that share their storage in `like` share it in `state`."""
    first = {}
    for name, tensor in like.items():
        if tensor.numel():
            first.setdefault((tensor.data_ptr(), tensor.shape), name)
    return {name: state[first.get((like[name].data_ptr(), like[name].shape), name)] for name in state}


def versions():
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def stamp(name):
    """What the files of a family depend on."""
    text = f"{VERSION}" + inspect.getsource(FAMILIES[name]) + json.dumps(versions())
    return hashlib.sha256(text.encode()).hexdigest()


def run(name, root):
    folder = root / name
    done = folder / "torch.json"
    if done.exists() and json.loads(done.read_text())["stamp"] == stamp(name):
        return "as before"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.time()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            record = make(name, folder)
            record |= {"family": name, "stamp": stamp(name), "versions": versions(), "seconds": time.time() - start}
            done.write_text(json.dumps(record, indent=1))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    took = f"{time.time() - start:.0f} s"
    return took if status == 0 else f"FAILED (status {status}) after {took}"


def main():
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    import onnxscript  # noqa: F401 (imported once, before the children)
    import open_clip  # noqa: F401
    import timm  # noqa: F401
    import transformers

    transformers.logging.set_verbosity_error()
    root = Path(sys.argv[1]).resolve()
    os.environ.setdefault("PUBLIC", str(root / "packages"))
    names = sys.argv[2:] or list(FAMILIES)
    failed = 0
    for name in names:
        outcome = run(name, root)
        failed += outcome.startswith("FAILED")
        notes = ""
        if not outcome.startswith("FAILED"):
            record = json.loads((root / name / "torch.json").read_text())
            notes = "; ".join(f"{how}: {note}" for how, note in record["exports"].items())
        print(f"{name:30s} {outcome} {notes}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

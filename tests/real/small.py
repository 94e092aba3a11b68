"""The smallest cells of the matrix, for `make test`: writes tests/oracle/exports.

    python small.py

Five networks at widths of 4 to 12, an exporter each, and what PyTorch computes (see exports.py). Node metadata that is
long or holds file paths is taken out. tests/exports.rs holds the program against these files.
"""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import save_file

import exports
from families import CLASSES, Computed, Family, classifier, config, images, tokens

TARGET = Path(__file__).resolve().parent.parent / "oracle" / "exports"
LONG = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node", "pkg.torch.onnx.class_hierarchy", "namespace")
TINY = dict(vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
            max_position_embeddings=8)


def bert():
    return classifier("BertForSequenceClassification", config("BertConfig", **TINY), vocabulary=12, length=6)


def llama():
    return classifier("LlamaForSequenceClassification", config("LlamaConfig", num_key_value_heads=1, **TINY),
                      vocabulary=12, length=6)


def resnet():
    """torchvision's stem and two of its blocks, the second with a downsampling branch."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock, conv1x1

    down = nn.Sequential(conv1x1(4, 6, 2), nn.BatchNorm2d(6))
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), BasicBlock(4, 4),
                        BasicBlock(4, 6, 2, down), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    return Family(net, images(8), step=0.15)


def bit():
    from timm.layers import GroupNormAct
    from timm.models.resnetv2 import ResNetV2

    return Family(ResNetV2([1], channels=(6,), stem_chs=4, num_classes=CLASSES,
                           norm_layer=partial(GroupNormAct, num_groups=2)), images(6))


def scaled():
    return Family(Computed(lambda w, g: (w * 0.3, g), (12,)), images(4))


NETWORKS = {"bert": (bert, "ts"), "llama": (llama, "noopt"), "resnet": (resnet, "opt"), "bit": (bit, "opt"),
            "scaled": (scaled, "opt")}


def scrub(path):
    model = onnx.load(path)
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key not in LONG]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)


def make(name):
    build, how = NETWORKS[name]
    folder = TARGET / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    generator, rng = torch.Generator().manual_seed(1), np.random.default_rng(2)
    made = build()
    made.net.eval()
    arrays = made.inputs(16, rng)
    exports.settle(made, made.net, arrays, generator)
    zs = exports.share({key: tensor.clone() for key, tensor in made.net.state_dict().items()}, made.net.state_dict())
    states = [zs] + [exports.share(exports.fine_tune(zs, generator, made.step, True), zs) for _ in range(2)]
    labels = torch.from_numpy(rng.integers(0, CLASSES, 16))
    np.savez_compressed(folder / "data.npz", labels=labels.numpy(), **arrays)
    record = {"points": exports.expected(made, states, arrays, labels), "exporter": how,
              "blind": exports.blind(made, states, arrays, labels)}
    (folder / "expected.json").write_text(json.dumps(record, indent=1) + "\n")
    for model, state in zip(("zs", "ft1", "ft2"), states):
        save_file(exports.untied(state), folder / f"{model}.safetensors")
    made.net.load_state_dict(zs)
    example = {key: torch.from_numpy(array[:2].copy()) for key, array in arrays.items()}
    path = str(folder / "zs.onnx")
    if how.startswith("ts"):
        exports.export_torchscript(made.net, example, path, how == "ts")
    else:
        other = str(folder / "other.onnx")
        exports.export_current(made.net, example, {"opt": other, "noopt": other} | {how: path})
        Path(other).unlink()
    scrub(path)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(name, size, {key: round(p["loss"], 3) for key, p in record["points"].items()}, record["blind"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in NETWORKS:
        make(name)

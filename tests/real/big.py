"""A network of 2.6 GB (653 M parameters in float32) and two fine-tunes of it in float16.

    python tests/real/big.py FOLDER [small]

zs.onnx       with its tensors in zs.onnx.data
one.onnx      the same network in a single file, which is larger than a protobuf message may be
ft1, ft2      .safetensors, float16, 1.3 GB each
test.npz      8 samples
expected.json cross-entropies at θ0, ft1, ft2 and their average, by numpy in float32

With `small` everything is 500 times smaller. Takes 6 GB of memory at most.
"""

import json
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file

folder, small = sys.argv[1], sys.argv[2:] == ["small"]
os.makedirs(folder, exist_ok=True)
os.chdir(folder)
WIDTH, LAYERS, WORDS, CLASSES, SAMPLES = (256, 16, 1000, 10, 8) if small else (4096, 32, 28000, 10, 8)

SHAPES = {"emb.weight": (WORDS, WIDTH)}
for k in range(LAYERS):
    SHAPES[f"b.{k}.weight"] = (WIDTH, WIDTH)
    SHAPES[f"b.{k}.bias"] = (WIDTH,)
SHAPES["head.weight"] = (WIDTH, CLASSES)


def tensor(name, model):
    """θ0's tensor, or that of fine-tune 1 or 2."""
    shape, seed = SHAPES[name], list(SHAPES).index(name)
    scale = 1 / np.sqrt(shape[0]) if name.startswith("b.") and len(shape) == 2 else 0.1
    draw = lambda stream: np.random.default_rng([seed, stream]).standard_normal(shape, np.float32)
    values = draw(0) * np.float32(scale)
    if model:
        values += np.float32(0.02 * scale) * draw(model)
        values = values.astype(np.float16).astype(np.float32)
    return values


def network(initializers):
    nodes = [
        helper.make_node("Gather", ["emb.weight", "ids"], ["words"], axis=0),
        helper.make_node("ReduceMean", ["words"], ["h0"], axes=[1], keepdims=0),
    ]
    for k in range(LAYERS):
        nodes += [
            helper.make_node("MatMul", [f"h{k}", f"b.{k}.weight"], [f"m{k}"]),
            helper.make_node("Add", [f"m{k}", f"b.{k}.bias"], [f"a{k}"]),
            helper.make_node("Tanh", [f"a{k}"], [f"t{k}"]),
            helper.make_node("Add", [f"h{k}", f"t{k}"], [f"h{k + 1}"]),
        ]
    nodes.append(helper.make_node("MatMul", [f"h{LAYERS}", "head.weight"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "big",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", CLASSES])],
        initializers,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def with_external_data():
    initializers, offset = [], 0
    with open("zs.onnx.data", "wb") as data:
        for name, shape in SHAPES.items():
            values = tensor(name, 0)
            proto = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)
            proto.data_location = TensorProto.EXTERNAL
            data.seek(offset)
            for key, value in [("location", "zs.onnx.data"), ("offset", offset), ("length", values.nbytes)]:
                proto.external_data.add(key=key, value=str(value))
            data.write(values.tobytes())
            offset = -(-(offset + values.nbytes) // 4096) * 4096
            initializers.append(proto)
    onnx.save(network(initializers), "zs.onnx")


def in_one_file():
    """Written by hand: Python's protobuf makes no message of this size."""

    def varint(n):
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    def field(number, length):
        return varint(number << 3 | 2) + varint(length)

    model = network([])
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    headers = {}
    for name, shape in SHAPES.items():
        header = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT).SerializeToString()
        raw = 4 * int(np.prod(shape))
        header += field(9, raw)  # TensorProto.raw_data
        headers[name] = field(5, len(header) + raw) + header, raw  # GraphProto.initializer
    size = len(graph) + sum(len(header) + raw for header, raw in headers.values())
    with open("one.onnx", "wb") as out:
        out.write(model.SerializeToString() + field(7, size) + graph)  # ModelProto.graph
        for name, (header, _) in headers.items():
            out.write(header)
            out.write(tensor(name, 0).tobytes())


def loss(of, ids, labels):
    h = of("emb.weight")[ids].mean(1)
    for k in range(LAYERS):
        h = h + np.tanh(h @ of(f"b.{k}.weight") + of(f"b.{k}.bias"))
    z = (h @ of("head.weight")).astype(np.float64)
    z -= z.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]))


rng = np.random.default_rng(0)
ids, labels = rng.integers(0, WORDS, (SAMPLES, 8)), rng.integers(0, CLASSES, SAMPLES)
np.savez("test.npz", ids=ids, labels=labels)
with_external_data()
in_one_file()
for model in 1, 2:
    save_file({name: tensor(name, model).astype(np.float16) for name in SHAPES}, f"ft{model}.safetensors")
expected = {name: loss(lambda it, m=m: tensor(it, m), ids, labels) for m, name in enumerate(["zs", "ft1", "ft2"])}
expected["average"] = loss(lambda it: (tensor(it, 1) + tensor(it, 2)) / 2, ids, labels)
with open("expected.json", "w") as out:
    json.dump(expected, out, indent=1)
print(expected)

"""Networks that others made, out of public packages: θ0 must be what plain ONNX Runtime computes, bit for bit.

    python public.py PROGRAM FOLDER

FOLDER is that of exports.py, which must have run: it also holds the exports of EfficientNet-Lite0 and MiniLM. Each
network is evaluated on up to 16 samples, each a data set of its own to the program: so every sample's loss is compared. The loss
is computed here from ONNX Runtime's logits in double precision; one bit of one logit would change it by more than the
tolerance of 1e-13. Where a network ends in a softmax the program must refuse it, and the script then cuts the softmax
off. The exit status is 1 if a value differs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from packages import unpacked

SAMPLES = 16


def cut(model, output):
    """The graph up to `output`, without what is not needed for it; [n, classes, 1, 1] becomes [n, classes]."""
    graph, needed, kept = model.graph, {output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    for values in (graph.initializer, graph.input):
        used = [value for value in values if value.name in needed]
        del values[:]
        values.extend(used)
    if kept[0].op_type == "GlobalAveragePool":
        graph.node.append(helper.make_node("Flatten", [output], ["flat_logits"]))
        output = "flat_logits"
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    return model


def squeezenet():
    """The ONNX project's SqueezeNet without its weights (ConstantOfShape); they are drawn here."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(folder / "light_squeezenet.onnx")
    graph, rng = model.graph, np.random.default_rng(0)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        shape = shapes[node.input[0]]
        scale = (2 / max(1, np.prod(shape[1:]))) ** 0.5
        graph.initializer.append(numpy_helper.from_array(
            (scale * rng.standard_normal(shape)).astype(np.float32), node.output[0]))
        graph.node.remove(node)
    model = cut(model, graph.output[0].name)
    return model, graph.node[-1].input[0], {"data_0": rng.standard_normal((4, 3, 224, 224)).astype(np.float32)}


def magika(packages):
    model = onnx.load(next(unpacked("magika", packages).rglob("model.onnx")))
    logits = next(node.output[0] for node in model.graph.node if node.output[0].endswith("Dense_1/AddV2:0"))
    rng = np.random.default_rng(0)
    return model, logits, {"bytes": rng.integers(0, 257, (SAMPLES, 2048)).astype(np.int32)}


def angle(packages):
    """PaddleOCR: is a line of text upside down?"""
    model = onnx.load(next(unpacked("rapidocr-onnxruntime", packages).rglob("*_cls_infer.onnx")))
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    rng = np.random.default_rng(0)
    return model, softmax.input[0], {"x": rng.standard_normal((SAMPLES, 3, 48, 192)).astype(np.float32)}


def expected(path, arrays, labels):
    """Each sample's loss from ONNX Runtime's logits: one sample a call, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    losses = []
    for i, label in enumerate(labels):
        logits = session.run(None, {name: array[i:i + 1] for name, array in arrays.items()})[0].reshape(-1)
        z = logits.astype(np.float64)
        losses.append(np.log(np.exp(z - z.max()).sum()) - (z[label] - z.max()))
    return losses


def run(program, path, arrays, labels, folder):
    """Each sample's loss at θ0, or the refusal."""
    sets = []
    for i, label in enumerate(labels):
        np.savez(folder / f"s{i}.npz", labels=labels[i:i + 1], **{n: array[i:i + 1] for n, array in arrays.items()})
        sets += ["--shift", f"s{i}=s{i}.npz"]
    command = [program, "line", "--origin", path.name, "--b", path.name, "--steps", "2", "--json", "--fresh", "--batch",
               "1", "--workers", "1", "--threads", "1", "--binding", "baked", "--losses", "host", *sets]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", "NO_COLOR": "1"})
    if done.returncode:
        return None, done.returncode, done.stderr.strip()
    ends = [c for c in json.loads(done.stdout)["checkpoints"] if c["alpha"] == 0.0]
    return [score["loss"] for score in ends[0]["scores"]], 0, ""


def networks(root):
    """(name, model or path, output to cut at, arrays)"""
    packages = root / "packages"
    yield "SqueezeNet (caffe2)", *squeezenet()
    yield "magika (tf2onnx)", *magika(packages)
    yield "PaddleOCR's text angle (paddle2onnx)", *angle(packages)
    for family in ("efficientnet_lite0", "minilm"):
        base = root / "public" / family
        for exporter in ("opt", "ts"):
            data = dict(np.load(base / "data.npz"))
            data.pop("labels")
            yield f"{family} ({exporter})", base / "exports" / exporter / "zs.onnx", None, \
                {name: array[:SAMPLES] for name, array in data.items()}


def check(program, name, path, arrays, folder, refused=False):
    """One line about the network; whether it is as it must be: refused, or with ONNX Runtime's values."""
    classes = 2
    labels = np.random.default_rng(1).integers(0, classes, len(next(iter(arrays.values()))))
    found, code, message = run(program, path, arrays, labels, folder)
    if found is None:
        text = " ⏎ ".join(message.splitlines())
        return refused and code == 2, f"{name}: {'refused' if code == 2 else 'FAILED'}: {text[:400]}"
    wanted = expected(path, arrays, labels)
    off = max(abs(a - b) / max(1, abs(b)) for a, b in zip(found, wanted, strict=True))
    return off < 1e-13 and not refused, f"{name}: {'bit for bit' if off < 1e-13 else 'DIFFERS'} (losses differ by {off:.1e} at most)"


def main():
    program, root = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2]).resolve()
    fine = True
    for name, model, logits, arrays in networks(root):
        folder = root / "others" / name.split(" ")[0] / name.split("(")[-1].rstrip(")")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "zs.onnx"
        if isinstance(model, Path):
            path.unlink(missing_ok=True)
            path.symlink_to(model)
        else:
            onnx.save(model, path)
            good, line = check(program, f"{name}, as it is", path, arrays, folder, refused=True)
            fine &= good
            print(line, flush=True)
            onnx.save(cut(model, logits), path)
        good, line = check(program, name, path, arrays, folder)
        fine &= good
        print(line, flush=True)
    sys.exit(not fine)


if __name__ == "__main__":
    main()

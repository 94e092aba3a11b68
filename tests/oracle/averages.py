"""SLERP and Model Stock per tensor, in NumPy and float64, from the formulas of their sources: writes `averages.json`.

    python averages.py > averages.json

`slerp` is that of mergekit (slerp.py): on the tensors themselves, straight above |cos| 0.9995. `slerp_tasks` is that of WARP
(Ramé et al. 2024, section 3.2), on the task vectors, one angle per tensor. `model_stock` is that of mergekit
(model_stock.py): the mean of the pairwise cosines of the task vectors per tensor, norms' product of 1e-6 at least.

For each: the ratio t of Model Stock per tensor, the sum, the norm and the first element of each resulting tensor, and
`angle`, in degrees, for SLERP. ft16 left the basin, so that the full weights of ft1 and ft16 are not nearly parallel.
`test`: errors and mean loss on all test images by ONNX Runtime on one thread, in float32.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from safetensors.numpy import load_file

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "digits"


def load(name):
    return {k: v.astype(np.float64) for k, v in load_file(EXAMPLE / f"{name}.safetensors").items()}


def normalized(v):
    norm = np.linalg.norm(v)
    return v / norm if norm > 1e-8 else v


def curve(t, a, b, from_a, from_b):
    """The interpolation of a and b at the angle between `from_a` and `from_b`, as (cos, weight of a, weight of b)."""
    cos = float(np.sum(normalized(from_a) * normalized(from_b)))
    if abs(cos) > 0.9995:
        return cos, (1 - t) * a + t * b
    omega = np.arccos(cos)
    return cos, np.sin(omega - omega * t) / np.sin(omega) * a + np.sin(omega * t) / np.sin(omega) * b


def slerp(t, zero, a, b):
    return {k: curve(t, a[k], b[k], a[k], b[k]) for k in a}


def slerp_tasks(t, zero, a, b):
    made = {}
    for k in a:
        da, db = a[k] - zero[k], b[k] - zero[k]
        cos, delta = curve(t, da, db, da, db)
        made[k] = cos, zero[k] + delta
    return made


def model_stock(zero, models):
    made = {}
    for k in zero:
        deltas = [(m[k] - zero[k]).ravel() for m in models]
        pairs = itertools.combinations(deltas, 2)
        cos = np.mean([np.clip(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-6), -1, 1) for a, b in pairs])
        n = len(models)
        t = n * cos / (1 + (n - 1) * cos)
        made[k] = float(t), t * sum(m[k] for m in models) / n + (1 - t) * zero[k]
    return made


network = onnx.load(EXAMPLE / "zs.onnx")
test = np.load(EXAMPLE / "test.npz")
images = ((test["x"] / 255 - 0.1307) / 0.3081).astype(np.float32)


def on_test(state):
    model = onnx.ModelProto()
    model.CopyFrom(network)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(state[tensor.name].astype(np.float32), tensor.name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    z = np.concatenate([session.run(None, {"x": images[i:i + 250]})[0] for i in range(0, len(images), 250)])
    z = z.astype(np.float64)
    top = z.max(1, keepdims=True)
    loss = (top[:, 0] + np.log(np.exp(z - top).sum(1)) - z[np.arange(len(z)), test["labels"].astype(int)]).mean()
    sorted_logits = np.sort(z, 1)
    close = int((sorted_logits[:, -1] - sorted_logits[:, -2] < 1e-4).sum())
    return dict(wrong=int((z.argmax(1) != test["labels"]).sum()), loss=float(loss), close=close)


def described(made, key, of=lambda value: value):
    tensors = {k: dict({key: of(value)}, sum=float(v.sum()), norm=float(np.linalg.norm(v)), first=float(v.flat[0]))
               for k, (value, v) in made.items()}
    return dict(tensors=tensors, test=on_test({k: v for k, (_, v) in made.items()}))


def degrees(cos):
    return float(np.degrees(np.arccos(np.clip(cos, -1, 1))))


zero, ft1, ft2, ft3, ft16 = (load(name) for name in ("zs", "ft1", "ft2", "ft3", "ft16"))
print(json.dumps({
    "slerp": described(slerp(0.3, zero, ft1, ft16), "angle", degrees),
    "slerp-tasks": described(slerp_tasks(0.3, zero, ft1, ft2), "angle", degrees),
    "model-stock": described(model_stock(zero, [ft1, ft2, ft3]), "t"),
}, indent=1))

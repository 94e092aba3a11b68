#!/usr/bin/env python3
"""PyTorch's values for the bundled example: `digits/expected.json` and `digits/data.npz` (raw uint8 images).

    python tests/oracle/digits.py [EXAMPLE_FOLDER [OUTPUT_FOLDER]]

The plane through zs, ft1 and ft2 of `examples/digits`, in float64, on the first 500 test images of which no two
largest logits come within 1e-4 of each other at any point: then error counts are exact in float32, too. The network
is written out here once more, from the names in the checkpoints, and checked against `zs.onnx`.
"""
import copy
import hashlib
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from make_oracle import coefficients, geometry, grid_axes, logits_at, measure, mixed, numbers, plane_points, write_json

INPUTS = ("zs.onnx", "zs.safetensors", "ft1.safetensors", "ft2.safetensors", "test.npz")
IMAGES, GRID, MARGIN, CLEAR = 500, (7, 5), 0.25, 1e-4


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(576, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(conv(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def load(path):
    net = Digits().eval()
    net.load_state_dict(load_file(path))    # strict: every tensor has its place
    return net


def main(example, out):
    out.mkdir(parents=True, exist_ok=True)
    nets = [load(example / f"{stem}.safetensors") for stem in ("zs", "ft1", "ft2")]
    test = np.load(example / "test.npz")
    candidates, answers = test["x"][:2 * IMAGES], torch.tensor(test["labels"][:2 * IMAGES].astype(np.int64))
    assert candidates.dtype == np.uint8 and candidates.shape[1:] == (1, 28, 28)
    x = (torch.tensor(candidates).double() / 255 - 0.1307) / 0.3081

    session = onnxruntime.InferenceSession(str(example / "zs.onnx"), providers=["CPUExecutionProvider"])
    got = session.run(None, {session.get_inputs()[0].name: x[:64].float().numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, nets[0](x[:64].float()).numpy(), rtol=1e-4, atol=1e-4)

    thetas = [numbers(net) for net in nets]
    plane, per_tensor = geometry(thetas, [k for k, _ in nets[0].named_parameters()])
    ax, ay = grid_axes(plane, GRID, MARGIN)
    points, named = plane_points(plane, ax, ay)
    assert max(abs(c) for p in named for c in np.subtract(coefficients(plane, p["x"], p["y"]), p["c"])) < 1e-12

    net64, net32 = copy.deepcopy(nets[0]).double(), copy.deepcopy(nets[0])
    logits = [logits_at(net64, mixed(thetas, p["c"]), x) for p in points + named]
    top = [l.topk(2).values for l in logits]
    clear = torch.stack([t[:, 0] - t[:, 1] for t in top]).amin(0) > CLEAR
    kept = clear.nonzero()[:IMAGES, 0]
    skipped = [i for i in range(int(kept[-1])) if not clear[i]]
    labels = answers[kept]
    np.savez_compressed(out / "data.npz", x=candidates[kept.numpy()], labels=labels.numpy())

    worst = 0.0
    for p, l in zip(points + named, logits):
        p["loss"], p["errors"] = measure(l[kept], labels)
        loss32, errors32 = measure(logits_at(net32, mixed(thetas, p["c"]), x[kept].float()), labels)
        worst = max(worst, abs(loss32 - p["loss"]) / p["loss"])
        assert errors32 == p["errors"]
    assert worst < 1e-5
    print(f"skipped test images: {skipped}; float32 PyTorch differs by at most {worst:.1e} (relative)")
    for p in named:
        print(f"    {p['name']:9} loss {p['loss']:.4f}  errors {p['errors']} of {IMAGES}")
    write_json(out / "expected.json", dict(
        network="digits", input="x", samples=IMAGES, preprocessing=dict(scale=1 / 255, mean=0.1307, std=0.3081),
        sha256={f: hashlib.sha256((example / f).read_bytes()).hexdigest() for f in INPUTS},
        skipped_test_images=skipped, geometry=plane, grid=dict(x=ax, y=ay), points=points, checkpoints=named,
        tensors=per_tensor))


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    example = Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent.parent / "examples" / "digits"
    main(example, Path(sys.argv[2]) if len(sys.argv) > 2 else here / "digits")

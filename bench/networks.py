"""The three networks of the bench: θ0 and two checkpoints, as ONNX and safetensors, with data.

    python networks.py FOLDER

Weights and data are random: only time is measured on them (the digits network is the bundled
example's). Tensors keep their names; batch norm stays in the graph, its statistics equal in all.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "digits"


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


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, n, w = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, w // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(attended.transpose(1, 2).reshape(b, n, w))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """28×28 in, patch 4, width 128, depth 6: about 1.2 million parameters."""

    def __init__(self, width=128, depth=6):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.position = nn.Parameter(0.02 * torch.randn(1, 49, width))
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Residual(nn.Module):
    def __init__(self, inner, outer, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.short = nn.Sequential()
        if stride > 1 or inner != outer:
            conv = nn.Conv2d(inner, outer, 1, stride, bias=False)
            self.short = nn.Sequential(conv, nn.BatchNorm2d(outer))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.short(x))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        sizes = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
        sizes += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
        self.blocks = nn.Sequential(*(Residual(*size) for size in sizes))
        self.head = nn.Linear(512, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.head(x.mean((2, 3)))


# Class, shape of a sample, samples: a plane takes a minute or more on two cores.
NETWORKS = {
    "digits": (Digits, (1, 28, 28), 10_000),
    "transformer": (Transformer, (1, 28, 28), 300),
    "transformer-head": (Transformer, (1, 28, 28), 2_000),
    "resnet18": (ResNet18, (3, 32, 32), 64),
}


def moved(origin, seed, only=""):
    """θ0 with noise of a tenth of each tensor's spread; running statistics stay."""
    torch.manual_seed(seed)
    state = {}
    for name, tensor in origin.items():
        stay = "running" in name or "tracked" in name or not name.startswith(only)
        noise = 0 if stay else 0.1 * torch.randn_like(tensor) * (tensor.std() + 1e-2)
        state[name] = tensor + noise
    return state


def make(name, folder):
    build, shape, samples = NETWORKS[name]
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    net = build().eval()
    states = [net.state_dict()]
    if name == "digits":
        states = [load_file(EXAMPLE / f"{stem}.safetensors") for stem in ("zs", "ft1", "ft2")]
        net.load_state_dict(states[0])
    else:
        only = "head" if name.endswith("-head") else ""
        states += [moved(states[0], seed, only) for seed in (1, 2)]
    for stem, state in zip(("zs", "ft1", "ft2"), states):
        state = {k: v.contiguous().clone() for k, v in state.items() if "tracked" not in k}
        save_file(state, folder / f"{stem}.safetensors")
    torch.onnx.export(
        net,
        (torch.zeros(2, *shape),),
        folder / "zs.onnx",
        dynamo=True,
        optimize=False,
        external_data=False,
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        verbose=False,
    )
    generator = np.random.default_rng(0)
    x = generator.standard_normal((samples, *shape), dtype=np.float32)
    if name == "digits":
        images = np.load(EXAMPLE / "test.npz")
        x = ((images["x"][:samples] / 255 - 0.1307) / 0.3081).astype(np.float32)
        labels = images["labels"][:samples].astype(np.int64)
    else:
        labels = generator.integers(0, 10, samples)
    np.savez(folder / "data.npz", x=x, labels=labels)


if __name__ == "__main__":
    for name in NETWORKS:
        make(name, Path(sys.argv[1]) / name)

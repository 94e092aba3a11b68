#!/usr/bin/env python3
"""PyTorch's gradients in float64: `<network>/gradients.json` and `.safetensors`, and the networks convnext and resnet.

    python tests/oracle/gradients.py [NETWORK ...]      # default: all of vit, mha, bn, tied, digits, convnext, resnet

Needs torch (2.15 made the committed files), onnx, onnxscript, onnxruntime, safetensors, numpy. vit, mha, bn and tied
are read from make_oracle.py's files, digits from examples/digits (the first 64 images of test.npz).

The loss is the mean cross entropy (nats) of β·logits over a network's samples, at the mix c of zs, ft1 and ft2. It is
differentiated by autograd in every floating tensor of the checkpoints: the parameters, and the running statistics of
batch norm, which a mix moves, too (the network stays in eval mode). The gradient itself is in gradients.safetensors,
float64, under the checkpoints' names; digits, whose gradient would be large, has 16 elements of each tensor instead.
`float32` is how far PyTorch's own float32 gradient is from it: norm of the difference / norm. ReLU and max pooling
have kinks, where rounding may pick another side; the number says whether the samples here come near one.
"""
import copy
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.func import functional_call

from digits import Digits
from make_oracle import NETS, Block, export, fine_tune, logits_at, measure, mixed, numbers, write_json

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent.parent / "examples" / "digits"
C, BETAS, DIGITS_IMAGES, ELEMENTS = (0.2, 0.3, 0.5), (1.0, 1.3), 64, 16


def stored_attention(self, x):
    """Block.attention with its scale as the exports hold it: a float32."""
    n, t, w = x.shape
    q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
    scale = float(np.float32((w // self.heads) ** -0.5))
    return self.proj(((q @ k.transpose(-2, -1) * scale).softmax(-1) @ v).transpose(1, 2).reshape(n, t, w))


Block.attention = stored_attention

# ---------------------------------------------------------------- two more networks

class ConvNextBlock(nn.Module):
    """Depthwise 7x7, then LayerNorm, MLP and layer scale with the channels last."""

    def __init__(self, width):
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(self.norm(y))))
        return x + y.permute(0, 3, 1, 2)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """The original's names: two stages of one block, widths 8 and 16."""

    def __init__(self, classes=4):
        super().__init__()
        self.downsample_layers = nn.ModuleList([
            nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), LayerNorm2d(8, eps=1e-6)),
            nn.Sequential(LayerNorm2d(8, eps=1e-6), nn.Conv2d(8, 16, 2, stride=2))])
        self.stages = nn.ModuleList([nn.Sequential(ConvNextBlock(8)), nn.Sequential(ConvNextBlock(16))])
        self.norm = nn.LayerNorm(16, eps=1e-6)
        self.head = nn.Linear(16, classes)
        rough_start(self)

    def forward(self, x):
        for downsample, stage in zip(self.downsample_layers, self.stages):
            x = stage(downsample(x))
        return self.head(self.norm(x.mean((-2, -1))))


class BasicBlock(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride=stride, bias=False),
                                            nn.BatchNorm2d(width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's names. Even sizes with stride 2 and padding 1: the last row and column of padding go unread."""

    def __init__(self, classes=4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)     # windows overlap
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, classes)
        rough_start(self)
        with torch.no_grad():   # as in make_oracle's Bn: running statistics near the true ones, then a little off
            for _ in range(40):
                self(images(self, 64, None))
            for m in self.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.running_mean.add_(0.1 * torch.randn_like(m.running_mean))
                    m.running_var.mul_(torch.exp(0.1 * torch.randn_like(m.running_var)))

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(self.avgpool(x).flatten(1))


def rough_start(net):
    """No tensor constant, none equal to another: an exporter has nothing to merge or to remove."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.dim() > 1:
                p.mul_(2)
            elif name.endswith("bias"):
                p.normal_(0.1, 0.3)
            else:
                p.uniform_(0.6, 1.6)


# class, seed, training steps of ft1 and ft2, samples kept, exports
NEW = {
    "convnext": (ConvNext, 155, (200, 150), 40, ("noopt", "opt", "ts")),
    "resnet": (ResNet, 166, (200, 150), 40, ("noopt", "opt", "ts_nofold")),
}
NAMES = (*NETS, "digits", *NEW)


def images(net, n, gen):
    """Noise, blotches of one colour, and contrasts that vary."""
    x = torch.randn(n, 3, 16, 16, generator=gen)
    x = x + 2 * torch.randn(n, 3, 4, 4, generator=gen).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return x * 2 * torch.rand(n, 1, 1, 1, generator=gen)


def teacher(net, x):
    """The class is the fixed random filter that answers most."""
    filters = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    return F.conv2d(x, filters).relu().mean((2, 3)).argmax(1)


def make(name):
    """Checkpoints, exports of zs, and data of one of NEW."""
    cls, seed, steps, keep, exports = NEW[name]
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    origin = cls().eval()
    tuned = [fine_tune(origin, seed + 1 + i, steps[i], images, teacher) for i in (0, 1)]
    for stem, net in zip(("zs", "ft1", "ft2"), (origin, *tuned)):
        save_file({k: v.contiguous() for k, v in net.eval().state_dict().items()}, folder / f"{stem}.safetensors")
        (folder / f"{stem}.safetensors").chmod(0o644)

    gen = torch.Generator().manual_seed(seed + 3)
    x = images(origin, 2 * keep, gen)
    for how in exports:
        path = folder / f"zs_{how}.onnx"
        export(origin, x[:3], "x", path, how)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        with torch.no_grad():
            np.testing.assert_allclose(session.run(["logits"], {"x": x.numpy()})[0], origin(x).numpy(),
                                       rtol=1e-5, atol=1e-5, err_msg=str(path))

    # As in make_oracle: no two largest logits close, so that the error count is exact in float32, too; of the labels
    # a third is the midpoint's answer, a third ft1's, the rest random.
    thetas, net64 = [numbers(net) for net in (origin, *tuned)], copy.deepcopy(origin).double()
    top = logits_at(net64, mixed(thetas, C), x.double()).topk(2).values
    x = x[top[:, 0] - top[:, 1] > 1e-3][:keep]
    assert len(x) == keep
    labels = torch.randint(0, 4, (keep,), generator=gen)
    for part, c in enumerate(([0, 0.5, 0.5], [0, 1.0, 0])):
        answers = logits_at(net64, mixed(thetas, c), x.double()).argmax(1)
        assert answers.bincount().max() < 0.7 * keep, f"{name}: the answers hardly depend on the input"
        labels[part::3] = answers[part::3]
    np.savez(folder / "data.npz", labels=labels.numpy(), x=x.numpy())


# ---------------------------------------------------------------- gradients

class OpenBatchNorm(nn.BatchNorm2d):
    """Eval mode, written out: PyTorch's own cannot be differentiated in its running statistics."""

    def forward(self, x):
        mean, var, weight, bias = (t[:, None, None] for t in (
            self.running_mean, self.running_var, self.weight, self.bias))
        return (x - mean) / (var + self.eps).sqrt() * weight + bias


def opened(net):
    net = copy.deepcopy(net)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.__class__ = OpenBatchNorm
    return net


def problem(name):
    """The network in float64, the floating tensors of its three checkpoints, and its samples, from the files."""
    cls = Digits if name == "digits" else (NETS | NEW)[name][0]
    net, thetas = cls().double().eval(), []
    for stem in ("zs", "ft1", "ft2"):
        net.load_state_dict(load_file((EXAMPLE if name == "digits" else HERE / name) / f"{stem}.safetensors"))
        thetas.append(numbers(net))
    data = np.load(EXAMPLE / "test.npz" if name == "digits" else HERE / name / "data.npz")
    inputs = "tokens" if name == "tied" else "x"
    x, labels = torch.tensor(data[inputs]), torch.tensor(data["labels"].astype(np.int64))
    if name == "digits":
        # The network's input is float32.
        x = ((x[:DIGITS_IMAGES].double() / 255 - 0.1307) / 0.3081).float()
        labels = labels[:DIGITS_IMAGES]
    return net, thetas, x.double() if x.is_floating_point() else x, labels


def loss_at(net, theta, x, labels, beta=1.0):
    return F.cross_entropy(beta * functional_call(net, theta, (x,)), labels)


def gradient(net, theta, x, labels, beta):
    """Loss, its gradient in the tensors of theta, and its slope in β."""
    theta = {k: v.detach().clone().requires_grad_() for k, v in theta.items()}
    beta = torch.tensor(beta, dtype=next(iter(theta.values())).dtype, requires_grad=True)
    loss = loss_at(net, theta, x, labels, beta)
    *parts, slope = torch.autograd.grad(loss, [*theta.values(), beta])
    return loss.item(), dict(zip(theta, parts)), slope.item()


def dot(a, b):
    return sum(float((a[k] * b[k]).sum()) for k in a)


def differentiate(name):
    net, thetas, x, labels = problem(name)
    theta = mixed(thetas, C)
    loss, errors = measure(logits_at(net, theta, x), labels)
    net = opened(net)
    net32, theta32 = copy.deepcopy(net).float(), {k: v.float() for k, v in theta.items()}
    x32 = x.float() if x.is_floating_point() else x

    scales = []
    for beta in BETAS:
        value, full, slope = gradient(net, theta, x, labels, beta)
        scales.append(dict(beta=beta, loss=value, dloss_dbeta=slope, dloss_dc=[dot(full, t) for t in thetas]))
        if beta == 1.0:
            g = full
            assert abs(value - loss) < 1e-12
    # Autograd against differences: along the gradient, and along each checkpoint's own direction.
    for along in (g, *({k: t[k] - theta[k] for k in g} for t in thetas)):
        h = 1e-6 / dot(along, along) ** 0.5
        ends = [float(loss_at(net, {k: theta[k] + s * h * along[k] for k in g}, x, labels)) for s in (1, -1)]
        expected = dot(g, along)
        assert abs((ends[0] - ends[1]) / (2 * h) - expected) < 1e-5 * dot(along, along) ** 0.5 * dot(g, g) ** 0.5

    g32 = gradient(net32, theta32, x32, labels, 1.0)[1]
    rows = []
    for k, v in g.items():
        row = dict(name=k, shape=list(v.shape), norm=float(v.norm()), sum=float(v.sum()),
                   dots=[float((v * t[k]).sum()) for t in thetas],
                   float32=float((g32[k].double() - v).norm() / v.norm()))
        if name == "digits":
            at = sorted({i * (v.numel() - 1) // (ELEMENTS - 1) for i in range(ELEMENTS)})
            row |= dict(at=at, values=[float(v.flatten()[i]) for i in at])
        rows.append(row)
    worst = max(rows, key=lambda r: r["float32"])
    whole = dot(g, g) ** 0.5
    print(f"{name:9} loss {loss:.6f}, {errors} of {len(labels)} wrong, {sum(v.numel() for v in g.values())} numbers, "
          f"|g| {whole:.4f}; float32 differs by at most {worst['float32']:.1e} ({worst['name']})")
    assert worst["float32"] < 1e-5, f"{name}: near a kink; other samples are needed"

    folder = HERE / name
    write_json(folder / "gradients.json", dict(
        network=name, input="tokens" if name == "tied" else "x", samples=len(labels), c=C, loss=loss, errors=errors,
        norm=whole, float32_max=worst["float32"], betas=scales, tensors=rows))
    if name != "digits":
        save_file({k: v.contiguous() for k, v in g.items()}, folder / "gradients.safetensors")
        (folder / "gradients.safetensors").chmod(0o644)


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        if name in NEW:
            make(name)
        differentiate(name)

"""Networks with batch norm whose average fails without its statistics re-estimated, and PyTorch's values of their mixes.

    python tests/oracle/recalibrate.py [FOLDER]     # default: the folder `recalibrate` beside this file

Two networks, both from one init and trained twice at a high learning rate on differently changed images:

* `plain`: convolutions with batch norm, one of them with its batch norm applied twice, and batch norm of [batch,
  channels]; exported by the current exporter (`noopt`, opset 20) and by TorchScript without folding at opsets 11, 13, 17, 18.
* `resnet`: residual blocks as in torchvision's ResNet-18, of tiny width.

expected.json, in float64, for theta(alpha) = (1-alpha) ft1 + alpha ft2: loss and number of wrong predictions on the test
data with the statistics

* `interpolate`: averaged; outside [0, 1] the means are, and the variances are exp((1-alpha) log v1 + alpha log v2);
* `origin`: those of theta0;
* `recalibrate`, by "N:BATCH": torch.optim.swa_utils.update_bn with momentum=None over N training samples in batches.

`statistics` are the buffers of the midpoint for one of these, by name. The samples and their order are those of the seed
0, drawn by an independent implementation (tests/data/make.py, and `order` below).
"""
import contextlib
import copy
import io
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import update_bn

from make_oracle import scrub

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
from make import Xoshiro256PlusPlus, subset  # noqa: E402

CLASSES, TRAIN, TEST = 4, 256, 120
ALPHAS = [-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5]
PLANS = [(256, 256), (200, 64)]
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def order(n, seed):
    """Fisher and Yates, as src/data/subset.rs describes it."""
    generator = Xoshiro256PlusPlus(seed ^ 0x6F72646572000000)

    def below(bound):
        while True:
            high, low = divmod(generator.next() * bound, 2**64)
            if low >= 2**64 % bound:
                return high

    found = list(range(n))
    for last in range(n - 1, 0, -1):
        other = below(last + 1)
        found[last], found[other] = found[other], found[last]
    return found


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8, eps=1e-3)
        self.fc1 = nn.Linear(32, 16)
        self.bn3 = nn.BatchNorm1d(16)
        self.fc2 = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc2(F.relu(self.bn3(self.fc1(x.flatten(1)))))


class Block(nn.Module):
    def __init__(self, wide, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(wide, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride > 1 or wide != out:
            self.downsample = nn.Sequential(nn.Conv2d(wide, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Two blocks in each of three stages."""

    def __init__(self, width=3):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, width, 2 * width, 3 * width]
        for k in (1, 2, 3):
            first = Block(widths[k - 1], widths[k], 1 if k == 1 else 2)
            setattr(self, f"layer{k}", nn.Sequential(first, Block(widths[k], widths[k], 1)))
        self.fc = nn.Linear(widths[3], CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for k in (1, 2, 3):
            x = getattr(self, f"layer{k}")(x)
        return self.fc(x.mean((2, 3)))


def draw(samples, generator):
    """Noisy images of four patterns; eighths, so that the files are small."""
    patterns = torch.randn(CLASSES, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    patterns = patterns.repeat_interleave(2, 2).repeat_interleave(2, 3)
    labels = torch.randint(0, CLASSES, (samples,), generator=generator)
    x = patterns[labels] + 0.9 * torch.randn(samples, 1, 8, 8, generator=generator)
    return (x * 4).round().clamp(-12, 12) / 4, labels


def train(net, seed, steps, rate, change):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = copy.deepcopy(net).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        x, y = draw(64, generator)
        optimizer.zero_grad()
        F.cross_entropy(net(change(x)), y).backward()
        optimizer.step()
    return net.eval()


def export(net, path, opset):
    x = draw(2, torch.Generator().manual_seed(1))[0]
    with contextlib.redirect_stdout(io.StringIO()):
        if opset is None:
            torch.onnx.export(net, (x,), path, input_names=["x"], output_names=["logits"], dynamo=True, optimize=False,
                              dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False)
            scrub(path)
        else:
            torch.onnx.export(net, (x,), path, input_names=["x"], output_names=["logits"], dynamo=False,
                              do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE, opset_version=opset,
                              dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}})


def mixed(models, alpha):
    """The state dict of a mix, in float64, with the statistics of `interpolate`."""
    one, two = (model.state_dict() for model in models)
    found = {}
    for name, a in one.items():
        if not a.is_floating_point():
            found[name] = a
            continue
        a, b = a.double(), two[name].double()
        beyond = name.endswith("running_var") and not 0 <= alpha <= 1
        found[name] = ((1 - alpha) * a.log() + alpha * b.log()).exp() if beyond else (1 - alpha) * a + alpha * b
    return found


@torch.no_grad()
def score(net, test):
    logits = net.eval()(test[0].double())
    wrong = (logits.argmax(1) != test[1]).sum()
    return dict(loss=float(F.cross_entropy(logits, test[1])), wrong=int(wrong))


def recalibrated(net, x, samples, batch):
    net = copy.deepcopy(net)
    rows = list(range(len(x))) if samples == len(x) else subset(len(x), samples, 0)
    taken = x[[rows[k] for k in order(samples, 0)]].double()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    update_bn(taken.split(batch), net)
    return net


def statistics(net):
    return {k: b.tolist() for k, b in net.named_buffers() if b.is_floating_point()}


def expected(make, models, origin, data):
    (x, _), test = data
    found = []
    for alpha in ALPHAS:
        net = make().double()
        net.load_state_dict(mixed(models, alpha))
        own = dict(alpha=alpha, interpolate=score(net, test), recalibrate={})
        for samples, batch in PLANS:
            calibrated = recalibrated(net, x, samples, batch)
            own["recalibrate"][f"{samples}:{batch}"] = score(calibrated, test)
            if alpha == 0.5 and (samples, batch) == PLANS[-1]:
                midpoint = statistics(calibrated)
        theirs = {k: b for k, b in origin.double().state_dict().items() if "running" in k}
        net.load_state_dict({**net.state_dict(), **theirs})
        own["origin"] = score(net, test)
        found.append(own)
    return dict(mixes=found, statistics=midpoint)


# Images are changed in one way for one fine-tune and in another for the other.
CHANGES = [lambda x: x * 1.5 + 0.4, lambda x: 0.7 * x.roll(1, 3) - 0.3]

NETS = {"plain": (Plain, 0.12, 150, (None, 11, 13, 17, 18)), "resnet": (ResNet, 0.08, 120, (None,))}

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "recalibrate"
    for name, (make, rate, steps, opsets) in NETS.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(8)
        origin = train(make(), 5, 60, 0.02, lambda x: x)
        models = [train(origin, 10 + k, steps, rate, change) for k, change in enumerate(CHANGES)]
        generator = torch.Generator().manual_seed(77)
        data = draw(TRAIN, generator), draw(TEST, generator)
        for which, (x, y) in zip(("train", "test"), data):
            np.savez_compressed(place / f"{which}.npz", x=x.numpy(), labels=y.numpy().astype("u1"))
        for stem, net in zip(("zs", "ft1", "ft2"), (origin, *models)):
            save_file(net.state_dict(), place / f"{stem}.safetensors")
        for opset in opsets:
            export(origin, place / ("zs.onnx" if opset is None else f"zs_opset{opset}.onnx"), opset)
        values = expected(make, models, origin, data)
        (place / "expected.json").write_text(json.dumps(values, indent=1) + "\n")
        for mix in values["mixes"]:
            print(name, mix["alpha"], mix["interpolate"], mix["origin"], mix["recalibrate"])

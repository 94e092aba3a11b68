"""How much of what a converged L-BFGS gains do the learned soups of `landscape` gain, on a transformer?

    python tests/oracle/learned_transformer.py target/release/landscape [FOLDER]

θ0 is a small vision transformer (width 48, three blocks, 16 tokens, 60,634 parameters), trained on the 6,000 MNIST
images of examples/digits. Eight fine-tunes on the 300 images of examples/pen follow, at constant learning rates with
hyperparameters drawn at random. Soups are learned on the first 1,000 validation images of examples/pen: no test set is
looked at.

The program learns with its defaults. The reference minimises the same loss, the mean cross entropy of β·f(x; Σ_i α_i θ_i)
with α in the simplex and β > 0, for the whole network and with one α per tensor: SciPy's L-BFGS-B on w ≥ 0 with α = w/Σw
and on log β, from the uniform soup and from where the program ended, until an iteration gains less than 1e-7 of the loss;
the gradients are PyTorch's, in float64. The lower of the two ends counts.

Printed: the loss of the uniform soup at its best β, the losses of both ends as PyTorch computes them, and the share of
the reference's gain over the uniform soup that the program found. About fifteen minutes on one core. FOLDER keeps the models
for another run.
"""
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize
from torch import nn
from torch.func import functional_call

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
MEAN, STD = 0.1307, 0.3081
WIDTH, HEADS, DEPTH, PATCH = 48, 4, 3, 7
STEPS, MODELS, VAL_IMAGES, ITERATIONS, LEAST = 1500, 8, 1000, 1000, 1e-7

torch.set_num_threads(1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        b, n, w = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, HEADS, w // HEADS).permute(2, 0, 3, 1, 4)
        attended = ((q @ k.transpose(-2, -1)) / math.sqrt(w // HEADS)).softmax(-1) @ v
        x = x + self.out(attended.transpose(1, 2).reshape(b, n, w))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(1, WIDTH, PATCH, PATCH)
        self.position = nn.Parameter(0.02 * torch.randn(1, (28 // PATCH) ** 2, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def images(path, count=None):
    with np.load(path) as data:
        return data["x"][:count], data["labels"][:count].astype(np.int64)


def tensors(x, y):
    return (torch.tensor(x).float() / 255 - MEAN) / STD, torch.tensor(y)


def moved(x, rng, strength):
    """Each image turned, scaled and shifted at random; black is the lowest value."""
    a, s, dx, dy = (2 * torch.rand(4, len(x), generator=rng) - 1) * strength * torch.tensor(
        [[0.12], [0.06], [0.06], [0.06]]
    )
    cos, sin = a.cos() * s.exp(), a.sin() * s.exp()
    grid = F.affine_grid(torch.stack([cos, -sin, dx, sin, cos, dy], 1).view(-1, 2, 3), list(x.shape), align_corners=False)
    black = -MEAN / STD
    return F.grid_sample(x - black, grid, align_corners=False) + black


def train(net, data, seed, steps, batch, rate, anneal, decay, smoothing, strength):
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    x, y = data
    for step in range(steps):
        fade = 0.5 + 0.5 * math.cos(math.pi * step / steps) if anneal else 1.0
        optimizer.param_groups[0]["lr"] = rate * fade * min(1.0, (step + 1) / 30)
        pick = torch.randint(len(x), (batch,), generator=rng)
        loss = F.cross_entropy(net(moved(x[pick], rng, strength)), y[pick], label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {k: v.detach().clone() for k, v in net.state_dict().items()}


def make(folder):
    if (folder / "zs.onnx").exists():
        return [load_file(folder / f"ft{i + 1}.safetensors") for i in range(MODELS)]
    torch.manual_seed(0)
    net = Transformer()
    origin = train(net, tensors(*images(EXAMPLES / "digits/train.npz")), 1, STEPS, 128, 2e-3, True, 0.01, 0.05, 2)
    data, rng, states = tensors(*images(EXAMPLES / "pen/train.npz")), np.random.default_rng(1), []
    for i in range(MODELS):
        rate, steps = math.exp(rng.uniform(math.log(1e-3), math.log(3e-3))), int(rng.choice([250, 350, 450]))
        smoothing, strength = float(rng.choice([0.0, 0.1])), int(rng.choice([1, 2]))
        net.load_state_dict(origin)
        states.append(train(net, data, 100 + i, steps, 16, rate, False, 0.01, smoothing, strength))
        save_file(states[-1], folder / f"ft{i + 1}.safetensors")
    save_file(origin, folder / "zs.safetensors")
    net.load_state_dict(origin)
    torch.onnx.export(
        net.eval(), (torch.zeros(2, 1, 28, 28),), str(folder / "zs.onnx"), dynamo=True, optimize=False,
        external_data=False, input_names=["x"], output_names=["logits"],
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}}, verbose=False,
    )
    return states


def best_beta(logits, y):
    found = minimize(lambda b: F.cross_entropy(math.exp(b[0]) * logits, y).item(), [0.0], method="Nelder-Mead",
                     options=dict(xatol=1e-9, fatol=1e-13))
    return float(found.fun), float(found.x[0])


class Reference:
    """The loss in w, one row for the whole network or one for each tensor, and in log β, with its gradient."""

    def __init__(self, states, x, y, by_tensor):
        self.net, self.x, self.y = Transformer().double().eval(), x.double(), y
        self.names = list(states[0])
        self.stacks = {k: torch.stack([s[k].double() for s in states]) for k in self.names}
        self.models, self.rows = len(states), len(self.names) if by_tensor else 1

    def mixed(self, alpha):
        rows = alpha if self.rows > 1 else alpha.expand(len(self.names), -1)
        return {k: torch.tensordot(row, self.stacks[k], 1) for k, row in zip(self.names, rows)}

    def logits(self, alpha):
        return functional_call(self.net, self.mixed(alpha), (self.x,))

    def __call__(self, v):
        v = torch.tensor(v, requires_grad=True)
        w = v[:-1].view(self.rows, self.models)
        loss = F.cross_entropy(v[-1].exp() * self.logits(w / w.sum(1, keepdim=True)), self.y)
        loss.backward()
        return loss.item(), v.grad.numpy()

    def minimum(self, alpha, log_beta):
        start = np.append(np.broadcast_to(alpha, (self.rows, self.models)).ravel(), log_beta)
        bounds = [(0, None)] * (len(start) - 1) + [(None, None)]
        found = minimize(self, start, jac=True, method="L-BFGS-B", bounds=bounds,
                         options=dict(ftol=LEAST, gtol=1e-7, maxiter=ITERATIONS, maxfun=2 * ITERATIONS, maxcor=30))
        return float(found.fun), found.nit, found.success


def learned(program, folder):
    """What the program learned: for each method α, one row for all tensors or one per tensor, and β."""
    line = [program, "soup", "--origin", "zs.onnx", "--models", "ft[0-9].safetensors", "--methods",
            "uniform,greedy,learned,learned-by-layer", "--no-rays", "--limit", "0"]
    subprocess.run(line, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    ends = {}
    for soup in json.loads((folder / "notebooks-data/soup.json").read_text())["learned"]:
        kept = min(soup["epochs"], key=lambda epoch: epoch["selection_loss"])
        rows = {name: a for row, a in zip(soup["rows"], kept["alpha"]) for name in row["tensors"]}
        ends[soup["method"]] = rows, kept["beta"], kept["selection_loss"], len(soup["steps"])
    return ends


def compare(method, end, states, x, y):
    rows, beta, told, iterations = end
    by_tensor = method == "learned-by-layer"
    reference = Reference(states, x, y, by_tensor)
    assert set(rows) == set(reference.names)
    uniform = torch.full((reference.rows, MODELS), 1 / MODELS, dtype=torch.float64)
    alpha = torch.tensor([rows[k] for k in reference.names][: reference.rows], dtype=torch.float64)
    with torch.no_grad():
        floor, log_beta = best_beta(reference.logits(uniform), reference.y)
        loss = F.cross_entropy(beta * reference.logits(alpha), reference.y).item()
    assert abs(loss - told) < 1e-4 * loss, (loss, told)
    print(f"{method}: uniform soup {floor:.6f}; landscape {loss:.6f} after {iterations} iterations", flush=True)
    ends = []
    for name, start in (("the uniform soup", (uniform, log_beta)), ("landscape's end", (alpha, math.log(beta)))):
        least, count, is_done = reference.minimum(*start)
        ends.append(least)
        note = "" if is_done else ", not converged"
        print(f"  L-BFGS-B from {name}: {least:.6f} after {count} iterations{note}", flush=True)
    print(f"  landscape has {100 * (floor - loss) / (floor - min(ends)):.1f} % of the gain", flush=True)


def main():
    program = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else place)
        folder.mkdir(exist_ok=True)
        states = make(folder)
        x, y = images(EXAMPLES / "pen/val.npz", VAL_IMAGES)
        np.savez_compressed(folder / "val.npz", x=x, labels=y)
        (folder / "landscape.toml").write_text(
            f'[data]\nval = "val.npz"\n[preprocess]\nscale = "1/255"\nmean = [{MEAN}]\nstd = [{STD}]\n'
        )
        ends = learned(program, folder)
    for method, end in ends.items():
        compare(method, end, states, *tensors(x, y))


if __name__ == "__main__":
    main()

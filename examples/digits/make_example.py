"""Make everything in this folder from `digits28.npz`.

    python make_example.py digits28.npz [--out FOLDER] [--workers N]

1. Pretrain a small network on digits printed in three quarters of the font families: theta_0,
   `zs.onnx` and `zs.safetensors`.
2. Fine-tune it on 6,000 MNIST images, 14 times with hyperparameters drawn at random, and twice
   more with a learning rate so high that the model leaves theta_0's basin:
   `ft1.safetensors` ... `ft16.safetensors`, described in `models.csv`.
3. Choose, on validation images alone, the pair of ordinary fine-tunes that is drawn
   (see `choose_pair`); it is named ft1 and ft2 and is exported to ONNX too.
4. Write the data sets as .npz files, evaluate, and put the tables into `README.md`, between the
   two lines that mark them.

Made with Python 3.11, torch 2.15.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0,
safetensors 0.8.0, numpy 2.4.6 (`pip install torch onnx onnxscript onnxruntime safetensors numpy`).
About six minutes on two cores.

Every random choice is seeded and each training runs on one thread, so the same versions on the
same kind of processor give the same files. Another processor rounds differently and training
amplifies that: the tables then differ in their last digits, and another pair may be chosen.

`digits28.npz` holds uint8 arrays `<set>_x` [n,28,28] (white on black) and `<set>_y` [n] for the
sets mnist_train, mnist_test, optdigits, mfeat, pendigits and fonts, and `fonts_name`, the names
of the font files, each of which has its ten digits in a row. README.md says where they come from.
"""

import argparse
import csv
import itertools
import math
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

# ---------------------------------------------------------------- constants

MEAN, STD = 0.1307, 0.3081  # of x / 255

TRAIN_IMAGES, VAL_IMAGES, PENDIGITS_IMAGES = 6000, 5000, 5000
DATA_SEED = 1

PRETRAIN_SEED = 1
PRETRAIN_STEPS, PRETRAIN_BATCH, PRETRAIN_LR = 900, 128, 2e-3
PRETRAIN_SMOOTHING = 0.05

ORDINARY = 14  # fine-tunes with hyperparameters drawn from these ranges
SEARCH_SEED = 1
LR_RANGE = (6e-4, 3e-3)  # log-uniform
EPOCHS = (3, 4, 5)
DECAY_RANGE = (1e-4, 0.3)  # log-uniform
SMOOTHING = (0.0, 0.1)
AUGMENTATION = (0, 1, 2)
DROPOUT = (0.0, 0.3)
FINETUNE_BATCH, WARMUP_STEPS = 64, 30

# The marked models: a high learning rate from the first step on, without a warm-up.
LEFT_BASIN = ((2e-2, 1), (2e-2, 3))  # (learning rate, seed)
LEFT_BASIN_EPOCHS = 5

PAIR_ANGLE = (45.0, 80.0)  # degrees, between the two fine-tunes of the figure

SHIFTS = ("optdigits", "mfeat", "pendigits")
REPORTED = ("val", "test", *SHIFTS, "fonts")  # fonts: theta_0's own domain, in no mean

# Font families as regular expressions over file names. Designs that are clones of one another, or
# come from one package, count as one family, so that no held-out digit has a twin in pretraining.
FAMILIES = {
    "B612": r"B612",
    "Bebas Neue": r"BebasNeue",
    "Breip": r"Breip",
    "Cabin": r"Cabin",
    "Caladea": r"Caladea",
    "Cantarell": r"Cantarell",
    "Comfortaa": r"Comfortaa",
    "Courier Prime": r"Courier Prime",
    "DejaVu, Hack": r"DejaVu|Hack",
    "DKG Handwriting": r"dkg",
    "EB Garamond": r"EBGaramond",
    "Essays 1743": r"Essays1743",
    "Humor Sans": r"Humor-Sans",
    "Inconsolata": r"Inconsolata",
    "JetBrains Mono": r"JetBrainsMono",
    "Jura": r"Jura",
    "Karla": r"Karla",
    "Kristi": r"Kristi",
    "Lato, Carlito": r"Lato|Carlito",
    "League Mono": r"LeagueMono",
    "Leckerli One": r"LeckerliOne",
    "Liberation, Croscore": r"Liberation|Arimo|Cousine|Tinos",
    "Linux Libertine": r"LinBiolinum|LinLibertine",
    "Lobster": r"lobster",
    "Old Standard": r"OldStandard",
    "Open Sans": r"OpenSans",
    "Oxygen": r"Oxygen",
    "Play": r"Play",
    "Prociono": r"Prociono",
    "Quicksand": r"Quicksand",
    "Roboto": r"Roboto",
    "Tomson Talks": r"TomsonTalks",
    "Vollkorn": r"Vollkorn",
    "Yanone Kaffeesatz": r"YanoneKaffeesatz",
}
HELD_OUT_SHARE = 0.25


# ---------------------------------------------------------------- network


class Net(nn.Module):
    """Three convolutions and two linear layers, 60,874 parameters, no normalisation layers."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(576, 64)
        self.fc2 = nn.Linear(64, 10)
        self.dropout = dropout

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(conv(x)), 2)
        x = F.dropout(x.flatten(1), self.dropout, self.training)
        x = F.dropout(F.relu(self.fc1(x)), self.dropout, self.training)
        return self.fc2(x)


def normalise(x):
    return (x - MEAN) / STD


# ---------------------------------------------------------------- data


def split_families(names):
    """The names of the held-out font families, and for each font file whether it is held out."""
    family = []
    for name in names:
        matches = [f for f, pattern in FAMILIES.items() if re.match(pattern, name)]
        assert len(matches) == 1, f"{name}: in families {matches}"
        family.append(matches[0])
    held_out, styles = set(), 0
    for f in np.random.default_rng(DATA_SEED).permutation(sorted(FAMILIES)):
        if styles >= HELD_OUT_SHARE * len(names):
            break
        if styles + family.count(f) <= (HELD_OUT_SHARE + 0.03) * len(names):
            held_out.add(str(f))
            styles += family.count(f)
    return sorted(held_out), np.array([f in held_out for f in family])


def without_repeats(x, *known):
    """Indices of the images in x that are neither in `known` nor earlier in x."""
    seen = {image.tobytes() for other in known for image in other}
    kept = []
    for i, image in enumerate(x):
        if image.tobytes() not in seen:
            seen.add(image.tobytes())
            kept.append(i)
    return np.array(kept)


def make_data(raw):
    """All data sets, name -> (x uint8 [n,1,28,28], labels uint8 [n]), and the held-out families."""
    rng = np.random.default_rng(DATA_SEED)
    order = rng.permutation(len(raw["mnist_train_x"]))
    pendigits = rng.permutation(len(raw["pendigits_x"]))[:PENDIGITS_IMAGES]

    held_out, style_held_out = split_families([str(n) for n in raw["fonts_name"]])
    digit_held_out = np.repeat(style_held_out, 10)
    pretrain, fonts = np.flatnonzero(~digit_held_out), np.flatnonzero(digit_held_out)
    fonts = fonts[without_repeats(raw["fonts_x"][fonts], raw["fonts_x"][pretrain])]

    def take(name, index=slice(None)):
        return raw[name + "_x"][index][:, None], raw[name + "_y"][index]

    data = {
        "pretrain": take("fonts", pretrain),
        "train": take("mnist_train", order[:TRAIN_IMAGES]),
        "val": take("mnist_train", order[TRAIN_IMAGES : TRAIN_IMAGES + VAL_IMAGES]),
        "test": take("mnist_test"),
        "optdigits": take("optdigits"),
        "mfeat": take("mfeat"),
        "pendigits": take("pendigits", np.sort(pendigits)),
        "fonts": take("fonts", fonts),
    }
    return data, held_out


def tensors(data):
    """Images in [0, 1] and labels as int64."""
    return {
        name: (torch.tensor(x).float() / 255, torch.tensor(y).long())
        for name, (x, y) in data.items()
    }


# ---------------------------------------------------------------- training


def affine(x, rng, degrees, shear, log_scale, shift):
    """Rotate, shear, scale and shift each image at random, uniformly within +- the given limits."""
    n = len(x)

    def uniform(limit):
        return (2 * torch.rand(n, generator=rng) - 1) * limit

    angle, zoom = uniform(math.radians(degrees)), torch.exp(uniform(log_scale))
    slant, cos, sin = uniform(shear), angle.cos() / zoom, angle.sin() / zoom
    matrix = torch.stack(
        [cos, slant * cos - sin, uniform(2 * shift), sin, slant * sin + cos, uniform(2 * shift)], 1
    )
    grid = F.affine_grid(matrix.view(n, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def thickness(x, rng):
    """Leave each image as it is, dilate, erode or blur it."""
    variants = torch.stack(
        [x, F.max_pool2d(x, 3, 1, 1), -F.max_pool2d(-x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1)]
    )
    kind = torch.randint(4, (len(x),), generator=rng)
    return variants[kind, torch.arange(len(x))]


def step(net, optimizer, x, y, smoothing):
    loss = F.cross_entropy(net(normalise(x)), y, label_smoothing=smoothing)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def pretrain(x, y):
    """theta_0: printed digits, heavily augmented, the learning rate annealed to nothing."""
    torch.manual_seed(PRETRAIN_SEED)
    rng = torch.Generator().manual_seed(PRETRAIN_SEED)
    net = Net().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=PRETRAIN_LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, PRETRAIN_STEPS)
    for _ in range(PRETRAIN_STEPS):
        pick = torch.randint(len(x), (PRETRAIN_BATCH,), generator=rng)
        batch = affine(x[pick], rng, degrees=15, shear=0.35, log_scale=0.2, shift=0.1)
        contrast = 0.5 + 0.8 * torch.rand(PRETRAIN_BATCH, 1, 1, 1, generator=rng)
        batch = (thickness(batch, rng) * contrast).clamp(0, 1)
        step(net, optimizer, batch, y[pick], PRETRAIN_SMOOTHING)
        schedule.step()
    return net.state_dict()


def finetune(job):
    """One fine-tune. The learning rate stays constant after the warm-up: without annealing there
    is noise left in the weights, which averaging can remove."""
    origin, x, y, h = job
    torch.set_num_threads(1)
    torch.manual_seed(h["seed"])
    rng = torch.Generator().manual_seed(h["seed"])
    net = Net(h["dropout"]).train()
    net.load_state_dict(origin)
    optimizer = torch.optim.AdamW(net.parameters(), lr=h["lr"], weight_decay=h["weight_decay"])
    steps = 0
    for _ in range(h["epochs"]):
        for pick in torch.randperm(len(x), generator=rng).split(FINETUNE_BATCH):
            steps += 1
            optimizer.param_groups[0]["lr"] = h["lr"] * min(1.0, steps / h["warmup"])
            batch, strength = x[pick], h["augmentation"]
            if strength:
                batch = affine(
                    batch, rng, 6 * strength, 0.1 * strength, 0.06 * strength, 0.03 * strength
                )
            step(net, optimizer, batch, y[pick], h["label_smoothing"])
    return net.state_dict()


def draw_hyperparameters():
    rng = np.random.default_rng(SEARCH_SEED)

    def log_uniform(low, high):
        return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")

    drawn = [
        {
            "lr": log_uniform(*LR_RANGE),
            "warmup": WARMUP_STEPS,
            "epochs": int(rng.choice(EPOCHS)),
            "weight_decay": log_uniform(*DECAY_RANGE),
            "label_smoothing": float(rng.choice(SMOOTHING)),
            "augmentation": int(rng.choice(AUGMENTATION)),
            "dropout": float(rng.choice(DROPOUT)),
            "seed": 100 + i,
            "left_basin": 0,
        }
        for i in range(ORDINARY)
    ]
    marked = [
        {
            "lr": lr,
            "warmup": 1,
            "epochs": LEFT_BASIN_EPOCHS,
            "weight_decay": 1e-4,
            "label_smoothing": 0.0,
            "augmentation": 1,
            "dropout": 0.0,
            "seed": seed,
            "left_basin": 1,
        }
        for lr, seed in LEFT_BASIN
    ]
    return drawn + marked


# ---------------------------------------------------------------- evaluation


@torch.inference_mode()
def evaluate(state, data):
    """Loss in nats and error as a fraction."""
    x, y = data
    net = Net().eval()
    net.load_state_dict(state)
    logits = torch.cat([net(normalise(part)) for part in x.split(500)])
    return F.cross_entropy(logits, y).item(), (logits.argmax(1) != y).double().mean().item()


def mix(states, weights=None):
    """The weighted mean of state dicts; without weights, the plain mean."""
    weights = weights or [1 / len(states)] * len(states)
    return {k: sum(w * s[k].double() for w, s in zip(weights, states)).float() for k in states[0]}


def delta(state, origin):
    return torch.cat([(state[k].double() - origin[k].double()).flatten() for k in origin])


def angle(a, b):
    return math.degrees(math.acos((a @ b / a.norm() / b.norm()).item()))


def choose_pair(states, origin, val):
    """The two ordinary fine-tunes that the figure shows, by validation images alone: of the pairs
    whose angle lies in PAIR_ANGLE, the one whose midpoint gains most over the better end."""
    deltas = [delta(state, origin) for state in states]
    errors = [evaluate(state, val)[1] for state in states]
    best = None
    for i, j in itertools.combinations(range(len(states)), 2):
        if not PAIR_ANGLE[0] <= angle(deltas[i], deltas[j]) <= PAIR_ANGLE[1]:
            continue
        gain = min(errors[i], errors[j]) - evaluate(mix([states[i], states[j]]), val)[1]
        if best is None or gain > best[0]:
            best = gain, i, j
    assert best is not None, "no pair has an angle in PAIR_ANGLE"
    return best[1:]


# ---------------------------------------------------------------- files


def export(state, path):
    """A single ONNX file with every tensor under its own name, batch size free."""
    net = Net().eval()
    net.load_state_dict(state)
    example = torch.zeros(2, 1, 28, 28)
    torch.onnx.export(
        net,
        (example,),
        path,
        dynamo=True,
        optimize=False,
        external_data=False,
        input_names=["x"],
        output_names=["logits"],
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
    )
    model = onnx.load(path)
    for node in model.graph.node:  # the exporter's stack traces hold paths of this machine
        kept = [p for p in node.metadata_props if p.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)
    names = {i.name: tuple(i.dims) for i in model.graph.initializer}
    for name, tensor in state.items():
        assert names.get(name) == tuple(tensor.shape), f"{name} was renamed or reshaped"
    x = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"x": x.numpy()})[0]
    assert np.allclose(logits, net(x).detach().numpy(), atol=1e-5)


def write_data(out, data):
    for name, (x, y) in data.items():
        if name != "pretrain":
            np.savez_compressed(out / f"{name}.npz", x=x, labels=y)


def write_models(out, hyperparameters, states, errors):
    keys = list(hyperparameters[0])
    rows = []
    for i, (h, state) in enumerate(zip(hyperparameters, states), 1):
        save_file(state, out / f"ft{i}.safetensors")
        accuracy = f"{1 - errors[i - 1]['val']:.4f}"
        rows.append([f"ft{i}", f"ft{i}.safetensors", *(h[k] for k in keys), accuracy])
    ordinary = [row for row, h in zip(rows, hyperparameters) if not h["left_basin"]]
    for name, listed in (("models.csv", rows), ("basin.csv", ordinary)):
        with open(out / name, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["name", "path", *keys, "val_accuracy"])
            writer.writerows(listed)


# ---------------------------------------------------------------- tables


def all_errors(state, data):
    return {name: evaluate(state, data[name])[1] for name in REPORTED}


def percent(error, n):
    return f"{100 * error:.2f} ± {100 * math.sqrt(error * (1 - error) / n):.2f}"


def row(label, e, n):
    shift = sum(e[s] for s in SHIFTS) / len(SHIFTS)
    se = math.sqrt(sum(e[s] * (1 - e[s]) / n[s] for s in SHIFTS)) / len(SHIFTS)
    val, test, fonts = (percent(e[s], n[s]) for s in ("val", "test", "fonts"))
    return f"| {label} | {val} | {test} | {100 * shift:.2f} ± {100 * se:.2f} | {fonts} |"


def tables(origin, states, errors, hyperparameters, data):
    """What stands between the marks of README.md."""
    n = {name: len(data[name][1]) for name in REPORTED}
    ordinary = [s for s, h in zip(states, hyperparameters) if not h["left_basin"]]
    best = min(range(len(ordinary)), key=lambda i: errors[i]["val"])
    lines = [
        "| model | validation | test | mean of the three shifts | fonts, θ0's own domain |",
        "|---|---|---|---|---|",
    ]
    lines.append(row("θ0 (zs)", all_errors(origin, data), n))
    for i, e in enumerate(errors, 1):
        note = ", left the basin" if hyperparameters[i - 1]["left_basin"] else ""
        lines.append(row(f"ft{i}{note}", e, n))
    lines.append(row(f"best by validation (ft{best + 1})", errors[best], n))
    lines.append(row("uniform soup of the 14", all_errors(mix(ordinary), data), n))
    lines.append(row("uniform soup of all 16", all_errors(mix(states), data), n))
    d = [delta(s, origin) for s in states]
    pair = mix(states[:2])
    lines += [
        "",
        f"ft1 and ft2: ‖δ‖ = {d[0].norm():.2f} and {d[1].norm():.2f}, angle {angle(d[0], d[1]):.1f}°. "
        f"Validation error {100 * errors[0]['val']:.2f} % and {100 * errors[1]['val']:.2f} %, their "
        f"midpoint {100 * evaluate(pair, data['val'])[1]:.2f} %.",
    ]
    for i, (state, h) in enumerate(zip(states, hyperparameters)):
        if h["left_basin"]:
            middle = 100 * evaluate(mix([state, states[0]]), data["val"])[1]
            ends = 100 * errors[i]["val"], 100 * errors[0]["val"]
            lines.append(
                f"ft{i + 1} (learning rate {h['lr']}): ‖δ‖ = {d[i].norm():.1f}, validation error "
                f"{ends[0]:.2f} %; midpoint with ft1 ({ends[1]:.2f} %): {middle:.2f} %."
            )
    return "\n".join(lines)


def write_readme(out, text):
    path = out / "README.md"
    begin, end = "<!-- tables: begin -->", "<!-- tables: end -->"
    readme = path.read_text() if path.exists() else f"{begin}\n{end}\n"
    head, rest = readme.split(begin)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("raw", type=Path, help="digits28.npz")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    arrays, held_out = make_data(np.load(arguments.raw))
    print("held-out font families:", ", ".join(held_out))
    write_data(arguments.out, arrays)
    data = tensors(arrays)
    origin = pretrain(*data["pretrain"])
    hyperparameters = draw_hyperparameters()
    jobs = [(origin, *data["train"], h) for h in hyperparameters]
    with ProcessPoolExecutor(arguments.workers) as pool:
        states = list(pool.map(finetune, jobs))

    i, j = choose_pair(states[:ORDINARY], origin, data["val"])
    order = [i, j] + [k for k in range(len(states)) if k not in (i, j)]
    states = [states[k] for k in order]
    hyperparameters = [hyperparameters[k] for k in order]

    save_file(origin, arguments.out / "zs.safetensors")
    export(origin, str(arguments.out / "zs.onnx"))
    export(states[0], str(arguments.out / "ft1.onnx"))
    export(states[1], str(arguments.out / "ft2.onnx"))
    errors = [all_errors(state, data) for state in states]
    write_models(arguments.out, hyperparameters, states, errors)
    write_readme(arguments.out, tables(origin, states, errors, hyperparameters, data))


if __name__ == "__main__":
    main()

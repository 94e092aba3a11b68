"""Make everything in this folder from `digits28.npz`.

    python make_example.py digits28.npz [--out FOLDER] [--workers N] [--pool N]

1. Pretrain the network of the digits example on 55,000 MNIST images, heavily augmented: theta_0,
   `zs.onnx` and `zs.safetensors`.
2. Fine-tune it on 300 digits that were drawn on a tablet (pendigits), 14 times with hyperparameters
   drawn at random: `ft1.safetensors` ... `ft14.safetensors`, described in `models.csv`.
3. Write the data sets as .npz files, without any that the digits example has already.

No test set and no shift is evaluated here, so that nothing can be chosen by them. `landscape soup`
does that, once: README.md has the command.

`--pool 2` draws the 14 fine-tunes of step 2 anew, other hyperparameters and other seeds, from the
theta_0 and on the images that are here, and writes nothing else: is the result this pool's luck?

Network, augmentation and export are those of ../digits/make_example.py, whose docstring has the
versions that this example was made with, too, and says what `digits28.npz` holds. About six
minutes on one core.

Every random choice is seeded and each training runs on one thread, so the same versions on the
same kind of processor give the same files. Another processor rounds differently and training
amplifies that.
"""

import argparse
import csv
import importlib.util
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent


def load(path):
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digits = load(HERE.parent / "digits/make_example.py")

# ---------------------------------------------------------------- constants

DATA_SEED = 1
TRAIN_IMAGES, VAL_IMAGES = 300, 2000  # of pendigits; all others are the test set

PRETRAIN_IMAGES = 55_000  # of MNIST's 60,000 training images; the others only tell how theta_0 does
PRETRAIN_SEED = 1
PRETRAIN_STEPS, PRETRAIN_BATCH, PRETRAIN_LR = 2500, 128, 2e-3
PRETRAIN_SMOOTHING = 0.05

MODELS = 14  # fine-tunes with hyperparameters drawn from these ranges
LR_RANGE = (1.5e-3, 4e-3)  # log-uniform; constant after the warm-up
EPOCHS = (12, 16, 20)
DECAY_RANGE = (1e-4, 0.3)  # log-uniform
SMOOTHING = (0.0, 0.1)
AUGMENTATION = (1, 2, 3)
DROPOUT = (0.0, 0.3)
BATCH = (8, 16)
WARMUP_STEPS = 20


# ---------------------------------------------------------------- data


def make_data(raw):
    """The data sets that are written, name -> (x uint8 [n,1,28,28], labels uint8 [n])."""
    order = np.random.default_rng(DATA_SEED).permutation(len(raw["pendigits_x"]))
    order = order[digits.without_repeats(raw["pendigits_x"][order])]
    styles = digits.without_repeats(raw["fonts_x"])
    end = TRAIN_IMAGES + VAL_IMAGES

    def take(name, index):
        return raw[name + "_x"][index][:, None], raw[name + "_y"][index]

    return {
        "train": take("pendigits", order[:TRAIN_IMAGES]),
        "val": take("pendigits", order[TRAIN_IMAGES:end]),
        "test": take("pendigits", order[end:]),
        "fonts": take("fonts", styles),
    }


def check_neighbours(raw):
    """The sets that `landscape.toml` takes from the digits example are whole collections."""
    for file, name in (("test", "mnist_test"), ("optdigits", "optdigits"), ("mfeat", "mfeat")):
        with np.load(HERE.parent / f"digits/{file}.npz") as data:
            assert np.array_equal(data["x"][:, 0], raw[name + "_x"]), f"{file}.npz is not {name}"


def tensors(x, y):
    return torch.tensor(x).float() / 255, torch.tensor(y).long()


# ---------------------------------------------------------------- training


def pretrain(x, y):
    """theta_0: the learning rate is annealed to nothing."""
    torch.manual_seed(PRETRAIN_SEED)
    rng = torch.Generator().manual_seed(PRETRAIN_SEED)
    net = digits.Net().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=PRETRAIN_LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, PRETRAIN_STEPS)
    for _ in range(PRETRAIN_STEPS):
        pick = torch.randint(len(x), (PRETRAIN_BATCH,), generator=rng)
        batch = digits.affine(x[pick], rng, degrees=15, shear=0.35, log_scale=0.2, shift=0.1)
        contrast = 0.5 + 0.8 * torch.rand(PRETRAIN_BATCH, 1, 1, 1, generator=rng)
        batch = (digits.thickness(batch, rng) * contrast).clamp(0, 1)
        digits.step(net, optimizer, batch, y[pick], PRETRAIN_SMOOTHING)
        schedule.step()
    return net.state_dict()


def finetune(job):
    """One fine-tune. The learning rate stays high to the end, and batches are small: what noise
    leaves in the weights, averaging can remove."""
    origin, x, y, h = job
    torch.set_num_threads(1)
    torch.manual_seed(h["seed"])
    rng = torch.Generator().manual_seed(h["seed"])
    net = digits.Net(h["dropout"]).train()
    net.load_state_dict(origin)
    optimizer = torch.optim.AdamW(net.parameters(), lr=h["lr"], weight_decay=h["weight_decay"])
    steps = 0
    for _ in range(h["epochs"]):
        for pick in torch.randperm(len(x), generator=rng).split(h["batch"]):
            steps += 1
            optimizer.param_groups[0]["lr"] = h["lr"] * min(1.0, steps / WARMUP_STEPS)
            s = h["augmentation"]
            batch = digits.affine(x[pick], rng, 6 * s, 0.1 * s, 0.06 * s, 0.03 * s)
            digits.step(net, optimizer, batch, y[pick], h["label_smoothing"])
    return net.state_dict()


def draw_hyperparameters(pool):
    rng = np.random.default_rng(pool)

    def log_uniform(low, high):
        return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")

    return [
        {
            "lr": log_uniform(*LR_RANGE),
            "epochs": int(rng.choice(EPOCHS)),
            "weight_decay": log_uniform(*DECAY_RANGE),
            "label_smoothing": float(rng.choice(SMOOTHING)),
            "augmentation": int(rng.choice(AUGMENTATION)),
            "dropout": float(rng.choice(DROPOUT)),
            "batch": int(rng.choice(BATCH)),
            "seed": 100 * pool + i,
        }
        for i in range(MODELS)
    ]


# ---------------------------------------------------------------- files


def write_models(out, hyperparameters, states, val):
    with open(out / "models.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        keys = list(hyperparameters[0])
        writer.writerow(["name", "path", *keys, "val_accuracy"])
        for i, (h, state) in enumerate(zip(hyperparameters, states), 1):
            save_file(state, out / f"ft{i}.safetensors")
            accuracy = f"{1 - digits.evaluate(state, val)[1]:.4f}"
            writer.writerow([f"ft{i}", f"ft{i}.safetensors", *(h[k] for k in keys), accuracy])


def make_origin(out, raw, val):
    order = np.random.default_rng(DATA_SEED).permutation(len(raw["mnist_train_x"]))
    seen, unseen = (
        tensors(raw["mnist_train_x"][index][:, None], raw["mnist_train_y"][index])
        for index in (order[:PRETRAIN_IMAGES], order[PRETRAIN_IMAGES:])
    )
    origin = pretrain(*seen)
    for name, part in (("MNIST images that were not seen", unseen), ("the validation images", val)):
        print(f"theta_0 errs on {100 * digits.evaluate(origin, part)[1]:.2f} % of {name}")
    save_file(origin, out / "zs.safetensors")
    digits.export(origin, str(out / "zs.onnx"))
    return origin


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("raw", type=Path, help="digits28.npz")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pool", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.pool != 1 and arguments.out.resolve() == HERE.resolve():
        parser.error("--pool writes other fine-tunes: name their folder with --out")
    torch.set_num_threads(1)

    raw = np.load(arguments.raw)
    check_neighbours(raw)
    data = make_data(raw)
    val = tensors(*data["val"])
    if arguments.pool == 1:
        for name, (x, y) in data.items():
            np.savez_compressed(arguments.out / f"{name}.npz", x=x, labels=y)
        origin = make_origin(arguments.out, raw, val)
    else:
        origin = load_file(HERE / "zs.safetensors")

    hyperparameters = draw_hyperparameters(arguments.pool)
    jobs = [(origin, *tensors(*data["train"]), h) for h in hyperparameters]
    with ProcessPoolExecutor(arguments.workers) as pool:
        states = list(pool.map(finetune, jobs))
    write_models(arguments.out, hyperparameters, states, val)


if __name__ == "__main__":
    main()

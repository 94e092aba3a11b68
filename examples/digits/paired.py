"""Paired comparisons of the example's models, on all images: writes `paired.md`.

    pip install numpy scipy onnx onnxruntime safetensors
    python paired.py [NOTEBOOKS_DATA]

Every model is run by ONNX Runtime on one thread, without `landscape`; what that found (members and coefficients of
soups, places of minima) is read from the files of `make demo` in `../../notebooks-data`. Two models are compared on the
same images, so the standard error is that of the difference per image. It is of these checkpoints: it says nothing of
training again, or of other collections of digits.
"""

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from safetensors.numpy import load_file
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import binomtest

HERE = Path(__file__).resolve().parent
FOUND = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent.parent / "notebooks-data"
sys.path.append(str(HERE.parent.parent / "tests" / "data"))
from make import subset  # noqa: E402  (the tool's choice of images, written independently)

SHIFTS = ("optdigits", "mfeat", "pendigits")
SETS = ("train", "val", "test", *SHIFTS, "fonts")
OWN = "fonts (θ0's own)"
BEST, SEEN = "ft12", 1000  # SEEN: what `limit` in landscape.toml takes of each set

network = onnx.load(HERE / "zs.onnx")
data, lines, logits_of = {}, [], {}
for name in SETS:
    arrays = np.load(HERE / f"{name}.npz")
    data[name] = ((arrays["x"] / 255 - 0.1307) / 0.3081).astype(np.float32), arrays["labels"].astype(int)


def checkpoint(name):
    state = load_file(HERE / f"{name}.safetensors")
    return {tensor: state[tensor].astype(float) for tensor in sorted(state)}


def mix(weights):
    """`weights`: {model: coefficient, or {tensor: coefficient}}."""
    def of(model, tensor):
        return weights[model][tensor] if isinstance(weights[model], dict) else weights[model]
    return {t: sum(of(m, t) * states[m][t] for m in weights) for t in states["zs"]}


def mean(names):
    return {name: 1 / len(names) for name in names}


def logits(state, sets):
    """{set: logits} of weights."""
    model = onnx.ModelProto()
    model.CopyFrom(network)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(state[tensor.name].astype(np.float32), tensor.name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    def batches(x):
        return (x[i:i + 250] for i in range(0, len(x), 250))
    return {s: np.concatenate([session.run(None, {"x": x})[0] for x in batches(data[s][0])]) for s in sets}


def soup(weights, sets=SETS[1:]):
    return logits(mix(weights), sets)


def ensemble(names, sets=SETS[1:]):
    return {s: np.mean([logits_of[n][s].astype(float) for n in names], axis=0) for s in sets}


def right(z, s):
    return (z[s].argmax(1) == data[s][1]).astype(float)


def loss(z, s, beta=1.0):
    z, labels = beta * z[s].astype(float), data[s][1]
    return logsumexp(z, axis=1) - z[np.arange(len(z)), labels]


def calibrated(z):
    return minimize_scalar(lambda beta: loss(z, "val", beta).mean(), bounds=(0.05, 20), method="bounded").x


def estimate(*differences):
    """Mean over data sets of the mean difference, and its standard error."""
    k = len(differences)
    variances = [d.var(ddof=1) / len(d) for d in differences]
    return sum(d.mean() for d in differences) / k, sum(variances) ** 0.5 / k


def points(pair):
    return f"{100 * pair[0]:+.2f} ± {100 * pair[1]:.2f}"


def nats(pair):
    return f"{pair[0]:+.4f} ± {pair[1]:.4f}"


def gain(a, b, sets):
    """Accuracy of a minus that of b, mean over sets."""
    return estimate(*(right(a, s) - right(b, s) for s in sets))


def say(text=""):
    lines.append(text)


def table(header, rows):
    say("| " + " | ".join(header) + " |")
    say("|---|" + "---:|" * (len(header) - 1))
    for row in rows:
        say("| " + " | ".join(row) + " |")
    say()


def against(rows, reference):
    """One row per model: its accuracy minus the reference's in points; on the test set also `right alone` and p."""
    def row(name, z):
        d = right(z, "test") - right(reference, "test")
        only, lost = int((d > 0).sum()), int((d < 0).sum())
        p = binomtest(only, only + lost).pvalue
        test, *rest = (points(gain(z, reference, s)) for s in (["test"], *([s] for s in SHIFTS), SHIFTS, ["fonts"]))
        return [name, test, f"{only} : {lost}", f"{p:.2g}" if p > 1e-99 else "< 1e-99", *rest]
    table(["", "test", "right alone", "p", *SHIFTS, "mean of the three", OWN], [row(n, z) for n, z in rows.items()])


def less(one, others):
    """One row per model: the accuracy of `one` minus its own, in points."""
    table(["Δ vs", "test", "mean of the three", OWN],
          [[name, *(points(gain(one, z, s)) for s in (["test"], SHIFTS, ["fonts"]))] for name, z in others.items()])


def found(stem):
    """Methods of a table of soups that has been made: {(method, seed): (weights, members, beta)}."""
    made = {}
    for result in json.loads((FOUND / f"{stem}.json").read_text())["methods"]:
        weights = {}
        for c in result["coefficients"]:
            if c["tensor"] is None:
                weights[c["model"]] = c["coefficient"]
            else:
                weights.setdefault(c["model"], {})[c["tensor"]] = c["coefficient"]
        made[result["method"], result["seed"]] = weights, result["members"], result["beta"]
    return made


def soups(all16, basin):
    """The tables of soups against the best model by validation, and against that model shortened."""
    ft = logits_of[BEST]
    assert all16["greedy", None][1] == basin["greedy", None][1]
    greedy, few = all16["greedy", None], all16["greedy-ensemble", None]
    of = {
        "second best model (ft8)": logits_of["ft8"],
        "uniform soup of 16": soup(all16["uniform", None][0]),
        "uniform soup of 14": soup(basin["uniform", None][0]),
        f"greedy soup ({', '.join(greedy[1])})": soup(greedy[0]),
        "learned soup of 16": soup(all16["learned", None][0]),
        "learned soup of 16, by layer": soup(all16["learned-by-layer", None][0]),
        "learned soup of 14": soup(basin["learned", None][0]),
        "learned soup of 14, by layer": soup(basin["learned-by-layer", None][0]),
        "ensemble of 16": ensemble(all16["ensemble", None][1]),
        "ensemble of 14": ensemble(basin["ensemble", None][1]),
        f"greedy ensemble ({', '.join(few[1])})": ensemble(few[1]),
    }
    say(f"## Soups and ensembles, compared with the best individual model by validation ({BEST})\n")
    say("Differences in accuracy in points, ± one paired standard error. `right alone`: the number of test images that "
        f"only the row's model classifies correctly, and the number that only {BEST} does. p: McNemar's exact test of "
        "these two numbers, two-sided. The p values are not corrected for multiple tests.\n")
    against(of, ft)
    say(f"## The control: {BEST} shortened\n")
    say(f"An average of k models also lies nearer to θ0. So does θ0 + α({BEST} − θ0), which averages nothing. α "
        f"was picked after looking at these images. The first table compares it with {BEST} itself, the others with the "
        "soups and ensembles.\n")
    shorter = {a: soup({"zs": 1 - a, BEST: a}) for a in (0.9, 0.8)}
    against({f"α = {a}": z for a, z in shorter.items()}, ft)
    for a, z in shorter.items():
        say(f"α = {a}:\n")
        less(z, of)
    say("## The uniform soup of 14, compared with others\n")
    less(of["uniform soup of 14"], {n: z for n, z in of.items() if n.startswith(("greedy", "ensemble"))})
    return of


def temperatures(of, all16, basin):
    """Losses with each model's own β, chosen on the validation set."""
    say("## Losses with β = 1, and with each model's own β\n")
    say("β makes the loss on the validation set smallest, for one model at a time; nats.\n")
    each = {n: logits_of[n] for n in (BEST, "ft4")} | of
    ft, own = logits_of[BEST], calibrated(logits_of[BEST])
    def row(name, z):
        beta = calibrated(z)
        d = loss(z, "test", beta) - loss(ft, "test", own)
        return [name, f"{loss(z, 'val').mean():.4f}", f"{beta:.2f}", f"{loss(z, 'val', beta).mean():.4f}",
                f"{loss(z, 'test').mean():.4f}", f"{loss(z, 'test', beta).mean():.4f}", nats(estimate(d))]
    table(["", "val, β = 1", "β", "val, β", "test, β = 1", "test, β", f"test, β: Δ vs {BEST}"],
          [row(name, z) for name, z in each.items()])
    bound = {n: loss(z, "val", calibrated(z)).mean() for n, z in logits_of.items() if n != "zs"}
    low = min(bound, key=bound.get)
    say(f"Smallest validation loss of a single model with its own β: {bound[low]:.4f} ({low}). Every learned soup "
        "could have had that by putting all its weight on that model.\n")
    for stem in ("soup", "basin"):
        for course in json.loads((FOUND / f"{stem}.json").read_text())["learned"]:
            epochs = [e["selection_loss"] for e in course["epochs"]]
            say(f"- `{stem}.csv`, {course['method']}: validation loss after each epoch "
                f"{', '.join(f'{e:.4f}' for e in epochs)}; epoch {course['best']} of {len(epochs) - 1} is kept")
    say()


def pairs(names):
    """Midpoints of all pairs within the basin."""
    sets = ("test", *SHIFTS, "fonts")
    rights = {n: {s: right(logits_of[n], s) for s in (*sets, "val")} for n in names}
    advantage, better, best_there, ensembles = ({s: [] for s in sets} for _ in range(4))
    for a, b in itertools.combinations(names, 2):
        middle, together = soup(mean([a, b]), sets), ensemble([a, b], sets)
        chosen = max((a, b), key=lambda n: rights[n]["val"].mean())
        for s in sets:
            m = right(middle, s)
            advantage[s].append(m - (rights[a][s] + rights[b][s]) / 2)
            better[s].append(m - rights[chosen][s])
            best_there[s].append(m - rights[max((a, b), key=lambda n: rights[n][s].mean())][s])
            ensembles[s].append(right(together, s) - m)
    rows = []
    for s in (*sets, "mean of the three"):
        of = SHIFTS if s not in sets else [s]
        def whole(kind):
            return points(estimate(*(np.mean(kind[t], axis=0) for t in of)))
        def each(kind):
            return [estimate(*(kind[t][k] for t in of)) for k in range(len(kind[of[0]]))]
        def counts(kind):
            z = [v / e if e else 0.0 for v, e in each(kind)]
            return f"{sum(x > 2 for x in z)}, {sum(x < -2 for x in z)}"
        def signs(kind):
            v = [v for v, _ in each(kind)]
            return f"{sum(x > 1e-12 for x in v)} : {sum(x < -1e-12 for x in v)}"
        rows.append([s, whole(advantage), counts(advantage), whole(better), counts(better), whole(best_there),
                     whole(ensembles), signs(ensembles), counts(ensembles)])
    header = ["", "midpoint − mean of the ends", "pairs", "midpoint − end better by validation", "pairs",
              "midpoint − end better there", "ensemble − midpoint", "pairs, signs", "pairs"]
    say(f"## The {len(advantage['test'])} pairs within the basin\n")
    say("Means over the pairs in points, ± one paired standard error of the images. `pairs`: for how many pairs the "
        "difference is more than two standard errors above 0, and for how many below. `better by validation`: the end "
        "with the higher validation accuracy. `better there`: the end that is better on these very images, which is a "
        "choice in its favour.\n")
    table(header, rows)


def barrier():
    """The path to a model outside the basin, at the α at which `landscape line` finds the largest rise."""
    ends = [logits_of[n] for n in ("ft1", "ft16")]
    def rise(z, of):
        return of(z, "test") - 0.8 * of(ends[0], "test") - 0.2 * of(ends[1], "test")
    together = {"test": 0.8 * ends[0]["test"] + 0.2 * ends[1]["test"]}
    say("## From ft1 to ft16\n")
    say("At α = 0.2, over the straight line between the ends on the test set: error in points, loss in nats.\n")
    table(["", "error", "loss"], [
        [name, points(estimate(-rise(z, right))), nats(estimate(rise(z, loss)))]
        for name, z in (("soup", soup({"ft1": 0.8, "ft16": 0.2}, ["test"])), ("ensemble", together))])


def plane():
    """The points that the plane's figure marks, on images that it did not see."""
    unseen = {s: np.setdiff1d(np.arange(len(data[s][1])), subset(len(data[s][1]), min(SEEN, len(data[s][1])), 0))
              for s in SETS}
    grid = {}
    with open(FOUND / "plane.csv", newline="") as file:
        for row in csv.DictReader(file):
            at = tuple(float(row[c]) for c in ("c_origin", "c_a", "c_b"))
            grid.setdefault(at, {})[row["dataset"]] = float(row["error"]), float(row["loss"])
    names = ("zs", "ft1", "ft2")
    train = {n: logits(states[n], ["train"]) for n in names}
    ends = {n: logits_of[n] | train[n] for n in names}
    ends["midpoint soup"] = soup(mean(["ft1", "ft2"]), SETS)
    say("## The plane through zs, ft1 and ft2\n")
    say(f"The points that its figure marks as lowest were chosen on {SEEN} images of each set. Here they are held "
        "against the checkpoints on all other images: error in points (loss in nats), ± one paired standard error.\n")
    rows, at = [], None
    for title, of, key, measure in (
            ("train loss", ["train"], lambda e: e["train"][1], loss),
            ("test error", ["test"], lambda e: e["test"][0], right),
            ("mean error over the three", SHIFTS, lambda e: sum(e[s][0] for s in SHIFTS), right)):
        best = min(key(e) for e in grid.values())
        tied = [at for at, e in grid.items() if key(e) <= best + 1e-9]
        at = tied[0]
        z = soup(dict(zip(names, at)), of)
        sign, show = (1, nats) if measure is loss else (-1, points)
        cells = [show(estimate(*(sign * (measure(z, s) - measure(other, s))[unseen[s]] for s in of)))
                 for other in ends.values()]
        rows.append([title, ", ".join(f"{c:+.2f}" for c in at), str(len(tied)), *cells])
    table(["lowest", "coefficients of zs, ft1, ft2", "tied points", *(f"Δ vs {n}" for n in ends)], rows)
    # The same choice on a line from θ0: what shortening alone gives.
    best = soup(dict(zip(names, at)), SHIFTS)
    seen = {s: np.setdiff1d(np.arange(len(data[s][1])), unseen[s]) for s in SETS}
    for name, direction in (("ft1", {"ft1": 1}), ("ft2", {"ft2": 1}), ("midpoint", mean(["ft1", "ft2"]))):
        ray = {a: soup({"zs": 1 - a} | {n: a * c for n, c in direction.items()}, SHIFTS) for a in np.arange(1, 13) / 10}
        chosen = max(ray, key=lambda a: sum(right(ray[a], s)[seen[s]].mean() for s in SHIFTS))
        more = estimate(*((right(best, s) - right(ray[chosen], s))[unseen[s]] for s in SHIFTS))
        say(f"- the lowest of twelve points on the line from zs through {name} (at {chosen:.1f} of its length, chosen "
            f"on the same images), minus the lowest of the plane: mean error over the three {points(more)}")
    say()


with open(HERE / "models.csv", newline="") as file:
    listed = [row["name"] for row in csv.DictReader(file)]
states = {name: checkpoint(name) for name in ["zs", *listed]}
logits_of |= {name: soup({name: 1}) for name in states}
say("# Paired comparisons of the example's models\n")
say("Made by [`paired.py`](paired.py) with all images: " + ", ".join(f"{s} {len(data[s][1]):,}" for s in SETS) + ". "
    "Standard errors are of the images, given these checkpoints.\n")
both = found("soup"), found("basin")
temperatures(soups(*both), *both)
pairs([n for n in listed if n not in ("ft15", "ft16")])
barrier()
plane()
(HERE / "paired.md").write_text("\n".join(lines).rstrip() + "\n")

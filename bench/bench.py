"""Times `landscape plane` against bare ONNX Runtime, PyTorch, weights as inputs and a package.

    python bench.py PROGRAM FOLDER [NETWORK ...]

Writes notebooks-data/bench.csv and plots/bench.png beside this folder's parent. Each tool runs in
a process of its own, in turn; the floor before and after the plane, the mean of both counting.
"""

import csv
import json
import sys
from pathlib import Path

from process import run

here = Path(__file__).resolve().parent
program, folder = sys.argv[1], Path(sys.argv[2]).resolve()
names = sys.argv[3:] or ["digits", "transformer", "transformer-head", "resnet18"]
rows = []


def loop(how, where, seconds):
    output, memory = run([sys.executable, str(here / "loops.py"), how, str(where), str(seconds)], here)
    rate, setting = output.strip().split("\t")
    return float(rate), setting, memory


def plane(where):
    command = [program, "plane", "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2", "--test", "data.npz"]
    command += ["--x=-1:1:21", "--y=-1:1:21", "--fresh", "--json", "--out", "out"]
    output, memory = run(command, where)
    summary = json.loads(output)["provenance"]
    wall = summary["wall_seconds"]
    samples = json.loads(output)["checkpoints"][0]["scores"][0]["samples"]
    # The grid, six named mixes and three untouched files.
    return (441 + 9) * samples / wall, f"{summary['settings']['layout']} ({wall:.1f} s)", memory


for name in names:
    where = folder / name
    before = loop("floor", where, 16)
    ours = plane(where)
    after = loop("floor", where, 16)
    floor = ((before[0] + after[0]) / 2, before[1], before[2])
    tools = [("onnxruntime, constant weights", floor), ("landscape plane", ours)]
    tools += [("PyTorch loop", loop("torch", where, 18)), ("onnxruntime, weights as inputs", loop("inputs", where, 12))]
    tools += [("loss-landscape-3d", loop("peer", where, 18))]
    for tool, (rate, setting, memory) in tools:
        if rate == 0:
            print(name, tool, f"left out: {setting}", sep=" | ", flush=True)
            continue
        rows.append([name, tool, f"{rate:.1f}", f"{floor[0] / rate:.3f}", f"{memory:.0f}", setting])
        print(*rows[-1], sep=" | ", flush=True)

root = here.parent
with open(root / "notebooks-data" / "bench.csv", "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["network", "tool", "samples_per_second", "time_over_floor", "peak_memory_mib", "setting"])
    writer.writerows(rows)

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

colors = ["#999999", "#0072B2", "#E69F00", "#009E73", "#CC79A7"]
tools = list(dict.fromkeys(row[1] for row in rows))
figure, axes = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
for k, tool in enumerate(tools):
    mine = [row for row in rows if row[1] == tool]
    places = [names.index(row[0]) + 0.17 * (k - 2) for row in mine]
    bars = axes.bar(places, [1 / float(row[3]) for row in mine], 0.15, label=tool, color=colors[k])
    axes.bar_label(bars, fmt="%.2f", fontsize=6, padding=1)
axes.set_xticks(range(len(names)), names)
axes.set_yscale("log")
bottom, top = axes.get_ylim()
axes.set_ylim(min(0.1, bottom), 1.2 * top)
axes.yaxis.set_major_formatter("{x:g}")
axes.set_ylabel("samples/s over bare ONNX Runtime's")
figure.legend(loc="outside upper center", fontsize=8, ncols=3, frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig(root / "plots" / "bench.png", dpi=200)

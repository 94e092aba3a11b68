"""Times `landscape plane` against bare ONNX Runtime, PyTorch and weights as inputs.

    python bench.py PROGRAM FOLDER [NETWORK ...]

Writes notebooks-data/bench.csv and plots/bench.png beside this folder's parent. Each tool runs in
a process of its own, in turn; the floor before and after the plane, the mean of both counting.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
program, folder = sys.argv[1], Path(sys.argv[2]).resolve()
names = sys.argv[3:] or ["digits", "transformer", "transformer-head", "resnet18"]
rows = []


def run(command, where):
    """Output and peak memory in MiB of a finished process."""
    child = subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, command
    return output, usage.ru_maxrss / 1024


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
    for tool, (rate, setting, memory) in tools:
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

tools = list(dict.fromkeys(row[1] for row in rows))
figure, axes = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
for k, tool in enumerate(tools):
    values = [1 / float(row[3]) for row in rows if row[1] == tool]
    places = [i + 0.2 * (k - 1.5) for i in range(len(names))]
    bars = axes.bar(places, values, 0.18, label=tool, color=["#999999", "#0072B2", "#E69F00", "#009E73"][k])
    axes.bar_label(bars, fmt="%.2f", fontsize=7)
axes.set_xticks(range(len(names)), names)
axes.set_yscale("log")
axes.set_ylim(top=axes.get_ylim()[1] * 1.6)
axes.set_ylabel("samples/s over bare ONNX Runtime's")
axes.legend(fontsize=8, ncols=2, frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig(root / "plots" / "bench.png", dpi=200)

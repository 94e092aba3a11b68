"""Times gradients and Hessian products against the forward pass and PyTorch, and a learned soup's memory.

    python gradients.py PROGRAM FOLDER

Writes notebooks-data/bench-gradients.csv beside this folder's parent. FOLDER is that of networks.py.
"""

import csv
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from process import run

here = Path(__file__).resolve().parent
MIB = 2**20
MODELS = 16


def rates(program, where):
    """Samples a second as `landscape bench` prints them: [(what, layout, rate)]."""
    line = [program, "bench", "--origin", "zs.onnx", "--a", "ft1", "--b", "ft2", "--test", "data.npz"]
    output, _ = run(line, where)
    found = []
    for row in output.splitlines()[1:]:
        setting, _, what = row.partition(": ")
        words = setting.split()
        if what:
            found.append((what, " ".join(words[1:-1]), float(words[0])))
    return found


def compared(program, folder, name):
    """Each rate with its time over that of the forward pass with constant weights, the same batch."""
    where = folder / name
    found = rates(program, where)
    forward = [rate for what, _, rate in found if what == "forward"]
    forward = sum(forward) / len(forward)
    for what, setting, rate in [("forward", found[0][1], forward), *(row for row in found if row[0] != "forward")]:
        yield name, f"landscape: {what}", f"{rate:.1f}", f"{forward / rate:.2f}", setting
    for how, what in (("backward", "gradient"), ("product", "Hessian product")):
        output, _ = run([sys.executable, str(here / "loops.py"), how, str(where), "12"], here)
        rate, setting = output.strip().split("\t")
        if float(rate) == 0:
            print(name, f"PyTorch: {what}", f"left out: {setting}", sep=" | ", flush=True)
            continue
        yield name, f"PyTorch: {what}", f"{float(rate):.1f}", f"{forward / float(rate):.2f}", setting


def pool(folder, out):
    """A list of models made of ResNet-18 by noise."""
    made = subprocess.run([sys.executable, "-c", POOL, str(here), str(folder), str(MODELS), out], check=True)
    return made.returncode == 0


POOL = """
import sys
sys.path.insert(0, sys.argv[1])
from networks import moved
from safetensors.torch import load_file, save_file
from pathlib import Path
folder, models, out = Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
zs = load_file(folder / "resnet18" / "zs.safetensors")
for seed in range(models):
    save_file({k: v.contiguous() for k, v in moved(zs, seed + 1).items()}, out / f"m{seed}.safetensors")
lines = ["name,path", *(f"m{seed},m{seed}.safetensors" for seed in range(models))]
(out / "models.csv").write_text("\\n".join(lines) + "\\n")
"""


def anonymous(command, where):
    """Peak of the memory that is no mapped file, in MiB, while soups are learned and before."""
    child = subprocess.Popen(command, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks, learning = [0, 0], threading.Event()

    def watch():
        while child.poll() is None:
            try:
                lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            except OSError:
                break
            found = [int(line.split()[1]) for line in lines if line.startswith("RssAnon")]
            which = int(learning.is_set())
            peaks[which] = max([peaks[which], *found])
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for line in child.stderr:
        if "learned soup" in line:
            learning.set()
    child.wait()
    watcher.join()
    assert child.returncode == 0, command
    return [peak / 1024 for peak in peaks]


def memory(program, folder):
    with tempfile.TemporaryDirectory() as out:
        pool(folder, out)
        where, data = Path(out), str(folder / "resnet18" / "data.npz")
        line = [program, "soup", "--origin", str(folder / "resnet18" / "zs.onnx"), "--models", "models.csv", "--val", data]
        line += ["--methods", "learned", "--learn-batch", "64", "--workers", "1", "--threads", "2", "--epochs", "12"]
        before, during = anonymous([*line, "--out", "out"], where)
        model = (where / "m0.safetensors").stat().st_size / MIB
    terms = f"{MODELS} models of {model:.1f} MiB, {during / model:.1f} models; {before:.0f} MiB before learning"
    yield "resnet18", "learned soup: anonymous memory (MiB)", f"{during:.0f}", "", terms


def main(program, folder):
    table = here.parent / "notebooks-data" / "bench-gradients.csv"
    with open(table, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["network", "what", "samples_per_second", "time_over_forward", "setting"])
        networks = ("digits", "transformer", "resnet18")
        compared_all = (row for name in networks for row in compared(program, folder, name))
        for row in itertools.chain(compared_all, memory(program, folder)):
            writer.writerow(row)
            print(*row, sep=" | ", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())

"""Holds `landscape` against its limits: a soup's time, workers, memory, and how soon a large plan starts.

    python limits.py PROGRAM FOLDER

Writes notebooks-data/bench-limits.csv beside this folder's parent. FOLDER is that of networks.py.
"""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from process import run

WORKERS, BATCH = 2, 32
MIB = 2**20


def command(program, points, out, *more):
    """A plane of points × points."""
    axes = [f"--{axis}=-1:1:{points}" for axis in "xy"]
    files = ["--origin", "zs.onnx", "--a", "ft1", "--b", "ft2", "--test", "data.npz"]
    return [program, "plane", *files, *axes, "--fresh", "--json", "--out", out, *more]


def layout(workers):
    return ["--workers", str(workers), "--threads", "1", "--batch", str(BATCH), "--binding", "baked"]


def scaling(program, folder, out):
    """Two workers over one, in turn, the same points each."""
    seconds = {1: [], 2: []}
    for _ in range(3):
        for workers in seconds:
            output, _ = run(command(program, 9, out, *layout(workers)), folder / "digits")
            seconds[workers].append(json.loads(output)["provenance"]["wall_seconds"])
    one, two = (statistics.median(seconds[workers]) for workers in (1, 2))
    yield "two workers over one", f"{one / two:.3f}", ">= 1.9", f"digits, {one:.1f} s over {two:.1f} s, medians of 3"


def activations(where):
    """Bytes that a bare session takes for its first runs, its weights packed before."""
    import numpy as np
    import onnxruntime as ort

    def kibibytes(entry):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(entry)).split()[1])

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(where / "zs.onnx", options, providers=["CPUExecutionProvider"])
    batch = np.load(where / "data.npz")["x"][:BATCH]
    # The peak from here on.
    Path("/proc/self/clear_refs").write_text("5")
    before = kibibytes("VmRSS")
    for _ in range(3):
        session.run(None, {"x": batch})
    return 1024 * (kibibytes("VmHWM") - before)


def memory(program, folder, out, name, idle):
    """The peak above an idle process that has loaded the library, and what it may be."""
    where = folder / name
    _, peak = run(command(program, 7, out, *layout(WORKERS)), where)
    data, weights = ((where / file).stat().st_size for file in ("data.npz", "zs.safetensors"))
    # In a process of its own: what other sessions gave back would be taken again, unseen.
    with get_context("spawn").Pool(1) as pool:
        active = pool.apply(activations, [where])
    aim = (data + WORKERS * (2 * weights + active)) / MIB
    terms = f"data {data / MIB:.1f} + {WORKERS} x (2 x weights {weights / MIB:.1f} + activations {active / MIB:.1f})"
    yield f"peak memory over idle, {name} (MiB)", f"{peak - idle:.0f}", f"<= {aim:.0f}", terms


def start(program, folder, out, points, more):
    """Seconds until the line that announces the run, and the peak memory in MiB until then."""
    begin = time.perf_counter()
    line = command(program, points, out, "--limit", "1", *more)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen(line, cwd=folder / "digits", **pipes)
    lines = iter(child.stderr.readline, "")
    assert any(" models × " in line for line in lines), line
    seconds = time.perf_counter() - begin
    child.send_signal(signal.SIGINT)
    child.stderr.read()
    _, _, usage = os.wait4(child.pid, 0)
    return seconds, usage.ru_maxrss / 1024


def starts(program, folder, out):
    for how, more in (("layout given", layout(WORKERS)), ("layout measured", [])):
        seconds, large = start(program, folder, out, 1000, more)
        yield "a plan of a million points starts (s)", f"{seconds:.2f}", "< 1", how
    _, small = start(program, folder, out, 316, more)
    yield "its peak memory over that of 100,000", f"{large / small:.2f}", "<= 10", f"{large:.0f} MiB over {small:.0f} MiB"


def soup(program, folder, out):
    """The example's table of soups over the forward passes that it counts, at the rate of bare sessions."""
    here = Path(__file__).resolve().parent

    def floor():
        output, _ = run([sys.executable, str(here / "loops.py"), "floor", str(folder / "digits"), "16"], here)
        return float(output.split("\t")[0])

    methods = "best,second,uniform,greedy,greedy-random,ensemble,greedy-ensemble"
    line = [program, "soup", "--origin", "zs.onnx", "--models", "models.csv", "--limit", "0", "--methods", methods]
    before = floor()
    output, _ = run([*line, "--fresh", "--json", "--out", out], here.parent / "examples" / "digits")
    rate = (before + floor()) / 2
    table = json.loads(output)
    samples, seconds = table["evaluations"]["samples"], table["provenance"]["wall_seconds"]
    terms = f"{samples} samples in {seconds:.1f} s, {rate:.0f} samples/s"
    yield "soup of 16 models over bare forward passes", f"{seconds * rate / samples:.3f}", "<= 1.1", terms


def again(program):
    """A run that finds all values in its journal over one that finds none: all but the forward passes, with paired
    statistics. The first cannot write its figures, so its journal stays."""
    example = Path(__file__).resolve().parent.parent / "examples" / "digits"
    methods = "best,second,uniform,greedy,greedy-random,ensemble,greedy-ensemble,wise-ft"
    commands = {"plane": ["--a", "ft1", "--b", "ft2"], "soup": ["--models", "models.csv", "--methods", methods]}
    for name, more in commands.items():
        with tempfile.TemporaryDirectory() as out:
            for ending in ("png", "svg"):
                (Path(out) / "plots" / f"{name}.{ending}" / "taken").mkdir(parents=True)
            line = [program, name, "--origin", "zs.onnx", *more, "--limit", "2000", "--out", out]
            seconds = []
            for _ in range(2):
                begin = time.perf_counter()
                done = subprocess.run(line, cwd=example, capture_output=True, text=True)
                seconds.append(time.perf_counter() - begin)
                assert "cannot be written" in done.stderr, done.stderr
        first, second = seconds
        terms = f"example, 2000 samples a set, {second:.2f} s of {first:.1f} s"
        yield f"{name}: all but the forward passes", f"{second / first:.4f}", "<= 0.02", terms


def rows(program, folder, out):
    yield from again(program)
    yield from soup(program, folder, out)
    yield from starts(program, folder, out)
    _, idle = run([program, "doctor"], folder)
    for name in ("digits", "transformer", "resnet18"):
        yield from memory(program, folder, out, name, idle)
    yield from scaling(program, folder, out)


def main(program, folder):
    table = Path(__file__).resolve().parent.parent / "notebooks-data" / "bench-limits.csv"
    with tempfile.TemporaryDirectory() as out, open(table, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["measure", "value", "aim", "setting"])
        for row in rows(program, folder, out):
            writer.writerow(row)
            print(*row, sep=" | ", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())

"""Runs the program on the exports of exports.py and holds it against PyTorch.

    python run.py PROGRAM FOLDER [--only FAMILY …] [--exporters NAME …] [--kinds NAME …] [--table FILE] [--page FILE] [--commit TEXT]

A cell is a family, an exporter and a kind of checkpoint. It is

- right: θ0, θ1, θ2 and both midpoints agree with PyTorch to 1e-4, and errors to the sample;
- said: some value differs, and the program's warnings say that it does not stand for the checkpoints;
- refused: no value, and a message with a cure (a flag or an export call to use instead);
- wrong: some value differs without a word; or
- failed: anything else.

Flags that a refusal prints ready to paste are pasted, once: the cell then counts as what the second run gives. The
exit status is 1 if a cell is wrong or failed.
"""

import argparse
import csv
import datetime
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

EXPORTERS = {"opt": "current", "noopt": "current, optimize=False", "ts": "TorchScript",
             "ts_nofold": "TorchScript, unfolded", "optimum": "optimum"}
TITLES = {"pt": "`.pt`: `torch.save(model.state_dict())`", "pt_trainer": "`.pth` of a training script, with its optimizer",
          "pt_legacy": "`.pt` in PyTorch's format before 1.6", "pt_ema": "`.pth.tar` with `state_dict` and `state_dict_ema`",
          "ddp": "`.pt` with the prefix `module.`", "ckpt": "Lightning's `.ckpt`", "hf": "Hugging Face folder",
          "hf_sharded": "Hugging Face folder, in shards", "hf_bin": "Hugging Face folder with `pytorch_model.bin`",
          "half": "safetensors in float16", "lora": "PEFT adapter (LoRA, rsLoRA)"}
KINDS = ["state", "state alone", "onnx", "onnx + state"]
POINTS = {0.0: "zs", 0.5: "zs-ft1", 1.0: "ft1", 1.5: "ft1-ft2", 2.0: "ft2"}
TOLERANCE = 1e-4
SECONDS = 180

# Warnings that say that values do not stand for the checkpoints, and not something else.
SAYS = re.compile(r"not verified|by name|folded|average", re.IGNORECASE)
CURE = re.compile(r"--[a-z]|export|convert|optimize=|pip install", re.IGNORECASE)
PASTE = re.compile(r"""(--ignore-unused|--(?:ignore|weights|fixed)[ =](?:'[^']+'|"[^"]+"|[^\s`,;:)]+))""")


def lay_out(root, family, exporter, kind):
    """The folder of a cell with links to its files; the checkpoints' names in it."""
    base = root / family
    cell = base / os.environ.get("CELLS", "cells") / exporter / kind.replace(" ", "-").replace("+", "and")
    shutil.rmtree(cell, ignore_errors=True)
    cell.mkdir(parents=True)
    graphs = base / "exports" / exporter
    names = {"zs.onnx": graphs / "zs.onnx", "data.npz": base / "data.npz"}
    if (graphs / "data.npz").exists():  # the export has inputs that the module has not
        names["data.npz"] = graphs / "data.npz"
    if kind in ("onnx", "onnx + state"):
        checkpoints = ["ft1.onnx", "ft2.onnx"]
        names |= {name: graphs / name for name in checkpoints}
        if kind == "onnx + state":
            names["zs.safetensors"] = base / "kinds" / "state" / "zs.safetensors"
    else:
        source = base / "kinds" / kind.split()[0]
        files = {path.name.split(".")[0]: path for path in source.iterdir()}
        checkpoints = [files["ft1"].name, files["ft2"].name]
        names |= {path.name: path for path in files.values()}
        if kind == "state alone":
            del names[files["zs"].name]
    for name, path in names.items():
        (cell / name).symlink_to(os.path.relpath(path, cell))
        data = path.with_name(path.name + ".data")
        if data.exists():
            (cell / (name + ".data")).symlink_to(os.path.relpath(data, cell))
    return cell, checkpoints


def call(program, cell, checkpoints, flags):
    """One run of the program in the cell's folder."""
    a, b = checkpoints
    command = ["line", "--origin", "zs.onnx", "--through", a, "--b", b, "--steps", "3", "--test", "data.npz", "--json",
               "--fresh", *flags]
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "COLUMNS": "500", "NO_COLOR": "1"}
    try:
        done = subprocess.run([program, *command], cwd=cell, capture_output=True, text=True, timeout=SECONDS,
                              env=environment, stdin=subprocess.DEVNULL)
        return command, done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        return command, "timeout", "", f"no end after {SECONDS} s"


def compare(cell, expected):
    """The largest difference of a loss, relative beyond 1, by point; and points whose error differs."""
    points = {}
    with open(cell / "notebooks-data" / "line.csv") as file:
        for row in csv.DictReader(file):
            name = POINTS[round(float(row["alpha"]), 3)]
            want = expected[name]
            loss = float(row["soup_loss"])
            wrong = round(float(row["soup_error"]) * int(row["samples"]))
            off = abs(loss - want["loss"]) / max(1, abs(want["loss"]))
            more = abs(wrong - want["wrong"]) > want["near"]
            points[name] = {"loss": loss, "off": off if off == off else float("inf"), "errors": more}
    return points


def judge(record, cell, expected, outcome):
    """What a run's outcome makes of the cell."""
    command, code, out, err = outcome
    message = err.strip()
    record |= {"command": f"cd {cell} && landscape " + shlex.join(command), "exit": code, "message": message[-4000:]}
    if code == 0:
        points = compare(cell, expected)
        result = json.loads(out)
        record["points"] = points
        record["warnings"] = [w if isinstance(w, str) else json.dumps(w) for w in result.get("warnings", [])]
        record["verified"] = result.get("provenance", {}).get("verified", {})
        bad = [name for name, p in points.items() if p["off"] > TOLERANCE or p["errors"]]
        record["off"] = max(p["off"] for p in points.values())
        record["bad"] = bad
        says = any(SAYS.search(warning) for warning in record["warnings"])
        if len(points) != len(POINTS):
            record["status"] = "failed"
        elif not bad:
            record["status"] = "right"
        else:
            record["status"] = "said" if says else "wrong"
    elif code == 2:
        record["status"] = "refused" if CURE.search(message) else "refused, no cure"
    else:
        record["status"] = "failed"
    return record


def run_cell(program, root, family, exporter, kind, expected):
    cell, checkpoints = lay_out(root, family, exporter, kind)
    record = {"family": family, "exporter": exporter, "kind": kind}
    start = time.time()
    weights = ["--origin-weights", "zs"] if kind.startswith("hf") else []  # not found by itself: it is a folder
    outcome = call(program, cell, checkpoints, weights)
    judge(record, cell, expected, outcome)
    flags = []
    if record["status"].startswith("refused"):
        for found in PASTE.findall(outcome[3]):
            parts = shlex.split(found.replace("=", " ", 1) if re.match("--[a-z]+=", found) else found)
            again = any(parts[0] == "--weights" == other[0] for other in flags)  # it offers a choice
            if parts not in flags and not again and not parts[-1].isupper():
                flags.append(parts)
    if flags:
        first = dict(record)
        again = call(program, cell, checkpoints, weights + [part for parts in flags for part in parts])
        judge(record, cell, expected, again)
        record["pasted"] = " ".join(shlex.join(parts) for parts in flags)
        if record["status"].startswith("refused") and not record["message"]:
            record = first
    record["seconds"] = round(time.time() - start, 2)
    return record


def wanted(record, kind):
    """PyTorch's numbers: of the files' own values, where a kind of checkpoint rounds or is an adapter."""
    return record.get("expected_of", {}).get(kind, record["expected"])


def cells_of(root, family, record):
    others = sorted(path.name for path in (root / family / "kinds").iterdir() if path.name != "state")
    for exporter in EXPORTERS:
        if not (root / family / "exports" / exporter / "zs.onnx").exists():
            continue
        for kind in KINDS:
            yield exporter, kind
        if exporter in ("opt", "noopt", "ts"):
            yield from ((exporter, kind) for kind in others)


# ---------------------------------------------------------------- the table

LETTERS = {"right": "R", "said": "S", "refused": "C", "refused, no cure": "X", "wrong": "WRONG", "failed": "FAILED"}


def letter(record):
    """A cell in a letter or two; the page explains them."""
    if record is None:
        return "–"
    text = LETTERS[record["status"]]
    if record["status"] == "right" and "name" in record["verified"].values():
        text = "N"
    return text + ("+" if record.get("pasted") else "")


def table(records, notes, head):
    """One row a network, one column an exporter, in each the kinds in their order."""
    by = {(r["family"], r["exporter"], r["kind"]): r for r in records}
    families = list(dict.fromkeys(r["family"] for r in records))
    exporters = [how for how in EXPORTERS if any(r["exporter"] == how for r in records)]
    lines = ["| network | " + " | ".join(EXPORTERS[how] for how in exporters) + " |", "|---|" + "---|" * len(exporters)]
    for family in families:
        row = []
        for how in exporters:
            cells = [by.get((family, how, kind)) for kind in KINDS]
            fails = str(notes.get(family, {}).get(how, "")).startswith("no export")
            row.append(" ".join(map(letter, cells)) if any(cells) else "does not export" if fails else "–")
        lines.append(f"| {family} | " + " | ".join(row) + " |")
    others = [r for r in records if r["kind"] not in KINDS]
    hows = [how for how in exporters if any(r["exporter"] == how for r in others)]
    lines += ["", "| other kinds of checkpoint | network | " + " | ".join(EXPORTERS[how] for how in hows) + " |",
              "|---|---|" + "---|" * len(hows)]
    for family, kind in dict.fromkeys((r["family"], r["kind"]) for r in others):
        cells = [letter(by.get((family, how, kind))) for how in hows]
        lines.append(f"| {TITLES.get(kind, kind)} | {family} | " + " | ".join(cells) + " |")
    return "\n".join([*head, "", *lines])


def paste(page, text):
    """Puts the table between the marks of the page."""
    begin, end = "<!-- table: tests/real/run.py --page -->", "<!-- end of the table -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def details(records):
    """Cells to mend, worst first, each with its command."""
    order = ["wrong", "failed", "refused, no cure", "refused", "said"]
    lines = []
    for status in order:
        chosen = [r for r in records if r["status"] == status]
        if chosen:
            lines += ["", f"## {status} ({len(chosen)})", ""]
        for r in chosen:
            lines.append(f"- {r['family']} · {r['exporter']} · {r['kind']}"
                         + (f" (pasted {r['pasted']})" if r.get("pasted") else ""))
            if "points" in r:
                off = ", ".join(f"{n} {r['points'][n]['off']:.1e}" for n in r["bad"])
                lines.append(f"  - off: {off}; verified {r['verified']}; warnings: "
                             + " / ".join(w[:160] for w in r["warnings"]))
            else:
                rows = r["message"].splitlines()
                text = " ⏎ ".join(row.strip() for row in rows[:6] + [row for row in rows[6:] if "help" in row])
                lines.append(f"  - exit {r['exit']}: {text[:700]}")
            lines.append(f"  - `{r['command']}`")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--exporters", nargs="*", default=list(EXPORTERS))
    parser.add_argument("--kinds", nargs="*")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--cells", type=Path)
    parser.add_argument("--page", type=Path, help="the page whose table is replaced")
    parser.add_argument("--commit", default="")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    root = args.folder.resolve()
    program = str(Path(args.program).resolve())
    torch = {path.parent.relative_to(root).as_posix(): json.loads(path.read_text())
             for path in sorted(root.glob("*/*/torch.json"))}
    chosen = [name for name in torch if not args.only or name in args.only]
    jobs = [(name, *cell) for name in chosen for cell in cells_of(root, name, torch[name])
            if cell[0] in args.exporters and (not args.kinds or cell[1] in args.kinds)]
    start = time.time()
    with ThreadPoolExecutor(args.workers) as pool:
        records = list(pool.map(lambda job: run_cell(program, root, *job, wanted(torch[job[0]], job[2])), jobs))
    counts = {}
    for record in records:
        counts[record["status"]] = counts.get(record["status"], 0) + 1
    summary = ", ".join(f"{n} {status}" for status, n in sorted(counts.items(), key=lambda kv: -kv[1]))
    versions = next(iter(torch.values()))["versions"]
    head = [f"{datetime.date.today().isoformat()}, commit {args.commit or '?'}; "
            + ", ".join(f"{k} {v}" for k, v in versions.items()) + ".", "", f"{len(records)} cells: {summary}."]
    notes = {name: record["exports"] for name, record in torch.items()}
    (args.cells or root / "cells.json").write_text(json.dumps({"head": head, "cells": records}, indent=1))
    text = table(records, notes, head)
    if args.page:
        paste(args.page, text)
    (args.table or root / "report.md").write_text(details(records) + "\n\n" + text + "\n")
    print(f"{len(records)} cells in {time.time() - start:.0f} s: {summary}")
    for record in records:
        if record["status"] in ("wrong", "failed"):
            print(f"{record['status']}: {record['command']}")
    sys.exit(1 if any(r["status"] in ("wrong", "failed") for r in records) else 0)


if __name__ == "__main__":
    main()

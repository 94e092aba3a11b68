#!/bin/sh
# The wall time of a plane over bare ONNX Runtime doing the same forward passes: the digits
# network, 21 points along the longer side, 2,000 samples; pairs in turn, the median quoted.
# Needs a Python with onnxruntime and numpy: PYTHON=path/to/python make bench
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import numpy, onnxruntime' 2>/dev/null || {
  echo "bench: $python has no onnxruntime and numpy (pip install onnxruntime numpy, or set PYTHON)" >&2
  exit 1
}
cargo build --release --quiet
program=${CARGO_TARGET_DIR:-target}/release/landscape
case $program in /*) ;; *) program=$PWD/$program ;; esac
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
pairs=${PAIRS:-5}
cd examples/digits
echo "floor (samples/s, sessions, threads, batch) | plane (samples/s, wall s) | wall of the plane / floor"
for pair in $(seq "$pairs"); do
  floor=$("$python" ../../bench/floor.py zs.onnx test.npz 2000 60)
  "$program" plane --origin zs.onnx --a ft1 --b ft2 --test test.npz --limit 2000 \
    --out "$out" --json 2>/dev/null >"$out/summary.json"
  "$python" - "$floor" "$out" <<'PY'
import csv, json, sys
floor, out = sys.argv[1], sys.argv[2]
summary = json.load(open(f"{out}/summary.json"))
points = sum(1 for _ in csv.DictReader(open(f"{out}/notebooks-data/plane.csv")))
# The grid, six mixes for the named points and three untouched files, 2,000 samples each.
evaluated = (points + 9) * 2000
wall = summary["provenance"]["wall_seconds"]
bare = evaluated / float(floor.split()[0])
print(f"{floor} | {evaluated / wall:.0f} {wall:.2f} | {wall / bare:.3f}")
open(f"{out}/ratios", "a").write(f"{wall / bare}\n")
PY
done
"$python" -c "import statistics; r=[float(x) for x in open('$out/ratios')]; print(f'median {statistics.median(r):.3f} (from {min(r):.3f} to {max(r):.3f}, {len(r)} pairs)')"

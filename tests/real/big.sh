#!/bin/sh
# A network of 2.6 GB, beyond what a protobuf message may hold: a line between two fine-tunes, from an
# origin with external data and from one in a single file, and a soup that is saved and read back.
# Needs 12 GB of disk and 8 GB of memory besides the file cache; takes some minutes.
#
#     tests/real/big.sh PROGRAM PYTHON [FOLDER]
#
# PYTHON needs numpy, onnx and safetensors. FOLDER is emptied at the end unless KEEP is set.
set -eu
program=$(realpath "$1") python=$2 folder=${3:-$(mktemp -d)}
here=$(dirname "$(realpath "$0")")
test -f "$folder/expected.json" || "$python" "$here/big.py" "$folder" ${SIZE:-}
cd "$folder"
for origin in zs one; do
	/usr/bin/time -f "$origin: %e s, %M KiB at most" "$program" line --origin $origin.onnx --a ft1 --b ft2 \
		--test test.npz --steps 3 --fresh --out out-$origin
done
printf 'name,path\nft1,ft1.safetensors\nft2,ft2.safetensors\n' > models.csv
/usr/bin/time -f "soup: %e s, %M KiB at most" "$program" soup --origin zs.onnx --models models.csv \
	--methods uniform --val test.npz --save uniform=soup.onnx --fresh --out out-soup
/usr/bin/time -f "soup.onnx read back: %e s, %M KiB at most" "$program" line --origin soup.onnx --a ft1 --b ft2 \
	--test test.npz --steps 3 --fresh --out out-back
/usr/bin/time -f "inspect: %e s, %M KiB at most" "$program" inspect zs.onnx ft1.safetensors ft2.safetensors > inspect.txt
"$python" - <<'PYTHON'
import csv, json

expected = json.load(open("expected.json"))
right = [expected["ft1"], expected["average"], expected["ft2"]]
for out in "out-zs", "out-one", "out-back":
    rows = list(csv.DictReader(open(f"{out}/notebooks-data/line.csv")))
    found = [float(row["soup_loss"]) for row in rows]
    assert len(found) == 3 and all(abs(a - b) < 1e-4 for a, b in zip(found, right)), (out, found, right)
    at = json.load(open(f"{out}/notebooks-data/line.json"))
    assert not [it for it in at["warnings"] if "do not trust" in it], at["warnings"]
print("right against numpy at both ends and in the middle, to 1e-4 nats")
PYTHON
test -n "${KEEP:-}" || rm -r "$folder"

"""Adds optimum's exports to the files of exports.py, for some families of transformers.

    python optimum_exports.py FOLDER

optimum-onnx 0.1 needs transformers before 4.58, so this runs in an environment of its own; `make test-real` leaves it out. Without
this script the table has no column for optimum:

    pip install torch torchvision onnx onnxruntime safetensors transformers==4.57.1 optimum==2.1.0 optimum-onnx==0.1.0
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from optimum.exporters.onnx import main_export
from safetensors.torch import load_file

from families import FAMILIES

CHOSEN = ["transformers/bert", "transformers/distilbert", "transformers/roberta", "transformers/albert",
          "transformers/gpt2"]


def export(name, root):
    folder = root / name
    target = folder / "exports" / "optimum"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for model in ("zs", "ft1", "ft2"):
        made = FAMILIES[name]()
        missing = made.net.load_state_dict(load_file(folder / "kinds" / "state" / f"{model}.safetensors"), strict=False)
        assert not missing.unexpected_keys, missing
        with tempfile.TemporaryDirectory() as scratch:
            made.net.save_pretrained(Path(scratch) / "model")
            main_export(str(Path(scratch) / "model"), Path(scratch) / "onnx", task="text-classification",
                        do_validation=False, no_post_process=False)
            shutil.copy(Path(scratch) / "onnx" / "model.onnx", target / f"{model}.onnx")
    inputs = [value.name for value in onnx.load(target / "zs.onnx").graph.input]
    arrays = dict(np.load(folder / "data.npz"))
    for key in inputs:
        arrays.setdefault(key, np.zeros_like(arrays["input_ids"]))
    np.savez(target / "data.npz", **{key: arrays[key] for key in [*inputs, "labels"]})
    print(name, inputs, flush=True)


def main():
    torch.set_num_threads(1)
    root = Path(sys.argv[1]).resolve()
    for name in CHOSEN:
        try:
            export(name, root)
        except Exception as error:
            shutil.rmtree(root / name / "exports" / "optimum", ignore_errors=True)
            print(f"{name}: no export: {error}", flush=True)


if __name__ == "__main__":
    main()

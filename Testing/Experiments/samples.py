"""Put images among the samples that ship with the module, with the checksums of all that lie there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from upgan.images.volume import Volume
from upgan.images.writing import write_volume


def add_samples(folder: Path, volumes: Mapping[str, Volume]) -> None:
    """Write volumes by file name, in whole numbers as scanners store them, and SHA256SUMS anew."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, volume in volumes.items():
        write_volume(volume, folder / name, dtype=np.int16)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in folder.glob("*.nrrd")]
    (folder / "SHA256SUMS").write_text("".join(sorted(lines)), encoding="utf-8")

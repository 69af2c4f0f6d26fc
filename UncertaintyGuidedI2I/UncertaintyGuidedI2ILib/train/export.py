"""Pairs of volumes in the scene, as files and a table that a training reads."""

from __future__ import annotations

import csv
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer

from UncertaintyGuidedI2ILib.scene.nodes import Stamp, ijkToWorld, refuseOtherThanScalarVolume
from UncertaintyGuidedI2ILib.scene.placement import placementOf
from UncertaintyGuidedI2ILib.scene.voxels import slabs

if TYPE_CHECKING:
    from upgan.images.placement import Placement

TABLE = "pairs.csv"
COLUMNS = ("subject", "input", "target")
# Between a file's number and its side.
_SEPARATOR = "_"
# The application waits no longer for a file at a time.
PATIENCE_S = 0.005


def exportPairs(
    pairs: Sequence[tuple[str, slicer.vtkMRMLScalarVolumeNode | None, slicer.vtkMRMLScalarVolumeNode]], folder: Path
) -> Generator[None, None, Path]:
    """Write pairs of volumes as they lie in the world: compressed NRRD files, and a table of the layout ``csv``.

    It works stepwise, for ``Cooperative``; compression and disk have a thread of their own. The table names the files
    relative to itself, so that the folder may be moved.

    Args:
        pairs: Subject, input and target of each pair; the input is None where a degradation makes it from the target.
        folder: The folder for files and table; it is made where it is not there, readable by this user only.

    Returns:
        The path of the table.

    Raises:
        InputError: ``no_pairs``, ``nonlinear_transform``, ``input_changed``, and what
            ``scene.nodes.refuseOtherThanScalarVolume`` raises.
        OutputError: The disk is full or cannot be written.
    """
    from upgan.errors import InputError
    from upgan.files import explained

    if not pairs:
        raise InputError("no_pairs", "There are no pairs of volumes.", "Add a row for each patient.")
    with explained(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    rows = []
    writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pairs")
    try:
        for number, (subject, *nodes) in enumerate(pairs, start=1):
            row = [subject]
            for side, node in zip(COLUMNS[1:], nodes, strict=True):
                name = f"{number:03}{_SEPARATOR}{side}.nrrd" if node is not None else ""
                if node is not None:
                    yield from _export(node, folder / name, writer)
                row.append(name)
            rows.append(row)
    finally:
        # What is being written when the work is cancelled is written to its end, and nobody waits for it.
        writer.shutdown(wait=False, cancel_futures=True)
    return _writeTable(folder / TABLE, rows)


def pairIndex(file: str) -> int:
    """Return which of the pairs a file of ``exportPairs`` belongs to, the first being 0."""
    return int(Path(file).name.split(_SEPARATOR)[0]) - 1


def _export(
    node: slicer.vtkMRMLScalarVolumeNode, path: Path, writer: ThreadPoolExecutor
) -> Generator[None, None, None]:
    from upgan.errors import InputError

    refuseOtherThanScalarVolume(node)
    stamp, place, placement = Stamp.of(node), ijkToWorld(node), placementOf(node)
    voxels = slicer.util.arrayFromVolume(node)
    # A copy: VTK's memory is the main thread's.
    copy = np.empty_like(voxels)
    for slab in slabs(voxels.shape):
        copy[slab] = voxels[slab]
        yield
    if Stamp.of(node) != stamp or (ijkToWorld(node) != place).any():
        raise InputError(
            "input_changed",
            f"The volume {node.GetName()} was changed while it was being handed over.",
            "Start again and leave it as it is meanwhile.",
        )
    written = writer.submit(_write, copy, place, path, placement)
    while not wait([written], PATIENCE_S).done:
        yield
    written.result()


def _write(voxels: np.ndarray, place: np.ndarray, path: Path, placement: Placement) -> None:
    # Here, for it imports libraries that the application may not have loaded yet.
    from upgan.images.writing import DTYPES, write_image

    dtype = voxels.dtype if voxels.dtype.name in DTYPES else np.dtype(np.float32)
    write_image(voxels, place, path, dtype, placement)


def _writeTable(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    from upgan.files import atomically, explained

    with (
        explained(str(path)),
        atomically(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file).writerows([COLUMNS, *rows])
    return path

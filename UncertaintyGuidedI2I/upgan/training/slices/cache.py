"""Slices on disk as the network wants them, mapped into memory, so that a set may be larger than the memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy import ndimage

from upgan.errors import InputError
from upgan.files import explained, read_json, write_json
from upgan.images.orientation import Plane
from upgan.images.outline import Window
from upgan.inference.entrance import Entrance
from upgan.networks.in_plane import InPlaneGrid, canvas_size
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import PairFiles, file_stem
from upgan.pairs.preparation import Pair, patient_mask, prepare_pair, sides_read
from upgan.progress import SILENT, Progress
from upgan.tasks import Task
from upgan.training.slices.records import LARGEST_HALF, sha256_of, write_records
from upgan.training.slices.references import SUFFIX, Reference

# Of what is written: another number makes older caches out of date.
_VERSION = 3

_INDEX = "cache.json"

# Over all else that is said of a subject; entries of earlier versions are without.
_SEAL = "entry_sha256"
_UNSEALED = {
    "subject",
    "count",
    "shape",
    "ijk_to_ras",
    "reference",
    "sha256",
    "acquired_mm",
    "clean_shape",
    "slices_sha256",
    "reference_sha256",
    "origin",
}

# In the losses, and there alone, the body's rim and the skin's partial volumes count as body: two pixels.
_DILATION = 2

# Converted at a time.
_SLICES = 16


class CachedSlices(NamedTuple):
    """A subject's slices, mapped and read-only, each [N, H, W].

    Attributes:
        a: Input in network units, float16.
        b: Target in network units, float16.
        body: Dilated body, or foreground where there is no CT, as 0 and 1, uint8.
        clean: Where a degradation makes the inputs, the target on the pixels that were acquired, [N, J, I], float16 in
            network units; else ``b``.
    """

    a: np.ndarray
    b: np.ndarray
    body: np.ndarray
    clean: np.ndarray


@dataclass(frozen=True, eq=False)
class CachedSubject:
    """What is known of a subject's slices.

    Attributes:
        subject: The subject's label.
        count: The number of slices.
        shape: Rows and columns (H, W) of the slices.
        acquired_window: What they show of the slices that were acquired; None in caches of earlier versions, of whole
            ones.
        imaged: Rows and columns of the slices that were acquired, and are not beyond the field of view.
        ijk_to_ras: 4x4, mm, of the slices [N, H, W] as a volume [K, J, I].
        reference: v_ref, the input intensity that became 1.
        sha256: Checksum of the images of which they were made, as ``pairs.preparation.Pair`` has it.
        acquired_mm: Pixel size (rows, columns) before they were resized.
        clean_shape: Rows and columns (J, I) of ``CachedSlices.clean``; None where that is ``b``.
    """

    subject: str
    count: int
    shape: tuple[int, int]
    acquired_window: Window | None
    imaged: tuple[slice, slice]
    ijk_to_ras: np.ndarray
    reference: float
    sha256: str
    acquired_mm: tuple[float, float]
    clean_shape: tuple[int, int] | None

    def grid(self, acquired: tuple[int, int]) -> InPlaneGrid:
        """How slices of so many rows and columns that were acquired become these, and maps of these come back."""
        return InPlaneGrid(acquired, self.acquired_window or Window.whole(acquired), self.shape)


@dataclass(frozen=True, eq=False)
class SliceCache:
    """The slices of all subjects of a set.

    Attributes:
        folder: The folder in which the files of the slices are.
        subjects: What is known of each subject, by label, sorted.
        spacing_mm: Pixel size (rows, columns) that was asked for; a subject's own, see its ``ijk_to_ras``, differs from
            it by what is left of a pixel.
        plane: The plane of the slices.
        margin_mm: Of air around the object that slices show; their whole field of view where None.
    """

    folder: Path
    subjects: dict[str, CachedSubject]
    spacing_mm: tuple[float, float]
    plane: Plane
    margin_mm: float | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a finished cache; no slice is read.

        Raises:
            InputError: ``cache_unreadable``.
        """
        try:
            index = read_json(folder / _INDEX)
            subjects = {name: _subject_of(index["subjects"][name]) for name in sorted(index["subjects"])}
            rows, columns = index["spacing_mm"]
            return cls(folder, subjects, (rows, columns), index["plane"], index.get("margin_mm"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable() from error

    @cached_property
    def canvas(self) -> tuple[int, int]:
        """Rows and columns, multiples of 16, that hold every subject's slices."""
        return canvas_size(subject.shape for subject in self.subjects.values())

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 over those of all subjects."""
        lines = "".join(f"{name} {subject.sha256}\n" for name, subject in self.subjects.items())
        return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()

    def load(self, subject: str) -> CachedSlices:
        """Map a subject's slices; nothing is read until it is looked at. One open file as long as they are held.

        Raises:
            InputError: ``cache_unreadable``.
        """
        return _mapped(self.folder, self.subjects[subject])

    def load_reference(self, subject: str) -> Reference:
        """Read what a subject that was ``measured`` is compared with.

        Raises:
            InputError: ``cache_unreadable``.
        """
        try:
            return Reference.load(_reference_path(self.folder, subject))
        except ValueError as error:
            raise _unreadable() from error


def build_cache(
    pairs: Sequence[PairFiles],
    data: DataConfig,
    task: Task,
    spacing_mm: tuple[float, float],
    folder: Path,
    progress: Progress = SILENT,
    *,
    margin_mm: float | None = None,
    known: Mapping[str, str] | None = None,
    measured: Collection[str] = (),
    on_damage: Callable[[str], None] | None = None,
) -> SliceCache:
    """Turn pairs into slices, one subject in memory at a time; what is there already of the same images is kept.

    It is read for that, and compared bit by bit with what was written: as fast as SHA-256 and the disk allow.

    Args:
        pairs: From ``checking.refuse``.
        data: How they are prepared.
        task: How intensities become network units.
        spacing_mm: Pixel size (rows, columns) of the slices.
        folder: Made, readable by this user only: it holds patients' images.
        margin_mm: What networks see, see ``Entrance.of``.
        progress: Told after each pair; what it raises ends the work, which can go on later.
        known: Checksums, as ``preparation.Pair`` has them, of subjects whose images were moved or are gone: slices made
            of images with these checksums are kept where they are whole.
        measured: Subjects to validate on: what they are compared with is kept, too.
        on_damage: Called with each subject whose slices are there, and are not as they were written; they are made
            anew of the images.

    Raises:
        InputError: What ``preparation.prepare_pair`` and ``Task.measure`` refuse, with the subject named.
        OutputError: ``disk_full`` or ``not_writable``.
    """
    with _explained():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        _remove_others(folder, pairs)
    index = {}
    for files, step in progress.each(pairs, len(pairs), "preparing slices of patient"):
        origin = _origin(files, data, task, spacing_mm, margin_mm)
        is_measured = files.subject in measured
        entry = _kept(folder, files, origin, (known or {}).get(files.subject))
        if entry is not None and not _is_whole(folder, entry, is_measured):
            entry = None
            if on_damage is not None:
                on_damage(files.subject)
        try:
            if entry is None:
                with _explained():
                    entry = _build(files, data, task, spacing_mm, margin_mm, folder, is_measured) | {"origin": origin}
                _write_entry(folder, entry)
            elif entry["origin"] != origin and all(origin["files"][side] for side in sides_read(data)):
                entry |= {"origin": origin}  # They are in another place from now on.
                _write_entry(folder, entry)
        except InputError as error:
            raise InputError(error.code, f"{files.subject}: {error.sentence}", error.remedy) from error
        index[files.subject] = entry
        step.tell(1.0)
    content = {"spacing_mm": list(spacing_mm), "plane": data.plane, "margin_mm": margin_mm, "subjects": index}
    write_json(folder / _INDEX, content)
    return SliceCache.open(folder)


# --- Of one subject ---------------------------------------------------------------------------------------------------


def _build(
    files: PairFiles,
    data: DataConfig,
    task: Task,
    spacing_mm: tuple[float, float],
    margin_mm: float | None,
    folder: Path,
    measured: bool,
) -> dict[str, Any]:
    """Write a subject's slices and return what the index says of them."""
    pair = prepare_pair(files, data, task)
    entrance = Entrance.of(pair.source, task, data.plane, spacing_mm, margin_mm)
    layout, intensities, grid = entrance.layout, entrance.intensities, entrance.grid
    # Both ways from the same targets would be two definitions of what a degradation does: it acts on acquired pixels.
    is_degraded = data.degradation != "none" and (
        grid.inside != grid.outside or grid.window != Window.whole(grid.outside)
    )
    clean_shape = grid.outside if is_degraded else None
    _entry_path(folder, files.subject).unlink(missing_ok=True)  # It says that the slices are whole.
    reference_path = _reference_path(folder, files.subject)
    if measured:
        Reference.of(pair, task, data.plane).save(reference_path)
    count, record = len(entrance.slices), _record(grid.inside, clean_shape)
    checksum = write_records(_slices_path(folder, files.subject), count, record, _records(pair, entrance, record))
    affine = pair.source.ijk_to_ras @ layout.to_original_indices(pair.source.voxels.shape) @ _enlarged(grid)
    return {
        "subject": files.subject,
        "count": count,
        "shape": list(grid.inside),
        "window": list(grid.window),
        "imaged": [[side.start, side.stop] for side in _imaged(grid)],
        "ijk_to_ras": affine.tolist(),
        "reference": intensities.reference,
        "sha256": pair.sha256,
        "acquired_mm": list(layout.in_plane_spacing),
        "clean_shape": clean_shape,
        "slices_sha256": checksum,
        "reference_sha256": sha256_of(reference_path) if measured else None,
    }


def _records(pair: Pair, entrance: Entrance, record: np.dtype) -> Iterator[np.ndarray]:
    """Convert slices as the engine does: laid out, normalised, cut, and resized in float32."""
    layout, intensities, grid = entrance.layout, entrance.intensities, entrance.grid
    target, body = (layout.apply(array) for array in (pair.target.voxels, patient_mask(pair.target, intensities.task)))
    for first in range(0, len(target), _SLICES):
        part = slice(first, first + _SLICES)
        records = np.empty(len(target[part]), record)
        # A spike must not become infinite: it would be all that the training sees.
        records["a"] = np.minimum(_resized(intensities.normalise(entrance.slices[part]), grid), LARGEST_HALF)
        clean = intensities.normalise_target(target[part])
        records["b"] = np.clip(_resized(clean, grid), -LARGEST_HALF, LARGEST_HALF)
        if "clean" in (record.names or ()):
            records["clean"] = np.clip(clean, -LARGEST_HALF, LARGEST_HALF)
        patient = _resized(body[part].astype(np.float32), grid) >= 0.5
        records["body"] = ndimage.binary_dilation(patient, np.ones((1, 3, 3)), iterations=_DILATION)
        yield records


def _resized(slices: np.ndarray, grid: InPlaneGrid) -> np.ndarray:
    """Bring slices [N, J, I] to the network's pixels, [N, H, W]."""
    resized: np.ndarray = grid.resized(torch.from_numpy(np.ascontiguousarray(slices))[:, None])[:, 0].numpy()
    return resized


def _imaged(grid: InPlaneGrid) -> tuple[slice, slice]:
    """Return which of the network's rows and columns lie within the field of view, at least by half."""
    _, seen = grid.window.overlap(grid.outside)
    sides = zip(seen, (grid.window.rows, grid.window.columns), grid.inside, strict=True)
    rows, columns = (slice(round(s.start * inside / all_), round(s.stop * inside / all_)) for s, all_, inside in sides)
    return rows, columns


def _enlarged(grid: InPlaneGrid) -> np.ndarray:
    """From indices of cut, resized slices to those of the stored ones: edges of window and slice coincide."""
    matrix = np.eye(4)
    # Columns are an affine's first axis.
    sides = zip(grid.window[1::-1], grid.window[:1:-1], grid.inside[::-1], strict=True)
    for axis, (first, before, after) in enumerate(sides):
        matrix[axis, axis] = before / after
        matrix[axis, 3] = first + (before / after - 1) / 2
    return matrix


# --- On disk ----------------------------------------------------------------------------------------------------------


def _record(size: tuple[int, int], clean: tuple[int, int] | None) -> np.dtype:
    """One slice: all that a batch needs of it lies together, in one file a subject."""
    fields: list[Any] = [("a", "<f2", size), ("b", "<f2", size), ("body", "u1", size)]
    return np.dtype(fields + ([("clean", "<f2", clean)] if clean else []))


def _reference_path(folder: Path, subject: str) -> Path:
    return _slices_path(folder, subject).with_suffix(SUFFIX)


def _slices_path(folder: Path, subject: str) -> Path:
    return folder / f"{file_stem(subject)}.npy"


def _entry_path(folder: Path, subject: str) -> Path:
    return _slices_path(folder, subject).with_suffix(".json")


def _mapped(folder: Path, known: CachedSubject) -> CachedSlices:
    try:
        records = np.load(_slices_path(folder, known.subject), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _unreadable() from error
    if records.shape != (known.count,) or records.dtype != _record(known.shape, known.clean_shape):
        raise _unreadable()
    return CachedSlices(records["a"], records["b"], records["body"], records["clean" if known.clean_shape else "b"])


def _subject_of(entry: dict[str, Any]) -> CachedSubject:
    rows, columns = entry["shape"]
    affine = np.array(entry["ijk_to_ras"], dtype=np.float64)
    acquired_mm, clean = entry["acquired_mm"], entry["clean_shape"]
    window = entry.get("window")
    (upper, lower), (leftmost, rightmost) = entry.get("imaged", ((0, rows), (0, columns)))
    return CachedSubject(
        entry["subject"],
        entry["count"],
        (rows, columns),
        Window(*window) if window else None,
        (slice(upper, lower), slice(leftmost, rightmost)),
        affine,
        entry["reference"],
        entry["sha256"],
        (acquired_mm[0], acquired_mm[1]),
        (clean[0], clean[1]) if clean else None,
    )


def _origin(
    files: PairFiles, data: DataConfig, task: Task, spacing_mm: tuple[float, float], margin_mm: float | None
) -> dict[str, Any]:
    """All that a subject's slices depend on, as JSON gives it back."""
    origin = {
        "version": _VERSION,
        "files": {side: _state(getattr(files, side)) for side in ("input", "target")},
        "task": task.model_dump(mode="json", include={"unit", "input", "output"}),
        "data": data.model_dump(mode="json", include={"degradation", "plane", "register_pairs"}),
        "spacing_mm": list(spacing_mm),
        # Without one as earlier versions, whose slices stay good.
        **({} if margin_mm is None else {"margin_mm": margin_mm}),
    }
    return dict(json.loads(json.dumps(origin)))


def _state(path: Path | None) -> dict[str, Any] | None:
    """Return where a file or folder is, how large, and of when: enough to tell that it was changed."""
    if path is None or not os.path.exists(path):  # False, too, for what no file can be called.
        return None
    members = sorted(path.iterdir()) if path.is_dir() else [path]
    # A link to nothing may lie beside the slices of a DICOM series.
    states = [member.stat() if member.exists() else member.lstat() for member in members]
    return {
        "path": str(path.resolve()),
        "bytes": sum(state.st_size for state in states),
        "modified_ns": max((state.st_mtime_ns for state in states), default=0),
    }


def _kept(folder: Path, files: PairFiles, origin: dict[str, Any], known: str | None) -> dict[str, Any] | None:
    """What an earlier build says of a subject, if its slices would be the same now; empty where that is damaged."""
    try:
        entry = dict(read_json(_entry_path(folder, files.subject)))
        if entry["subject"] != files.subject or entry["origin"]["version"] != _VERSION:
            return None
        # Slices that cannot be compared with their images' files must be those of the same images.
        is_same = entry["sha256"] == known and {**entry["origin"], "files": origin["files"]} == origin
        if entry["origin"] != origin and not is_same:
            return None
    except OSError:
        return None
    except (ValueError, KeyError, TypeError):
        return {}
    return entry


def _is_whole(folder: Path, entry: Mapping[str, Any], is_measured: bool) -> bool:
    """Whether a subject's slices, what is said of them, and what they are compared with are as they were written."""
    try:
        if _SEAL in entry:
            if entry[_SEAL] != _seal_of(entry):
                return False
        elif not entry.keys() <= _UNSEALED:  # It was sealed, but for a letter.
            return False
        if sha256_of(_slices_path(folder, entry["subject"])) != entry["slices_sha256"]:
            return False
        if is_measured and sha256_of(_reference_path(folder, entry["subject"])) != entry["reference_sha256"]:
            return False
        _mapped(folder, _subject_of(dict(entry)))
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return False
    return True


def _seal_of(entry: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that is said of a subject."""
    content = {name: value for name, value in entry.items() if name != _SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_entry(folder: Path, entry: dict[str, Any]) -> None:
    """Say of a subject what its slices are, in words that are known to be whole when they are read again."""
    # As JSON gives it back, so that the same is sealed as is read.
    entry |= json.loads(json.dumps(entry))
    entry |= {_SEAL: _seal_of(entry)}
    write_json(_entry_path(folder, entry["subject"]), entry)


def _remove_others(folder: Path, pairs: Sequence[PairFiles]) -> None:
    """Remove slices of subjects that are no longer wanted, and what an interrupted build left behind."""
    (folder / _INDEX).unlink(missing_ok=True)
    wanted = {file_stem(pair.subject) for pair in pairs}
    for path in folder.iterdir():
        if path.suffix in (".npy", ".json", ".tmp", SUFFIX) and path.stem not in wanted:
            path.unlink()


def _unreadable() -> InputError:
    return InputError("cache_unreadable", "The prepared slices are damaged or incomplete.", "Start the training again.")


def _explained() -> AbstractContextManager[None]:
    remedy = "Free some space, or choose another folder for the run; the preparation goes on where it ended."
    return explained("The slices to train on", remedy)

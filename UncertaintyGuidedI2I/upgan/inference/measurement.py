"""What a scanner measured of a volume's k-space, and the file that keeps it beside the image."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from upgan.errors import DeviceError, InputError
from upgan.files import explained, open_plain
from upgan.images.orientation import Plane
from upgan.inference.memory import available_bytes, size_text
from upgan.simulation.kspace import root_sum_of_squares, to_image

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

# What a file holds: of which kinds of numbers, and of how many dimensions.
_ARRAYS = {"lines": ("c", 4), "mask": ("b", 2), "plane": ("U", 0), "is_real": ("b", 0)}


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured of a volume, slice by slice.

    K-space is centred and its transform orthonormal, as in ``upgan.simulation.kspace``.

    Attributes:
        lines: Complex [C, N, H, W] of C coils and N slices in the layout of ``plane`` (``images.orientation``), in the
            image's unit; zero where nothing was measured.
        mask: What was measured of each slice, boolean [H, W].
        plane: The plane of the slices.
        is_real: Whether the image of which this was measured is real, as a magnitude image is of which a measurement
            was simulated; there is one coil then. A scanner's images have a phase, which ``lines`` have to tell.

    Raises:
        InputError: ``not_a_measurement`` where these do not go together, ``nothing_measured`` where the mask keeps
            nothing.
    """

    lines: np.ndarray
    mask: np.ndarray
    plane: Plane
    is_real: bool

    def __post_init__(self) -> None:
        shape = self.lines.shape
        is_one = len(shape) == 4 and 0 not in shape and shape[-2:] == self.mask.shape
        if not is_one or (self.is_real and shape[0] != 1) or self.plane not in get_args(Plane):
            raise _no_measurement("What is given as measured")
        if not np.isfinite(self.lines).all():
            raise InputError(
                "not_finite",
                "The measured lines hold values that are no numbers.",
                "Export the raw data again.",
            )
        if not self.mask.any():
            raise InputError(
                "nothing_measured",
                "The mask of the measured lines keeps nothing of k-space.",
                "Translate the image without them.",
            )

    def zero_filled(self) -> np.ndarray:
        """Return the magnitude that is left when the rest of k-space is taken as zero, float32 [N, H, W]."""
        slices = (root_sum_of_squares(to_image(self.lines[:, number])) for number in range(self.lines.shape[1]))
        return np.stack(list(slices))

    def save(self, path: Path) -> None:
        """Write it as .npz: ``lines``, ``mask``, ``plane`` and ``is_real``.

        Raises:
            OutputError: ``disk_full`` or ``not_writable``.
        """
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        with explained(f"'{path.name}'"), path.open("wb") as file:
            np.savez_compressed(file, **arrays)


def read_measurement(path: Path) -> Measurement:
    """Read what ``Measurement.save`` wrote, or another program alike.

    Raises:
        InputError: ``file_not_found``, ``not_a_measurement``, ``not_finite`` or ``nothing_measured``.
        DeviceError: ``out_of_memory`` where the memory is too small for it.
    """
    with _refusals(path), open_plain(path, follow=True) as file, zipfile.ZipFile(file) as archive:
        found = {name: _array(archive, name) for name in _ARRAYS}
    lines, kept = found["lines"], found["mask"]
    if lines.shape[-2:] == kept.shape:
        lines = np.where(kept, lines, 0)
    return Measurement(lines, kept, cast(Plane, str(found["plane"])), bool(found["is_real"]))


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read one array, once it is certain that it is of the right kind and fits into the memory.

    Raises:
        ValueError: It is of another kind.
        DeviceError: ``out_of_memory``.
    """
    kind, dimensions = _ARRAYS[name]
    with archive.open(f"{name}.npy") as member:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(member)](member)
    if dtype.kind != kind or len(shape) != dimensions:
        raise ValueError(name)
    needed, free = int(np.prod(shape, dtype=object)) * dtype.itemsize, available_bytes()
    if free is not None and 2 * needed > free:
        raise DeviceError(
            "out_of_memory",
            f"The measured lines need {size_text(2 * needed)} of memory, and {size_text(max(free, 0))} are left.",
            "Close other programs, or translate the image without them.",
        )
    with archive.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("file_not_found", f"There is no file '{path.name}'.", "Check the path.") from error
    # The last four: an array that is missing, and archives that are damaged, encrypted or packed in other ways.
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise _no_measurement(f"'{path.name}'") from error


def _no_measurement(what: str) -> InputError:
    return InputError(
        "not_a_measurement",
        f"{what} holds no measured lines of k-space.",
        "Choose the measured.npz that `upgan simulate undersampling` wrote, or write one as Documentation/Tasks.md "
        "says.",
    )

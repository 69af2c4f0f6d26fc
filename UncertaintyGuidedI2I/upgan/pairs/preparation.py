"""From a subject's files to input and target on one grid."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from upgan.errors import InputError
from upgan.images.hounsfield import AIR_HU, hounsfield
from upgan.images.nonfinite import count_nonfinite
from upgan.images.reading import read_volume
from upgan.images.resampling import Grid, resample
from upgan.images.scope import Scope, scope_of
from upgan.images.volume import Volume
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import PairFiles
from upgan.pairs.registration import register
from upgan.tasks import Task

# Of an affine's entries, in mm: what formats with single-precision geometry lose, far below a voxel.
_GRID_TOLERANCE = 1e-2


class Pair(NamedTuple):
    """One subject, ready to become slices.

    Attributes:
        subject: The subject's label.
        source: The input, as read or as a degradation made it.
        target: The target, on the input's grid.
        sha256: Checksum of the images as they were read.
        notes: Sentences on images whose place is a guess.
    """

    subject: str
    source: Volume
    target: Volume
    sha256: str
    notes: tuple[str, ...] = ()


def prepare_pair(files: PairFiles, data: DataConfig, task: Task) -> Pair:
    """Read a subject, register the target if asked, and put it on the input's grid; a CT's padding is air before that.

    Raises:
        InputError: ``missing_input``, ``missing_target``, ``not_finite``, ``unsure_place``, ``no_overlap``,
            ``registration_failed`` or what ``upgan.images.reading.read_volume`` refuses.
    """
    sides = {side: read_side(files, side) for side in sides_read(data)}
    sha256 = combined_sha256({side: image_sha256(volume) for side, volume in sides.items()})
    target = in_target_values(sides["target"], task)
    if data.degradation != "none":
        return Pair(files.subject, degraded(target, files.subject, data), target, sha256, place_notes(target))
    source = sides["input"]
    notes = place_notes(source, target)
    refuse_unsure_places(source, target, data)
    if data.register_pairs:
        target = register(source, target).apply(target)
    if not same_grid(source, target):
        target, covered = on_grid_of(source, target, task)
        if not covered.any():
            raise InputError(
                "no_overlap",
                "Input and target lie at different places: they share no voxel.",
                "Register the pairs, or check that both are of the same patient.",
            )
    return Pair(files.subject, source, target, sha256, notes)


def sides_read(data: DataConfig) -> tuple[str, ...]:
    """Name the images of a pair that are read: both, or the target alone where a degradation makes the inputs."""
    return ("target",) if data.degradation != "none" else ("input", "target")


def in_target_values(target: Volume, task: Task) -> Volume:
    """Give a CT the values that can be learned, by ``upgan.images.hounsfield``; leave any other target as it is."""
    if task.unit != "HU":
        return target
    return Volume(hounsfield(target.voxels), target.ijk_to_ras, target.modality, target.placement)


def read_side(files: PairFiles, side: str) -> Volume:
    """Read one image of a pair; ``side`` is "input" or "target"."""
    path: Path | None = getattr(files, side)
    if path is None:
        raise InputError(
            f"missing_{side}", "There is no image.", "Add it, or take the subject out of the training data."
        )
    volume = read_volume(path)
    not_a_number, infinite = count_nonfinite(volume.voxels)
    if not_a_number or infinite:
        raise InputError(
            "not_finite",
            f"'{path.name}' holds {not_a_number} NaN and {infinite} infinite voxels.",
            "Replace them by the value of air.",
        )
    return volume


def degraded(target: Volume, subject: str, data: DataConfig) -> Volume:
    """Make the input of a restoration; a subject's is the same in every run."""
    from upgan.simulation.degradation import degrade_volume

    seed = int.from_bytes(hashlib.sha256(subject.encode("utf-8", "surrogatepass")).digest()[:4], "big")
    return degrade_volume(target, data.degradation, data.plane, seed)


def place_notes(*volumes: Volume) -> tuple[str, ...]:
    """Return a sentence for each image whose place is not certain, which says why."""
    return tuple(volume.placement.sentence for volume in volumes if not volume.placement.is_certain)


def refuse_unsure_places(source: Volume, target: Volume, data: DataConfig) -> None:
    """Let no image be put onto another grid, or be registered, at the word of a guess that nobody has confirmed.

    Two files of one grid, both guessed alike, go together wherever they lie: nothing is resampled then.

    Raises:
        InputError: ``unsure_place``.
    """
    notes = place_notes(source, target)
    if not notes or data.trust_guessed_places or (same_grid(source, target) and not data.register_pairs):
        return
    aim = "registered" if data.register_pairs else "resampled"
    raise InputError(
        "unsure_place",
        f"The target would be {aim}, but where the images lie is not certain. {' '.join(notes)}",
        "Look in Slicer's slice views how both lie. Where it is wrong, correct it and save them there as NRRD; where "
        "it is right, say so: 'Trust guessed places of images' in the Train panel, data.trust_guessed_places in a "
        "configuration, --trust-guessed-places for upgan evaluate.",
    )


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two images lie on one grid, but for rounding."""
    return one.voxels.shape == other.voxels.shape and np.allclose(
        one.ijk_to_ras, other.ijk_to_ras, rtol=0, atol=_GRID_TOLERANCE
    )


def on_grid_of(source: Volume, target: Volume, task: Task) -> tuple[Volume, np.ndarray]:
    """Return the target on the input's grid, with air where it does not reach, and where it does, boolean [K, J, I]."""
    outside = AIR_HU if task.unit == "HU" else 0.0
    shape = (source.voxels.shape[0], source.voxels.shape[1], source.voxels.shape[2])
    found = resample(target, Grid(shape, source.ijk_to_ras), outside)
    return Volume(found.voxels, source.ijk_to_ras, target.modality, source.placement), found.covered


def patient_mask(target: Volume, task: Task) -> np.ndarray:
    """Return where the patient is in a target, boolean [K, J, I]: a CT's body, the foreground of another image.

    Raises:
        InputError: ``no_body`` or ``no_foreground``.
    """
    return patient_scope(target, task).mask


def patient_scope(target: Volume, task: Task) -> Scope:
    """Return where and over which intensities a target is compared with what the networks make of its input.

    Raises:
        InputError: ``no_body`` or ``no_foreground``.
    """
    try:
        return scope_of(target, task.unit)
    except InputError as error:
        remedy = f"Check that the right image was chosen{' and that its unit is HU' if task.unit == 'HU' else ''}."
        raise InputError(error.code, "The target shows no patient.", remedy) from error


def pair_sha256(files: PairFiles, data: DataConfig) -> str:
    """Return the checksum of a subject's images that ``prepare_pair`` gives, without preparing them.

    Raises:
        InputError: What ``read_side`` raises.
    """
    return combined_sha256({side: image_sha256(read_side(files, side)) for side in sides_read(data)})


def image_sha256(volume: Volume) -> str:
    """Return the checksum of an image's size and voxels, whatever file they came from."""
    voxels = np.ascontiguousarray(volume.voxels, dtype="<f4")
    checksum = hashlib.sha256(repr(voxels.shape).encode())
    checksum.update(voxels.data)
    return checksum.hexdigest()


def combined_sha256(checksums: dict[str, str]) -> str:
    """Return a subject's checksum, which is that of the checksums of its images by side: "input", "target"."""
    return hashlib.sha256("".join(f"{side}:{checksums[side]};" for side in sorted(checksums)).encode()).hexdigest()

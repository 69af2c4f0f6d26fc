"""What an image looks like when the patient moves while it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from upgan.errors import InputError
from upgan.progress import SILENT, Progress
from upgan.simulation.kspace import Axis
from upgan.simulation.spectrum import spectrum_at

# Of the published data script: largest turn and shift, and how often the patient moves during a slice.
MOTION_DEGREES, MOTION_MM, MOTION_EVENTS = 10.0, 2.0, 3

# TorchIO's own choice: of the time between two movements, how far each may come too early or too late.
_IRREGULARITY = 0.3


def move_during_acquisition(image: np.ndarray, rng: np.random.Generator, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Let the patient turn and shift within the plane between the lines of a slice [H, W]; magnitude, float32.

    The artefact is TorchIO's (Shaw et al. 2019): the lines come in their order from the image at rest and at each
    position, the middle ones at rest. Its RandomMotion, which the published data script ran on whole volumes, is no use
    on slices: it mixes positions along the last axis only, where a two-dimensional image has one element, so that it
    comes out moved and sharp. So its parameters are drawn here as it draws them, in the plane only, and from ``rng``
    instead of PyTorch's global state.
    """
    import torch
    import torchio

    angles = rng.uniform(-MOTION_DEGREES, MOTION_DEGREES, MOTION_EVENTS)
    shifts = rng.uniform(-MOTION_MM, MOTION_MM, (MOTION_EVENTS, 2))
    step = 1 / (MOTION_EVENTS + 1)
    times = step * (np.arange(1, MOTION_EVENTS + 1) + rng.uniform(-_IRREGULARITY, _IRREGULARITY, MOTION_EVENTS))
    nothing = np.zeros((MOTION_EVENTS, 1))
    motion = torchio.Motion(
        degrees=np.hstack([angles[:, None], nothing, nothing]),
        translation=np.hstack([nothing, shifts]),
        times=times,
        image_interpolation="linear",
    )
    # Axes of the tensor: channel, through the plane, columns, rows. TorchIO turns about the origin of the world.
    rows, columns = image.shape
    affine = np.diag([1.0, spacing_mm[1], spacing_mm[0], 1.0])
    affine[1:3, 3] = [-(columns - 1) / 2 * spacing_mm[1], -(rows - 1) / 2 * spacing_mm[0]]
    tensor = torch.from_numpy(np.ascontiguousarray(image.T, dtype=np.float32))[None, None]
    with torch.random.fork_rng(devices=[]):  # Every transform of TorchIO draws whether to act at all.
        moved = motion(torchio.ScalarImage(tensor=tensor, affine=affine))
    magnitude: np.ndarray = moved.data[0, 0].abs().numpy().T
    return magnitude


MotionKind = Literal["sudden_motion", "drifting_motion", "periodic_motion"]
MOTIONS: tuple[MotionKind, ...] = get_args(MotionKind)

Order = Literal["sequential", "interleaved", "centre_out"]
"""When the lines of k-space come: from one end to the other; every second, then those between; from the middle."""

# A head coil leaves a head no more room, in mm; and as many degrees.
LARGEST_SEVERITY = 20.0

# How often a patient moves suddenly while a slice is measured, at most; and how many times a breath or a nod returns:
# a slice of spin echoes takes a minute or two.
_EVENTS, _WHILE = 4, (0.1, 0.9)
_CYCLES = (4.0, 32.0)

# The lines around the mean that say where in the image the patient is seen: of the highest frequency.
_MIDDLE = 1 / 8


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where the patient lies within the plane of a slice while each of its L phase-encoding lines is measured.

    Attributes:
        times: Of the slice's acquisition, from 0 to 1, ascending, [L].
        degrees: Turned by, counter-clockwise as the slice is seen, about the middle of the image, [L].
        shift_mm: Moved by afterwards, along rows' axis (down) and columns' axis (to the right of the slice), [L, 2].
    """

    times: np.ndarray
    degrees: np.ndarray
    shift_mm: np.ndarray


def frequencies_in_order(order: Order, lines: int) -> np.ndarray:
    """Return which lines are measured one after another, in cycles per field of view: -(L // 2) … (L - 1) // 2, [L]."""
    frequencies = np.arange(lines) - lines // 2
    if order == "interleaved":
        return np.concatenate([frequencies[::2], frequencies[1::2]])
    if order == "centre_out":
        return frequencies[np.argsort(np.abs(frequencies), kind="stable")]
    return frequencies


def draw_trajectory(
    kind: MotionKind, severity: float, lines: int, rng: np.random.Generator, order: Order = "sequential"
) -> Trajectory:
    """Draw how a patient moves during a slice, as far as ``severity`` says and in no other way dependent on it.

    - ``sudden_motion``: up to four times the patient goes over to another position, and stays there.
    - ``drifting_motion``: the patient slides one way all the time, faster at first or faster at last.
    - ``periodic_motion``: breathing or nodding, 4 to 32 times a slice, with a rest in between as of breathing
      (Lujan et al., Med Phys 26, 1999: cos²ⁿ, n of 1 to 3).

    Positions are relative to the mean of those in which the lines around the centre of k-space are measured: there
    the patient is seen in the image, so that it lies upon the image at rest.

    Args:
        kind: How the patient moves.
        severity: How far from rest, s mm and s degrees: one of the two, drawn, is reached, the other in part.
        lines: Number of phase-encoding lines, L.
        rng: What all is drawn from.
        order: In which order the lines will be measured.

    Raises:
        InputError: ``severity_out_of_range``.
    """
    check_severity(severity)
    times = (np.arange(lines) + 0.5) / lines
    path = _path(kind, times, rng)
    middle = np.abs(frequencies_in_order(order, lines)) <= _MIDDLE * lines / 2
    path -= path[middle].mean(axis=0)
    reached = np.array([1.0, rng.uniform()])[:: rng.choice([1, -1])]
    farthest = np.array([np.abs(path[:, 0]).max(), np.hypot(path[:, 1], path[:, 2]).max()])
    degree, millimetre = severity * reached / np.where(farthest > 0, farthest, 1)
    return Trajectory(times, degree * path[:, 0], millimetre * path[:, 1:])


def _path(kind: MotionKind, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw turn and shift along rows' and columns' axes at each time, in no unit, [L, 3]."""
    if kind == "sudden_motion":
        events = np.sort(rng.uniform(*_WHILE, size=rng.integers(1, _EVENTS, endpoint=True)))
        positions = np.vstack([np.zeros(3), rng.normal(size=(len(events), 3))])
        return positions[np.searchsorted(events, times)]
    # The parts of a drifting or nodding patient move together.
    towards = rng.uniform(0, 2 * np.pi)
    direction = np.array([rng.choice([1.0, -1.0]), np.sin(towards), np.cos(towards)])
    if kind == "drifting_motion":
        course = times ** (2 ** rng.uniform(-1, 1))
    else:
        cycles, phase = np.exp(rng.uniform(*np.log(_CYCLES))), rng.uniform()
        course = np.cos(np.pi * (cycles * times + phase)) ** (2 * rng.integers(1, 3, endpoint=True))
    return course[:, None] * direction


def check_severity(severity: float) -> None:
    """Refuse a severity that no patient has.

    Raises:
        InputError: ``severity_out_of_range``.
    """
    if not 0 <= severity <= LARGEST_SEVERITY:  # Nor is it a number that is none.
        raise InputError(
            "severity_out_of_range",
            f"A motion of {severity:g} mm and degrees is not between 0 and {LARGEST_SEVERITY:g}.",
            "Choose about 1 for a slight and 5 for a strong motion.",
        )


def move(
    image: np.ndarray,
    trajectory: Trajectory,
    spacing_mm: tuple[float, float],
    axis: Axis = "rows",
    order: Order = "sequential",
) -> np.ndarray:
    """Measure a slice while the patient moves: each line of k-space is that of the patient in the position of its time.

    A shift changes the phases of a line, a turn takes it from where it lies in the spectrum of the image at rest;
    neither is approximated by one of a few positions. The image is all there is: what moves out of it on one side
    folds in on the other, and it has no frequencies beyond those of its own grid. Not modelled are motion through the
    plane and during a line, and what motion does to the magnetic field, the coils' sensitivity and the spins' history.

    Args:
        image: Real intensities, [H, W]; what is below zero counts as its magnitude does.
        trajectory: As many positions as there are lines: H for ``rows``, W for ``columns``.
        spacing_mm: Distance of rows and of columns.
        axis: Whether the lines are k-space's rows, and ghosts run up and down, or its columns.
        order: Which lines the trajectory's positions belong to.

    Returns:
        Magnitude, [H, W] float32.

    Raises:
        InputError: ``not_real_valued`` or ``one_line``.
    """
    along = 0 if axis == "rows" else 1
    _check_image(image, along)
    lines = image.shape[along]
    if len(trajectory.times) != lines:
        raise ValueError(f"{len(trajectory.times)} positions for {lines} lines")
    # By line, in the order of FFT: negative ones count from the end.
    degrees, shift_mm = np.zeros(lines), np.zeros((lines, 2))
    measured = frequencies_in_order(order, lines)
    degrees[measured], shift_mm[measured] = trajectory.degrees, trajectory.shift_mm

    spectrum = np.fft.fft2(np.fft.ifftshift(image.astype(np.float64)))
    turned = np.flatnonzero(degrees)
    rows, columns = np.meshgrid(*(np.fft.fftfreq(size, 1 / size) for size in image.shape), indexing="ij")
    if len(turned):
        lie = np.moveaxis(spectrum, along, 0), np.moveaxis(rows, along, 0), np.moveaxis(columns, along, 0)
        lie[0][turned] = _turned(image, lie[1][turned], lie[2][turned], degrees[turned], spacing_mm)
    cycles = np.stack([rows / (image.shape[0] * spacing_mm[0]), columns / (image.shape[1] * spacing_mm[1])])  # per mm
    shifts = np.expand_dims(shift_mm.T, 2 - along)  # [2, L, 1] or [2, 1, L]
    spectrum *= np.exp(-2j * np.pi * (cycles * shifts).sum(axis=0))
    magnitude: np.ndarray = np.abs(np.fft.fftshift(np.fft.ifft2(spectrum))).astype(np.float32)
    return magnitude


def _turned(
    image: np.ndarray, rows: np.ndarray, columns: np.ndarray, degrees: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Return lines of k-space, at frequencies per field of view [N, M], of the patient turned by [N]."""
    cosine, sine = np.cos(np.radians(degrees))[:, None], np.sin(np.radians(degrees))[:, None]
    height, width = (size * spacing for size, spacing in zip(image.shape, spacing_mm, strict=True))
    # A turn of the patient turns the spectrum, in cycles per mm. Rows count downwards.
    down = cosine * rows + sine * columns * (height / width)
    right = cosine * columns - sine * rows * (width / height)
    inside = (np.abs(down) <= image.shape[0] / 2) & (np.abs(right) <= image.shape[1] / 2)
    found = np.zeros(rows.shape, np.complex64)
    found[inside] = spectrum_at(image, down[inside], right[inside])
    return found


def _check_image(image: np.ndarray, along: int) -> None:
    if image.dtype.kind == "c":
        raise InputError(
            "not_real_valued", "The image holds complex numbers.", "Take the magnitude image; its phase is not needed."
        )
    if image.shape[along] < 2:
        raise InputError(
            "one_line",
            f"The image has one voxel along the phase-encoding direction ({image.shape[0]} x {image.shape[1]}).",
            "Choose the other axis or another plane.",
        )


def move_slices(
    slices: np.ndarray,
    kind: MotionKind,
    severity: float,
    rng: np.random.Generator,
    spacing_mm: tuple[float, float],
    axis: Axis = "rows",
    order: Order = "sequential",
    progress: Progress = SILENT,
) -> tuple[np.ndarray, list[Trajectory]]:
    """Measure slices one after another, each whole before the next, of a patient who moves all the while.

    So each has a trajectory of its own, about its own position at rest. (In a multi-slice acquisition that takes a
    line of every slice in turn, all would share one.)

    Args:
        slices: Real intensities, [N, H, W].
        kind: How the patient moves.
        severity: How far, in mm and degrees; see ``draw_trajectory``.
        rng: What the trajectories are drawn from.
        spacing_mm: Distance of rows and of columns.
        axis: Whether the lines are k-space's rows, and ghosts run up and down, or its columns.
        order: In which order the lines are measured.
        progress: Told after each slice.

    Returns:
        Magnitudes, [N, H, W] float32, and the trajectory of each slice.

    Raises:
        InputError: ``severity_out_of_range``, ``not_real_valued`` or ``one_line``.
    """
    lines = slices.shape[1 if axis == "rows" else 2]
    trajectories = [draw_trajectory(kind, severity, lines, rng, order) for _ in slices]
    moved = np.empty(slices.shape, np.float32)
    for n, (image, trajectory) in enumerate(zip(slices, trajectories, strict=True)):
        moved[n] = move(image, trajectory, spacing_mm, axis, order)
        progress.tell((n + 1) / len(slices), "moving")
    return moved, trajectories

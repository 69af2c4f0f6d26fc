"""The command line's part that makes images up: ``upgan simulate``."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from upgan.cli.options import Planes, finite
from upgan.cli.progress_bar import progress_bar
from upgan.cli.terminal import echo, warn
from upgan.cli.terminal import messages as _messages

if TYPE_CHECKING:
    from upgan.simulation.motion import MotionKind, Order, Trajectory

# As in upgan.cli.commands, commands import the engine themselves.

simulate_app = typer.Typer(help="Make simulated data.", no_args_is_help=True)


@simulate_app.command("pet-ct")
def simulate_pet_ct(
    output: Annotated[Path, typer.Option(help="Folder for the pairs and manifest.json.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many heads.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the set; subject n does not depend on how many there are.")] = 0,
    resolution: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=30.0,
            help="FWHM of a point in the finished PET, mm, 4.5 or more. "
            "[default: 6.7 in the plane, 5.0 across slices, as of the scanner of the bundled model]",
        ),
    ] = None,
) -> None:
    """Simulate heads: paired NAC-PET and CT as NIfTI."""
    from upgan.simulation.dataset import simulate_pet_ct_pairs
    from upgan.simulation.pet import Scanner

    with progress_bar(_messages, "simulating") as progress:
        echo(simulate_pet_ct_pairs(subjects, output, seed, Scanner(resolution_mm=resolution), progress))


@simulate_app.command("mr-ct")
def simulate_mr_ct(
    output: Annotated[Path, typer.Option(help="Folder for the pairs and manifest.json.")],
    subjects: Annotated[
        int, typer.Option(min=1, help="How many heads, each in a scanner and T1 sequence of its own.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the set; subject n does not depend on how many there are.")] = 0,
) -> None:
    """Simulate heads: paired T1-weighted MR and CT as NIfTI."""
    from upgan.simulation.dataset import simulate_mr_ct_pairs

    with progress_bar(_messages, "simulating") as progress:
        echo(simulate_mr_ct_pairs(subjects, output, seed, progress))


class Masks(StrEnum):
    """What is measured of k-space (``upgan.simulation.kspace``)."""

    central_lines = "central_lines"
    central_block = "central_block"
    published_lines = "published_lines"
    regular_4x = "regular_4x"
    regular_8x = "regular_8x"
    random_4x = "random_4x"
    random_8x = "random_8x"


class Axes(StrEnum):
    """What phase-encoding lines are of a slice; of rows, ghosts run up and down."""

    rows = "rows"
    columns = "columns"


@simulate_app.command("undersampling")
def simulate_undersampling(
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE",
            help="MR image; or .npy of one slice's centred k-space, complex [C, H, W], of which a reference, the root "
            "of the sum of squares, is written, too.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for undersampled.nrrd and measured.npz.")],
    kind: Annotated[Masks, typer.Option(help="What is measured.")] = Masks.central_lines,
    axis: Annotated[Axes, typer.Option(help="What phase-encoding lines are of a slice.")] = Axes.rows,
    plane: Annotated[Planes, typer.Option(help="Of the slices.")] = Planes.axial,
    snr: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            callback=finite,
            help="Mean of the object over the noise's standard deviation, if all were measured. [default: no noise]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random lines and noise.")] = 0,
    spacing: Annotated[
        tuple[float, float], typer.Option(min=0.01, max=50.0, help="Of rows and columns in mm, which k-space lacks.")
    ] = (1.0, 1.0),
) -> None:
    """Leave out lines of an MR image's k-space: the image that is left, and what was measured for `translate`."""
    import upgan
    from upgan.images.reading import read_volume
    from upgan.inference.measurement import Measurement
    from upgan.inference.saving import PROVENANCE, OutputFolder
    from upgan.inference.undersampling import (
        Sampling,
        coil_image,
        measure_coils,
        measure_volume,
        read_kspace,
        undersampled,
    )
    from upgan.simulation.kspace import root_sum_of_squares, to_image

    sampling = Sampling(kind.value, axis.value, plane.value, snr, seed)
    volumes = {}
    measurement: Measurement
    if image.suffix == ".npy":
        kspace = read_kspace(image)
        measurement = measure_coils(kspace, sampling)
        reference = root_sum_of_squares(to_image(kspace))
        for name, magnitude in (
            ("reference.nrrd", reference[None].repeat(2, axis=0)),
            ("undersampled.nrrd", measurement.zero_filled()),
        ):
            volumes[name] = coil_image(magnitude, sampling.plane, spacing)
        warn(volumes["undersampled.nrrd"].placement.sentence)
    else:
        volume = read_volume(image)
        measurement = measure_volume(volume, sampling)
        volumes["undersampled.nrrd"] = undersampled(volume, measurement)
    provenance = {
        "engine": "upgan",
        "engine_version": upgan.__version__,
        "command": "simulate undersampling",
        "source": os.path.basename(os.path.abspath(image)),
        **sampling._asdict(),
        "measured_share": float(measurement.mask.mean()),
        "coils": measurement.lines.shape[0],
    }
    with OutputFolder(output, measurement.lines.nbytes) as folder:
        for name, made in volumes.items():
            folder.add_volume(name, made)
        measurement.save(folder.path("measured.npz"))
        folder.add_json(PROVENANCE, provenance)
    for name in (*volumes, "measured.npz", PROVENANCE):
        echo(output / name)


class Motions(StrEnum):
    """How the patient moves."""

    sudden = "sudden"
    drifting = "drifting"
    periodic = "periodic"


class Orders(StrEnum):
    """When the lines of k-space are measured."""

    sequential = "sequential"
    interleaved = "interleaved"
    centre_out = "centre_out"


@simulate_app.command("motion")
def simulate_motion(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A clean MR image: NIfTI, NRRD, MHA, DICOM.")],
    output: Annotated[
        Path, typer.Option(help="The moved image, .nii.gz, .nii, .nrrd or .mha; a table goes beside it.")
    ],
    severity: Annotated[
        float, typer.Option(help="How far from rest, 0 to 20, in mm and in degrees: one of the two is reached.")
    ],
    kind: Annotated[
        Motions, typer.Option(help="To other positions at once, one way all the time, or breathing and nodding.")
    ] = Motions.sudden,
    axis: Annotated[
        Axes, typer.Option(help="Phase encoding: ghosts run up and down (rows) or to the left and right (columns).")
    ] = Axes.rows,
    order: Annotated[
        Orders, typer.Option(help="Of the lines: end to end, every second and then the others, or the middle first.")
    ] = Orders.sequential,
    seed: Annotated[int, typer.Option(min=0, help="With the same, more severity is the same way, only farther.")] = 0,
    plane: Annotated[Planes, typer.Option(help="Of the slices.")] = Planes.axial,
    series: Annotated[str | None, typer.Option(help="Series UID, where a folder holds several.")] = None,
) -> None:
    """Move the patient within the slices of an MR image while they are measured; a table says how."""
    import numpy as np

    from upgan.images.magnitude import mr_magnitude
    from upgan.images.orientation import Reorientation
    from upgan.images.reading import read_volume
    from upgan.images.writing import suffix_of, write_volume
    from upgan.simulation.motion import move_slices

    table = output.with_name(f"{output.name[: -len(suffix_of(output))]}_trajectory.csv")
    volume = mr_magnitude(read_volume(image, series=series))
    layout = Reorientation.of(volume.ijk_to_ras, plane.value)
    with progress_bar(_messages, "moving") as progress:
        moved, trajectories = move_slices(
            layout.apply(volume.voxels),
            cast("MotionKind", f"{kind.value}_motion"),
            severity,
            np.random.default_rng(seed),
            layout.in_plane_spacing,
            axis.value,
            order.value,
            progress,
        )
    write_volume(replace(volume, voxels=np.ascontiguousarray(layout.undo(moved))), output)
    _write_trajectories(trajectories, order.value, table)
    echo(output)
    echo(table)


def _write_trajectories(trajectories: list[Trajectory], order: Order, path: Path) -> None:
    """Write where the patient lay for every line of every slice, slices as Slicer's offset counts, lines in time."""
    from upgan.files import atomically, explained
    from upgan.simulation.motion import frequencies_in_order

    with explained(f"'{path.name}'"), atomically(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["slice", "line", "time", "degrees", "down_mm", "right_mm"])
        for number, drawn in enumerate(trajectories):
            lines = frequencies_in_order(order, len(drawn.times))
            for line, time, degrees, (down, right) in zip(
                lines, drawn.times, drawn.degrees, drawn.shift_mm, strict=True
            ):
                writer.writerow([number, line, *(f"{value:.5f}" for value in (time, degrees, down, right))])

"""The command line's part that makes images up: ``upgan simulate``."""

from __future__ import annotations

import csv
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from upgan.cli.progress_bar import progress_bar
from upgan.cli.terminal import echo
from upgan.cli.terminal import messages as _messages

if TYPE_CHECKING:
    from upgan.images.orientation import Plane
    from upgan.images.volume import Volume
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


class Motions(StrEnum):
    """How the patient moves."""

    sudden = "sudden"
    drifting = "drifting"
    periodic = "periodic"


class Axes(StrEnum):
    """The phase-encoding direction."""

    rows = "rows"
    columns = "columns"


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
    plane: Annotated[str, typer.Option(help="Of the slices: axial, coronal or sagittal.")] = "axial",
    series: Annotated[str | None, typer.Option(help="Series UID, where a folder holds several.")] = None,
) -> None:
    """Move the patient within the slices of an MR image while they are measured; a table says how."""
    import numpy as np

    from upgan.images.orientation import Reorientation
    from upgan.images.writing import suffix_of, write_volume
    from upgan.simulation.motion import move_slices

    table = output.with_name(f"{output.name[: -len(suffix_of(output))]}_trajectory.csv")
    volume = _read_mr(image, series)
    layout = Reorientation.of(volume.ijk_to_ras, cast("Plane", plane))
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


def _read_mr(image: Path, series: str | None) -> Volume:
    """Read what can be a magnitude image of MR."""
    import numpy as np

    from upgan.errors import InputError
    from upgan.images.nonfinite import count_nonfinite
    from upgan.images.reading import read_volume
    from upgan.images.scope import doubts_about_hu

    volume = read_volume(image, series=series)
    remedy = "Choose a magnitude image of MR."
    if volume.modality not in (None, "MR"):
        raise InputError("not_an_mr_image", f"The image is marked as {volume.modality}, not MR.", remedy)
    if any(count_nonfinite(volume.voxels)):
        raise InputError("not_finite", "The image holds NaN or infinite voxels.", "Replace them by the value of air.")
    if not doubts_about_hu(volume.voxels, np.ones(volume.voxels.shape, dtype=bool)):
        raise InputError("not_an_mr_image", "The image looks like a CT in HU.", remedy)
    return volume


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

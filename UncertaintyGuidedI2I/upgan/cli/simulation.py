"""The command line's part that makes images up: ``upgan simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upgan.cli.progress_bar import progress_bar
from upgan.cli.terminal import echo
from upgan.cli.terminal import messages as _messages

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

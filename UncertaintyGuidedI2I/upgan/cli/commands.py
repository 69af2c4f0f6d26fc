"""The command line: ``upgan translate | train | evaluate | simulate | bundle | info | worker``."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

import upgan
from upgan.cli import training as cli_training
from upgan.cli.options import Planes, finite
from upgan.cli.progress_bar import progress_bar
from upgan.cli.simulation import simulate_app
from upgan.cli.terminal import echo, marked, warn
from upgan.cli.terminal import messages as _messages
from upgan.errors import UpganError
from upgan.worker.protocol import ENDING_SIGNALS, GRACE_S

# Commands import the engine themselves: `upgan --help` should not wait for torch.

app = typer.Typer(
    help="Medical image translation that knows where it may be wrong.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
bundle_app = typer.Typer(help="List, install, remove, verify and make models.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")
app.add_typer(simulate_app, name="simulate")


class Phases(StrEnum):
    """Which phases' maps are written."""

    last = "last"
    all = "all"


class Formats(StrEnum):
    """How volumes are written."""

    nrrd = "nrrd"
    nifti = "nii.gz"


class Precisions(StrEnum):
    """Arithmetic of the networks' bodies."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


@app.command()
def translate(
    image: Annotated[Path, typer.Argument(metavar="INPUT", help="NIfTI, NRRD, MHA, DICOM file or series folder.")],
    output: Annotated[Path, typer.Option(help="Folder for the results.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="An installed model's name, or a bundle's folder; several times for several models of one task, whose "
            "mean, common uncertainty and disagreement are written. [default: pet-ct-phantom]"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[Precisions, typer.Option(help="auto takes bfloat16 where it is native.")] = Precisions.auto,
    phases: Annotated[Phases, typer.Option(help="Write the last phase or all.")] = Phases.last,
    plane: Annotated[Planes | None, typer.Option(help="The model's own if not given.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Slices at a time.")] = None,
    file_format: Annotated[Formats, typer.Option("--format", help="Of the written volumes.")] = Formats.nrrd,
    series: Annotated[str | None, typer.Option(help="Series UID, where a folder holds several.")] = None,
    replace_nonfinite: Annotated[
        float | None,
        typer.Option(callback=finite, help="Put this value in place of NaN and Inf instead of refusing them."),
    ] = None,
    epistemic: Annotated[
        bool,
        typer.Option(
            "--epistemic",
            help="Also write how far the mirror image's translation is from this one; of several models it is always "
            "written how far they are from one another.",
        ),
    ] = False,
    measured: Annotated[
        Path | None,
        typer.Option(
            help="What was measured of an undersampled image's k-space (measured.npz of `upgan simulate "
            "undersampling`): it is put back into each phase's image."
        ),
    ] = None,
    record_path: Annotated[
        bool, typer.Option("--record-path", help="Put the input's whole path into the provenance, not its name only.")
    ] = False,
) -> None:
    """Translate a volume: image, α, β, σ and their provenance appear in the output folder when all is done."""
    from upgan.bundles.library import find_bundle
    from upgan.images.reading import read_volume
    from upgan.images.writing import opens_as_nifti
    from upgan.inference.engine import InferenceEngine
    from upgan.inference.ensemble import Ensemble
    from upgan.inference.measurement import read_measurement
    from upgan.inference.memory import bytes_of_outputs
    from upgan.inference.saving import OutputFolder, save_translation
    from upgan.inference.translation import QUANTITIES

    bundle, *others = (find_bundle(name) for name in model or ["pet-ct-phantom"])
    engine: InferenceEngine | Ensemble = (
        Ensemble([bundle, *others], device, precision.value, batch)
        if others
        else InferenceEngine(bundle, device, precision.value, batch)
    )
    volume = read_volume(image, series=series)
    lines = read_measurement(measured) if measured is not None else None
    warned = engine.warnings(volume, plane.value if plane else None)
    for sentence in warned:
        warn(sentence)
    if file_format is Formats.nifti and not opens_as_nifti(volume):
        warn("The image's axes are slanted. ITK and Slicer open no such NIfTI file: write NRRD (--format nrrd).")
    volumes = engine.kept(phases.value) * len(QUANTITIES) + (epistemic or bool(others))
    needed = bytes_of_outputs(volume.voxels.shape, volumes)
    with OutputFolder(output, needed) as folder:
        with progress_bar(_messages, "translating") as progress:
            translation = engine.translate(
                volume,
                plane=plane.value if plane else None,
                phases=phases.value,
                progress=progress,
                replace_nonfinite=replace_nonfinite,
                # Folders are often called after patients.
                source=os.path.basename(os.path.abspath(image)),
                epistemic=epistemic,
                measured=lines,
            )
        if record_path:
            translation.provenance["path"] = os.path.abspath(image)
        names = save_translation(translation, folder, file_format.value)
    for sentence in translation.provenance["warnings"]:
        if sentence not in warned:  # What only the translation itself could tell.
            warn(sentence)
    seconds = translation.provenance["seconds"]
    _messages.print(f"{seconds:.1f} s on {engine.device} in {translation.provenance['precision']}")
    for name in names:
        echo(output / name)


app.command("train")(cli_training.train)
app.command("evaluate")(cli_training.evaluate)


@app.command()
def info() -> None:
    """Show versions, devices with their memory, and the installed models."""
    import torch

    from upgan.bundles.bundle import problems
    from upgan.bundles.library import installed_models
    from upgan.inference.devices import choose_precision, devices

    echo(f"upgan {upgan.__version__}, PyTorch {torch.__version__}")
    for device in devices():
        memory = (
            f", {device.free / 2**30:.1f} of {device.total / 2**30:.1f} GiB free"
            if device.free and device.total
            else ""
        )
        if device.problem:
            echo(f"device  {device.name}: {device.description}: {device.problem}")
            continue
        precision = str(choose_precision("auto", torch.device(device.name))).removeprefix("torch.")
        echo(f"device  {device.name}: {device.description}{memory}; auto precision {precision}")
    for model in installed_models():
        found = problems(model.folder)
        echo(f"model   {model.name} ({model.origin}): {found[0] if found else model.folder}")


@app.command()
def worker(
    scratch: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Removed at the end.")],
    grace: Annotated[float, typer.Option(min=0, help="Seconds that work gets to end in when stdin closes.")] = GRACE_S,
) -> None:
    """Serve a viewer: one JSON object a line on stdin and stdout (Documentation/Worker.md)."""
    from upgan.worker.server import main as serve

    serve(scratch, grace)


@bundle_app.command("list")
def bundle_list() -> None:
    """List the installed models with their origin, version and folder, and what is wrong with them."""
    from upgan.bundles.library import installed_models

    for model in installed_models():
        version = str(model.metadata.get("version", ""))[:64]
        echo(model.name, model.origin, version, model.folder, model.problem)


@bundle_app.command("install")
def bundle_install(path: Annotated[Path, typer.Argument(help="A bundle's folder, or a zip of one.")]) -> None:
    """Verify a finished model and copy it to your models; print its name there."""
    from upgan.bundles.library import import_model

    echo(import_model(path).name)


@bundle_app.command("remove")
def bundle_remove(name: Annotated[str, typer.Argument(help="Of a model that you installed or trained.")]) -> None:
    """Delete one of your models from the disk; its folder is printed."""
    from upgan.bundles.library import remove_model

    echo(remove_model(name).folder)


@bundle_app.command("verify")
def bundle_verify(path: Annotated[Path, typer.Argument(help="A bundle's folder.")]) -> None:
    """Say what is wrong with a bundle; exit code 2 if anything is."""
    from upgan.bundles.bundle import Bundle, problems

    found = problems(path)
    for problem in found:
        _messages.print(f"[red]{problem.code}[/]: {marked(f'{problem.sentence} {problem.remedy}')}", soft_wrap=True)
    if found:
        raise typer.Exit(2)
    bundle = Bundle.open(path)
    bundle.load_cascade()
    if bundle.metadata.newer_note:
        warn(bundle.metadata.newer_note)
    echo(f"{bundle.metadata.name} {bundle.metadata.version}: complete, sha256 {bundle.sha256}")


@bundle_app.command("import")
def bundle_import(
    checkpoints: Annotated[list[Path], typer.Argument(help="The authors' .pth state dicts, one per phase, in order.")],
    output: Annotated[Path, typer.Option(help="The bundle's folder; its name becomes the model's.")],
    spacing: Annotated[tuple[float, float], typer.Option(help="Pixel size (rows, columns) in mm of its slices.")],
    task: Annotated[str, typer.Option(help="pet_to_ct, mr_to_ct, mri_undersampled or mri_motion.")] = "pet_to_ct",
    plane: Annotated[Planes, typer.Option(help="Of its slices.")] = Planes.axial,
) -> None:
    """Make a bundle of the authors' published checkpoints; to add a finished bundle, use `install`."""
    from upgan.bundles.importing import import_published

    bundle = import_published(checkpoints, output, task, plane.value, spacing)
    echo(bundle.folder)


bundle_app.command("create")(cli_training.bundle_create)


def main() -> None:
    """Run the command line; a refusal is one sentence with a remedy and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A console or pipe without Greek letters must not end the work.
            stream.reconfigure(errors="backslashreplace")
    try:
        with _signals_as_exits():
            app()
    except UpganError as error:
        _refuse(error)
    except MemoryError:
        sentence, remedy = "The computer's memory is exhausted.", "Close other programs, or crop the image."
        _refuse(UpganError("out_of_memory", sentence, remedy))


def _refuse(error: UpganError) -> NoReturn:
    _messages.print(f"[red]Error[/] ({error.code}): {marked(error.sentence)}", soft_wrap=True)
    _messages.print(marked(error.remedy), soft_wrap=True)
    sys.exit(2)


@contextlib.contextmanager
def _signals_as_exits() -> Iterator[None]:
    """Have SIGTERM and SIGHUP clean up as Ctrl-C does, and end with 143 and 129; the first of them counts."""

    def leave(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    # What is ignored from the start, as nohup has it, stays ignored.
    before = {
        number: handler for number in ENDING_SIGNALS if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

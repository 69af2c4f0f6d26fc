"""The README's first command: the bundled sample, translated, measured and shown as Slicer would show it."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

MODULE = Path(__file__).parents[2] / "UncertaintyGuidedI2I"
SAMPLES = MODULE / "Resources" / "SampleData"
sys.path[:0] = [str(MODULE), str(Path(__file__).parent)]

from plain_views import draw_views  # noqa: E402

from upgan.cli.progress_bar import progress_bar  # noqa: E402
from upgan.evaluation.metrics import SSIM_3D, Metrics  # noqa: E402
from upgan.images.hounsfield import HU_RANGE  # noqa: E402
from upgan.images.patient import body_mask  # noqa: E402
from upgan.images.reading import read_volume  # noqa: E402
from upgan.images.volume import Volume  # noqa: E402
from upgan.inference.saving import OutputFolder  # noqa: E402
from upgan.progress import Progress  # noqa: E402

# Where the three slices meet (RAS, mm): the level of the sinuses and the petrous bones.
CENTRE = (4.0, 18.0, -22.0)

console = Console(highlight=False)


def translate_in_scene(
    folder: OutputFolder, device: str, progress: Progress
) -> tuple[dict[str, Volume], dict[str, Any]]:
    """Run the module's own logic in a MRML scene; write the scene and the slice views into ``folder``."""
    import vtk
    from slicer_views import DemoNodes, ViewsNotRenderedError, render_views, write_scene
    from trame_slicer.core import SlicerApp

    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic
    from UncertaintyGuidedI2ILib.scene.nodes import provenanceOf, volumeFromNode

    app = SlicerApp()
    # Slicer's archive tells every file that it packs; what fails raises here.
    vtk.vtkOutputWindow.GetInstance().SetDisplayModeToNever()
    (pet,) = app.io_manager.load_volumes(str(SAMPLES / "sample_nacpet.nrrd"))
    (ct,) = app.io_manager.load_volumes(str(SAMPLES / "sample_ct.nrrd"))
    pet.SetName("NAC-PET")
    ct.SetName("CT")
    nodes = UncertaintyGuidedI2ILogic().translate(pet, device=device, progress=progress)
    shown = DemoNodes(pet, nodes["pseudo_ct"], nodes["sigma"], ct)
    write_scene(app, shown, folder.path("scene.mrb"))
    volumes = {name: volumeFromNode(node) for name, node in nodes.items()}
    try:
        render_views(app, shown, folder.path("views.png"), CENTRE)
    except ViewsNotRenderedError as error:
        console.print(f"[yellow]{error}[/] views.png is drawn by matplotlib instead of Slicer's slice views.")
        draw_views(volumes, CENTRE, SAMPLES, folder.path("views.png"))
    return volumes, provenanceOf(nodes["pseudo_ct"])


def translate_alone(folder: OutputFolder, device: str, progress: Progress) -> tuple[dict[str, Volume], dict[str, Any]]:
    """Run the engine where slicer-core is not to be had: no scene, and matplotlib draws the views."""
    from upgan.bundles.library import find_bundle
    from upgan.inference.engine import InferenceEngine

    console.print("[yellow]slicer-core is not installed here:[/] no scene.mrb, and matplotlib draws views.png.")
    source = SAMPLES / "sample_nacpet.nrrd"
    engine = InferenceEngine(find_bundle("pet-ct-phantom"), device)
    translation = engine.translate(read_volume(source), progress=progress, source=source.name)
    volumes = {output.name: translation.volume(output) for output in translation.outputs()}
    draw_views(volumes, CENTRE, SAMPLES, folder.path("views.png"))
    return volumes, translation.provenance


def figures(volumes: dict[str, Volume]) -> Table:
    """Compare with the true CT inside the body."""
    volume = read_volume(SAMPLES / "sample_ct.nrrd")
    reference = volume.voxels
    inside = body_mask(volume.voxels, tuple(volume.spacing[::-1]))
    image, alpha, beta, sigma = (volumes[name].voxels for name in ("pseudo_ct", "alpha", "beta", "sigma"))
    metrics = Metrics(image, reference, inside, alpha=alpha, beta=beta)
    low, high = HU_RANGE
    table = Table(title=f"Against the true CT, inside the body; PSNR and SSIM over [{low:g}, {high:g}] HU")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("MAE", f"{metrics.mae:.1f} HU")
    table.add_row("PSNR", f"{metrics.psnr:.2f} dB")
    table.add_row(SSIM_3D, f"{metrics.ssim_3d:.3f}")
    for level, share in metrics.coverage().items():
        table.add_row(f"true CT inside the {level:.0%} interval", f"{share:.1%}")
    absolute = np.abs(image - reference)[inside]
    uncertain = sigma[inside] >= np.percentile(sigma[inside], 90)
    table.add_row("MAE where σ is highest (a tenth)", f"{absolute[uncertain].mean():.1f} HU")
    table.add_row("MAE elsewhere", f"{absolute[~uncertain].mean():.1f} HU")
    return table


def main() -> None:
    """Leave volumes, provenance, scene and picture in the output folder, and say what they are worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    started = time.monotonic()
    has_slicer = importlib.util.find_spec("slicer") and importlib.util.find_spec("trame_slicer")
    work = translate_in_scene if has_slicer else translate_alone
    with OutputFolder(options.output) as folder:
        with progress_bar(console, "translating") as progress:
            volumes, provenance = work(folder, options.device, progress)
        for name, volume in volumes.items():
            folder.add_volume(f"{name}.nrrd", volume)
        folder.add_json("provenance.json", provenance)
    console.print(figures(volumes))
    console.print("The head is simulated; the model is for demonstration, not for patients.")
    for path in sorted(options.output.iterdir()):
        console.print(f"{path}  ({path.stat().st_size / 1e6:.1f} MB)")
    console.print(f"{time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()

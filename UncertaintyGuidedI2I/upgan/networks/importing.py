"""Published checkpoints become a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from upgan.bundle import Bundle, software_versions, write_bundle
from upgan.errors import InputError
from upgan.networks.published import load_published_cascade
from upgan.tasks import TASKS
from upgan.volume import Plane

_CARD = """# {name}

Imported from published UP-GAN checkpoints (github.com/ExplainableML/UncerGuidedI2I): {title}.

Their loss multiplies by β instead of raising to it, so that β tends to 0.684 whatever the data are and σ comes out
1.6 to 1.8 times too large. Read α, β and σ of this model as ranks, not as HU.

The intensity scaling is this software's default for the task, not necessarily that of the training; nothing was
measured on import.
"""

_LICENCE = """The licence of these weights is that of the checkpoints they were imported from; ask their authors.
"""


def import_published(
    checkpoints: Sequence[Path], folder: Path, task: str, plane: Plane, spacing_mm: tuple[float, float]
) -> Bundle:
    """Read the authors' state dicts safely and write them as a bundle.

    Args:
        checkpoints: One ``.pth`` per phase, in order.
        folder: Of the new bundle.
        task: Name of a built-in task.
        plane: Of the slices it was trained on.
        spacing_mm: Their pixel size (rows, columns).

    Raises:
        InputError: ``unknown_task``.
        BundleError: A checkpoint is unsafe, unreadable or of something else.
        OutputError: The bundle cannot be written.
    """
    if task not in TASKS:
        raise InputError("unknown_task", f"There is no task '{task}'.", f"Choose one of {', '.join(TASKS)}.")
    cascade = load_published_cascade(checkpoints)
    channels = {"type": "image", "dtype": "float32", "spatial_shape": ["16*n", "16*n"], "is_patch_data": False}
    metadata = {
        "name": folder.name,
        "version": "0.1.0",
        "changelog": {"0.1.0": "imported"},
        **software_versions(),
        "task": TASKS[task].title,
        "description": "Published UP-GAN checkpoints.",
        "authors": "Upadhyay, Chen, Hepp, Gatidis, Akata",
        "copyright": "The authors of the checkpoints",
        "network_data_format": {
            "inputs": {"image": {**channels, "format": "magnitude", "num_channels": 1}},
            "outputs": {"pred": {**channels, "format": "magnitude", "num_channels": 3}},
        },
    }
    section = {"task": TASKS[task].model_dump(mode="json"), "plane": plane, "spacing_mm": list(spacing_mm)}
    card = _CARD.format(name=folder.name, title=TASKS[task].title)
    return write_bundle(folder, cascade, metadata, section, card, _LICENCE)

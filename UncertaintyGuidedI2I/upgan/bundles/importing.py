"""Published checkpoints become a bundle."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from upgan.bundles.bundle import Bundle, refuse_existing, software_versions, write_bundle
from upgan.bundles.layout import NAME
from upgan.bundles.strangers import check_names
from upgan.errors import BundleError, InputError
from upgan.images.orientation import Plane
from upgan.images.volume import SPACING_LIMITS_MM
from upgan.networks.published import load_published_cascade
from upgan.tasks import TASKS

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
        folder: The new bundle's folder; its name becomes the model's.
        task: Name of a built-in task.
        plane: The plane of the slices on which the networks were trained.
        spacing_mm: Their pixel size (rows, columns), within the limits of images' spacing.

    Raises:
        InputError: ``unknown_task``, ``bad_name`` or ``absurd_spacing``.
        BundleError: A checkpoint is unsafe, unreadable or of something else.
        OutputError: The bundle cannot be written.
    """
    if task not in TASKS:
        raise InputError("unknown_task", f"There is no task '{task}'.", f"Choose one of {', '.join(TASKS)}.")
    _refuse_bad_name(folder.name)
    low, high = SPACING_LIMITS_MM
    if not all(low <= step <= high for step in spacing_mm):
        raise InputError(
            "absurd_spacing",
            f"Slices cannot have pixels of {spacing_mm[0]:g} × {spacing_mm[1]:g} mm.",
            f"Give the rows' and the columns' distance in millimetres, from {low:g} to {high:g}.",
        )
    refuse_existing(folder)
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


def _refuse_bad_name(name: str) -> None:
    """Refuse a folder's name that no model may have, with the nearest that it may.

    Raises:
        InputError: ``bad_name``.
    """
    try:
        check_names([name])
        is_good = re.fullmatch(NAME, name) is not None
    except BundleError:
        is_good = False
    if is_good:
        return
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    nearest = re.sub(r"[^A-Za-z0-9_.]+", "-", letters).strip("-._")[:100] or "my-model"
    suggestion = nearest if nearest != name else f"{nearest}-model"  # a device's name, or too long a one
    raise InputError(
        "bad_name",
        f"A model cannot be called '{name[:100]}', as the folder would be.",
        f"Use letters, digits, hyphens, dots and underscores, for example {suggestion}.",
    )

"""Whether a model is made for a volume, as far as both tell before the volume is looked through."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.samples import sampleNamed
from UncertaintyGuidedI2ILib.scene.nodes import HOUNSFIELD_UNIT, ijkToRAS, modality

if TYPE_CHECKING:
    from upgan.bundles.library import InstalledModel

# By DICOM modality code.
MODALITIES = {"PT": "PET", "MR": "MRI", "CT": "CT"}
# Words of a name, as BIDS and most people use them.
WORDS = {
    "PT": {"pet", "nacpet", "acpet", "fdg", "suv", "suvbw"},
    "MR": {"mr", "mri", "t1", "t1w", "t2", "t2w", "flair", "mprage", "spgr"},
    "CT": {"ct"},
}
# Voxels that are looked at where nothing else tells.
SAMPLE = 100_000


class Told(NamedTuple):
    """What a volume is, and how that is known.

    Attributes:
        modality: DICOM modality code: "PT", "MR", "CT", or what else an image is marked with.
        how: The source, for people.
    """

    modality: str
    how: str


def told(node: slicer.vtkMRMLScalarVolumeNode) -> Told | None:
    """Return a volume's modality: as DICOM, its unit, its name or its values tell it; None where none does."""
    stated = modality(node)
    if stated:
        return Told(stated, _("as it is marked"))
    sample = sampleNamed(node.GetName())
    if sample is not None:
        return Told(sample.modality, _("as the samples say"))
    unit = node.GetVoxelValueUnits()
    code = (unit.GetCodeValue() or "") if unit is not None else ""
    if code == HOUNSFIELD_UNIT[0]:
        return Told("CT", _("as its unit says"))
    if "SUV" in code or code.lower() == "bq/ml":
        return Told("PT", _("as its unit says"))
    # Digits belong to words ("T1"), underscores do not.
    words = set(re.split(r"[^a-z0-9]+", node.GetName().lower()))
    named = [code for code, known in WORDS.items() if words & known]
    if len(named) == 1:
        return Told(named[0], _("as its name says"))
    return Told("CT", _("as its negative values say")) if _isNegative(node) else None


def misfit(model: InstalledModel, node: slicer.vtkMRMLScalarVolumeNode, canRead: bool) -> tuple[str, str]:
    """Return why a model was not made for a volume: in a few words and in sentences; both empty where it may have been.

    Args:
        model: An installed model.
        node: A volume with voxels.
        canRead: Whether what reads models' metadata is imported; without it only modalities are compared.
    """
    made = _madeFor(model)
    known = told(node)
    if made and known is not None and known.modality != made:
        name = MODALITIES.get(made, made)
        sentence = _("It translates {made} images; this one is {known}, {how}.").format(
            made=name, known=MODALITIES.get(known.modality, known.modality), how=known.how
        )
        return name, sentence
    sentences = _gridMisfits(model, node) if canRead else []
    return (_("misfit"), " ".join(sentences)) if sentences else ("", "")


def _madeFor(model: InstalledModel) -> str:
    """Return the modality of a model's inputs, nothing where a stranger's metadata say none."""
    section = model.metadata.get("upgan")
    task = section.get("task") if isinstance(section, dict) else None
    stated = task.get("input_modality") if isinstance(task, dict) else None
    return stated if isinstance(stated, str) else ""


def _gridMisfits(model: InstalledModel, node: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    from upgan.bundles.domain import grid_misfits
    from upgan.bundles.metadata import checked_metadata
    from upgan.errors import UpganError
    from upgan.images.volume import Volume

    try:
        section = checked_metadata(model.metadata).upgan
        if section.domain is None:
            return []
        volume = Volume(slicer.util.arrayFromVolume(node), ijkToRAS(node))
        return grid_misfits(section.domain, volume, sees_all=section.architecture.margin_mm is None)
    except UpganError:
        # The warnings and the translation itself say why.
        return []


def _isNegative(node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether more than a few voxels are clearly negative, as air in a CT is and nothing in PET and MRI."""
    voxels = slicer.util.arrayFromVolume(node)
    step = max(1, int(np.ceil((voxels.size / SAMPLE) ** (1 / 3))))
    sample = voxels[::step, ::step, ::step]
    # NaN is neither above nor below anything.
    largest = np.fmax.reduce(np.abs(sample), axis=None, initial=0.0)
    return bool((sample < -0.05 * largest).mean() > 0.01)

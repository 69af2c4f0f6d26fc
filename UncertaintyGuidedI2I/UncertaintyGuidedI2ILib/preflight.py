"""What to expect of a run before it starts: where the image is not what the model knows, and what the run will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.parameters import PLANES, TranslateChoices
from UncertaintyGuidedI2ILib.run_state import duration
from UncertaintyGuidedI2ILib.scene import ijkToRAS, modality, refuseOtherThanScalarVolume

if TYPE_CHECKING:
    from upgan.estimate import Estimate
    from upgan.library import InstalledModel
    from upgan.volume import Plane, Volume

# How fast earlier runs were on this computer, by kind of device and precision.
SETTINGS_KEY = "UncertaintyGuidedI2I/multiplyAddsPerSecond"


def refusal(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return why no model could translate this volume, or nothing; its voxels are not looked at."""
    from upgan.errors import InputError

    try:
        _volume(node)
    except InputError as error:
        return f"{error.sentence} {error.remedy}"
    return ""


def warnings(model: InstalledModel, node: slicer.vtkMRMLScalarVolumeNode, plane: str) -> list[str]:
    """Return sentences on why this model may do badly with this volume, in some 10 ms for any size.

    Args:
        model: A usable one.
        node: A volume that is not refused; its voxels are looked at in place.
        plane: Of ``PLANES``.
    """
    from upgan.domain import Domain, misfits
    from upgan.tasks import Task

    section = model.metadata["upgan"]
    domain = Domain.model_validate(section["domain"]) if section.get("domain") else None
    return misfits(Task.model_validate(section["task"]), domain, _volume(node), _plane(plane))


def _volume(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """Return a volume on the node's own memory.

    Raises:
        InputError: What ``refuseOtherThanScalarVolume`` and ``upgan.volume.Volume`` refuse.
    """
    from upgan.volume import Volume

    refuseOtherThanScalarVolume(node)
    return Volume(slicer.util.arrayFromVolume(node), ijkToRAS(node), modality(node))


def estimate(
    model: InstalledModel, node: slicer.vtkMRMLScalarVolumeNode, choices: TranslateChoices, outputs: int
) -> Estimate | None:
    """Return what a run will cost, or nothing where model or volume cannot be used.

    Args:
        model: What to translate with.
        node: What to translate.
        choices: How.
        outputs: How many volumes of each phase.
    """
    from upgan.errors import UpganError
    from upgan.estimate import estimate as estimated

    kind, rate = _remembered(choices)
    try:
        refuseOtherThanScalarVolume(node)
        return estimated(
            model.metadata["upgan"],
            slicer.util.arrayFromVolume(node).shape,
            ijkToRAS(node),
            plane=_plane(choices.plane),
            phases="all" if choices.allPhases else "last",
            outputs=outputs,
            device=kind,
            # Where the engine may choose, the larger of the two.
            precision="float32" if choices.precision == "auto" else choices.precision,
            rate=rate,
        )
    except UpganError:
        # The warnings and the run itself say why.
        return None


def estimateText(cost: Estimate, choices: TranslateChoices) -> str:
    """Return one line on time and memory: "About 12 s and 1.3 GB of memory."."""
    kind, rate = _remembered(choices)
    memory = _memory(cost.host_bytes)
    if kind == "cuda":
        memory = _("{host}, and {card} on the graphics card").format(host=memory, card=_memory(cost.device_bytes))
    if cost.seconds is None:
        return _("About {memory} of memory; the first run on this device will tell how long it takes.").format(
            memory=memory
        )
    text = _("About {time} and {memory} of memory.") if rate else _("Roughly {time} and {memory} of memory.")
    return text.format(time=duration(max(cost.seconds, 1)), memory=memory)


def rememberSpeed(choices: TranslateChoices, device: str, cost: Estimate, seconds: float) -> None:
    """Remember how fast a run was, for the next estimate.

    Args:
        choices: Of the run.
        device: On which it ran, e.g. "cuda:0".
        cost: What was estimated.
        seconds: What the network took.
    """
    from upgan.estimate import rate_of

    qt.QSettings().setValue(_key(choices), f"{_kind(device)} {rate_of(cost.multiply_adds, seconds):.4g}")


def _remembered(choices: TranslateChoices) -> tuple[Literal["cpu", "cuda"], float | None]:
    """Return the kind of device that these choices led to last time, and its speed; the CPU where it is not known."""
    kind, _separator, rate = str(qt.QSettings().value(_key(choices), "")).partition(" ")
    try:
        return _kind(kind), float(rate)
    except ValueError:
        return _kind(choices.device), None


def _key(choices: TranslateChoices) -> str:
    return f"{SETTINGS_KEY}/{choices.device}/{choices.precision}"


def _kind(device: str) -> Literal["cpu", "cuda"]:
    return "cuda" if device.startswith("cuda") else "cpu"


def _plane(choice: str) -> Plane | None:
    return None if choice == PLANES[0] else cast("Plane", choice)


def _memory(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"

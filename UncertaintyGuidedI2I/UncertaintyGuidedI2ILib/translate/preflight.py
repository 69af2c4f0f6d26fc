"""What to expect of a translation before it starts: images unlike those that the model knows, and the cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import qt
import slicer
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.parameters import PLANES, TranslateChoices
from UncertaintyGuidedI2ILib.scene.nodes import ijkToRAS, modality, refuseOtherThanScalarVolume
from UncertaintyGuidedI2ILib.scene.placement import placementOf
from UncertaintyGuidedI2ILib.text import duration, oneLine

if TYPE_CHECKING:
    from upgan.bundles.library import InstalledModel
    from upgan.images.orientation import Plane
    from upgan.images.volume import Volume
    from upgan.inference.estimate import Estimate

Kind = Literal["cpu", "cuda"]

# How long translations took on this computer, by model, device and precision: "cpu 31000000000:2.1 8000000000:0.7" is
# the kind of device, then multiply-adds and seconds of the newest ones.
SETTINGS_KEY = "UncertaintyGuidedI2I/runs"
# No model is called so.
ANY_MODEL = "*"
MOST_RUNS = 5


def refusal(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return why no model could translate this volume, or nothing; its voxels are not looked at."""
    from upgan.errors import InputError

    try:
        _volume(node)
    except InputError as error:
        return f"{error.sentence} {error.remedy}"
    return ""


def warnings(models: Sequence[InstalledModel], node: slicer.vtkMRMLScalarVolumeNode, plane: str) -> list[str]:
    """Return sentences on why these models may do badly with this volume; what one of several says has its name.

    Args:
        models: The models that translate, as ``ModelChooser.members`` has them.
        node: A volume that is not refused; its voxels are looked at in place.
        plane: The plane of the slices, one of ``parameters.PLANES``.
    """
    said = [_warnings(model, node, plane) for model in models]
    found = [
        sentence if all(sentence in other for other in said) else f"{oneLine(model.name)}: {sentence}"
        for model, sentences in zip(models, said, strict=True)
        for sentence in sentences
    ]
    return list(dict.fromkeys(found))


def _warnings(model: InstalledModel, node: slicer.vtkMRMLScalarVolumeNode, plane: str) -> list[str]:
    """Return sentences on why this model may do badly with this volume, in some 10 ms for any size.

    Args:
        model: One without a problem that a list can see; what its metadata say more may be wrong still, and is told.
        node: A volume that is not refused; its voxels are looked at in place.
        plane: The plane of the slices, one of ``parameters.PLANES``.
    """
    from upgan.bundles.domain import misfits
    from upgan.bundles.metadata import checked_metadata
    from upgan.errors import BundleError

    try:
        metadata = checked_metadata(model.metadata)
    except BundleError as error:
        return [f"{error.sentence} {error.remedy}"]
    section = metadata.upgan
    seesAll = section.architecture.margin_mm is None
    found = misfits(section.task, section.domain, _volume(node), _plane(plane), sees_all=seesAll)
    placement = placementOf(node)
    said = (metadata.newer_note, "" if placement.is_certain else placement.sentence, *found)
    return [sentence for sentence in said if sentence]


def keepAllPhases(models: Sequence[InstalledModel]) -> bool:
    """Whether the maps of all phases can be kept: those of several models where they have equally many.

    Args:
        models: Models whose metadata can be read.
    """
    return len({_phases(model) for model in models}) == 1


def _phases(model: InstalledModel) -> int | None:
    from upgan.bundles.metadata import checked_metadata
    from upgan.errors import BundleError

    try:
        return checked_metadata(model.metadata).upgan.architecture.phases
    except BundleError:
        # The warnings and the translation itself say why.
        return None


def lacksMirror(model: InstalledModel, plane: str) -> bool:
    """Whether there will be no epistemic map, because the slices have no left and right to exchange.

    Args:
        model: A model, whatever its metadata say.
        plane: The plane of the slices, one of ``parameters.PLANES``.
    """
    from upgan.bundles.metadata import checked_metadata
    from upgan.errors import BundleError
    from upgan.images.orientation import has_mirror_axis

    try:
        return not has_mirror_axis(_plane(plane) or checked_metadata(model.metadata).upgan.plane)
    except BundleError:
        # The warnings and the translation itself say why.
        return False


def _volume(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """Return a volume on the node's own memory.

    Raises:
        InputError: What ``refuseOtherThanScalarVolume`` and ``upgan.images.volume.Volume`` refuse.
    """
    from upgan.images.volume import Volume

    refuseOtherThanScalarVolume(node)
    return Volume(slicer.util.arrayFromVolume(node), ijkToRAS(node), modality(node))


class Expectation(NamedTuple):
    """What a translation will cost, and how that is known.

    Attributes:
        cost: The cost in arithmetic, memory and time.
        kind: The kind of the device that will probably translate.
        isLearned: Whether the time comes from translations with this model here, and not from a guess.
        keys: The keys under which the translation is to be remembered: with this model, and with any.
    """

    cost: Estimate
    kind: Kind
    isLearned: bool
    keys: tuple[str, str]


def estimate(
    models: Sequence[InstalledModel], node: slicer.vtkMRMLScalarVolumeNode, choices: TranslateChoices, outputs: int
) -> Expectation | None:
    """Return what a translation will cost, or nothing where a model or the volume cannot be used.

    The time is that of the earlier translation whose size is nearest, in proportion: the same image again takes as
    long as it took. Where these models were not used yet, translations with others on the device give a rough idea.

    Args:
        models: The models to translate with, as one where there are several.
        node: The volume to translate.
        choices: How to translate it.
        outputs: The number of volumes to add for each phase, beside the epistemic map.
    """
    from upgan.bundles.metadata import checked_metadata
    from upgan.errors import UpganError
    from upgan.inference.estimate import estimate as estimated
    from upgan.inference.estimate import rate_of, together

    # No model has a plus in its name.
    names = ("+".join(sorted(model.name for model in models)), ANY_MODEL)
    keys = tuple(f"{SETTINGS_KEY}/{name}/{choices.device}/{choices.precision}" for name in names)
    kinds, runs = zip(*(_remembered(key) for key in keys), strict=True)
    kind = next(filter(None, kinds), _kind(choices.device))
    try:
        refuseOtherThanScalarVolume(node)
        sections = [checked_metadata(model.metadata).upgan for model in models]
        shape = slicer.util.arrayFromVolume(node).shape
        allPhases = choices.allPhases and keepAllPhases(models)
        # Several models tell by what they differ from one another, without the mirror image.
        isMirrored = choices.epistemic and len(sections) == 1
        copies = choices.epistemic and not isMirrored  # of that map, for the viewer
        costs = [
            estimated(
                section.model_dump(),
                shape,
                ijkToRAS(node),
                plane=_plane(choices.plane),
                phases="all" if allPhases else "last",
                outputs=outputs + copies,
                epistemic=isMirrored,
                device=kind,
                # Where the engine may choose, the larger of the two.
                precision="float32" if choices.precision == "auto" else choices.precision,
            )
            for section in sections
        ]
        cost = together(costs, shape, sections[0].architecture.phases if allPhases else 1)
    except UpganError:
        # The warnings and the translation itself say why.
        return None
    known = runs[0] or runs[1]
    if known:
        nearest = min(known, key=lambda run: abs(math.log(run.multiplyAdds / cost.multiply_adds)))
        cost = cost._replace(seconds=cost.multiply_adds / rate_of(nearest.multiplyAdds, nearest.seconds))
    return Expectation(cost, kind, bool(runs[0]), cast("tuple[str, str]", keys))


def estimateText(expected: Expectation) -> str:
    """Return one line on time and memory: "About 12 s and 1.3 GB of memory."."""
    cost = expected.cost
    memory = _memory(cost.host_bytes)
    if expected.kind == "cuda":
        memory = _("{host}, and {card} on the graphics card").format(host=memory, card=_memory(cost.device_bytes))
    if cost.seconds is None:
        return _("About {memory} of memory; the first run on this device will tell how long it takes.").format(
            memory=memory
        )
    isSure = expected.isLearned and cost.is_counted
    text = _("About {time} and {memory} of memory.") if isSure else _("Roughly {time} and {memory} of memory.")
    return text.format(time=duration(max(cost.seconds, 1)), memory=memory)


def remember(expected: Expectation, device: str, seconds: float) -> None:
    """Remember how long a translation took, for the next estimate.

    Args:
        expected: What was expected of the translation.
        device: The device that translated, e.g. "cuda:0".
        seconds: The seconds that the network took.
    """
    new = _PastRun(expected.cost.multiply_adds, max(seconds, 1e-3))
    for key in expected.keys:
        kind, runs = _remembered(key)
        # Another device, e.g. the CPU where the card was too small, tells nothing of this one; a new run of about the
        # same size takes the place of an old one.
        others = [run for run in runs if kind == _kind(device) and not 0.8 < run.multiplyAdds / new.multiplyAdds < 1.25]
        past = [f"{run.multiplyAdds}:{run.seconds:.4g}" for run in [new, *others][:MOST_RUNS]]
        qt.QSettings().setValue(key, " ".join([_kind(device), *past]))


class _PastRun(NamedTuple):
    """A translation that is over: its arithmetic, and the seconds it took."""

    multiplyAdds: int
    seconds: float


def _remembered(key: str) -> tuple[Kind | None, list[_PastRun]]:
    """Return the kind of device that past translations led to, and these, newest first; nothing where none is known."""
    kind, *runs = str(qt.QSettings().value(key, "") or "").split() or [""]
    try:
        found = [_PastRun(int(multiplyAdds), float(s)) for multiplyAdds, s in (run.split(":") for run in runs)]
    except ValueError:
        return None, []
    usable = [run for run in found if run.multiplyAdds > 0 and run.seconds > 0]
    return (_kind(kind), usable) if usable else (None, [])


def _kind(device: str) -> Kind:
    return "cuda" if device.startswith("cuda") else "cpu"


def _plane(choice: str) -> Plane | None:
    return None if choice == PLANES[0] else cast("Plane", choice)


def _memory(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"

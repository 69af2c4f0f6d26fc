"""Several models of one task as one: their mean, and what they doubt together; one model after the other in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch

from upgan.bundles.bundle import Bundle
from upgan.bundles.companions import why_not_together
from upgan.errors import InputError
from upgan.images.orientation import Plane
from upgan.images.volume import Volume
from upgan.inference.devices import choose_device, choose_precision
from upgan.inference.engine import InferenceEngine, ProgressCallback, SlicesDone, oddities
from upgan.inference.estimate import estimate
from upgan.inference.measurement import Measurement
from upgan.inference.memory import SUMS, refuse_beyond_memory
from upgan.inference.translation import PhaseMaps, Translation
from upgan.uncertainty.mixture import Mixture

# Of a member's provenance, what may be another's: it is told of each. All else is the same in all of them.
_OWN = (
    *("bundle", "bundle_version", "bundle_sha256", "phases"),
    *("calibration", "input_reference", "familiarity", "data_consistency"),
)


class Ensemble:
    """Translates volumes with several models of one task, as ``InferenceEngine`` does with one.

    The image is the mean of the members' images. The variance is that of the mixture of their distributions: the mean
    of the members' variances plus the variance of their images (law of total variance). β is that of the generalised
    Gaussian with the mixture's kurtosis, α follows from σ and β. ``Translation.epistemic`` is the standard deviation of
    the members' images (as of a sample, by M − 1): where models that were trained apart disagree, none of them knows.

    It takes the time of all members, and the memory of one: each is loaded when its turn comes. The order in which the
    models are given does not matter.

    Args:
        bundles: The models, two or more, as ``find_bundle`` opens them; their task and plane are the same.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``float32`` or ``bfloat16``, as for the engine.
        batch: Slices at a time; chosen for the device where None.

    Raises:
        InputError: ``one_model`` where there are less than two, ``different_models`` where task or plane differ.
        DeviceError: The device or precision is not there.

    Example:
        >>> from upgan import Ensemble, find_bundle, read_volume
        >>> models = [find_bundle("pet-ct-phantom"), find_bundle("./site-model")]
        >>> translation = Ensemble(models, device="cpu").translate(read_volume("pet.nii.gz"))
        >>> translation.last.sigma.shape == translation.epistemic.shape  # HU, what is noisy and what is not known
        True
        >>> [member["bundle"] for member in translation.provenance["members"]]
        ['pet-ct-phantom', 'site-model']
    """

    def __init__(
        self, bundles: Iterable[Bundle], device: str = "auto", precision: str = "auto", batch: int | None = None
    ) -> None:
        self.bundles = tuple(sorted(bundles, key=lambda each: (each.metadata.name, each.metadata.version, each.sha256)))
        if len(self.bundles) < 2:
            raise InputError("one_model", "Less than two models were given.", "Give several models, or use one alone.")
        for other in self.bundles[1:]:
            sentence = why_not_together(self.bundles[0].metadata, other.metadata)
            if sentence:
                raise InputError("different_models", sentence, "Take models of one task, trained in the same plane.")
        self.device, self._device_warning = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._precision = precision
        self.batch = batch

    def kept(self, phases: Literal["last", "all"]) -> int:
        """Return how many phases' maps a translation will have; the last's alone where members have not as many."""
        counts = {bundle.metadata.upgan.architecture.phases for bundle in self.bundles}
        return counts.pop() if phases == "all" and len(counts) == 1 else 1

    def translate(
        self,
        volume: Volume,
        *,
        plane: Plane | None = None,
        phases: Literal["last", "all"] = "last",
        progress: ProgressCallback | None = None,
        replace_nonfinite: float | None = None,
        source: str = "",
        epistemic: bool = True,
        measured: Measurement | None = None,
    ) -> Translation:
        """Translate a volume with each member; the maps lie on exactly its grid.

        Args:
            volume: The input, any orientation and spacing.
            plane: The plane of the slices; the models' own where None.
            phases: Whether to keep the maps of the last phase or of all; the last alone where members have different
                numbers of phases.
            progress: Called as by the engine, with how far all members are; may raise ``Cancelled``.
            replace_nonfinite: Value to put in place of NaN and Inf; they are refused where None.
            source: What names the input in the provenance.
            epistemic: Taken because the engine takes it: an ensemble always has the map, and it costs nothing.
            measured: As the engine has it, for each member: of real images, the mean has the measured lines, too.

        Raises:
            BundleError: The weights of a member do not load.
            InputError: As the engine's.
            DeviceError: ``out_of_memory``.
            ResultError: ``not_finite_output``.
        """
        started = time.monotonic()
        shape = volume.voxels.shape
        kept = self.kept(phases)
        refuse_beyond_memory(shape, kept, further=SUMS * kept)
        whole = _Whole(progress, self._costs(volume, plane), started)
        mixtures = [Mixture(shape) for _ in range(kept)]
        references, provenances = [], []
        for number, bundle in enumerate(self.bundles):
            member = InferenceEngine(bundle, str(self.device), self._precision, self.batch).translate(
                volume,
                plane=plane,
                phases="all" if kept > 1 else "last",
                progress=whole.of_member(number),
                replace_nonfinite=replace_nonfinite,
                source=source,
                measured=measured,
            )
            _take_in(mixtures, member, whole)
            references.append(member.reference)
            provenances.append(member.provenance)
            # Its maps are in the sums now, and the next one needs the memory.
            del member
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        matched = [mixture.finish() for mixture in mixtures]
        last = max(bundle.metadata.upgan.architecture.phases for bundle in self.bundles)
        provenance = self._provenance(provenances)
        if phases == "all" and len({bundle.metadata.upgan.architecture.phases for bundle in self.bundles}) > 1:
            provenance["warnings"].append("The last phase alone was kept: the models have different numbers of phases.")
        provenance["seconds"] = round(time.monotonic() - started, 3)
        return Translation(
            {last - kept + number: PhaseMaps(*found[:3]) for number, found in enumerate(matched, start=1)},
            volume.ijk_to_ras,
            self.bundles[0].metadata.upgan.task,
            # The same for all, unless their tasks measure the input differently.
            sum(references) / len(references),
            provenance,
            volume.placement,
            epistemic=matched[-1].spread,
        )

    def warnings(self, volume: Volume, plane: Plane | None = None) -> list[str]:
        """Sentences on what is odd, as the engine's; what one member alone has to say is said with its name."""
        return self._said([oddities(bundle, volume, plane) for bundle in self.bundles])

    def _said(self, by_member: Sequence[Sequence[str]]) -> list[str]:
        names = [bundle.metadata.name for bundle in self.bundles]
        found = [self._device_warning]
        if len({bundle.sha256 for bundle in self.bundles}) < len(self.bundles):
            found.append("Some of the models have the same weights: that these agree says nothing.")
        for name, sentences in zip(names, by_member, strict=True):
            found += [
                sentence if all(sentence in other for other in by_member) else f"{name}: {sentence}"
                for sentence in sentences
            ]
        return [sentence for sentence in dict.fromkeys(found) if sentence]

    def _provenance(self, members: list[dict[str, Any]]) -> dict[str, Any]:
        """Say what made the result: what is the same for all members, and of each what is its own."""
        common = {key: value for key, value in members[0].items() if key not in (*_OWN, "warnings")}
        own = [{key: member[key] for key in _OWN if key in member} for member in members]
        return {
            **common,
            "bundle": " + ".join(bundle.metadata.name for bundle in self.bundles),
            "members": own,
            "familiarity": _doubtful(own),
            "created": members[-1]["created"],
            "warnings": self._said([member["warnings"] for member in members]),
        }

    def _costs(self, volume: Volume, plane: Plane | None) -> list[int]:
        """Return each member's multiply-adds, by which the time left is told."""
        sections = (bundle.metadata.upgan.model_dump() for bundle in self.bundles)
        try:
            return [
                estimate(each, volume.voxels.shape, volume.ijk_to_ras, plane=plane).multiply_adds for each in sections
            ]
        except InputError:
            # Its field of view is absurd, of which they may see little: an engine tells.
            return [1] * len(self.bundles)


def _doubtful(members: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the verdict of a member for which the input is unlike its training data; else of one that can tell."""
    known = [(member["bundle"], member["familiarity"]) for member in members if member.get("familiarity")]
    for wanted in (True, False, None):
        for name, verdict in known:
            if verdict["is_unlike"] is wanted:
                return {**verdict, "sentence": f"{name}: {verdict['sentence']}"}
    return None


def _take_in(mixtures: Sequence[Mixture], member: Translation, whole: _Whole) -> None:
    """Add what a member has made of the image, phase by phase."""
    for mixture, phase in zip(mixtures, sorted(member.phases), strict=True):
        maps = member.phases[phase]
        for _ in mixture.add(maps.image, maps.alpha, maps.beta):
            whole.again()


class _Whole:
    """Tells how far all members are, from how far each is."""

    def __init__(self, progress: ProgressCallback | None, costs: Sequence[int], started: float) -> None:
        self._progress = progress
        self._costs = costs
        self._started = started
        self._done: SlicesDone | None = None

    def of_member(self, member: int) -> ProgressCallback:
        """Return what a member, the first being 0, tells of its own work."""
        before, own, all_of_them = sum(self._costs[:member]), self._costs[member], sum(self._costs)

        def tell(done: SlicesDone) -> None:
            fraction = (before + own * done.fraction) / all_of_them
            self._done = done._replace(member=member + 1, members=len(self._costs), fraction=fraction)
            self.again()

        return tell

    def again(self) -> None:
        """Tell it once more, for whoever wants to cancel."""
        if self._progress is not None and self._done is not None:
            self._progress(self._done._replace(elapsed_s=time.monotonic() - self._started))

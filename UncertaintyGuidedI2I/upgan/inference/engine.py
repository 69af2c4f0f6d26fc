"""The engine: a bundle and a device make translations, slice batch by slice batch."""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

import upgan
from upgan.bundles.bundle import Bundle
from upgan.bundles.domain import misfits
from upgan.errors import DeviceError, InputError, ResultError
from upgan.images.nonfinite import finite
from upgan.images.orientation import Plane, has_mirror_axis
from upgan.images.volume import Volume
from upgan.inference.consistency import Consistency
from upgan.inference.devices import choose_device, choose_precision
from upgan.inference.entrance import Entrance
from upgan.inference.measurement import Measurement
from upgan.inference.memory import default_batch, refuse_beyond_memory
from upgan.inference.translation import PhaseMaps, Translation, is_sound
from upgan.networks.features import FeatureTap, feature_count
from upgan.networks.folding import fold_batch_norm
from upgan.progress import seconds_left
from upgan.tasks import Task
from upgan.uncertainty.distribution import GeneralizedNormal
from upgan.uncertainty.familiarity import SliceFeatures

# An input above this share of v_ref, a high percentile of the foreground, is the object's: air's noise is not.
_OBJECT = 1 / 16


class SlicesDone(NamedTuple):
    """How far a translation is: slices are finished batch by batch, each batch going through all phases."""

    phase: int
    phases: int
    slice: int
    slices: int
    elapsed_s: float
    fraction: float
    mirrored: bool = False
    # Of an ensemble, whose members translate one after the other.
    member: int = 1
    members: int = 1

    @property
    def remaining_s(self) -> float:
        """Estimated seconds left; infinite before the first batch."""
        left = seconds_left(self.elapsed_s, self.fraction)
        return float("inf") if left is None else left

    @property
    def what(self) -> str:
        """For people."""
        model = f"model {self.member} of {self.members}, " if self.members > 1 else ""
        of_what = ", mirror image" if self.mirrored else ""
        return f"{model}phase {self.phase} of {self.phases}, slice {self.slice} of {self.slices}{of_what}"


# A ``upgan.progress.Progress`` can be called so, too.
ProgressCallback = Callable[[SlicesDone], None]


class InferenceEngine:
    """Translates volumes with one model on one device; keep it, its start costs more than a translation.

    Args:
        bundle: The model, as ``find_bundle`` opens it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``float32`` or ``bfloat16``; heads, σ and guidance are float32 always.
        batch: Slices at a time; chosen for the device where None. Halved by itself when memory runs out.

    Raises:
        BundleError: The weights do not load.
        DeviceError: The device or precision is not there.

    Example:
        >>> from upgan import InferenceEngine, find_bundle, read_volume
        >>> engine = InferenceEngine(find_bundle("pet-ct-phantom"), device="cpu")
        >>> translation = engine.translate(read_volume("pet.nii.gz"))
        >>> translation.last.image.shape, translation.last.sigma.dtype  # HU on the input's grid, [K, J, I]
        ((4, 56, 48), dtype('float32'))
    """

    def __init__(self, bundle: Bundle, device: str = "auto", precision: str = "auto", batch: int | None = None) -> None:
        self.bundle = bundle
        self.device, self._device_warning = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.batch = batch
        network = fold_batch_norm(bundle.load_cascade())
        self.tap = FeatureTap(network)
        try:
            self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            raise _explained(error, f"The networks do not fit into the memory of {self.device}.") from error

    def translate(
        self,
        volume: Volume,
        *,
        plane: Plane | None = None,
        phases: Literal["last", "all"] = "last",
        progress: ProgressCallback | None = None,
        replace_nonfinite: float | None = None,
        source: str = "",
        epistemic: bool = False,
        measured: Measurement | None = None,
    ) -> Translation:
        """Translate a volume; the maps lie on exactly its grid.

        Args:
            volume: The input, any orientation and spacing.
            plane: The plane of the slices; the model's own where None.
            phases: Whether to keep the maps of the last phase or of all.
            progress: Called with ``SlicesDone`` after each batch and phase, or a ``Progress``; may raise ``Cancelled``.
            replace_nonfinite: Value to put in place of NaN and Inf; they are refused where None.
            source: What names the input in the provenance, e.g. its file's name. Its content is there as a hash.
            epistemic: Whether to translate the mirror image, left to right, too, for the map of their disagreement; it
                takes twice the time and changes no other map. Sagittal slices have no left and right: no map there.
            measured: What was measured of the k-space of an undersampled image: it takes its place again in each
                phase's image before that is handed on, on the pixels that were acquired (``inference.consistency``).
                α, β and σ stay the network's.

        Raises:
            InputError: ``too_large``, ``not_finite``, ``constant_image``, ``no_signal``, ``input_is_ct``,
                ``absurd_field_of_view`` or ``absurd_matrix``; with ``measured`` also ``not_a_restoration``,
                ``other_plane`` or ``other_measurement``.
            DeviceError: ``out_of_memory`` when the maps, or even one slice, do not fit.
            ResultError: ``not_finite_output`` when image, α, β or σ is no number somewhere.
        """
        started = time.monotonic()
        metadata = self.bundle.metadata.upgan
        plane = plane or metadata.plane
        mirrors = epistemic and has_mirror_axis(plane)
        kept = metadata.architecture.phases if phases == "all" else 1
        refuse_beyond_memory(volume.voxels.shape, kept, further=int(mirrors))
        content = content_hash(volume)
        volume = finite(volume, replace_nonfinite)
        task = metadata.task
        entrance = self._entrance(volume, plane)
        last = metadata.architecture.phases
        consistency = _consistency(measured, task, entrance.slices, plane) if measured is not None else None
        work = _SliceWork(self, volume.voxels.shape, entrance, range(last - kept + 1, last + 1), mirrors, consistency)
        work.run(progress, started)
        warnings = self.warnings(volume, plane)
        if epistemic and not mirrors:
            warnings.append("There is no map of the disagreement: sagittal slices have no left and right to exchange.")
        verdict = metadata.familiarity.verdict(work.features, work.flip) if metadata.familiarity else None
        if verdict is not None and verdict.is_unlike:
            warnings.append(verdict.sentence)
        provenance = {
            "engine": "upgan",
            "engine_version": upgan.__version__,
            "bundle": self.bundle.metadata.name,
            "bundle_version": self.bundle.metadata.version,
            "bundle_sha256": self.bundle.sha256,
            "task": task.name,
            "phases": metadata.architecture.phases,
            "plane": plane,
            "precision": str(self.precision).removeprefix("torch."),
            "device": str(self.device),
            "source": source,
            "input_sha256": content,
            "placement": volume.placement.certainty,
            "input_reference": entrance.intensities.reference,
            "calibration": metadata.calibration.applied if metadata.calibration else None,
            "replaced_nonfinite": replace_nonfinite,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": warnings,
            "familiarity": verdict.to_json() if verdict is not None else None,
        }
        if consistency is not None:
            provenance["data_consistency"] = consistency.to_json()
        if not volume.placement.is_certain:
            provenance["placement_note"] = volume.placement.sentence
        return Translation(
            work.maps,
            volume.ijk_to_ras,
            task,
            entrance.intensities.reference,
            provenance,
            volume.placement,
            work.epistemic,
        )

    def slice_features(
        self, volume: Volume, *, plane: Plane | None = None, progress: ProgressCallback | None = None
    ) -> SliceFeatures:
        """Return what the first network sees in a volume's slices, by which ``Familiarity`` tells one from another.

        Args:
            volume: The input, any orientation and spacing.
            plane: The plane of the slices; the model's own where None.
            progress: As ``translate`` has it.

        Raises:
            InputError: What ``translate`` raises.
            DeviceError: ``out_of_memory`` when even one slice does not fit.
        """
        metadata = self.bundle.metadata.upgan
        volume = finite(volume, None)
        entrance = self._entrance(volume, plane or metadata.plane)
        work = _SliceWork(self, volume.voxels.shape, entrance, kept=())
        work.run(progress, time.monotonic())
        return work.features

    def _entrance(self, volume: Volume, plane: Plane) -> Entrance:
        section = self.bundle.metadata.upgan
        return Entrance.of(volume, section.task, plane, section.spacing_mm, section.architecture.margin_mm)

    def warnings(self, volume: Volume, plane: Plane | None = None) -> list[str]:
        """Sentences on what is odd: the device, the model, the volume's place and its looks (``bundles.domain``)."""
        said = (self._device_warning, *oddities(self.bundle, volume, plane))
        return [sentence for sentence in said if sentence]

    def kept(self, phases: Literal["last", "all"]) -> int:
        """Return how many phases' maps a translation will have."""
        return self.bundle.metadata.upgan.architecture.phases if phases == "all" else 1


def _consistency(measured: Measurement, task: Task, slices: np.ndarray, plane: Plane) -> Consistency:
    if not task.output.relative:
        raise InputError(
            "not_a_restoration",
            f"Measured lines belong to an MR image, and this model makes {task.image_name} of it.",
            "Choose a model that restores undersampled MR images, or translate without the measured lines.",
        )
    return Consistency(measured, slices, plane)


def oddities(bundle: Bundle, volume: Volume, plane: Plane | None = None) -> list[str]:
    """Sentences on what is odd about a model, or about a volume for it: its place and its looks."""
    metadata = bundle.metadata
    section = metadata.upgan
    found = misfits(section.task, section.domain, volume, plane, sees_all=section.architecture.margin_mm is None)
    return [sentence for sentence in (metadata.newer_note, volume.placement.sentence, *found) if sentence]


class _SliceWork:
    """One translation under way: slices of the reoriented volume in, maps of the original layout filled.

    Args:
        engine: The engine with the model.
        shape: The input's [K, J, I].
        entrance: Its slices on their way to the networks.
        kept: The phases whose maps are kept; without any, the first phase alone runs, for its features.
        mirrors: Whether the mirror image is translated, too.
        consistency: Puts what was measured back into each phase's image.

    Attributes:
        maps: By phase, [K, J, I].
        epistemic: The disagreement with the mirror image in output units, float32 [K, J, I]; None without it.
        features: What the first network saw.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        shape: tuple[int, ...],
        entrance: Entrance,
        kept: Collection[int],
        mirrors: bool = False,
        consistency: Consistency | None = None,
    ) -> None:
        self.engine = engine
        self.mirrors = mirrors
        self.consistency = consistency
        self._layout = entrance.layout
        self.slices, self.intensities, self.grid = entrance.slices, entrance.intensities, entrance.grid
        self.phase_count = max(kept, default=1)
        count = len(self.slices)
        features = feature_count(engine.bundle.metadata.upgan.architecture)
        self.features = SliceFeatures(np.zeros((count, features), dtype=np.float32), np.zeros(count))
        self._corrects_its_input = getattr(engine.bundle.metadata.upgan.architecture, "from_input", False)
        # Over the object of each slice: of the disagreement, and of σ.
        self._sums = np.zeros((count, 2))
        try:
            self.maps = {phase: PhaseMaps(*(np.empty(shape, dtype=np.float32) for _ in range(3))) for phase in kept}
            self.epistemic = np.empty(shape, dtype=np.float32) if mirrors else None
        except MemoryError as error:
            raise InputError(
                "too_large",
                f"The maps of {shape[2]}×{shape[1]}×{shape[0]} voxels do not fit into this computer's memory.",
                "Keep the last phase only, crop the image, or use a computer with more memory.",
            ) from error
        self.views = {
            phase: tuple(entrance.layout.apply(array) for array in (maps.image, maps.alpha, maps.beta))
            for phase, maps in self.maps.items()
        }

    @property
    def flip(self) -> float | None:
        """Mean disagreement over the object in the mean σ there; None where it was not asked for."""
        disagreement, sigma = self._sums.sum(axis=0)
        return float(disagreement / sigma) if self.mirrors and sigma > 0 else None

    def run(self, progress: ProgressCallback | None, started: float) -> None:
        """Go through all slices, with half the batch again whenever memory runs out."""
        count = len(self.slices)
        batch = min(self.engine.batch or default_batch(self.engine.device.type, self.grid), count)
        first, passes = 0, self.phase_count * (2 if self.mirrors else 1)
        while first < count:
            last = min(first + batch, count)
            try:
                for done, (phase, mirrored) in enumerate(self._translate(first, last), 1):
                    if progress is not None:
                        fraction = (first + (last - first) * done / passes) / count
                        elapsed = time.monotonic() - started
                        progress(SlicesDone(phase, self.phase_count, last, count, elapsed, fraction, mirrored))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if batch == 1 or not _is_out_of_memory(error):
                    size = f"{self.grid.inside[0]}×{self.grid.inside[1]}"
                    sentence = f"One slice of {size} pixels does not fit into the memory of {self.engine.device}."
                    raise _explained(error, sentence) from error
                batch //= 2
            else:
                first = last
                continue
            # Outside the handler, whose traceback would keep the batch's tensors alive.
            if self.engine.device.type == "cuda":
                torch.cuda.empty_cache()

    def _translate(self, first: int, last: int) -> Iterator[tuple[int, bool]]:
        """Translate one batch of slices and yield the number of each finished phase, and whether of the mirror image.

        Both modes are entered anew for each phase: held across a ``yield`` they would reach the caller, and leaving
        inference mode there (as its decorator does) silently ends autocast, so that later phases ran in float32.
        """
        device = self.engine.device
        normalised = self.intensities.normalise(self.slices[first:last])
        outside = torch.from_numpy(np.ascontiguousarray(normalised))[:, None].to(device)
        a = self.grid.enter(outside)
        begun_from = (outside, a) if self._corrects_its_input else None
        # Nothing else needs them, and a tap costs little but not nothing.
        is_tapped = not self.maps or self.engine.bundle.metadata.upgan.familiarity is not None
        if is_tapped:
            self.engine.tap.open()
        for phase, prediction in self._predictions(a):
            with torch.inference_mode():
                if phase == 1 and is_tapped:
                    self._take_features(first, last, a)
                if phase in self.views or self.consistency is not None:
                    image = self._on_grid(phase, first, prediction.loc, begun_from)
                    if phase in self.views:
                        self._keep(phase, first, last, prediction, image)
            yield phase, False
        if self.mirrors:
            # The columns of axial and coronal slices run to the patient's left.
            for phase, mirrored in self._predictions(self.grid.mirrored(a)):
                with torch.inference_mode():
                    if phase == self.phase_count or self.consistency is not None:
                        turned = self.grid.mirrored(mirrored.loc)
                        other = self._on_grid(None, first, turned, begun_from)
                        mirrored.loc.copy_(self.grid.mirrored(turned))
                        if phase == self.phase_count:
                            self._compare(first, last, other)
                yield phase, True

    def _predictions(self, a: Tensor) -> Iterator[tuple[int, GeneralizedNormal]]:
        """Run the phases that are needed on slices [N, 1, H, W]; yield each one's number and distribution."""
        device, precision = self.engine.device, self.engine.precision
        predictions = self.engine.network.phases(a)
        for phase in range(1, self.phase_count + 1):
            with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
                prediction = next(predictions)
            yield phase, prediction

    def _take_features(self, first: int, last: int, a: Tensor) -> None:
        taken = self.engine.tap.take(a, _OBJECT**self.intensities.task.input.power)
        if taken is not None:
            for kept, values in zip(self.features, taken, strict=True):
                kept[first:last] = values.cpu().numpy()

    def _on_grid(
        self, phase: int | None, first: int, loc: Tensor, begun_from: tuple[Tensor, Tensor] | None
    ) -> np.ndarray:
        """Bring a phase's b̂ [N, 1, H, W] to the volume's pixels, in output units, [N, J, I].

        A network that corrects its input has nothing to say of what is finer than its own pixels: the correction alone
        is resampled, and the input's detail stays. So it is with what was measured, which is put back exactly on the
        pixels that were acquired, and into ``loc``, in place, for the next phase to be given it.

        Args:
            phase: Whose image it is; None for the mirror image's, turned back.
            first: Number of its first slice.
            loc: b̂ as the network gave it.
            begun_from: The input on the volume's pixels and on the network's, where b̂ corrects it.
        """
        found = self.grid.leave(loc.float() - (begun_from[1] if begun_from else 0))
        with np.errstate(over="ignore", invalid="ignore"):  # looked for where maps are kept
            image = self.intensities.denormalise((found + (begun_from[0] if begun_from else 0)).cpu().numpy()[:, 0])
            if self.consistency is None:
                return image
            settled = self.consistency.applied(phase, first, image)
            change = (settled - image) / np.float32(self.intensities.factor)
        loc.add_(self.grid.enter(torch.from_numpy(change)[:, None].to(loc.device)))
        return settled

    def _compare(self, first: int, last: int, other: np.ndarray) -> None:
        """Note how far the last phase's image is from that of the mirror image, turned back, [N, J, I]."""
        assert self.epistemic is not None
        image, alpha, beta = (view[first:last] for view in self.views[self.phase_count])
        # The sample standard deviation of the two.
        disagreement = np.abs(image - other) / np.float32(np.sqrt(2))
        if not np.isfinite(disagreement).all():
            raise _not_finite(self.phase_count, self.engine)
        self._layout.apply(self.epistemic)[first:last] = disagreement
        is_object = self.slices[first:last] > _OBJECT * self.intensities.reference
        sigma = PhaseMaps(image, np.ascontiguousarray(alpha), np.ascontiguousarray(beta)).sigma
        for which, values in enumerate((disagreement, sigma)):
            self._sums[first:last, which] = np.where(is_object, values, 0).sum(axis=(1, 2), dtype=np.float64)

    def _keep(self, phase: int, first: int, last: int, prediction: GeneralizedNormal, image: np.ndarray) -> None:
        spread = torch.cat([prediction.scale, prediction.concentration], dim=1).float()
        alpha, beta = self.grid.leave(spread).cpu().numpy().swapaxes(0, 1)
        calibration = self.engine.bundle.metadata.upgan.calibration
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below
            if calibration is not None:
                # On the way out only: a later phase is guided by σ over its mean, in which the factor cancels.
                alpha = alpha * calibration.factor(phase, image)
            converted = (image, self.intensities.denormalise_scale(alpha), beta)
        if not is_sound(*converted):
            raise _not_finite(phase, self.engine)
        for view, values in zip(self.views[phase], converted, strict=True):
            view[first:last] = values


def content_hash(volume: Volume) -> str:
    """Return the SHA-256 of an image and its place, whatever file it came from.

    Hashed are the shape K, J, I as three 64-bit integers, the 4x4 affine from (i, j, k) to RAS in mm as 64-bit floats
    row by row, and the voxels as 32-bit floats [K, J, I]; all of them little-endian.
    """
    digest = hashlib.sha256(np.asarray(volume.voxels.shape, "<i8").tobytes())
    digest.update(np.ascontiguousarray(volume.ijk_to_ras, "<f8").tobytes())
    for part in volume.voxels:
        digest.update(np.ascontiguousarray(part, "<f4").data)
    return digest.hexdigest()


def _not_finite(phase: int, engine: InferenceEngine) -> ResultError:
    """What is said of maps with NaN, infinities, or a σ that is no number."""
    remedy = "Check the image for voxels far brighter than all others, or use another model."
    if engine.precision != torch.float32:
        remedy = f"Choose the precision float32. {remedy}"
    name = engine.bundle.metadata.name
    sentence = f"What phase {phase} of the model '{name}' made of this image is not a number everywhere."
    return ResultError("not_finite_output", sentence, remedy)


# What CUDA, cuBLAS, cuDNN and the host's allocators say besides torch.OutOfMemoryError.
_NO_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory")


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in _NO_MEMORY)


def _explained(error: Exception, sentence: str) -> Exception:
    """Say a lack of memory in words; hand on anything else as it is, for it is a defect."""
    if not _is_out_of_memory(error):
        return error
    return DeviceError("out_of_memory", sentence, "Use the CPU, or close other programs on that device.")

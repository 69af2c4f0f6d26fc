"""What a translation gives back: every phase's image and its distribution, on the input's own grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from upgan.images.placement import CERTAIN, Placement
from upgan.images.volume import Volume
from upgan.tasks import Display, Task
from upgan.uncertainty.distribution import GeneralizedNormal

Quantity = Literal["image", "alpha", "beta", "sigma", "epistemic"]
# Of every phase; ``epistemic`` is of the last alone, where it was asked for.
QUANTITIES: tuple[Quantity, ...] = ("image", "alpha", "beta", "sigma")


_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def is_sound(image: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> bool:
    """Whether these are numbers throughout, and describe distributions whose σ is one: α > 0, β > 0, σ finite.

    A sum and four extremes tell, for NaN and infinities reach them, and α's largest value with β's smallest bounds σ.
    Only where that is inconclusive is each voxel looked at.

    Args:
        image: b̂, float32, any shape.
        alpha: α, the same shape.
        beta: β, the same shape.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # which is what is looked for
        if not (math.isfinite(float(image.sum())) or bool(np.isfinite(image).all())):
            return False
    largest_alpha, smallest_beta = float(alpha.max()), float(beta.min())
    # NaN is not above zero.
    if not (
        float(alpha.min()) > 0 and smallest_beta > 0 and math.isfinite(largest_alpha) and math.isfinite(beta.max())
    ):
        return False
    if largest_alpha * _sigma_of_alpha(smallest_beta) < _LARGEST_FLOAT32:  # σ/α falls as β grows
        return True
    return bool(np.isfinite(_sigma(alpha, beta)).all())


def _sigma_of_alpha(beta: float) -> float:
    """σ/α of Eq. 3 in float64."""
    exponent = 0.5 * (math.lgamma(3 / beta) - math.lgamma(1 / beta))
    return math.exp(exponent) if exponent < 700 else math.inf


def _sigma(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    distribution = GeneralizedNormal(
        torch.zeros(()), torch.from_numpy(alpha), torch.from_numpy(beta), validate_args=False
    )
    return distribution.stddev.numpy()


@dataclass(frozen=True, eq=False)
class PhaseMaps:
    """One phase's parameters per voxel, each float32 [K, J, I].

    Attributes:
        image: b̂ in the task's unit (HU in PET→CT).
        alpha: Scale α, same unit.
        beta: Shape β, without unit.
    """

    image: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviation σ of Eq. 3, same unit as the image, computed slice by slice to spare memory."""
        sigma = np.empty_like(self.alpha)
        for out, alpha, beta in zip(sigma, self.alpha, self.beta, strict=True):
            out[...] = _sigma(alpha, beta)
        return sigma


class Output(NamedTuple):
    """One volume to show or save.

    Attributes:
        name: File stem and dictionary key: ``pseudo_ct``, ``sigma``; ``sigma_phase_1`` for earlier phases.
        quantity: What it shows: image, alpha, beta, sigma or epistemic.
        phase: The phase that it comes from, the first being 1.
        unit: HU, 1 for β, empty for arbitrary intensities.
        voxels: float32 [K, J, I] on the input's grid.
    """

    name: str
    quantity: Quantity
    phase: int
    unit: str
    voxels: np.ndarray


@dataclass(frozen=True, eq=False)
class Translation:
    """A translated volume with its uncertainty.

    Attributes:
        phases: Maps by phase number; all phases, or the last alone.
        ijk_to_ras: The input's own 4x4 affine, mm.
        task: What was translated.
        reference: Input intensity that was 1 to the network; display hints of relative tasks are multiples of it.
        provenance: What made it: JSON-able.
        placement: How sure the input's place is, and so the outputs'.
        epistemic: Disagreement of the last image with that of the mirror image, turned back: the sample standard
            deviation of the two, in the image's unit, float32 [K, J, I]; None where it was not asked for, or sagittal.
            Of an ensemble, always: the sample standard deviation of its members' last images.

    Example:
        >>> from upgan import InferenceEngine, find_bundle, read_volume
        >>> engine = InferenceEngine(find_bundle("pet-ct-phantom"), device="cpu")
        >>> translation = engine.translate(read_volume("pet.nii.gz"), phases="all")
        >>> sorted(translation.phases)
        [1, 2]
        >>> [(output.name, output.unit) for output in translation.outputs()][:4]  # the last phase's first
        [('pseudo_ct', 'HU'), ('alpha', 'HU'), ('beta', '1'), ('sigma', 'HU')]
    """

    phases: dict[int, PhaseMaps]
    ijk_to_ras: np.ndarray
    task: Task
    reference: float
    provenance: dict[str, Any] = field(default_factory=dict)
    placement: Placement = CERTAIN
    epistemic: np.ndarray | None = None

    @property
    def last(self) -> PhaseMaps:
        """The maps of the last phase: the result."""
        return self.phases[max(self.phases)]

    @property
    def display(self) -> Display:
        """The task's display hints in output units, scaled to the input where its unit is arbitrary."""
        hints = self.task.display
        if not self.task.output.relative:
            return hints
        # Not validated: an input's unit may be anything.
        return hints.model_copy(update={name: value * self.reference for name, value in hints})

    def outputs(self, quantities: Iterable[Quantity] = (*QUANTITIES, "epistemic")) -> Iterator[Output]:
        """Yield the asked-for volumes that there are one at a time, the last phase first; σ is computed in its turn."""
        quantities = tuple(quantities)
        last = max(self.phases)
        for phase in sorted(self.phases, reverse=True):
            suffix = "" if phase == last else f"_phase_{phase}"
            for quantity in quantities:
                if quantity == "epistemic":
                    if self.epistemic is not None and phase == last:
                        yield Output(quantity, quantity, phase, self.task.unit, self.epistemic)
                    continue
                stem = self.task.image_key if quantity == "image" else quantity
                unit = "1" if quantity == "beta" else self.task.unit
                yield Output(stem + suffix, quantity, phase, unit, getattr(self.phases[phase], quantity))

    def volume(self, output: Output) -> Volume:
        """Place an output in space."""
        modality = self.task.output_modality if output.quantity == "image" else None
        return Volume(output.voxels, self.ijk_to_ras, modality, self.placement)

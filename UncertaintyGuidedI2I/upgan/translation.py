"""What a translation gives back: every phase's image and its distribution, on the input's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from upgan.distribution import GeneralizedNormal
from upgan.images.placement import CERTAIN, Placement
from upgan.tasks import Display, Task
from upgan.volume import Volume

Quantity = Literal["image", "alpha", "beta", "sigma"]
QUANTITIES: tuple[Quantity, ...] = ("image", "alpha", "beta", "sigma")


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
            distribution = GeneralizedNormal(
                torch.zeros(()), torch.from_numpy(alpha), torch.from_numpy(beta), validate_args=False
            )
            out[...] = distribution.stddev.numpy()
        return sigma


class Output(NamedTuple):
    """One volume to show or save.

    Attributes:
        name: File stem and dictionary key: ``pseudo_ct``, ``sigma``; ``sigma_phase_1`` for earlier phases.
        quantity: Which of the four it is.
        phase: Which phase it comes from, the first being 1.
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
    """

    phases: dict[int, PhaseMaps]
    ijk_to_ras: np.ndarray
    task: Task
    reference: float
    provenance: dict[str, Any] = field(default_factory=dict)
    placement: Placement = CERTAIN

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
        return Display(**{name: value * self.reference for name, value in hints})

    def outputs(self, quantities: Iterable[Quantity] = QUANTITIES) -> Iterator[Output]:
        """Yield the asked-for volumes one at a time, the last phase first; σ is computed when its turn comes."""
        quantities = tuple(quantities)
        for phase in sorted(self.phases, reverse=True):
            suffix = "" if phase == max(self.phases) else f"_phase_{phase}"
            for quantity in quantities:
                stem = self.task.image_key if quantity == "image" else quantity
                unit = "1" if quantity == "beta" else self.task.unit
                yield Output(stem + suffix, quantity, phase, unit, getattr(self.phases[phase], quantity))

    def volume(self, output: Output) -> Volume:
        """Place an output in space."""
        modality = self.task.output_modality if output.quantity == "image" else None
        return Volume(output.voxels, self.ijk_to_ras, modality, self.placement)

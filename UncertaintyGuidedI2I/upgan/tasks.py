"""What a translation is: which modality becomes which, in which units, and how intensities meet the network.

A task is data (it travels inside a model bundle), so that a site declares its own by writing one down: no code.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from upgan.errors import InputError
from upgan.images.hounsfield import looks_like_hounsfield
from upgan.images.volume import Volume
from upgan.schema import Label

# Percentiles of a strided sample of this many voxels are stable to a per mille and need no copy of a large volume.
_SAMPLE = 2_000_000


# What an output's file and dictionary key may not be: its companions' names, and devices of Windows.
_RESERVED = re.compile(r"alpha|beta|sigma|epistemic|provenance|.*_phase_\d+|con|prn|aux|nul|(com|lpt)\d")

# Intensities, in output units: HU and SUV, and the Bq/ml of a bladder, lie far within.
_LARGEST = 1e9
_Positive = Annotated[float, Field(ge=1e-9, le=_LARGEST)]
_Signed = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]


def _unreserved(key: str) -> str:
    if _RESERVED.fullmatch(key):
        raise ValueError("is the name of another file of a result, or of a device")
    return key


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputScale(_Frozen):
    """x = (max(v, 0) / v_ref)^power, with v_ref a percentile of the foreground.

    Attributes:
        percentile: Percentile of the foreground that becomes 1; from 1 on.
        power: 0.5 compresses the bright uptake of PET; 1 keeps MRI linear. Within 0.1 to 4.
    """

    percentile: float = Field(99.0, ge=1, le=100)
    power: float = Field(1.0, ge=0.1, le=4)


class OutputScale(_Frozen):
    """v = factor·y + offset; with ``relative`` the factor is multiplied by the input's v_ref.

    Attributes:
        factor: Output units per network unit (1000 HU in PET→CT); within 1e-6 to 1e9.
        offset: Output value of network zero (−1000 HU, air, in PET→CT: Eq. 3 multiplies by b̂, so its zero must be
            something the guidance may lose); within ±1e9.
        relative: Whether the output is in the input's own intensity unit.
    """

    factor: float = Field(1.0, ge=1e-6, le=_LARGEST)
    offset: _Signed = 0.0
    relative: bool = False


class Display(_Frozen):
    """How a viewer should show the outputs, in output units (fractions of the input's v_ref where relative).

    Widths and maxima lie within 1e-9 to 1e9, level and threshold within ±1e9.

    Attributes:
        window: Width of the grey window of the image.
        level: Centre of that window.
        sigma_threshold: σ below this is left transparent.
        sigma_max: σ at the top of its colour scale.
        alpha_max: α at the top of its colour scale.
    """

    window: _Positive
    level: _Signed
    sigma_threshold: float = Field(ge=0, le=_LARGEST)
    sigma_max: _Positive
    alpha_max: _Positive


class Task(_Frozen):
    """A translation from one modality to another.

    Attributes:
        name: Identifier, e.g. ``pet_to_ct``.
        title: One line for a model card or a menu.
        input_modality: DICOM modality code of the input.
        output_modality: DICOM modality code of what comes out.
        image_key: File stem and dictionary key of the translated image: none of ``alpha``, ``beta``, ``sigma``,
            ``epistemic`` and ``provenance``, which lie beside it.
        image_name: Name of the translated image for people.
        unit: Unit of image, α and σ; empty for the input's own arbitrary unit.
        input: Intensities → network.
        output: Network → intensities.
        display: Hints for the viewer.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    title: Label
    input_modality: Literal["PT", "MR", "CT"]
    output_modality: Literal["PT", "MR", "CT"]
    image_key: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64), AfterValidator(_unreserved)]
    image_name: Label
    unit: Annotated[Label, Field(max_length=32)]
    input: InputScale
    output: OutputScale
    display: Display

    @property
    def is_restoration(self) -> bool:
        """Whether an input, normalised, is an output already, if a bad one: both are on one scale."""
        return self.output == OutputScale(relative=True) and self.input.power == 1

    def measure(self, voxels: np.ndarray) -> Intensities:
        """Measure an image's foreground and fix the mapping between its intensities and the network's.

        Args:
            voxels: [K, J, I] in the input's own intensities.

        Raises:
            InputError: ``constant_image`` where there is no contrast, ``no_signal`` where nothing is above zero,
                ``input_is_ct`` where the values are those of a CT in HU and another modality is expected.
        """
        sample = _sample(voxels)
        if sample.min() == sample.max() or not (sample > 0).any():
            sample = voxels  # something thin may lie between the sampled voxels
        lowest, highest = float(sample.min()), float(sample.max())
        if lowest == highest:
            raise InputError(
                "constant_image",
                f"Every voxel of the image has the same value ({lowest:g}).",
                "Check that the right volume was chosen and that its file is complete.",
            )
        positive = sample[sample > 0]
        if positive.size == 0:
            raise InputError(
                "no_signal",
                "No voxel of the image is above zero.",
                f"A {self.input_modality} image in its usual intensities is expected; check units and rescaling.",
            )
        if self.input_modality != "CT" and looks_like_hounsfield(sample):
            raise InputError(
                "input_is_ct",
                f"The image looks like a CT in HU, but {self.input_modality} is expected.",
                f"Choose the patient's {self.input_modality} image.",
            )
        foreground = positive[positive > positive.mean(dtype=np.float64) / 2]
        return Intensities(self, float(np.percentile(foreground, self.input.percentile)))

    def misfits(self, volume: Volume) -> list[str]:
        """Sentences on why this volume may not be what the task translates; empty where it seems to fit."""
        found = []
        if volume.modality is not None and volume.modality != self.input_modality:
            found.append(
                f"The image is marked as {volume.modality}, but this model translates {self.input_modality} images."
            )
        sample = _sample(volume.voxels)
        negative = float((sample < -0.05 * sample.max()).mean())
        if negative > 0.01:
            found.append(
                f"{negative:.0%} of the voxels are clearly negative, which {self.input_modality} intensities are not; "
                "they are taken as zero."
            )
        return found


class Intensities:
    """A task's intensity mapping for one volume.

    Args:
        task: The translation.
        reference: v_ref, the input intensity that becomes 1.
    """

    def __init__(self, task: Task, reference: float) -> None:
        self.task = task
        self.reference = reference
        self.factor = task.output.factor * (reference if task.output.relative else 1.0)

    def normalise(self, intensities: np.ndarray) -> np.ndarray:
        """Input intensities, any shape → network units, float32."""
        scaled = np.maximum(intensities, 0, dtype=np.float32) / np.float32(self.reference)
        return scaled if self.task.input.power == 1 else scaled**self.task.input.power

    def normalise_target(self, intensities: np.ndarray) -> np.ndarray:
        """Output intensities, any shape → network units, float32."""
        return (intensities.astype(np.float32) - np.float32(self.task.output.offset)) / np.float32(self.factor)

    def denormalise(self, image: np.ndarray) -> np.ndarray:
        """Network image b̂ → output intensities (HU in PET→CT)."""
        return image * np.float32(self.factor) + np.float32(self.task.output.offset)

    def denormalise_scale(self, scale: np.ndarray) -> np.ndarray:
        """Network α or σ → output units; an offset does not move a scale."""
        return scale * np.float32(self.factor)


def _sample(voxels: np.ndarray) -> np.ndarray:
    """Return at most about two million voxels, evenly strided."""
    stride = max(1, int(np.ceil((voxels.size / _SAMPLE) ** (1 / 3))))
    return voxels[::stride, ::stride, ::stride]


def _pseudo_ct(name: str, title: str, input_modality: Literal["PT", "MR"], power: float) -> Task:
    return Task(
        name=name,
        title=title,
        input_modality=input_modality,
        output_modality="CT",
        image_key="pseudo_ct",
        image_name="pseudo-CT",
        unit="HU",
        input=InputScale(percentile=99.0, power=power),
        output=OutputScale(factor=1000.0, offset=-1000.0),
        display=Display(window=2000, level=300, sigma_threshold=100, sigma_max=500, alpha_max=500),
    )


PET_TO_CT = _pseudo_ct("pet_to_ct", "NAC-PET → pseudo-CT", "PT", power=0.5)
MR_TO_CT = _pseudo_ct("mr_to_ct", "T1 MRI → pseudo-CT", "MR", power=1.0)


def _restoration(name: str, title: str) -> Task:
    return Task(
        name=name,
        title=title,
        input_modality="MR",
        output_modality="MR",
        image_key="restored_mr",
        image_name="restored MR",
        unit="",
        input=InputScale(percentile=99.0, power=1.0),
        output=OutputScale(relative=True),
        display=Display(window=1.0, level=0.5, sigma_threshold=0.02, sigma_max=0.2, alpha_max=0.2),
    )


MRI_UNDERSAMPLED = _restoration("mri_undersampled", "Undersampled T1 MRI → fully sampled")
MRI_MOTION = _restoration("mri_motion", "Motion-corrupted T1 MRI → clean")

TASKS: dict[str, Task] = {task.name: task for task in (PET_TO_CT, MR_TO_CT, MRI_UNDERSAMPLED, MRI_MOTION)}

"""What a translation will cost, told before it starts and without the network: arithmetic, memory and time.

The multiply-adds are exact where the model's bundle has them counted, else about right; memory is about right and
rather too much; time is as good as the rate it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from upgan.images.orientation import Plane, Reorientation, has_mirror_axis
from upgan.inference.memory import SUMS, default_batch
from upgan.networks.architecture import kind_of
from upgan.networks.cost import Cost, rough_cost
from upgan.networks.in_plane import InPlaneGrid

DeviceKind = Literal["cpu", "cuda"]

# Multiply-adds a second, half of what one core of a server processor with AMX did on the bundled model (float32 5.3e10,
# bfloat16 1.16e11). Two cores did 1.5e11 and 6.5e11 on a model of the paper's width, and less than one when other
# programs were using them: hence half. No graphics card was measured; there the first run tells.
CAUTIOUS_RATES: dict[tuple[DeviceKind, str], float] = {("cpu", "float32"): 2.5e10, ("cpu", "bfloat16"): 5e10}

_FLOAT = 4
# A process that has loaded PyTorch, measured on the CPU. CUDA's libraries need more, and their context needs memory on
# the card itself: usual sizes, not measured here.
_PROCESS_BYTES: dict[DeviceKind, int] = {"cpu": 500_000_000, "cuda": 3_000_000_000}
_CONTEXT_BYTES: dict[DeviceKind, int] = {"cpu": 0, "cuda": 600_000_000}
# Maps of one value per pixel that are alive at the end of a phase: three parameters of it and of the phase before, the
# guidance, the input, and temporaries.
_MAPS = 16
# Values per pixel that are alive at once, in widths, while a U-Net's finest decoder block works: the two halves of its
# input and what was made of them, two widths each, and three maps of its own (a convolution's input and output, or two
# branches and their sum). In the encoder the finest level holds less, and every coarser one has a quarter of the pixels
# for twice the channels.
_MOST_ALIVE = 7
# Allocators keep some of what was freed, in pieces too small for what comes next: glibc's up to as much again, from run
# to run of the same translation. What is missing here the process's own figure has room for.
_FRAGMENTS = 1.25


class Estimate(NamedTuple):
    """About what a translation needs.

    Attributes:
        multiply_adds: Number of multiply-adds of all convolutions.
        is_counted: Whether that, and the networks' share of the memory, was counted and is no rough figure.
        host_bytes: Memory of engine and viewer together, bytes.
        device_bytes: Memory of the graphics card, bytes; that of the host on the CPU, where it is part of
            ``host_bytes``.
        seconds: Time of the networks in seconds; None where no rate is known.
    """

    multiply_adds: int
    is_counted: bool
    host_bytes: int
    device_bytes: int
    seconds: float | None


def estimate(
    model: Mapping[str, Any],
    shape: tuple[int, int, int],
    ijk_to_ras: np.ndarray,
    *,
    plane: Plane | None = None,
    phases: Literal["last", "all"] = "last",
    outputs: int = 4,
    epistemic: bool = False,
    device: DeviceKind = "cpu",
    precision: str = "float32",
    rate: float | None = None,
) -> Estimate:
    """Estimate a translation from the model's metadata and the volume's grid.

    Where the networks see the object and a margin alone, it is as if the two filled the field of view: often too much.

    Args:
        model: The section ``upgan`` of metadata.json.
        shape: The volume's [K, J, I].
        ijk_to_ras: The volume's affine, 4x4, mm.
        plane: The plane of the slices; the model's own where None.
        phases: Whether the maps of the last phase or of all are kept.
        outputs: How many volumes per phase the viewer is given.
        epistemic: Whether the disagreement with the mirror image is among what is asked for, beside these.
        device: Kind of the processor.
        precision: The networks' arithmetic, float32 or bfloat16.
        rate: Multiply-adds a second of an earlier translation (``rate_of``); a cautious rate for the device where None.

    Raises:
        BundleError: ``unknown_architecture``.
        InputError: ``absurd_field_of_view`` or ``absurd_matrix``, as the engine will.
    """
    architecture = kind_of(model["architecture"]).model_validate(model["architecture"])
    counted = model.get("cost")
    networks = Cost.model_validate(counted) if counted else rough_cost(architecture)
    plane = plane or model.get("plane", "axial")
    slices, grid = _network_grid(shape, ijk_to_ras, plane, model["spacing_mm"])
    rows, columns = grid.padded
    is_mirrored = epistemic and has_mirror_axis(plane)
    passes = 2 if is_mirrored else 1
    multiply_adds = round(passes * slices * rows * columns * networks.multiply_adds_per_pixel)

    number = 2 if precision == "bfloat16" else _FLOAT
    batch = min(default_batch(device, grid), slices)
    pixel_bytes = architecture.width * (_MOST_ALIVE * number + _FLOAT) + _MAPS * _FLOAT
    resized = _FLOAT * _MAPS * batch * int(np.prod(shape)) // slices
    work = int(_FRAGMENTS * batch * rows * columns * pixel_bytes) + resized
    # bfloat16 keeps a second, half-sized copy of the weights.
    device_bytes = networks.parameters * (_FLOAT + number % _FLOAT) + work + _CONTEXT_BYTES[device]

    kept = 1 if phases == "last" else architecture.phases
    volumes = 1 + 3 * kept + 1 + outputs * kept  # input; image, α, β; σ as it is made; the viewer's copies
    volumes += 2 * is_mirrored
    host_bytes = _PROCESS_BYTES[device] + volumes * _FLOAT * int(np.prod(shape))
    if device == "cpu":
        host_bytes += device_bytes

    rate = rate or CAUTIOUS_RATES.get((device, precision))
    seconds = multiply_adds / rate if rate else None
    return Estimate(multiply_adds, bool(counted), host_bytes, device_bytes, seconds)


def together(members: Sequence[Estimate], shape: tuple[int, int, int], kept: int) -> Estimate:
    """Add up what the models of an ensemble need: the time of all of them, and the memory of the largest.

    Args:
        members: What each needs by itself, one or more; one alone needs nothing beside that.
        shape: The volume's [K, J, I].
        kept: How many phases' maps are kept.
    """
    if len(members) == 1:
        return members[0]
    seconds = [member.seconds for member in members]
    return Estimate(
        multiply_adds=sum(member.multiply_adds for member in members),
        is_counted=all(member.is_counted for member in members),
        host_bytes=max(member.host_bytes for member in members) + SUMS * kept * _FLOAT * int(np.prod(shape)),
        device_bytes=max(member.device_bytes for member in members),
        seconds=None if None in seconds else sum(each for each in seconds if each is not None),
    )


def rate_of(multiply_adds: int, seconds: float) -> float:
    """Return the multiply-adds a second of a finished translation, for the same model, device and precision."""
    return multiply_adds / max(seconds, 1e-3)


def _network_grid(
    shape: tuple[int, int, int], ijk_to_ras: np.ndarray, plane: Plane, spacing_mm: tuple[float, float]
) -> tuple[int, InPlaneGrid]:
    """Return the number of slices, and how they get to the model's pixel size."""
    reorientation = Reorientation.of(np.asarray(ijk_to_ras, dtype=float), plane)
    columns, rows, slices = (shape[2 - source] for source in reorientation.sources)
    return slices, InPlaneGrid.of((rows, columns), reorientation.in_plane_spacing, spacing_mm)

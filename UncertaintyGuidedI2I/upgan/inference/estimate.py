"""What a translation will cost, told before it starts and without the network: arithmetic, memory and time.

The multiply-adds are exact; memory is about right and rather too much; time is as good as the rate it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from upgan.errors import BundleError
from upgan.images.orientation import Plane, Reorientation

DeviceKind = Literal["cpu", "cuda"]

# Multiply-adds a second, half of what one core of a server processor with AMX did on the bundled model (float32 5.3e10,
# bfloat16 1.16e11). Two cores did 1.5e11 and 6.5e11 on a model of the paper's width, and less than one when other
# programs were using them: hence half. No graphics card was measured; there the first run tells.
CAUTIOUS_RATES: dict[tuple[DeviceKind, str], float] = {("cpu", "float32"): 2.5e10, ("cpu", "bfloat16"): 5e10}

# As in upgan.networks.in_plane and upgan.inference.engine.
_MULTIPLE = 16
_BATCH_PIXELS: dict[DeviceKind, int] = {"cpu": 8 * 112 * 96, "cuda": 32 * 192 * 192}

_FLOAT = 4
# A process that has loaded PyTorch, measured on the CPU. CUDA's libraries need more, and their context needs memory on
# the card itself: usual sizes, not measured here.
_PROCESS_BYTES: dict[DeviceKind, int] = {"cpu": 500_000_000, "cuda": 3_000_000_000}
_CONTEXT_BYTES: dict[DeviceKind, int] = {"cpu": 0, "cuda": 600_000_000}
# Maps of one value per pixel that are alive at the end of a phase: three parameters of it and of the phase before, the
# guidance, the input, and temporaries.
_MAPS = 16
# Allocators keep some of what was freed, in pieces too small for what comes next.
_FRAGMENTS = 1.25


class Estimate(NamedTuple):
    """About what a translation needs.

    Attributes:
        multiply_adds: Of all convolutions; exact.
        host_bytes: Memory of engine and viewer together.
        device_bytes: Of the graphics card; of the host on the CPU, where it is part of ``host_bytes``.
        seconds: None where no rate is known.
    """

    multiply_adds: int
    host_bytes: int
    device_bytes: int
    seconds: float | None


class _Convolution(NamedTuple):
    """One layer: how often its slice was halved, channels in and out, kernel size."""

    level: int
    inputs: int
    outputs: int
    kernel: int = 3


def estimate(
    model: Mapping[str, Any],
    shape: tuple[int, int, int],
    ijk_to_ras: np.ndarray,
    *,
    plane: Plane | None = None,
    phases: Literal["last", "all"] = "last",
    outputs: int = 4,
    device: DeviceKind = "cpu",
    precision: str = "float32",
    rate: float | None = None,
) -> Estimate:
    """Estimate a translation from the model's metadata and the volume's grid.

    Args:
        model: The section ``upgan`` of metadata.json.
        shape: The volume's [K, J, I].
        ijk_to_ras: Its affine, mm.
        plane: Of the slices; the model's own where None.
        phases: Whether the maps of the last phase or of all are kept.
        outputs: How many volumes per phase the viewer is given.
        device: Kind of the processor.
        precision: float32 or bfloat16.
        rate: Multiply-adds a second that an earlier run had (``rate_of``); else a cautious one for the device.

    Raises:
        BundleError: ``unknown_architecture``.
    """
    architecture = model["architecture"]
    plane = plane or model.get("plane", "axial")
    slices, rows, columns = _network_grid(shape, ijk_to_ras, plane, model["spacing_mm"])
    generators = list(_generators(architecture))
    layers = [layer for generator in generators for layer in generator]
    multiply_adds = slices * sum(_multiply_adds(layer, rows, columns) for layer in layers)

    number = 2 if precision == "bfloat16" else _FLOAT
    weights = sum(layer.outputs * (layer.inputs * layer.kernel**2 + 1) for layer in layers)
    batch = min(max(1, _BATCH_PIXELS[device] // (rows * columns)), slices)
    width = architecture.get("width", 64)
    features = max(_most_alive(generator, width) for generator in generators)
    pixel_bytes = features * number + width * _FLOAT + _MAPS * _FLOAT
    resized = _FLOAT * _MAPS * batch * int(np.prod(shape)) // slices
    work = int(_FRAGMENTS * batch * rows * columns * pixel_bytes) + resized
    # bfloat16 keeps a second, half-sized copy of the weights.
    device_bytes = weights * (_FLOAT + number % _FLOAT) + work + _CONTEXT_BYTES[device]

    kept = 1 if phases == "last" else len(generators)
    volumes = 1 + 3 * kept + 1 + outputs * kept  # input; image, α, β; σ as it is made; the viewer's copies
    host_bytes = _PROCESS_BYTES[device] + volumes * _FLOAT * int(np.prod(shape))
    if device == "cpu":
        host_bytes += device_bytes

    rate = rate or CAUTIOUS_RATES.get((device, precision))
    return Estimate(multiply_adds, host_bytes, device_bytes, multiply_adds / rate if rate else None)


def rate_of(multiply_adds: int, seconds: float) -> float:
    """Multiply-adds a second of a finished run; it holds for the same model, device and precision."""
    return multiply_adds / max(seconds, 1e-3)


def _network_grid(
    shape: tuple[int, int, int], ijk_to_ras: np.ndarray, plane: Plane, spacing_mm: tuple[float, float]
) -> tuple[int, int, int]:
    """Return slices, rows and columns as the network sees them: at the model's spacing, padded."""
    reorientation = Reorientation.of(np.asarray(ijk_to_ras, dtype=float), plane)
    columns, rows, slices = (shape[2 - source] for source in reorientation.sources)
    inside = (
        max(round(count * step / wanted), 1)
        for count, step, wanted in zip((rows, columns), reorientation.in_plane_spacing, spacing_mm, strict=True)
    )
    rows, columns = (size + -size % _MULTIPLE for size in inside)
    return slices, rows, columns


def _generators(architecture: Mapping[str, Any]) -> Iterator[list[_Convolution]]:
    """Yield the layers of each phase; see ``networks.cascade`` and ``networks.published``."""
    width = architecture.get("width", 64)
    if architecture.get("name") == "up-gan":
        for phase in range(architecture.get("phases", 3)):
            heads = [_Convolution(0, width, 1, 1)] * 3
            yield [*_unet(1 if phase == 0 else 2, width, architecture.get("deepest", 8)), *heads]
    elif architecture.get("name") == "published-up-gan":
        for phase, links in enumerate(architecture.get("chains", (2, 1, 1))):
            inputs = 1 if phase == 0 else 4
            link = [*_unet(inputs, width, 8), _Convolution(0, width, inputs, 1)]
            wide_heads = [_Convolution(0, width, 128, 1), _Convolution(0, 128, 1, 1)] * 2
            last = [*_unet(inputs, width, 8), _Convolution(0, width, 1, 1), *wide_heads]
            yield link * (links - 1) + last
    else:
        raise BundleError(
            "unknown_architecture",
            f"The model's architecture '{architecture.get('name')}' is not known to this version.",
            "Update the extension.",
        )


def _unet(inputs: int, width: int, deepest: int) -> Iterator[_Convolution]:
    """Yield the layers of ``networks.unet.ResidualUNet``."""
    down = [inputs, width, 2 * width, 4 * width, deepest * width, deepest * width]
    for level, (i, o) in enumerate(pairwise(down)):
        yield from _block(level, i, o, o)
    up = [2 * deepest * width, 8 * width, 4 * width, 2 * width]
    out = [4 * width, 2 * width, width, width]
    for level, i, o in zip((3, 2, 1, 0), up, out, strict=True):
        yield from _block(level, i, o, i // 2)


def _block(level: int, inputs: int, outputs: int, middle: int) -> Iterator[_Convolution]:
    for i, o in ((inputs, middle), (middle, middle), (middle, outputs), (inputs, outputs)):
        yield _Convolution(level, i, o)


def _multiply_adds(layer: _Convolution, rows: int, columns: int) -> int:
    pixels = (rows >> layer.level) * (columns >> layer.level)
    return pixels * layer.inputs * layer.outputs * layer.kernel**2


def _most_alive(generator: list[_Convolution], width: int) -> float:
    """Values per pixel of the finest level that are alive at once in a generator's most demanding block.

    While the finest decoder block works these are its concatenated input and the two halves it was made of, and three
    maps of its own (a convolution's input and output, or two branches and their sum); in the encoder the finest level
    holds less, and every coarser one has a quarter of the pixels for twice the channels.
    """
    finest = max(layer.inputs for layer in generator if layer.level == 0 and layer.kernel == 3)
    return 2 * finest + 3 * width

"""Speed and memory of the engine at the paper's width, beside a plain loop over the same weights in the same run.

Run by ``make benchmark``; prints a table and writes it to build/benchmarks/inference.md. Before anything is timed the
engine's images are compared with the plain loop's: speed is not bought with wrong results. Peak memory is that of a
process of its own on the CPU (interpreter, libraries and loading included), of PyTorch's allocator on a GPU.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from Benchmarks.plain_loop import Maps, PlainLoop
from upgan.bundles.bundle import Bundle, software_versions, write_bundle
from upgan.images.volume import Volume
from upgan.inference.devices import computes_in_bfloat16
from upgan.inference.engine import InferenceEngine
from upgan.networks.cascade import Cascade, CascadeArchitecture
from upgan.simulation.phantom import simulate_head
from upgan.tasks import PET_TO_CT

SEED = 2021
SIDE, PIXEL_MM = 192, 1.25
SLICES = {"cpu": 8, "cuda": 256}
ROUNDS = {"cpu": 3, "cuda": 5}
VARIANTS = ("plain loop", "engine float32", "engine auto")
TABLE = Path(__file__).resolve().parents[2] / "build" / "benchmarks" / "inference.md"

# Largest difference from the plain loop, relative to it. GPUs convolve "float32" in TF32, ten bits of mantissa.
_TOLERANCE = {("cpu", torch.float32): 1e-3, ("cuda", torch.float32): 1e-2}
_TOLERANCE_BFLOAT16 = 5e-2


class Measurement(NamedTuple):
    """One line of the table."""

    device: str
    variant: str
    precision: str
    seconds: list[float]
    peaks_mib: tuple[float, float]
    difference: float


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """A model of the paper's size with random weights whose heads and running statistics matter."""
    torch.manual_seed(SEED)
    cascade = Cascade(CascadeArchitecture(phases=3, width=64))
    for generator in cascade.generators:
        for head in (generator.image_head, generator.scale_head, generator.concentration_head):
            torch.nn.init.normal_(head.weight, std=0.1)
    for name, buffer in cascade.named_buffers():
        if "running_mean" in name:
            buffer.normal_(std=0.1)
        elif "running_var" in name:
            buffer.uniform_(0.5, 1.5)
    metadata = {"name": "paper-width", "version": "0", "description": "for the benchmark", **software_versions()}
    section = {"task": PET_TO_CT.model_dump(mode="json"), "spacing_mm": (PIXEL_MM, PIXEL_MM)}
    return write_bundle(tmp_path_factory.mktemp("models") / "paper-width", cascade, metadata, section, "none", "none")


def slices_of_a_head(count: int) -> Volume:
    """Axial slices of simulated uptake in the engine's own layout and pixel size, repeated to the number wanted."""
    head = simulate_head(SEED, (8, SIDE, SIDE), (24.0, PIXEL_MM, PIXEL_MM))
    return Volume(np.tile(head.activity.voxels, (count // 8, 1, 1)), head.activity.ijk_to_ras)


def translator(variant: str, bundle: Bundle, device: str) -> PlainLoop | InferenceEngine:
    if variant == "plain loop":
        return PlainLoop(bundle, device)
    return InferenceEngine(bundle, device, variant.removeprefix("engine "))


class Plain(NamedTuple):
    """What the plain loop answers, once per device."""

    volume: Volume
    maps: Maps


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def plain(request, bundle) -> tuple[str, Plain]:
    device = request.param
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    volume = slices_of_a_head(SLICES[device])
    return device, Plain(volume, PlainLoop(bundle, device).translate(volume))


@pytest.fixture(scope="module")
def table():
    """Lines of the table; printed and written at the end."""
    lines: list[Measurement] = []
    yield lines
    if lines:
        text = render(lines)
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text(text, encoding="utf-8")
        print("\n\n" + text)


@pytest.mark.parametrize("variant", VARIANTS)
def test_speed_and_memory_at_the_width_of_the_paper(benchmark, bundle, table, plain, variant):
    device, (volume, expected) = plain
    model = translator(variant, bundle, device)
    precision = torch.float32 if isinstance(model, PlainLoop) else model.precision
    found = model.translate(volume)  # also the warm-up
    maps = found if isinstance(found, Maps) else found.last
    difference = relative_difference(maps.image, expected.image)
    assert np.ptp(expected.image[0]) > 100  # HU: images that could differ
    assert difference <= _TOLERANCE.get((device, precision), _TOLERANCE_BFLOAT16)
    assert relative_difference(maps.alpha, expected.alpha) <= 2 * _TOLERANCE_BFLOAT16

    benchmark.group = f"{len(volume.voxels)} slices on {device}"
    benchmark.extra_info["difference"] = difference
    benchmark.pedantic(model.translate, (volume,), rounds=ROUNDS[device])
    del model
    peaks = peaks_mib(variant, bundle, device, volume)
    seconds = list(benchmark.stats.stats.data)
    table.append(Measurement(device, variant, str(precision).removeprefix("torch."), seconds, peaks, difference))


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Root of the mean squared difference, relative to the standard deviation of what is compared with."""
    return float(np.sqrt(np.square(ours - theirs, dtype=np.float64).mean()) / theirs.std(dtype=np.float64))


def peaks_mib(variant: str, bundle: Bundle, device: str, volume: Volume) -> tuple[float, float]:
    """Peak memory of loading the model and of translating once."""
    if device == "cpu":
        return _peaks_of_a_process(variant, bundle)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = translator(variant, bundle, device)
    loading = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    model.translate(volume)
    return loading / 2**20, torch.cuda.max_memory_allocated() / 2**20


def _peaks_of_a_process(variant: str, bundle: Bundle) -> tuple[float, float]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(Path(__file__).resolve()), variant, str(bundle.folder)]
    printed = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    loading, translating = map(float, printed.split())
    return loading, translating


def _own_peak_mib() -> float:
    """Peak resident memory of this process; unlike ru_maxrss, Linux's VmHWM starts anew with the program."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return float(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _forget_own_peak() -> None:
    """Begin a new peak; only Linux can, elsewhere that of loading stays included."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def render(lines: list[Measurement]) -> str:
    """The table and what it was measured on, as Markdown."""
    rows = [
        "| device | | precision | slices/s, median (range) | × plain loop | peak, loading / translating | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    baseline = {line.device: line for line in lines if line.variant == VARIANTS[0]}
    for line in lines:
        speed = [SLICES[line.device] / seconds for seconds in line.seconds]
        plain = baseline.get(line.device)
        ratio = f"{statistics.median(plain.seconds) / statistics.median(line.seconds):.1f}" if plain else "–"
        loading, translating = (peak / 1024 for peak in line.peaks_mib)
        rows.append(
            f"| {line.device} | {line.variant} | {line.precision} | {statistics.median(speed):.2f} "
            f"({min(speed):.2f}–{max(speed):.2f}) | {ratio} | "
            f"{loading:.2f} / {translating:.2f} GiB | {line.difference:.1e} |"
        )
    devices = list(dict.fromkeys(line.device for line in lines))
    sizes = " and ".join(f"{SLICES[device]} slices, {ROUNDS[device]} rounds ({device})" for device in devices)
    return f"""# Inference at the paper's width

Three phases, width 64, {SIDE}×{SIDE} pixels; {sizes} after a warm-up; seed {SEED}. The plain loop: batch 1, float32,
each block's three-convolution branch evaluated twice as published. Same weights, same run.

{chr(10).join(rows)}

Peak memory: on the CPU of a process of its own, interpreter and libraries included; on a GPU of PyTorch's allocator.
Difference: of the images, root mean square, relative to the standard deviation of the plain loop's image.

{machine(devices)}
"""


def machine(devices: list[str]) -> str:
    """What it was measured on, without names."""
    native = "computes in bfloat16" if computes_in_bfloat16(torch.device("cpu")) else "no bfloat16"
    parts = [
        f"{os.cpu_count()} cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {native}), "
        f"{torch.get_num_threads()} threads",
        f"PyTorch {torch.__version__}",
        f"Python {platform.python_version()}",
    ]
    if "cuda" in devices:
        parts.insert(1, torch.cuda.get_device_name())
    return "Machine: " + "; ".join(parts) + "."


def _print_own_peaks(variant: str, folder: str) -> None:
    volume = slices_of_a_head(SLICES["cpu"])
    model = translator(variant, Bundle.open(folder), "cpu")
    loading = _own_peak_mib()
    gc.collect()
    _forget_own_peak()
    model.translate(volume)
    print(loading, _own_peak_mib())


if __name__ == "__main__":  # one process, one variant: its peak memory
    _print_own_peaks(*sys.argv[1:])

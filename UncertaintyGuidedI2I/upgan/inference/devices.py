"""Which processor does the work, and in which precision."""

from __future__ import annotations

import functools
import os
import warnings
from typing import Literal, NamedTuple

import torch
from torch.nn import functional as F

from upgan.errors import DeviceError

Precision = Literal["auto", "float32", "bfloat16"]

# How PyTorch says that there is no NVIDIA GPU to start, which is no fault.
_NO_GPU = ("found no nvidia driver", "no cuda gpus are available", "no cuda-capable device")

# A full GPU fits none the less.
_NO_MEMORY = ("out of memory", "alloc_failed")

_REMEDY = "Install a PyTorch build that fits the GPU and its driver, in Slicer with the PyTorch extension."


class DeviceInfo(NamedTuple):
    """A processor for people.

    Attributes:
        name: torch's name of it.
        description: What it is.
        free: Bytes of memory; None where the system does not tell.
        total: Bytes of memory; None where the system does not tell.
        problem: Why it cannot be used and what to do; empty where it can.
    """

    name: str
    description: str
    free: int | None
    total: int | None
    problem: str = ""


class ChosenDevice(NamedTuple):
    """The device that does the work, and why it is not the GPU that was wished for (empty where it is)."""

    device: torch.device
    warning: str = ""


def choose_device(name: str = "auto") -> ChosenDevice:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; the CPU takes the place of a GPU that PyTorch cannot use.

    Raises:
        DeviceError: ``no_cuda`` where a CUDA device is asked for and absent, ``unknown_device`` for other names.
    """
    if name == "auto":
        found = [_gpu_problem(index) for index in range(_gpu_count())]
        if "" in found:
            return ChosenDevice(torch.device("cuda", found.index("")))
        return _instead(found[0] if found else _start_problem())
    device = _named(name)
    if device.type == "cpu":
        return ChosenDevice(device)
    if (device.index or 0) < _gpu_count():
        problem = _gpu_problem(device.index or 0)
        return _instead(problem) if problem else ChosenDevice(device)
    if _start_problem():
        return _instead(_start_problem())
    raise DeviceError(
        "no_cuda",
        f"The device '{name}' was asked for, but PyTorch finds {_gpu_count()} usable CUDA device(s).",
        "Use the CPU, or install a GPU driver and a CUDA build of PyTorch that fit each other.",
    )


def _named(name: str) -> torch.device:
    if name != "cpu" and name.partition(":")[0] != "cuda":
        raise DeviceError("unknown_device", f"There is no device '{name}'.", "Choose auto, cpu, cuda or cuda:N.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise DeviceError("unknown_device", f"There is no device '{name}'.", "Choose cuda or cuda:N.") from error


def _instead(problem: str) -> ChosenDevice:
    return ChosenDevice(torch.device("cpu"), f"{problem} The CPU is used instead." if problem else "")


def _gpu_count() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what CUDA's start says comes from _start_problem
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


@functools.cache
def _start_problem() -> str:
    """Say why a CUDA build of PyTorch finds no device; empty where there is simply no GPU or no CUDA build."""
    if torch.version.cuda is None or _gpu_count():
        return ""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        if any(sign in str(error).lower() for sign in _NO_GPU):
            return ""
        return f"This PyTorch ({_build()}) cannot start the GPU: {_first_line(error)}. {_REMEDY}"
    return ""


@functools.cache
def _gpu_problem(index: int) -> str:
    """Say why a GPU computes nothing, tried once with a small convolution; empty where it computes.

    PyTorch lists GPUs that its build holds no code for: only a kernel that runs tells.
    """
    device = torch.device("cuda", index)
    try:
        F.conv2d(torch.ones(1, 1, 8, 8, device=device), torch.ones(1, 1, 3, 3, device=device)).sum().item()
    except (RuntimeError, AssertionError) as error:
        if any(sign in str(error).lower() for sign in _NO_MEMORY):
            return ""
        cause = f"This PyTorch ({_build()}) does not run on the GPU {_gpu_name(index)}"
        return f"{cause}: {_first_line(error)}. {_REMEDY}"
    return ""


def _build() -> str:
    made_for = " ".join(torch.cuda.get_arch_list())
    return f"{torch.__version__}, CUDA {torch.version.cuda}" + (f", made for {made_for}" if made_for else "")


def _gpu_name(index: int) -> str:
    try:
        major, minor = torch.cuda.get_device_capability(index)
        return f"{torch.cuda.get_device_name(index)} (compute capability {major}.{minor})"
    except (RuntimeError, AssertionError):
        return f"number {index}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Resolve ``auto``: bfloat16 where the processor computes in it, float32 elsewhere.

    Raises:
        DeviceError: ``unknown_precision``.
    """
    if name == "auto":
        return torch.bfloat16 if computes_in_bfloat16(device) else torch.float32
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in named:
        raise DeviceError("unknown_precision", f"There is no precision '{name}'.", "Choose auto, float32 or bfloat16.")
    return named[name]


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is native: Ampere and later, or a CPU with AMX or AVX-512 BF16."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def devices() -> list[DeviceInfo]:
    """All processors, the best first; GPUs that cannot be used come last, with the reason."""
    usable, unusable = [], []
    for index in range(_gpu_count()):
        name, problem = f"cuda:{index}", _gpu_problem(index)
        if problem:
            unusable.append(DeviceInfo(name, _gpu_name(index), None, None, problem))
        else:
            usable.append(DeviceInfo(name, torch.cuda.get_device_name(index), *torch.cuda.mem_get_info(index)))
    if _start_problem():
        unusable.append(DeviceInfo("cuda", "NVIDIA GPU", None, None, _start_problem()))
    native = " with bfloat16" if computes_in_bfloat16(torch.device("cpu")) else ""
    description = f"CPU, {torch.get_num_threads()} thread(s), {torch.backends.cpu.get_cpu_capability()}{native}"
    return [*usable, DeviceInfo("cpu", description, *_host_memory()), *unusable]


def _host_memory() -> tuple[int | None, int | None]:
    """Free and total bytes, where the system tells (macOS and Windows do not tell all)."""
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PAGE_SIZE", "SC_AVPHYS_PAGES", "SC_PHYS_PAGES"} <= set(names):
        return None, None
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")

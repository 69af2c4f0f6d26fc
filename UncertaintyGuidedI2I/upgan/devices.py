"""Which processor does the work, and in which precision."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

import torch

from upgan.errors import DeviceError

Precision = Literal["auto", "float32", "bfloat16"]


class DeviceInfo(NamedTuple):
    """A processor for people: its torch name, description and memory in bytes (None where the system does not tell)."""

    name: str
    description: str
    free: int | None
    total: int | None


def choose_device(name: str = "auto") -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: ``no_cuda`` where a CUDA device is asked for and absent, ``unknown_device`` for other names.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name != "cpu" and name.partition(":")[0] != "cuda":
        raise DeviceError("unknown_device", f"There is no device '{name}'.", "Choose auto, cpu, cuda or cuda:N.")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError("unknown_device", f"There is no device '{name}'.", "Choose cuda or cuda:N.") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(
            "no_cuda",
            f"The device '{name}' was asked for, but PyTorch finds {count} usable CUDA device(s).",
            "Use the CPU, or install a GPU driver and a CUDA build of PyTorch that fit each other.",
        )
    return device


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
    """All usable processors, the best first."""
    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found.append(DeviceInfo(f"cuda:{index}", torch.cuda.get_device_name(index), free, total))
    native = " with bfloat16" if computes_in_bfloat16(torch.device("cpu")) else ""
    description = f"CPU, {torch.get_num_threads()} thread(s), {torch.backends.cpu.get_cpu_capability()}{native}"
    found.append(DeviceInfo("cpu", description, *_host_memory()))
    return found


def _host_memory() -> tuple[int | None, int | None]:
    """Free and total bytes, where the system tells (macOS and Windows do not tell all)."""
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PAGE_SIZE", "SC_AVPHYS_PAGES", "SC_PHYS_PAGES"} <= set(names):
        return None, None
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")

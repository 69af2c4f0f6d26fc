"""Whether work fits into the memory and onto the disk that are left, told before it begins instead of at its end."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from upgan.errors import DeviceError, OutputError
from upgan.networks.in_plane import InPlaneGrid

# Pixels a batch holds by default: a few slices fill two cores' caches, a GPU wants many more.
_BATCH_PIXELS = {"cpu": 8 * 112 * 96, "cuda": 32 * 192 * 192}

_FLOAT = 4
# Beside image, α and β of each phase that is kept: σ, made in its turn, and a library's own copy of it and its file.
_IN_TURN = 3
# What an ensemble keeps of its members for each phase (``uncertainty.mixture``).
SUMS = 5


def available_bytes() -> int | None:
    """Return how much memory this process can still take, or None where the system does not tell (macOS)."""
    told = (_of_system(), _of_control_group(), _of_address_space())
    return min((free for free in told if free is not None), default=None)


def refuse_beyond_memory(shape: tuple[int, ...], phases: int, further: int = 0) -> None:
    """Refuse a translation whose maps would not fit, before any time is spent on it.

    Args:
        shape: The volume's [K, J, I].
        phases: How many phases' maps are kept.
        further: How many maps there are beside them.

    Raises:
        DeviceError: ``out_of_memory``.
    """
    needed = _FLOAT * _product(shape) * (3 * phases + further + _IN_TURN)
    free = available_bytes()
    if free is not None and free < needed:
        raise DeviceError(
            "out_of_memory",
            f"The maps of {shape[2]}×{shape[1]}×{shape[0]} voxels need {size_text(needed)} of memory, and "
            f"{size_text(max(free, 0))} are left.",
            "Close other programs, keep the last phase only, crop the image, or use a computer with more memory.",
        )


def default_batch(device: str, grid: InPlaneGrid) -> int:
    """Return how many slices go through the networks at a time, by the kind of the device: cpu or cuda."""
    return max(1, _BATCH_PIXELS[device] // (grid.inside[0] * grid.inside[1]))


def bytes_of_outputs(shape: tuple[int, ...], outputs: int) -> int:
    """Return what so many float32 volumes [K, J, I] take on a disk if they cannot be compressed."""
    return outputs * (_FLOAT * _product(shape) + 4096)


def refuse_full_disk(folder: Path, needed: int) -> None:
    """Refuse to begin what a folder's disk has no room for.

    Raises:
        OutputError: ``disk_full``.
        OSError: There is no such folder.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            "disk_full",
            f"The result may need {size_text(needed)}, and its disk has {size_text(free)} left.",
            "Free some space, choose another disk, or keep the last phase only.",
        )


def size_text(size: int) -> str:
    """Return a size as people say it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= int(length)
    return product


def _of_system() -> int | None:
    if sys.platform == "win32":
        return _of_windows()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        told = {name: 1024 * int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return told["MemAvailable"] + told.get("SwapFree", 0)
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _of_windows() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "free", "total_page", "free_page", "total_virtual", "free_virtual", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    library = getattr(ctypes, "windll").kernel32  # noqa: B009 - other systems' type checkers do not know it
    if not library.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return min(int(status.free_page), int(status.free_virtual))


def _of_control_group() -> int | None:
    """Return what a container's limit leaves (control groups of version 2); pages of files can be given back."""
    try:
        path = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("0::")[2].strip().lstrip("/")
        for folder in (Path("/sys/fs/cgroup") / path, Path("/sys/fs/cgroup")):
            if (folder / "memory.max").is_file():
                limit = int((folder / "memory.max").read_text(encoding="ascii"))
                used = int((folder / "memory.current").read_text(encoding="ascii"))
                told = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
                return limit - used + int(told.get("inactive_file", 0)) + int(told.get("active_file", 0))
    except (OSError, ValueError):  # "max" is no number, either.
        return None
    return None


def _of_address_space() -> int | None:
    """Return what ``ulimit -v`` leaves."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return limit - pages * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError):
        return None

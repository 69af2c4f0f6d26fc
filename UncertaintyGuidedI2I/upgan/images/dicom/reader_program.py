"""Decodes DICOM files in a process of its own, which may die of them: the program that ``reader_process`` starts.

It is run as a file and knows nothing of this project, so that it starts fast. Its one argument is the folder that the
files come in, one at a time and always under the same name. It first writes its process ID, 8 bytes; then it answers
each line of JSON on stdin,
``{"rows": 512, "columns": 512, "dtype": "<i2", "memory": 536870912, "cpu_s": 10}``, with ``+`` and the pixels, row by
row, or with ``-`` where they cannot be decoded. When stdin closes it removes the folder and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import SimpleITK

FILE = "slice.dcm"
DECODED, REFUSED = b"+", b"-"
PROCESS_ID = struct.Struct("<Q")


def main() -> None:
    """Answer until nobody asks any more."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Whoever asks hears it too, and ends this.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What ITK and GDCM print must not be taken for pixels.
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    _limit("RLIMIT_CORE", 0)  # A core would hold the image.
    _limit("RLIMIT_FSIZE", 0)  # Nothing is to be written.
    try:
        answers.write(PROCESS_ID.pack(os.getpid()))
        answers.flush()
        for line in sys.stdin.buffer:
            request = json.loads(line)
            _limit_work(request["memory"], request["cpu_s"])
            try:
                pixels = _decoded(request)
            except Exception:  # noqa: BLE001 - ITK raises plain RuntimeErrors, a lack of memory its own
                answers.write(REFUSED)
            else:
                answers.write(DECODED)
                answers.write(pixels)
            answers.flush()
    finally:
        os.chdir(folder.parent)  # Windows removes no folder that a process is in.
        shutil.rmtree(folder, ignore_errors=True)


def _decoded(request: dict[str, Any]) -> bytes:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(FILE)  # In the folder that this process is in: ITK cannot open every path on every system.
    pixels = SimpleITK.GetArrayFromImage(reader.Execute())
    if pixels.size != request["rows"] * request["columns"]:
        raise ValueError
    return bytes(pixels.astype(request["dtype"]).tobytes())


def _limit_work(memory: int, cpu_s: int) -> None:
    """Limit what the next file may cost beyond what this process has taken so far."""
    used = os.times()
    _limit("RLIMIT_CPU", int(used.user + used.system) + 1 + cpu_s)
    # Only Linux says how much address space is in use, and only there is it limited at all.
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _limit("RLIMIT_AS", pages * os.sysconf("SC_PAGE_SIZE") + memory)


def _limit(name: str, value: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()

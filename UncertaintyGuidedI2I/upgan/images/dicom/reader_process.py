"""A process that may die in the place of ours: what C code makes of a stranger's bytes happens there.

JPEG, JPEG-LS and JPEG 2000 frames are decoded by GDCM, whose faults would otherwise overwrite our memory, take all of
it or never end. The process can do what its user can do, so it is a wall against damage and not a sandbox.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from upgan import scratch
from upgan.images.unreadable import unreadable

PROGRAM = Path(__file__).resolve().with_name("reader_program.py")

# As in ``reader_program``, which knows nothing of this project, as this does not load ITK.
FILE = "slice.dcm"
DECODED, REFUSED = b"+", b"-"
PROCESS_ID_BYTES = 8

# What one slice may cost: something for every slice, and more for each byte of pixels. GDCM's decoders were seen to
# take 11 bytes for one, and a second for 6 MB.
MEMORY = 512 << 20
MEMORY_PER_BYTE = 32
CPU_S = 10
CPU_S_PER_BYTE = 1e-6
# Time on the clock: a busy computer gives a process a fraction of it, and a virus scanner may look at it first.
WALL_TIMES_CPU = 3
START_S = 60

# The process needs one thread, and each that a library prepares takes address space.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


class ReaderProcess:
    """A process that decodes slices one after another; started with the first of them, ended on leaving the context.

    It ends by itself when this process does, however that happens, and its files go with it.

    Args:
        python: The interpreter; by default the one that runs this, or Slicer's beside the viewer.

    Attributes:
        limit_s: Seconds on the clock that a slice of no size may take, once the process has started.
    """

    def __init__(self, python: str | None = None) -> None:
        self._python = python or interpreter()
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: scratch.Scratch | None = None
        self._process_id = 0
        self.limit_s: float = WALL_TIMES_CPU * CPU_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def pixels(self, path: Path, content: bytes, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
        """Decode the one frame of a DICOM file.

        Args:
            path: The file that the frame is from, for messages.
            content: A DICOM file with the frame, of which GDCM sees nothing but this.
            shape: The frame's (rows, columns).
            dtype: The type of the stored pixels.

        Returns:
            The pixels as they are stored, [J, I], of that type.

        Raises:
            InputError: ``unreadable_image``: the process died, or took more time or memory than any such frame should.
            ValueError: The frame is damaged, or of another size.
            OSError: The temporary folder cannot be written.
        """
        count = shape[0] * shape[1] * dtype.itemsize
        cpu_s = CPU_S + round(CPU_S_PER_BYTE * count)
        request = {
            "rows": shape[0],
            "columns": shape[1],
            "dtype": dtype.str,
            "memory": MEMORY + MEMORY_PER_BYTE * count,
            "cpu_s": cpu_s,
        }
        is_new = self._process is None
        limit_s = self.limit_s + WALL_TIMES_CPU * (cpu_s - CPU_S) + (START_S if is_new else 0)
        try:
            return self._answer(content, request, limit_s, count).view(dtype).reshape(shape)
        except EOFError as error:
            self.close()
            raise unreadable(path) from error
        except ValueError:
            raise
        except BaseException:  # An interruption, too: an answer that nobody has waited for would be the next one's.
            self.close()
            raise

    def close(self) -> None:
        """End the process and remove its files; it is started anew where it is needed again."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            _kill(process, self._process_id)  # It has nothing to lose, and would take a while to end by itself.
            process.wait()
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _answer(self, content: bytes, request: dict[str, object], limit_s: float, count: int) -> np.ndarray:
        process = self._started()
        assert self._scratch is not None
        assert process.stdin is not None
        assert process.stdout is not None
        file = self._scratch.folder / FILE
        file.write_bytes(content)
        watch = threading.Timer(limit_s, lambda: _kill(process, self._process_id))
        watch.daemon = True
        watch.start()
        try:
            if not self._process_id:
                self._process_id = int.from_bytes(_exactly(process.stdout, PROCESS_ID_BYTES), "little")
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            except OSError as error:  # It is gone.
                raise EOFError from error
            kind = _exactly(process.stdout, 1)
            if kind == REFUSED:
                raise ValueError("the frame cannot be decoded")
            if kind != DECODED:
                raise EOFError("nonsense")
            return np.frombuffer(_exactly(process.stdout, count), np.uint8)
        finally:
            watch.cancel()
            file.unlink(missing_ok=True)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            if self._python is None:
                raise EOFError("there is no interpreter")
            temporary = Path(tempfile.gettempdir())
            # What such processes have left that were killed together with the one that started them.
            threading.Thread(target=scratch.sweep, args=(temporary,), name="sweep", daemon=True).start()
            self._scratch = scratch.Scratch(temporary)
            self._process_id = 0
            try:
                self._process = subprocess.Popen(
                    # Not with this folder as the first place to look for modules.
                    [self._python, "-P", str(PROGRAM), str(self._scratch.folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd=self._scratch.folder,
                    env={**os.environ, **ENVIRONMENT},
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            except OSError as error:
                raise EOFError from error
        return self._process


def interpreter() -> str | None:
    """Return the Python to start: this one's, unless this is a viewer, of which a second one would be started.

    Returns:
        Its path; None where there is none.
    """
    if Path(sys.executable or "").name.lower().startswith("python"):
        return sys.executable
    return shutil.which("PythonSlicer")


def _exactly(stream: IO[bytes], count: int) -> bytearray:
    """Return so many bytes.

    Raises:
        EOFError: The other end is gone before.
    """
    found = bytearray(count)
    rest = memoryview(found)
    while rest:
        size = stream.readinto(rest)  # type: ignore[attr-defined]
        if not size:
            raise EOFError
        rest = rest[size:]
    return found


def _kill(process: subprocess.Popen[bytes], process_id: int) -> None:
    if process.poll() is not None:
        return
    # Slicer's Python is a launcher: the process itself is its child.
    if process_id not in (0, process.pid):
        with contextlib.suppress(OSError, OverflowError):
            os.kill(process_id, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.kill()

"""The other end of the worker's protocol, for tests: a real process, its lines in and out."""

import json
import queue
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from Engine.command_line import environment_of
from upgan.bundles.bundle import Bundle
from warm_python import executable


class WorkerProcess:
    """A worker of its own; ends with the block at the latest."""

    def __init__(self, scratch: Path, *options: str) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.scratch = scratch
        self.process = subprocess.Popen(
            [executable(), "-m", "upgan.worker", "--scratch", str(scratch), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment_of(),
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def send(self, message: dict[str, Any] | str) -> None:
        line = message if isinstance(message, str) else json.dumps(message)
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def event(self) -> dict[str, Any]:
        """Return the next event; whatever is no JSON fails here."""
        return json.loads(self._lines.get(timeout=60))

    def answer(self, request_id: int) -> dict[str, Any]:
        """Return how a request ends, with the progress before it under "progress"."""
        progress = []
        while True:
            event = self.event()
            if event.get("id") == request_id and event["event"] == "progress":
                progress.append(event)
            elif event.get("id") == request_id:
                return {**event, "progress": progress}


def translate_arguments(folder: Path, bundle: Bundle | Path, voxels: np.ndarray, **changes: Any) -> dict[str, Any]:
    """Write voxels [K, J, I] where the worker finds them, and return the request's arguments."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "input.npy", voxels)
    return {
        "voxels": str(folder / "input.npy"),
        "ijk_to_ras": np.diag([-2.0, -2.0, 2.0, 1.0]).tolist(),
        "modality": "PT",
        "source": "a test",
        "folder": str(folder),
        "model": str(getattr(bundle, "folder", bundle)),
        "device": "cpu",
        "precision": "float32",
        "plane": None,
        "phases": "last",
        "outputs": ["image", "alpha", "beta", "sigma"],
        **changes,
    }

"""A Python whose packages are imported already, offered as ``PythonSlicer``: for tests that start many processes.

Slicer's own is a launcher as well, whose child does the work. This one hands its arguments, environment and streams to
``warm_python_server.py``, a copy of which then does what Python does with them.
"""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

_LAUNCHER = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode())
server.shutdown(socket.SHUT_WR)
code = int(server.recv(8) or 1)
server.recv(1)  # nothing: who has told is gone as well
os._exit(code)
"""


class WarmPython:
    """A launcher, and the process behind it.

    Attributes:
        launcher: Called ``PythonSlicer``, the only one in its folder.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="python-"))
        address = str(self._folder / "socket")
        self.launcher = self._folder / "bin" / "PythonSlicer"
        self.launcher.parent.mkdir()
        self.launcher.write_text(_LAUNCHER.format(python=sys.executable, address=address), encoding="utf-8")
        self.launcher.chmod(0o755)
        server = Path(__file__).with_name("warm_python_server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(server), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.pid = int(self._process.stdout.readline())
        self._process.wait()

    def end(self) -> None:
        """End it; what it has become ends by itself, as without it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache
def warm_python() -> WarmPython | None:
    """Return this process's one, started when first asked for; None where a process cannot be copied safely."""
    if sys.platform != "linux" or find_spec("torch") is None:
        return None
    python, owner = WarmPython(), os.getpid()
    atexit.register(lambda: python.end() if os.getpid() == owner else None)
    return python


def executable() -> str:
    """Return the program that starts Python fast, or as fast as it can be had."""
    python = warm_python()
    return sys.executable if python is None else str(python.launcher)

"""A Python whose packages are imported already, offered as ``PythonSlicer``: for tests that start many workers.

Slicer's own is a launcher as well, whose child is the worker. This one hands its arguments, environment and streams to
``warm_python_server.py``, a copy of which becomes the worker.
"""

import subprocess
import sys
from pathlib import Path

from Panels.processes import children_of

_LAUNCHER = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode())
server.shutdown(socket.SHUT_WR)
os._exit(int(server.recv(8) or 1))
"""


class WarmPython:
    """A launcher ``PythonSlicer``, and the process behind it.

    Args:
        folder: For the launcher; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        address = str(folder / "socket")
        launcher = folder / "PythonSlicer"
        launcher.write_text(_LAUNCHER.format(python=sys.executable, address=address), encoding="utf-8")
        launcher.chmod(0o755)
        server = Path(__file__).with_name("warm_python_server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(server), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._pid = int(self._process.stdout.readline())
        self._process.wait()

    def workers(self) -> set[int]:
        """Return the processes that it has become and that have not ended."""
        return children_of(self._pid)

    def end(self) -> None:
        """End it; workers end by themselves, as without it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

"""The process behind ``warm_python.py``: imports what a worker needs but none of ours, and copies itself when asked.

It is nobody's child, so that tests which look for processes left behind do not find it, and ends when its stdin closes.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback

import nibabel  # noqa: F401
import pydantic  # noqa: F401
import pydicom.pixels  # noqa: F401
import safetensors.torch  # noqa: F401
import SimpleITK  # noqa: F401
import torch  # noqa: F401


def serve(address: str) -> None:
    """Wait for launchers at an address, until stdin closes."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        if os.fork():
            os._exit(0)
        print(os.getpid(), flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if not os.fork():
                listener.close()
                _answer(connection)
            connection.close()
    os._exit(0)


def _answer(connection: socket.socket) -> None:
    """Run what a launcher asks for in another copy, and tell how that ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has ignored
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as request:
        arguments, environment, folder = json.load(request)
    worker = os.fork()
    if not worker:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        _become(arguments)
    for stream in (*range(3), *streams):
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    connection.sendall(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def _become(arguments: list[str]) -> None:
    """Do what ``python -c CODE …`` and ``python -m MODULE …`` do, with PYTHONPATH."""
    option, what, *rest = arguments
    sys.argv[:] = [option, *rest]
    sys.path[0:1] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        if option == "-c":
            exec(what, {"__name__": "__main__"})
        else:
            assert option == "-m"
            runpy.run_module(what, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
    except BaseException:  # noqa: BLE001 - printed, as an interpreter does
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])

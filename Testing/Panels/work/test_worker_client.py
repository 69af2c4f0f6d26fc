"""The viewer's end of the worker: whatever the process does, each request has one answer and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Panels.heartbeat import Heartbeat
from Panels.processes import READY, children_of, is_alive, made_up_worker, pause

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.work.client import WorkerClient

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

MODULE = Path(__file__).parents[3] / "UncertaintyGuidedI2I"


class Answers:
    """Collects what a request is answered with."""

    def __init__(self):
        self.progress, self.results, self.errors = [], [], []

    @property
    def arrived(self):
        return bool(self.results or self.errors)

    def ask(self, client, command="work", job=None):
        client.request(command, {}, self.progress.append, self.results.append, self.errors.append, job=job)
        return self


@pytest.fixture
def said() -> list[str]:
    """What is in the log of the test's clients."""
    return []


@pytest.fixture
def make_client(host, said):
    """Make clients of a worker; they are stopped at the end."""
    host.expose_library(MODULE, "UncertaintyGuidedI2I")
    from UncertaintyGuidedI2ILib.work.client import WorkerClient

    made = []

    def make(command=None, **options):
        client = WorkerClient(command, said.append, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.stop()


@pytest.fixture
def client(make_client):
    """A client of the real worker."""
    return make_client()


def scratch_folders():
    return list(Path(slicer.app.temporaryPath).glob("upgan-*"))


def test_a_request_is_answered_and_the_process_kept_warm(client, host):
    answers = Answers().ask(client, "info")
    assert client.isBusy
    host.wait_until(lambda: answers.arrived, 60)
    assert answers.results[0]["engine_version"]
    assert not client.isBusy
    assert client.isRunning
    again = Answers().ask(client, "info")
    host.wait_until(lambda: again.arrived, 5)
    assert again.results


def test_slicers_own_python_is_taken_although_it_is_a_launcher_that_sets_the_path_itself(
    make_client, host, tmp_path, monkeypatch
):
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH=/no/such/folder {sys.executable} "$@"\nexit $?\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    client = make_client()
    answers = Answers().ask(client, "info")
    host.wait_until(lambda: answers.arrived, 60)
    assert answers.results
    processes = children_of(os.getpid())
    assert len(processes) == 2
    ended = []
    client.cancel(lambda: ended.append(True))
    host.wait_until(lambda: ended and not any(map(is_alive, processes)), 2)


def test_a_worker_that_is_killed_is_told_and_the_next_request_starts_another(client, host):
    first = Answers().ask(client, "info")
    host.wait_until(lambda: first.arrived, 60)
    (pid,) = children_of(os.getpid())
    lost = Answers().ask(client, "check")
    os.kill(pid, signal.SIGKILL)
    host.wait_until(lambda: lost.arrived, 5)
    assert lost.errors[0].code == "worker_ended"
    assert lost.errors[0].remedy
    assert scratch_folders() == []
    after = Answers().ask(client, "info")
    host.wait_until(lambda: after.arrived, 60)
    assert after.results


GARBAGE = r"""say(b'no json\n[1, 2]\nnull\n{"id": 1}\n\xff\xfe\x00\n' + b'[' * 100000 + b'\n')"""

PIECES = """
say('{"event": "progress", "id": 1, "stage": "grün", "fraction": 0.5}'.encode()[:40])
time.sleep(0.2)
say('{"event": "progress", "id": 1, "stage": "grün", "fraction": 0.5}'.encode()[40:] + b'\\n{"event": "res')
time.sleep(0.2)
say(b'ult", "id": 1, "result": {"fine": true}}\\n')
sys.stdin.read()
"""


def test_what_a_launcher_says_is_logged_and_lines_that_come_in_pieces_are_put_together(
    make_client, said, host, tmp_path
):
    client = make_client(made_up_worker(tmp_path, PIECES, before=GARBAGE))
    answers = Answers().ask(client)
    host.wait_until(lambda: answers.arrived, 10)
    assert answers.results == [{"fine": True}]
    assert [progress["stage"] for progress in answers.progress] == ["grün"]
    assert sum("unexpected" in line for line in said) == 6


class MadeUpProcess:
    """A process that is none: whoever has it speaks for it."""

    def __init__(self) -> None:
        self.isRunning = False
        self.known_as: Any = None
        self.sent: list[dict[str, Any]] = []
        self.is_closed = False

    def start(self, folder: Path) -> None:
        self.isRunning = True

    def send(self, line: str) -> None:
        self.sent.append(json.loads(line))

    def beKnownAs(self, said: Any) -> None:  # noqa: N802 - the protocol's name
        self.known_as = said

    def end(self) -> None:
        self.is_closed = True

    def endNow(self) -> None:  # noqa: N802
        self.isRunning = False


def heard(client: WorkerClient, stream: bytes, ready: bytes = (READY % 4242).encode()) -> tuple[MadeUpProcess, Answers]:
    """Have a client that has asked for something hear this; return the process and what it was answered."""
    client._process = process = MadeUpProcess()
    answers = Answers().ask(client)
    number = b'"id": %d,' % process.sent[0]["id"]
    for line in [ready, *stream.replace(b'"id": 1,', number).splitlines()]:
        client._onLine(line)
    if process.is_closed:
        assert client.isBusy, "until it is gone"
        process.isRunning = False
        client._onProcessEnded("It is gone.")
    return process, answers


@pytest.mark.parametrize(
    "line",
    [
        b"no json\n",
        b"[1, 2]\n",
        b'{"id": 1}\n',
        b'{"event": ["result"], "id": 1}\n',
        b'{"event": "applause", "id": 1}\n',
        b'{"event": "result", "id": 1, "result": [1]}\n',
        b'{"event": "result", "id": 1}\n',
        b'{"event": "error", "id": 1, "code": 7}\n',
        b'{"event": "progress", "id": 1}\n',
        b'{"event": "progress", "id": 1, "stage": 3, "fraction": 0.5}\n',
        b'{"event": "progress", "id": 1, "stage": "", "fraction": "0.5"}\n',
        b'{"event": "progress", "id": 1, "stage": "", "fraction": true}\n',
        b'{"event": "progress", "id": 1, "stage": "", "fraction": NaN}\n',
        b'{"event": "progress", "id": 1, "stage": "", "fraction": 0.5, "remaining_s": "soon"}\n',
        b'{"event": "progress", "id": 1, "stage": "", "fraction": 0.5, "remaining_s": 1e999}\n',
        b'{"event": "ready", "protocol": 1, "pid": -1}\n',
        b"[" * 100_000 + b"\n",
    ],
    ids=lambda line: repr(line[:60]),
)
def test_what_is_no_event_ends_the_worker_and_is_told(make_client, line):
    client = make_client()
    process, answers = heard(client, line)
    assert [error.code for error in answers.errors] == ["worker_garbled"]
    assert answers.progress == answers.results == []
    assert process.sent[-1]["command"] == "shutdown"
    assert process.is_closed
    assert not client.isBusy
    assert not client.isRunning


def test_what_another_request_is_answered_with_is_nobodys(make_client):
    client = make_client()
    foreign = b'{"event": "result", "id": 99, "result": {}}\n{"event": "result", "id": true, "result": {}}\n'
    foreign += b'{"event": "progress", "id": null}\n{"event": "cancelled", "id": [1]}\n'
    _, answers = heard(client, foreign + b'{"event": "result", "id": 1, "result": {"fine": 1}}\n')
    assert answers.results == [{"fine": 1}]
    assert answers.errors == []


def test_a_sentence_without_end_is_cut_and_a_share_beyond_the_whole_is_the_whole(make_client):
    client = make_client()
    progress = b'{"event": "progress", "id": 1, "stage": "%s", "fraction": 1e9}\n' % (b"s" * 100_000)
    error = b'{"event": "error", "id": 1, "code": "odd", "sentence": "%s", "remedy": {}}\n' % (b"x" * 100_000)
    _, answers = heard(client, progress + error)
    assert len(answers.progress[0].pop("stage")) <= 1000
    assert answers.progress == [{"fraction": 1.0, "elapsed_s": None, "remaining_s": None}]
    assert answers.errors[0].code == "odd"
    assert 0 < len(answers.errors[0].sentence) <= 1000
    assert answers.errors[0].remedy


ENDLESS = """say(b'x' * (17 << 20)); sys.stdin.read()"""


def test_a_line_without_end_ends_the_worker_and_is_told(make_client, said, host, tmp_path):
    client = make_client(made_up_worker(tmp_path, ENDLESS))
    answers = Answers().ask(client)
    host.wait_until(lambda: answers.arrived, 20)
    assert [error.code for error in answers.errors] == ["worker_garbled"]
    assert not client.isBusy
    assert not client.isRunning
    assert max(map(len, said)) <= 600


def test_half_a_line_before_the_end_is_logged_and_the_end_is_told(make_client, said, host, tmp_path):
    client = make_client(made_up_worker(tmp_path, """say(b'{"event": "result", "id": 1, "res'); sys.exit(0)"""))
    answers = Answers().ask(client)
    host.wait_until(lambda: answers.arrived, 10)
    assert answers.errors[0].code == "worker_ended"
    assert any("last words" in line for line in said)


STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(1)
"""


def test_cancel_ends_a_worker_that_listens_to_nothing_in_less_than_a_second(make_client, host, tmp_path):
    client = make_client(made_up_worker(tmp_path, STUBBORN))
    answers = Answers().ask(client)
    host.wait_until(lambda: children_of(os.getpid()), 5)
    pause(host, 0.3)
    started = time.monotonic()
    client.cancel()
    client.cancel()
    host.wait_until(lambda: answers.arrived, 5)
    assert time.monotonic() - started < 1
    assert [error.code for error in answers.errors] == ["cancelled"]
    assert children_of(os.getpid()) == set()
    assert scratch_folders() == []


IN_ORDER = """
for line in sys.stdin:
    request = json.loads(line)
    if request["command"] == "cancel":
        time.sleep(0.3)
        say(b'{"event": "cancelled", "id": %d}\\n' % request["id"])
    elif request["command"] == "quick":
        say(b'{"event": "result", "id": %d, "result": {"pid": %d}}\\n' % (request["id"], os.getpid()))
time.sleep(1)
open(sys.argv[0] + " grace " + sys.argv[-1], "w").close()
"""


def test_work_that_is_interrupted_ends_in_order_and_the_process_stays(make_client, host, tmp_path):
    client = make_client(made_up_worker(tmp_path, IN_ORDER))
    client.interrupt()
    before = Answers().ask(client, "quick")
    host.wait_until(lambda: before.arrived, 10)
    answers = Answers().ask(client, "long")
    client.interrupt()
    assert client.isBusy
    host.wait_until(lambda: answers.arrived, 5)
    assert [error.code for error in answers.errors] == ["cancelled"]
    after = Answers().ask(client, "quick")
    host.wait_until(lambda: after.arrived, 5)
    assert after.results == before.results


@pytest.mark.parametrize("end", ["stop", "cancel"])
def test_work_ends_in_order_within_its_grace_when_the_process_is_to_end(end, make_client, said, host, tmp_path):
    client = make_client(made_up_worker(tmp_path, IN_ORDER), graceS=5.0)
    answers = Answers().ask(client, "quick")
    host.wait_until(lambda: answers.arrived, 10)
    Answers().ask(client, "long")
    getattr(client, end)()
    host.wait_until(lambda: not client.isRunning, 5)
    assert [path.name.rpartition(" ")[2] for path in tmp_path.glob("* grace *")] == ["5.0"]
    assert not any("killed" in line for line in said)


LAUNCHER = """child = subprocess.Popen([sys.executable, "-c", "import time, sys\\nwhile True: time.sleep(1)"])"""


def test_cancel_ends_the_worker_behind_a_launcher_too(make_client, host, tmp_path):
    client = make_client(made_up_worker(tmp_path, "child.wait()", before=LAUNCHER, pid="child.pid"))
    answers = Answers().ask(client)
    host.wait_until(lambda: len(children_of(os.getpid())) == 2, 5)
    pause(host, 0.3)
    processes = children_of(os.getpid())
    client.cancel()
    host.wait_until(lambda: answers.arrived, 5)
    host.wait_until(lambda: not any(map(is_alive, processes)), 2)


def test_stopping_leaves_no_process_and_no_files_and_calls_nobody(client, host):
    folder = client.newJobFolder()
    (folder / "input.npy").write_bytes(b"a patient")
    answers = Answers().ask(client, "info", job=folder)
    started = time.monotonic()
    client.stop()
    assert time.monotonic() - started < 1.2
    pause(host, 0.2)
    assert not answers.arrived
    assert children_of(os.getpid()) == set()
    assert scratch_folders() == []


VIEWER = """
import json, sys, time
from pathlib import Path
from Host.host import start
from Panels.processes import children_of
host = start()
import os, slicer
slicer.app.temporaryPath = sys.argv[1]
host.expose_library(Path(sys.argv[2]), "UncertaintyGuidedI2I")
from UncertaintyGuidedI2ILib.work.client import WorkerClient
working, resting = WorkerClient(onLog=print), WorkerClient(onLog=print)
(working.newJobFolder() / "input.npy").write_bytes(b"a patient")
# The process of the other has ended, or was never needed.
for client in (working, resting):
    (client.newFolder() / "thumbnail.png").write_bytes(b"a patient")
host.wait_until(lambda: working._process.pid, 60)
print(json.dumps([working._process.pid]), flush=True)
time.sleep(60)
"""


def test_a_viewer_that_is_killed_leaves_neither_processes_nor_files(make_client, host, tmp_path, monkeypatch):
    command = [sys.executable, "-c", VIEWER, str(tmp_path), str(MODULE)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as viewer:
        assert viewer.stdout is not None
        workers = json.loads(viewer.stdout.readline())
        assert len(list(tmp_path.glob("upgan-*/*/*"))) == 3
        viewer.kill()
    host.wait_until(lambda: not any(map(is_alive, workers)), 10)
    # Its worker has removed what it worked in. What had no worker, the next viewer's finds.
    (left,) = tmp_path.iterdir()
    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path))
    client = make_client()
    client.start()
    host.wait_until(lambda: len(list(tmp_path.iterdir())) == 1, 30)
    assert not left.exists()
    client.stop()
    assert list(tmp_path.iterdir()) == []


def test_files_that_outlive_the_process_are_kept_until_they_are_removed_or_the_client_stops(
    make_client, host, tmp_path
):
    client = make_client(made_up_worker(tmp_path, IN_ORDER))
    folder = client.newFolder()
    assert not client.isBusy
    assert not client.isRunning
    assert folder.stat().st_mode & 0o077 == 0
    (folder / "thumbnail.png").write_bytes(b"a patient")
    answers = Answers().ask(client, "quick")
    host.wait_until(lambda: answers.arrived, 10)
    ended = []
    client.cancel(lambda: ended.append(True))
    host.wait_until(lambda: ended, 5)
    assert (folder / "thumbnail.png").exists()
    client.removeFolder(folder)
    client.removeFolder(folder)
    assert scratch_folders() == []
    client.newFolder()
    client.stop()
    assert scratch_folders() == []


NOT_UNDERSTOOD = """
for line in sys.stdin:
    say(b'{"event": "error", "id": null, "code": "bad_request", "sentence": "?", "remedy": "?"}\\n')
"""


def test_a_request_that_the_worker_does_not_understand_is_answered(make_client, host, tmp_path):
    """Its answer has no id, for that was not understood either."""
    client = make_client(made_up_worker(tmp_path, NOT_UNDERSTOOD))
    answers = Answers().ask(client)
    host.wait_until(lambda: answers.arrived, 10)
    assert [error.code for error in answers.errors] == ["bad_request"]
    assert not client.isBusy


def test_a_new_request_right_after_a_cancelled_one_gets_a_worker_of_its_own(client, host):
    cancelled = Answers().ask(client, "info")
    client.cancel()
    host.wait_until(lambda: cancelled.arrived, 5)
    after = Answers().ask(client, "info")
    host.wait_until(lambda: after.arrived, 60)
    assert after.results


def test_a_second_request_at_a_time_is_refused(client):
    from upgan.errors import UpganError

    Answers().ask(client, "info")
    with pytest.raises(UpganError) as refusal:
        Answers().ask(client, "info")
    assert refusal.value.code == "worker_busy"


def test_a_job_has_the_worker_for_itself_until_it_is_over_and_the_panels_hear_of_it(client, host):
    from upgan.errors import UpganError

    heard = []
    client.whenBusyChanges(lambda: heard.append(client.isBusy))
    folder = client.newJobFolder()
    for ask in (client.newJobFolder, lambda: Answers().ask(client, "info")):
        with pytest.raises(UpganError) as refusal:
            ask()
        assert refusal.value.code == "worker_busy"
    answers = Answers().ask(client, "info", job=folder)
    host.wait_until(lambda: answers.arrived, 60)
    assert client.isBusy
    client.removeJobFolder(folder)
    assert heard == [True, False]
    again = Answers().ask(client, "info")
    host.wait_until(lambda: again.arrived, 10)
    assert again.results


def test_a_job_keeps_its_files_when_the_worker_dies_beside_it(client, host):
    folder = client.newJobFolder()
    (folder / "sigma.npy").write_bytes(b"results on their way back")
    answers = Answers().ask(client, "info", job=folder)
    host.wait_until(lambda: answers.arrived, 60)
    for pid in children_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    host.wait_until(lambda: not client.isRunning, 5)
    assert (folder / "sigma.npy").exists()
    client.removeJobFolder(folder)
    assert scratch_folders() == []


def test_a_job_that_is_cancelled_while_the_worker_has_nothing_to_do_is_told_when_it_is_gone(client, host):
    client.newJobFolder()
    ended = []
    client.cancel(lambda: ended.append(client.isRunning))
    host.wait_until(lambda: ended, 2)
    assert ended == [False]
    assert children_of(os.getpid()) == set()


FLOOD = """
os.write(2, b'x' * 20_000_000 + b'\\n' + b'line\\n' * 200_000)
say(b'{"event": "result", "id": 1, "result": {}}\\n')
sys.stdin.read()
"""


def test_a_flood_of_log_lines_does_not_stop_the_viewer(make_client, said, host, tmp_path):
    client = make_client(made_up_worker(tmp_path, FLOOD))
    with Heartbeat() as heartbeat:
        answers = Answers().ask(client)
        host.wait_until(lambda: answers.arrived, 30)
    assert heartbeat.longest_s < 0.3
    assert max(map(len, said)) <= 600


def test_a_temporary_folder_that_cannot_be_written_is_told_with_a_remedy(client, host, monkeypatch):
    from upgan.errors import OutputError

    monkeypatch.setattr(slicer.app, "temporaryPath", "/proc/1")
    with pytest.raises(OutputError) as refusal:
        client.newJobFolder()
    assert refusal.value.code == "temp_not_writable"
    assert "/proc/1" in refusal.value.sentence
    assert not client.isBusy


def test_the_job_folder_is_readable_by_this_user_only(client):
    folder = client.newJobFolder()
    assert folder.parent.stat().st_mode & 0o077 == 0


def test_a_program_that_is_not_there_is_told(make_client, host):
    client = make_client(["/no/such/python"])
    answers = Answers().ask(client)
    host.wait_until(lambda: answers.arrived, 5)
    assert answers.errors[0].code == "worker_ended"
    assert "/no/such/python" in answers.errors[0].sentence
    assert scratch_folders() == []


def test_a_program_that_fails_from_within_start_as_on_windows_is_told(make_client, monkeypatch):
    import qt

    from upgan.errors import UpganError

    client = make_client(["/no/such/python"])
    monkeypatch.setattr(qt.QProcess, "start", lambda *_: client._process._onProcessError(qt.QProcess.FailedToStart))
    for ask in (client.newJobFolder, lambda: Answers().ask(client)):
        with pytest.raises(UpganError) as refusal:
            ask()
        assert refusal.value.code == "worker_not_started"
    assert not client.isBusy
    assert scratch_folders() == []


@pytest.mark.parametrize("number", ["0", "2", "true", "1.5", '"1"', "null", "[1]"])
def test_a_worker_of_another_version_is_refused(make_client, number):
    client = make_client()
    ready = b'{"event": "ready", "protocol": %s, "pid": 4242}' % number.encode()
    process, answers = heard(client, b"", ready)
    assert [error.code for error in answers.errors] == ["wrong_version"]
    assert process.is_closed
    assert process.known_as == 4242
    assert not client.isRunning

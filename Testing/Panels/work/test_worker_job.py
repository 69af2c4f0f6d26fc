"""Work in the background: nothing of it begins before it is started, and it ends once."""

# The job's own names.
# ruff: noqa: N802, N803

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from UncertaintyGuidedI2ILib.work.worker import Handler, JobWorker

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

MODULE = Path(__file__).parents[3] / "UncertaintyGuidedI2I"


class FakeClient:
    """Remembers what it was asked for.

    Attributes:
        failure: Raised where a folder is asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.said: list[Any] = []
        self.failure: Exception | None = None
        self.isBusy = False
        self._folder = folder

    def whenBusyChanges(self, callback: Callable[[], None]) -> None:
        pass

    def newJobFolder(self) -> Path:
        if self.failure is not None:
            raise self.failure
        self.said.append("reserved")
        return self._folder

    def removeJobFolder(self, folder: Path) -> None:
        assert folder == self._folder
        self.said.append("released")

    def request(
        self,
        command: str,
        arguments: dict[str, Any],
        onProgress: Handler,
        onResult: Handler,
        onError: Handler,
        job: Path | None = None,
    ) -> None:
        assert job == self._folder
        self.said.append((command, arguments))
        onResult({"number": 7})

    def cancel(self, onEnded: Callable[[], None] = lambda: None) -> None:
        self.said.append("cancelled")
        onEnded()

    def stop(self) -> None:
        self.said.append("stopped")


if TYPE_CHECKING:

    def _stands_in(client: FakeClient) -> JobWorker:
        return client


@pytest.fixture
def Job(host):
    host.expose_library(MODULE, "UncertaintyGuidedI2I")
    from UncertaintyGuidedI2ILib.work.job import WorkerJob

    class AJob(WorkerJob):
        def __init__(self, client, node, answers):
            super().__init__(client, "work", [node], lambda progress: None, answers.append, answers.append)
            # Whatever a subclass has is there before anything begins.
            self.what = "voxels"

        def send(self, folder):
            yield
            return {"what": self.what, "folder": str(folder)}

        def receive(self, result):
            yield
            return (result["number"],)

    return AJob


@pytest.fixture
def client(tmp_path):
    return FakeClient(tmp_path)


def test_a_job_that_does_not_say_what_it_sends_and_receives_cannot_be_made(host, add_volume, client, Job):
    from UncertaintyGuidedI2ILib.work.job import WorkerJob

    class Incomplete(WorkerJob):
        def send(self, folder):
            yield

    for kind in (WorkerJob, Incomplete):
        with pytest.raises(TypeError, match="receive"):
            kind(client, "work", [add_volume()], print, print, print)
    assert client.said == []


def test_nothing_happens_before_a_job_is_started_and_then_everything_once(host, add_volume, client, Job, tmp_path):
    answers = []
    job = Job(client, add_volume(), answers)
    job.cancel()
    job.abandon()
    assert client.said == answers == []
    job.start()
    assert client.said == ["reserved"]
    host.wait_until(lambda: answers, 5)
    assert answers == [7]
    assert client.said == ["reserved", ("work", {"what": "voxels", "folder": str(tmp_path)}), "released"]
    job.cancel()
    job.abandon()
    assert client.said[-1] == "released"
    assert answers == [7]
    with pytest.raises(AssertionError):
        job.start()


def test_a_job_that_cannot_have_the_worker_was_not_started(host, add_volume, client, Job):
    from upgan.errors import UpganError

    answers = []
    job = Job(client, add_volume(), answers)
    client.failure = UpganError("worker_busy", "Busy.", "Wait.")
    with pytest.raises(UpganError):
        job.start()
    # Nor does it listen to the scene.
    host.close_scene()
    assert client.said == answers == []


@pytest.mark.parametrize("end", ["cancel", "abandon", "its node is removed"])
def test_a_job_that_is_ended_lets_go_of_worker_and_scene(end, host, add_volume, client, Job):
    answers, node = [], add_volume()
    job = Job(client, node, answers)
    job.start()
    if end == "its node is removed":
        host.scene.RemoveNode(node)
    else:
        getattr(job, end)()
    assert [getattr(error, "code", error) for error in answers] == ([] if end == "abandon" else ["cancelled"])
    assert client.said.count("released") == 1
    assert job.Observations == []

"""Long work in small pieces: it ends with one answer, lets the viewer live, and stops when it is told to."""

import time
from pathlib import Path

import pytest

from Panels.heartbeat import Heartbeat

MODULE = Path(__file__).parents[3] / "UncertaintyGuidedI2I"


@pytest.fixture
def start(host):
    """Start a generator cooperatively; what comes of it is in the returned lists."""
    host.expose_library(MODULE, "UncertaintyGuidedI2I")
    from UncertaintyGuidedI2ILib.work.cooperative import Cooperative

    def run(steps):
        results, errors = [], []
        return Cooperative(steps, results.append, errors.append), results, errors

    return run


def test_finished_work_is_let_go(host, start):
    running, results, _ = start(iter(()))
    timer = running._timer
    host.wait_until(lambda: results, 5)
    assert not timer.disconnect("timeout()", running._goOn)


def busy(seconds, steps=100):
    for _ in range(steps):
        time.sleep(seconds / steps)
        yield
    return "done"


def test_work_is_answered_with_what_it_returns(host, start):
    _, results, errors = start(busy(0.1))
    assert results == []
    host.wait_until(lambda: results, 5)
    assert (results, errors) == (["done"], [])


def test_the_viewer_lives_while_it_works(host, start):
    with Heartbeat() as heartbeat:
        _, results, _ = start(busy(1.0))
        host.wait_until(lambda: results, 10)
    assert heartbeat.longest_s < 0.1


def test_what_the_work_raises_is_handed_on_once(host, start):
    def fail():
        yield
        raise ZeroDivisionError

    _, results, errors = start(fail())
    host.wait_until(lambda: errors, 5)
    host.process_events()
    assert results == []
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_cancelled_work_cleans_up_and_answers_nobody(host, start):
    cleaned = []

    def work():
        try:
            while True:
                time.sleep(0.001)
                yield
        finally:
            cleaned.append(True)

    running, results, errors = start(work())
    host.process_events()
    running.cancel()
    running.cancel()
    host.process_events()
    assert cleaned == [True]
    assert results == errors == []

"""Double clicks, Cancel and a closing scene, at any time."""

import pytest

from UncertaintyGuidedI2ILib.work.run_state import Run, RunState, duration, progressText


@pytest.fixture
def run():
    return Run(lambda: None)


def test_a_second_click_does_not_start_a_second_run(run):
    assert run.start()
    assert not run.start()
    assert run.state is RunState.RUNNING


def test_a_run_is_cancelled_once(run):
    assert run.start()
    assert run.cancel()
    assert not run.cancel()
    assert run.state is RunState.CANCELLING


def test_no_run_starts_while_another_is_being_cancelled(run):
    run.start()
    run.cancel()
    assert not run.start()
    run.finish()
    assert run.start()


def test_cancel_without_a_run_does_not_stop_the_next_one(run):
    assert not run.cancel()
    run.start()
    assert run.state is RunState.RUNNING


def test_the_panel_hears_of_every_change():
    seen: list[RunState] = []
    told = Run(lambda: seen.append(told.state))
    told.start()
    told.cancel()
    told.cancel()
    told.finish()
    assert seen == [RunState.RUNNING, RunState.CANCELLING, RunState.IDLE]


@pytest.mark.parametrize(
    ("remaining", "elapsed", "text"),
    [
        (None, 3.2, "Phase 2 of 3, slice 40 of 128; 3 s spent"),
        (12.4, 3.2, "Phase 2 of 3, slice 40 of 128; 3 s spent, about 12 s left"),
        (12.4, None, "Phase 2 of 3, slice 40 of 128; about 12 s left"),
        (None, None, "Phase 2 of 3, slice 40 of 128"),
    ],
)
def test_progress_is_one_line_for_people(remaining, elapsed, text):
    assert progressText({"stage": "phase 2 of 3, slice 40 of 128", "remaining_s": remaining}, elapsed) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3900, "1 h 5 min")]
)
def test_a_time_is_said_as_people_say_it(seconds, text):
    assert duration(seconds) == text

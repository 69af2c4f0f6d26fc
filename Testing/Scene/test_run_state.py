"""Double clicks, Cancel and a closing scene, at any time."""

from types import SimpleNamespace

import pytest

from UncertaintyGuidedI2ILib.run_state import Run, RunState, progressText
from upgan.errors import Cancelled


@pytest.fixture
def run():
    return Run(lambda: None)


def test_a_second_click_does_not_start_a_second_run(run):
    assert run.start()
    assert not run.start()
    assert run.state is RunState.RUNNING


def test_cancel_stops_the_run_at_its_next_progress(run):
    run.start()
    run.stopIfCancelled()
    run.cancel()
    with pytest.raises(Cancelled):
        run.stopIfCancelled()


def test_no_run_starts_while_another_is_being_cancelled(run):
    run.start()
    run.cancel()
    assert not run.start()
    run.finish()
    assert run.start()


def test_cancel_without_a_run_does_not_stop_the_next_one(run):
    run.cancel()
    run.start()
    run.stopIfCancelled()


def test_the_panel_hears_of_every_change():
    seen = []
    run = Run(lambda: seen.append(run.state))
    run.start()
    run.cancel()
    run.cancel()
    run.finish()
    assert seen == [RunState.RUNNING, RunState.CANCELLING, RunState.IDLE]


@pytest.mark.parametrize(("remaining", "ending"), [(float("inf"), "slice 40 of 128"), (12.4, ", 12 s left")])
def test_progress_is_one_line_for_people(remaining, ending):
    progress = SimpleNamespace(phase=2, phases=3, slice=40, slices=128, remaining_s=remaining)
    text = progressText(progress)
    assert text.startswith("Phase 2 of 3")
    assert text.endswith(ending)

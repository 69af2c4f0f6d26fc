"""Double clicks, Cancel and a closing scene, at any time; and what a panel is told of its one job."""

from types import SimpleNamespace
from typing import Any

import pytest

from Panels.conftest import MODULE

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")


class Job:
    """Does nothing by itself, and remembers what was asked of it."""

    def __init__(self, tell, finish, fail, **options):
        self.tell, self.finish, self.fail, self.options = tell, finish, fail, options
        self.asked = []

    def start(self):
        self.asked.append("start")

    def cancel(self):
        self.asked.append("cancel")

    def abandon(self):
        self.asked.append("abandon")


@pytest.fixture
def action(host, load_panel):
    """An action whose jobs, finished work, failures and states are kept in lists."""
    _widget, ui = load_panel("CheckPanel.ui")
    from UncertaintyGuidedI2ILib.work.action import Action, Consent

    jobs, finished, failed, states = [], [], [], []

    def new_job(*handlers, **options):
        jobs.append(Job(*handlers, **options))
        return jobs[-1]

    made: Any = Action(
        ui,
        new_job,
        "beginning",
        Consent("holes", "{refusal} Fill them?", {"fill": 0}),
        lambda *found: finished.append((made.state.value, *found)),
        failed.append,
        lambda: states.append(made.state.value),
    )
    made.seen = SimpleNamespace(ui=ui, jobs=jobs, finished=finished, failed=failed, states=states)
    yield made
    made.abandon()


def test_a_second_click_does_not_start_a_second_run(action):
    action.start()
    action.start()
    assert [job.asked for job in action.seen.jobs] == [["start"]]
    assert action.seen.states == ["running"]
    assert action.seen.ui.statusLabel.text.startswith("Beginning")


def test_a_run_is_cancelled_once(action):
    action.start()
    action.toggle("")
    action.cancel()
    assert action.seen.jobs[0].asked == ["start", "cancel"]
    assert action.state.value == "cancelling"


def test_no_run_starts_while_another_is_being_cancelled(action):
    from upgan.errors import Cancelled

    action.start()
    action.cancel()
    action.toggle("")
    # What the worker said before it heard of it is not shown any more.
    action.seen.jobs[0].tell({"stage": "late", "fraction": 1.0, "remaining_s": None})
    assert action.seen.ui.statusLabel.text == "Cancelling…"
    assert len(action.seen.jobs) == 1
    action.seen.jobs[0].fail(Cancelled())
    assert action.seen.failed == []
    action.toggle("")
    assert [job.asked for job in action.seen.jobs] == [["start", "cancel"], ["start"]]


def test_cancel_without_a_run_does_not_stop_the_next_one(action):
    action.cancel()
    action.toggle("")
    assert action.seen.jobs[0].asked == ["start"]
    assert action.state.value == "running"


def test_a_reason_why_not_starts_nothing_but_does_not_keep_a_run_from_being_cancelled(action):
    action.toggle("There is nothing to do.")
    assert action.seen.jobs == []
    action.start()
    action.toggle("It runs.")
    assert action.state.value == "cancelling"


def test_the_panel_hears_of_every_change(action):
    action.start()
    action.cancel()
    action.cancel()
    action.seen.jobs[0].finish("a result")
    assert action.seen.states == ["running", "cancelling", "idle"]
    assert action.seen.finished == [("idle", "a result")]


@pytest.mark.parametrize("allowed", [True, False])
def test_what_was_refused_is_tried_again_only_if_the_user_allows_it(host, action, allowed):
    from upgan.errors import InputError

    host.answer = allowed
    refusal = InputError("holes", "There are <b>holes</b>.", "Fill them.")
    action.start()
    action.seen.jobs[0].fail(refusal)
    (message,) = host.messages
    assert "holes" in message.text
    assert "<b>" not in message.text
    assert [job.options for job in action.seen.jobs] == ([{}, {"fill": 0}] if allowed else [{}])
    assert action.seen.failed == ([] if allowed else [refusal])
    assert action.isIdle is not allowed


def test_a_job_that_cannot_be_made_ends_like_one_that_failed(action):
    from upgan.errors import UpganError

    refusal = UpganError("worker_busy", "At work.", "Wait.")

    def refuse(*handlers):
        raise refusal

    action._newJob = refuse
    action.start()
    assert action.seen.failed == [refusal]
    assert action.seen.states == ["running", "idle"]
    assert action.seen.ui.progressBar.value == 0


def test_a_panel_that_goes_abandons_its_job_and_draws_nothing_any_more(host, action):
    action.start()
    action.abandon()
    assert action.seen.jobs[0].asked == ["start", "abandon"]
    assert not action.progress._clock.active


def test_the_button_says_what_a_click_does(action):
    from upgan.errors import Cancelled

    button = action.seen.ui.compareButton

    def shown(why_not=""):
        action.showButton(button, "Compare", why_not, "Compares.", "Stops.")
        return button.text, button.enabled, button.toolTip

    assert shown() == ("Compare", True, "Compares.")
    assert shown("Choose <something>.") == ("Compare", False, "Choose ‹something>.")
    action.start()
    assert shown("It runs.") == ("Cancel", True, "Stops.")
    action.cancel()
    assert shown("It runs.") == ("Cancelling…", False, "It runs.")
    action.seen.jobs[0].fail(Cancelled())
    assert shown() == ("Compare", True, "Compares.")


@pytest.fixture
def packages(host, load_panel, monkeypatch):
    """An installation frame, and what is missing, asked for and heard."""
    _widget, ui = load_panel("CheckPanel.ui")
    from UncertaintyGuidedI2ILib import dependencies
    from UncertaintyGuidedI2ILib.work.install_frame import InstallFrame

    missing, heard = ["one", "two"], []
    monkeypatch.setattr(dependencies, "missing", lambda *files: heard.append(files) or list(missing))
    monkeypatch.setattr(dependencies, "ensureInstalled", lambda confirm, *files: confirm("Install?"))
    file = MODULE / "Resources" / "requirements.txt"
    frame = InstallFrame(
        ui,
        "It needs {names}.",
        (file,),
        lambda: heard.append("installed"),
        heard.append,
        lambda: heard.append("tried"),
    )
    return frame, ui, missing, heard, (file,)


def test_missing_packages_are_named_since_they_were_looked_for(packages):
    frame, ui, missing, heard, files = packages
    assert frame.whyNot() == ""
    frame.look()
    assert "one, two" in frame.whyNot()
    frame.show(isFree=False)
    assert (ui.packagesFrame.isHidden(), ui.packagesLabel.text, ui.installButton.enabled) == (
        False,
        "It needs one, two.",
        False,
    )
    missing.clear()
    frame.look()
    frame.show(isFree=True)
    assert (ui.packagesFrame.isHidden(), frame.whyNot(), ui.installButton.enabled) == (True, "", True)
    assert heard == [files, files]


@pytest.mark.parametrize("agrees", [True, False])
def test_only_a_worker_that_looked_in_vain_is_ended_by_an_installation(host, packages, agrees):
    host.answer = agrees
    packages[1].installButton.click()
    assert packages[3] == (["installed", "tried"] if agrees else ["tried"])


def test_an_installation_that_fails_is_told(host, packages, monkeypatch):
    from UncertaintyGuidedI2ILib import dependencies
    from upgan.errors import UpganError

    failure = UpganError("installation_failed", "No internet.", "Connect.")

    def fail(*asked):
        raise failure

    monkeypatch.setattr(dependencies, "ensureInstalled", fail)
    packages[1].installButton.click()
    assert packages[3] == [failure, "tried"]

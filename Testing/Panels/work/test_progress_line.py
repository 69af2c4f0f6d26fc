"""Progress is drawn on a clock: a window that takes long to be drawn does not stop the viewer."""

import time
from types import SimpleNamespace

import pytest

from Panels.fake_session import FakeSession

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

# What one drawing costs with software OpenGL.
DRAW_S = 0.06
LINES = 300
# The most that belongs to one drawing: the first at once, then one a tick of the clock.
CLOCK_S = 0.2


def line(number):
    return {"stage": f"slice {number} of {LINES}", "fraction": number / LINES, "remaining_s": None}


class FakeJob:
    """In the place of a job: keeps what the panel gave it to be told by."""

    last: "FakeJob"

    def __init__(self, *arguments):
        self.tell, self.finish, self.fail = arguments[-3:]
        FakeJob.last = self

    def start(self):
        pass

    def cancel(self):
        from upgan.errors import Cancelled

        self.fail(Cancelled())

    def abandon(self):
        pass


@pytest.fixture
def bar_class(host):
    from Host.progress import ProgressBar

    return ProgressBar


@pytest.fixture
def translating(host, module_widget, add_volume, monkeypatch):
    from UncertaintyGuidedI2ILib.translate import panel as translate_panel

    monkeypatch.setattr(translate_panel, "TranslationJob", FakeJob)
    monkeypatch.setattr(translate_panel, "DOUBLE_CLICK_S", 0.0)
    module_widget.logic.getParameterNode().translate.inputVolume = add_volume()
    panel = module_widget.translatePanel
    host.wait_until(lambda: panel.ui.applyButton.enabled)
    panel.ui.applyButton.click()
    return panel.ui, FakeJob.last.tell, panel.ui.applyButton.click


@pytest.fixture
def checking(host, module_widget, monkeypatch):
    from UncertaintyGuidedI2ILib.check import panel as check_panel

    panel = module_widget.checkPanel
    monkeypatch.setattr(check_panel, "CheckJob", FakeJob)
    monkeypatch.setattr(panel, "_whyNot", lambda: "")
    monkeypatch.setattr(panel, "_result", lambda: SimpleNamespace(nodes={}, translationID="", phase=1))
    module_widget.ui.panels.currentIndex = 2
    panel.onCompare()
    return panel.ui, FakeJob.last.tell, panel.ui.compareButton.click


@pytest.fixture
def training(host, load_panel, tmp_path, monkeypatch):
    monkeypatch.setenv("UPGAN_RUNS", str(tmp_path))
    widget, ui = load_panel("TrainPanel.ui")
    from UncertaintyGuidedI2ILib import dependencies
    from UncertaintyGuidedI2ILib.train import panel as train_panel

    monkeypatch.setattr(dependencies, "missing", lambda *files: [])
    session = FakeSession(tmp_path)
    panel = train_panel.TrainPanel(ui, session, print)
    widget.show()
    session.tell("running", run=session.newRun("site-model"))
    yield ui, lambda progress: session.tell(progress=progress), lambda: session.tell("paused", progress={})
    panel.cleanup()


@pytest.mark.parametrize("at_work", ["translating", "checking", "training"])
def test_a_burst_of_progress_costs_one_drawing_and_a_click_behind_it_gets_through(host, at_work, request, bar_class):
    import qt

    ui, tell, end = request.getfixturevalue(at_work)
    host.process_events()
    bar_class.draws, bar_class.draw_s = 0, DRAW_S
    clicked = []
    # In the queue behind what has come from the worker, as a click is.
    qt.QTimer.singleShot(0, lambda: [tell(line(number)) for number in range(1, LINES)])
    qt.QTimer.singleShot(0, lambda: clicked.append(bar_class.draws))
    started = time.monotonic()
    host.wait_until(lambda: clicked)
    assert clicked[0] <= 1 + (time.monotonic() - started) / CLOCK_S
    host.wait_until(lambda: ui.progressBar.value == round(ui.progressBar.maximum * (LINES - 1) / LINES), 5)
    assert ui.statusLabel.text.startswith(f"Slice {LINES - 1} of")
    assert bar_class.draws <= 2 + (time.monotonic() - started) / CLOCK_S

    # How it ended is not left to the clock, nor undone by it.
    tell(line(LINES))
    end()
    text, value = ui.statusLabel.text, ui.progressBar.value
    assert value == 0
    assert not text.startswith("Slice")
    until = time.monotonic() + 1.5 * CLOCK_S
    host.wait_until(lambda: time.monotonic() > until)
    assert (ui.statusLabel.text, ui.progressBar.value) == (text, value)


@pytest.fixture
def progress(host, load_panel):
    """A progress line and the widgets it draws."""
    _widget, ui = load_panel("TranslatePanel.ui")
    from UncertaintyGuidedI2ILib.work.progress_line import ProgressLine

    progress = ProgressLine(ui.progressBar, ui.statusLabel)
    yield progress, ui
    progress.stop()


@pytest.mark.parametrize(
    ("text", "fraction", "shown"), [("Done in 2 s.", 1.0, 1.0), ("Cancelled.", 0.0, 0.0), ("It broke.", None, 0.5)]
)
def test_done_cancelled_and_broken_are_drawn_at_once(progress, text, fraction, shown):
    progress, ui = progress
    progress.tell({"stage": "half", "fraction": 0.5, "remaining_s": None})
    progress.tell(line(LINES))
    progress.show(text, fraction)
    assert (ui.statusLabel.text, ui.progressBar.value) == (text, shown * ui.progressBar.maximum)


def test_the_time_goes_on_while_the_work_is_silent_and_begins_anew_with_the_next(host, progress, monkeypatch):
    from UncertaintyGuidedI2ILib.work import progress_line

    progress, ui = progress
    clock = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(progress_line, "time", clock)
    progress.tell(line(1))
    assert ui.statusLabel.text.endswith("; 0 s spent")
    clock.monotonic = lambda: 107.0
    host.wait_until(lambda: ui.statusLabel.text.endswith("; 7 s spent"))
    progress.show("Done.")
    progress.tell(line(1))
    assert ui.statusLabel.text.endswith("; 0 s spent")


@pytest.mark.parametrize(
    ("remaining", "elapsed", "text"),
    [
        (None, 3.2, "Phase 2 of 3, slice 40 of 128; 3 s spent"),
        (12.4, 3.2, "Phase 2 of 3, slice 40 of 128; 3 s spent, about 12 s left"),
        (12.4, None, "Phase 2 of 3, slice 40 of 128; about 12 s left"),
        (None, None, "Phase 2 of 3, slice 40 of 128"),
    ],
)
def test_progress_is_one_line_for_people(load_panel, remaining, elapsed, text):
    load_panel("TranslatePanel.ui")
    from UncertaintyGuidedI2ILib.work.progress_line import progressText

    assert progressText({"stage": "phase 2 of 3, slice 40 of 128", "remaining_s": remaining}, elapsed) == text

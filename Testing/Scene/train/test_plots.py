"""The charts of a training: what a journal says is what is drawn, in place, however long it grows."""

import time

import numpy as np
import pytest

from Scene.conftest import SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402 - it comes with slicer, which may be absent

from UncertaintyGuidedI2ILib.train.history import TrainingHistory, thinned  # noqa: E402
from UncertaintyGuidedI2ILib.train.plots import TrainingPlots  # noqa: E402


def stage(number, phases):
    return {"kind": "stage", "stage": number, "stages": 4, "phases": phases, "epochs": 2, "steps": 100}


def steps(number, step, loss):
    return {"kind": "steps", "stage": number, "stages": 4, "epoch": 1, "step": step, "steps": 100, "loss": loss}


def validation(number, epoch, maes, best=False, coverage=(0.5, 0.9)):
    figures = {"coverage_50%": coverage[0], "coverage_90%": coverage[1], "psnr": 20.0, "ssim_3d": 0.9}
    phases = {str(phase): {"mae": mae, **figures} for phase, mae in enumerate(maes, start=1)}
    return {"kind": "validation", "stage": number, "epoch": epoch, "step": 1, "phases": phases, "best": best}


def event(sentence):
    return {"kind": "event", "code": "paused", "sentence": sentence}


TWO_STAGES = [
    stage(1, [1]),
    *(steps(1, step, 5.0 - step / 100) for step in (10, 20, 30)),
    validation(1, 1, [120.0], best=True),
    validation(1, 2, [100.0], best=True, coverage=(0.4, 0.8)),
    stage(2, [2]),
    *(steps(2, step, 3.0) for step in (10, 20)),
    validation(2, 1, [100.0, 90.0], best=True, coverage=(0.52, 0.91)),
]


@pytest.fixture
def plots(mrml_scene):
    return TrainingPlots(mrml_scene)


def drawn(chart):
    """What a viewer sees: by name in the legend, the points [N, 2]."""
    found = {}
    for i in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(i)
        table = series.GetTableNode().GetTable()
        columns = [table.GetColumnByName(name) for name in (series.GetXColumnName(), series.GetYColumnName())]
        found[series.GetName()] = np.stack([vtk_to_numpy(column) for column in columns], axis=1)
    return found


def node_count(scene):
    return scene.GetNumberOfNodes()


def test_the_loss_of_each_stage_goes_on_where_the_stage_before_ended(plots):
    plots.follow("heads", "HU", TWO_STAGES)
    chart = plots.chart("loss")
    lines = drawn(chart)
    np.testing.assert_allclose(lines["phase 1"], [[10, 4.9], [20, 4.8], [30, 4.7]])
    np.testing.assert_allclose(lines["phase 2"], [[40, 3], [50, 3]])
    colors = {chart.GetNthPlotSeriesNode(i).GetColor() for i in range(2)}
    assert len(colors) == 2


def test_the_stage_of_all_phases_says_so(plots):
    plots.follow("heads", "HU", [stage(4, [1, 2, 3]), steps(4, 1, 2.0)])
    assert list(drawn(plots.chart("loss"))) == ["phases 1, 2, 3 together"]


def test_each_phase_has_its_error_over_the_epochs_of_the_whole_run_in_the_tasks_unit(plots):
    plots.follow("heads", "HU", TWO_STAGES)
    chart = plots.chart("validation")
    lines = drawn(chart)
    np.testing.assert_allclose(lines["phase 1"], [[1, 120], [2, 100], [3, 100]])
    np.testing.assert_allclose(lines["phase 2"], [[3, 90]])
    assert chart.GetYAxisTitle() == "MAE (HU)"


def test_coverage_is_that_of_the_last_trained_phase_beside_what_it_should_be(plots):
    lines_of = [*TWO_STAGES, validation(2, 2, [99.0, 80.0], coverage=(0.45, 0.85))]
    plots.follow("heads", "HU", lines_of)
    lines = drawn(plots.chart("coverage"))
    np.testing.assert_allclose(lines["50% interval"], [[1, 50], [2, 40], [3, 52], [4, 45]])
    np.testing.assert_allclose(lines["90% interval"], [[1, 90], [2, 80], [3, 91], [4, 85]])
    np.testing.assert_allclose(lines["ideal 50%"], [[1, 50], [4, 50]])
    np.testing.assert_allclose(lines["ideal 90%"], [[1, 90], [4, 90]])


def test_legends_and_titles_are_ascii(plots):
    plots.follow("heads", "HU", [*TWO_STAGES, stage(3, [1, 2]), steps(3, 1, 1.0)])
    for name in ("loss", "validation", "coverage"):
        chart = plots.chart(name)
        texts = [*drawn(chart), chart.GetTitle(), chart.GetXAxisTitle(), chart.GetYAxisTitle()]
        assert all(text.isascii() for text in texts)


def test_a_growing_journal_changes_the_numbers_and_adds_no_node(plots, mrml_scene):
    journal = TWO_STAGES[:3]
    plots.follow("heads", "HU", journal)
    chart = plots.chart("loss")
    before = node_count(mrml_scene)
    series = chart.GetNthPlotSeriesNode(0)
    for step in range(40, 90, 10):
        journal.append(steps(1, step, 1.0))
        plots.follow("heads", "HU", journal)
    assert plots.chart("loss") is chart
    assert chart.GetNthPlotSeriesNode(0) is series
    assert node_count(mrml_scene) == before
    assert drawn(chart)["phase 1"][-1].tolist() == [80, 1]


def test_an_update_is_told_once_and_only_where_something_changed(plots):
    journal = list(TWO_STAGES)
    plots.follow("heads", "HU", journal)
    tables = [plots.chart("loss").GetNthPlotSeriesNode(i).GetTableNode() for i in range(2)]
    told = []
    for index, table in enumerate(tables):
        table.AddObserver("ModifiedEvent", lambda caller, event, index=index: told.append(index))
    plots.follow("heads", "HU", journal)
    assert told == []
    journal.append(steps(2, 30, 1.0))
    plots.follow("heads", "HU", journal)
    assert told == [1]


def test_nothing_enters_the_scene_before_a_chart_is_asked_for(plots, mrml_scene):
    before = node_count(mrml_scene)
    plots.follow("heads", "HU", TWO_STAGES)
    assert node_count(mrml_scene) == before
    assert plots.hasLines("loss")


def test_another_run_takes_the_place_of_the_one_before(plots, mrml_scene):
    before = node_count(mrml_scene)
    plots.follow("heads", "HU", TWO_STAGES)
    for name in ("loss", "validation", "coverage"):
        plots.chart(name)
    plots.follow("others", "", [])
    assert node_count(mrml_scene) == before
    assert not plots.hasLines("loss")
    plots.follow("others", "", TWO_STAGES[:2])
    assert plots.chart("loss").GetName() == "others loss"


def test_a_chart_or_a_line_that_the_user_deleted_comes_back_when_it_is_asked_for(plots, mrml_scene):
    plots.follow("heads", "HU", TWO_STAGES)
    mrml_scene.RemoveNode(plots.chart("loss"))
    plots.follow("heads", "HU", [*TWO_STAGES, steps(2, 30, 1.0)])
    assert len(drawn(plots.chart("loss"))["phase 2"]) == 3
    mrml_scene.RemoveNode(plots.chart("loss").GetNthPlotSeriesNode(0))
    plots.follow("heads", "HU", [*TWO_STAGES, steps(2, 30, 1.0), steps(2, 40, 1.0)])
    lines = drawn(plots.chart("loss"))
    assert {name: len(line) for name, line in lines.items()} == {"phase 1": 3, "phase 2": 4}


def test_closing_the_scene_breaks_nothing(plots, mrml_scene):
    plots.follow("heads", "HU", TWO_STAGES)
    plots.chart("loss")
    mrml_scene.Clear(0)
    plots.follow("heads", "HU", [*TWO_STAGES, steps(2, 30, 1.0)])
    assert len(drawn(plots.chart("loss"))["phase 2"]) == 3
    plots.clear()


def test_charts_are_not_saved_with_the_scene(plots, mrml_scene, tmp_path):
    plots.follow("heads", "HU", TWO_STAGES)
    plots.chart("loss")
    mrml_scene.SetURL(str(tmp_path / "scene.mrml"))
    assert mrml_scene.Commit()
    assert "heads loss" not in (tmp_path / "scene.mrml").read_text()


def test_a_long_training_is_drawn_with_a_few_hundred_points_in_less_than_20_ms(plots):
    journal = [stage(1, [1]), *(steps(1, step, 1 + 1 / step) for step in range(1, 200_001))]
    plots.follow("heads", "HU", journal)
    chart = plots.chart("loss")
    assert len(drawn(chart)["phase 1"]) <= 400
    took = []
    for step in range(200_001, 200_006):
        journal.append(steps(1, step, 0.5))
        start = time.process_time()
        plots.follow("heads", "HU", journal)
        took.append(time.process_time() - start)
    assert min(took) < 0.02


def test_thinning_keeps_the_mean_and_never_more_points_than_asked_for():
    values = np.random.default_rng(0).normal(size=1001)
    x, y = thinned(list(range(1001)), list(values), 100)
    assert len(x) == len(y) <= 100
    counts = np.array([11] * 91)
    np.testing.assert_allclose((y * counts).sum(), values.sum())
    np.testing.assert_allclose(x[:2], [5, 16])
    assert [part.tolist() for part in thinned([], [], 100)] == [[], []]


def test_steps_that_a_resumed_run_repeats_count_once_the_later_ones():
    history = TrainingHistory()
    history.follow([stage(1, [1]), steps(1, 10, 9.0), steps(1, 20, 9.0), steps(1, 30, 9.0), steps(1, 20, 1.0)])
    assert list(history.stages[1].steps) == [10, 20]
    assert list(history.stages[1].losses) == [9.0, 1.0]


def test_epochs_that_a_resumed_run_repeats_count_once():
    history = TrainingHistory()
    history.follow([stage(1, [1]), validation(1, 1, [9.0]), validation(1, 2, [8.0]), validation(1, 2, [7.0])])
    assert history.phases[1].epochs == [1, 2]
    assert history.phases[1].figures["mae"] == [9.0, 7.0]


def test_a_journal_that_was_read_anew_replaces_the_old_one():
    history = TrainingHistory()
    history.follow([stage(1, [1]), steps(1, 10, 9.0), steps(1, 20, 9.0)])
    assert history.follow([stage(1, [1]), steps(1, 10, 2.0), steps(1, 20, 3.0), event("Resumed.")])
    assert list(history.stages[1].losses) == [2.0, 3.0]
    assert history.events == ["Resumed."]
    assert history.follow([])
    assert history.stages == {}


def test_a_base_model_is_the_first_point_of_the_error():
    history = TrainingHistory()
    history.follow([validation(0, 0, [70.0, 60.0], best=True), stage(1, [1, 2]), validation(1, 1, [66.0, 55.0])])
    assert history.phases[2].epochs == [0, 1]
    assert history.errorOf("best") == (60.0, 0, 0)


def test_each_checkpoint_has_the_error_of_its_own_epoch():
    history = TrainingHistory()
    assert history.errorOf("best") is None
    history.follow([*TWO_STAGES, validation(2, 2, [100.0, 95.0]), stage(3, [1, 2]), validation(3, 1, [97.0, 93.0])])
    assert history.errorOf("best") == (90.0, 2, 1)
    assert history.errorOf("last") == (93.0, 3, 1)
    assert history.errorOf("phase_1") == (100.0, 1, 2)
    assert history.errorOf("phase_2") == (90.0, 2, 1)
    assert history.errorOf("phase_3") is None
    assert history.errorOf("all_phases") == (93.0, 3, 1)
    # Where no stage ends early, each hands on its last epoch.
    assert history.errorOf("phase_2", keepsBest=False) == (95.0, 2, 2)


def test_one_phase_trained_alone_and_then_once_more_are_two_checkpoints():
    history = TrainingHistory()
    history.follow([stage(1, [1]), validation(1, 1, [100.0]), stage(2, [1]), validation(2, 1, [90.0])])
    assert history.errorOf("phase_1") == (100.0, 1, 1)
    assert history.errorOf("all_phases") == (90.0, 2, 1)

"""Colour legends: a number beside the colours is the value at its place, whatever scale the user sets."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from Scene.conftest import SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)

from UncertaintyGuidedI2ILib.scene.legends import LegendKeeper, hideLegend, labelsFor, refreshLegends, showLegend  # noqa: E402


def values_at(low, high, count):
    """Return the values at equal distances, exactly."""
    return [Fraction(low) + Fraction(i, count - 1) * (Fraction(high) - Fraction(low)) for i in range(count)]


def errors(low, high):
    """Return by how much each label is off, exactly."""
    labels = labelsFor(low, high)
    pairs = zip(labels.texts(low, high), values_at(low, high, labels.count), strict=True)
    return [abs(Fraction(text.strip()) - value) for text, value in pairs]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        # sigma and alpha, beta, probability, error map, pseudo-CT, interval widths, a restored MR image
        (0, 500, "0 100 200 300 400 500"),
        (0, 4, "0 1 2 3 4"),
        (0, 1, "0.0 0.2 0.4 0.6 0.8 1.0"),
        (-300, 300, "-300 -200 -100 0 100 200 300"),
        (-700, 1300, "-700 -200 300 800 1300"),
        (0, 1600, "0 400 800 1200 1600"),
        (0, 670, "0 134 268 402 536 670"),
        (0.0, 843.27, "0 211 422 632 843"),
        (0.2, 0.8, "0.2 0.3 0.4 0.5 0.6 0.7 0.8"),
        (-1000, 3000, "-1000 0 1000 2000 3000"),
        (0, 0.003, "0.000 0.001 0.002 0.003"),
        (0, 2.5e12, "0.000e+00 6.250e+11 1.250e+12 1.875e+12 2.500e+12"),
    ],
)
def test_labels_are_few_and_round(low, high, texts):
    assert " ".join(labelsFor(low, high).texts(low, high)).split() == texts.split()


@pytest.mark.parametrize("high", [1, 4, 500, 670, 1600, 0.25, 30000])
def test_labels_of_round_scales_are_exact(high):
    # Up to how near a decimal fraction comes to its floating-point number.
    assert max(errors(0, high)) <= 1e-12 * high
    assert max(errors(-high, high)) <= 1e-12 * high


@given(st.floats(-1e7, 1e7), st.floats(1e-6, 1e7))
def test_a_label_is_the_value_at_its_place_for_any_scale(level, window):
    low, high = level - window / 2, level + window / 2
    if high - low < 1e-6 * max(abs(low), abs(high)):
        return
    labels = labelsFor(low, high)
    texts = labels.texts(low, high)
    # A thousandth of the bar is less than a pixel.
    assert max(errors(low, high)) <= Fraction(high - low) / 1000 + Fraction(1e-9) * Fraction(max(abs(low), abs(high)))
    assert 3 <= labels.count <= 7
    assert sorted(set(texts), key=float) == texts
    assert max(len(text) for text in texts) <= 18


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_no_scale_is_refused(low, high):
    assert labelsFor(low, high).texts(low, high)


@pytest.fixture
def sigma(add_volume, logic):
    return logic.translate(add_volume())["sigma"]


def labels_of(legend):
    display = legend.GetPrimaryDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    count = legend.GetNumberOfLabels()
    return [legend.GetLabelFormat() % float(value) for value in values_at(low, high, count)]


def test_all_labels_are_of_one_width_so_that_the_text_is_of_one_size(sigma):
    widths = set()
    for high in (1, 4, 500, 1600):
        sigma.GetDisplayNode().SetWindowLevelMinMax(0, high)
        legend = showLegend(sigma)
        widths |= {len(text) for text in labels_of(legend)} | {legend.GetSize()}
    assert widths == {5, legend.GetSize()}


def test_a_long_title_is_broken_into_lines_that_stay_beside_the_anatomy(sigma):
    legend = showLegend(sigma, "90 % interval width (HU)")
    lines = legend.GetTitleText().splitlines()
    assert " ".join(lines) == "90 % interval width (HU)"
    assert max(map(len, lines)) <= 14


def test_labels_follow_the_window_that_the_user_sets(mrml_scene, sigma):
    keeper = LegendKeeper(mrml_scene)
    try:
        legend = showLegend(sigma)
        assert [float(text) for text in labels_of(legend)] == [0, 100, 200, 300, 400, 500]
        sigma.GetDisplayNode().SetWindowLevelMinMax(0, 1)
        assert [float(text) for text in labels_of(legend)] == [0, 0.2, 0.4, 0.6, 0.8, 1]
        sigma.GetDisplayNode().SetWindowLevelMinMax(-10, 30)
        assert [float(text) for text in labels_of(legend)] == [-10, 0, 10, 20, 30]
    finally:
        keeper.close()


def test_legends_that_are_gone_are_let_go(mrml_scene, sigma):
    keeper = LegendKeeper(mrml_scene)
    try:
        views = len(keeper._followed)
        for _ in range(3):
            mrml_scene.RemoveNode(showLegend(sigma))
        assert len(keeper._followed) == views
        showLegend(sigma)
        assert len(keeper._followed) == views + 1
        mrml_scene.Clear(0)
        assert not any(node.IsA("vtkMRMLColorLegendDisplayNode") for node, _tag in keeper._followed.values())
    finally:
        keeper.close()


def test_labels_and_size_that_the_user_sets_himself_stay(mrml_scene, sigma):
    keeper = LegendKeeper(mrml_scene)
    try:
        legend = showLegend(sigma)
        legend.SetNumberOfLabels(9)
        legend.SetPosition(0.1, 0.5)
        sigma.GetDisplayNode().SetWindowLevelMinMax(0, 1)
        hideLegend(sigma)
        assert showLegend(sigma) is legend
        refreshLegends(mrml_scene)
        assert (legend.GetNumberOfLabels(), legend.GetPosition()) == (9, (0.1, 0.5))
    finally:
        keeper.close()


def test_the_legend_of_a_larger_view_is_larger_but_less_so(app, sigma):
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(app.app_logic)
    logic.SetMRMLScene(app.scene)
    view = logic.AddSliceNode("Red")
    view.SetMappedInLayout(1)
    logic.GetSliceCompositeNode().SetForegroundVolumeID(sigma.GetID())
    keeper = LegendKeeper(app.scene)
    try:
        legend = showLegend(sigma)
        pixels = []
        for width in (400, 800):
            view.SetDimensions(width, 400, 1)
            pixels.append(legend.GetSize()[0] * width)
    finally:
        keeper.close()
    # Slicer gives 0.8 of it and 6 pixels to the labels: five letters of 0.6 of their height.
    assert 11 < (0.8 * pixels[0] + 6) / 5 / 0.6 < 14
    assert 1.2 < pixels[1] / pixels[0] < 1.6


def test_a_legend_of_a_saved_scene_goes_on_to_follow_its_window(app, sigma, tmp_path):
    showLegend(sigma, "90 % interval width (HU)")
    assert app.io_manager.write_scene(tmp_path / "scene.mrb")
    again = type(app)()
    again.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    keeper = LegendKeeper(again.scene)
    try:
        assert again.io_manager.load_scene(tmp_path / "scene.mrb")
        legend = again.scene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode")
        legend.GetPrimaryDisplayNode().SetWindowLevelMinMax(0, 1)
        assert [float(text) for text in labels_of(legend)] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    finally:
        keeper.close()

"""The test host's own machinery; how it behaves as Slicer does is claimed in Testing/Contract."""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[1] / "Contract" / "example" / "ContractExample.py"


@pytest.fixture
def qt(host):
    return sys.modules["qt"]


@pytest.fixture
def slicer(host):
    return sys.modules["slicer"]


@pytest.fixture
def example(host):
    return host.open_module(EXAMPLE)


# What is refused here, where Slicer only warns or would wait


def test_an_unknown_signal_is_refused(qt):
    with pytest.raises(ValueError, match="no signal"):
        qt.QPushButton().connect("klicked(bool)", print)
    with pytest.raises(ValueError, match="no signal"):
        qt.QComboBox().connect("currentIndexChanged(QString)", print)


def test_dialogs_never_wait_for_a_user(host, qt):
    host.conversation.file_answer = "a.nrrd"
    assert qt.QFileDialog.getOpenFileName(None, "Open") == "a.nrrd"
    assert [message.kind for message in host.messages] == ["file"]
    for wait in (
        lambda: qt.QMessageBox.question(None, "title", "Really?"),
        lambda: qt.QMessageBox().exec_(),
        lambda: qt.QDialog().exec_(),
    ):
        with pytest.raises(RuntimeError, match="wait"):
            wait()


def test_no_package_is_installed(host, slicer):
    with pytest.raises(RuntimeError):
        slicer.util.pip_install("anything")


def load(slicer, folder, text):
    path = folder / "panel.ui"
    path.write_text(text, encoding="utf-8")
    return slicer.util.loadUI(str(path))


def panel_file(widget):
    layout = f'<layout class="QVBoxLayout" name="l"><item>{widget}</item></layout>'
    return f'<ui version="4.0"><class>P</class><widget class="QWidget" name="P">{layout}</widget></ui>'


@pytest.mark.parametrize(
    "widget",
    [
        '<widget class="qMRMLNoSuchWidget" name="w"/>',
        '<widget class="ctkSliderWidget" name="w"><property name="maximun"><double>1</double></property></widget>',
        '<widget class="QSlider" name="w"><property name="orientation">'
        "<enum>Qt::Orientation::Vertical</enum></property></widget>",
    ],
    ids=["widget", "property", "enum"],
)
def test_a_panel_file_that_slicer_would_not_read_fully_is_refused(slicer, tmp_path, widget):
    with pytest.raises(RuntimeError):
        load(slicer, tmp_path, panel_file(widget))


# Slicer's and CTK's own classes


def test_the_host_offers_no_method_that_python_does_not_see_in_slicer(host, slicer):
    from Host.slicer_api import OFFERED, inventions

    standing_in = [*host.widget_classes().values(), *map(type, (slicer.app, slicer.app.layoutManager()))]
    standing_in += [type(slicer.app.moduleManager()), slicer.qSlicerScriptedLoadableModuleWidget]
    assert {cls.__name__ for cls in standing_in} == set(OFFERED)
    assert {cls.__name__: inventions(cls) for cls in standing_in if inventions(cls)} == {}


def test_the_host_has_no_widget_that_no_panel_names(host):
    import xml.etree.ElementTree as ET

    panels = (Path(__file__).parents[2] / "UncertaintyGuidedI2I" / "Resources" / "UI").glob("*.ui")
    named = {widget.get("class") for panel in panels for widget in ET.parse(panel).iter("widget")}
    # The views are the layout manager's.
    views = {name for name in host.widget_classes() if name.startswith(("qMRMLSlice", "qMRMLPlot"))}
    assert set(host.widget_classes()) - views <= named


# Observers


def test_the_selector_shows_a_renamed_node_by_its_new_name(host, slicer, add_volume):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(host.scene)
    add_volume("a").SetName("renamed")
    assert selector._box.currentText == "renamed"


def test_what_the_garbage_collector_took_is_not_called_any_more(host):
    from Host.qmrml_base import Observers

    qt, called = sys.modules["qt"], []
    observers = Observers(qt.QObject())
    observers.add(host.scene, host.scene.NodeAddedEvent, called.append)
    observers.itself = observers
    del observers
    gc.collect()
    host.scene.AddNewNodeByClass("vtkMRMLTextNode", "t")
    assert called == []


# Modules, errors and questions


def test_ending_cleans_up(host, example):
    host.close_modules()
    assert example.calls[-2:] == ["exit", "cleanup"]


def test_an_error_in_a_guarded_slot_is_shown_with_details(host, slicer, qt):
    def fail():
        with slicer.util.tryWithErrorDisplay("It failed."):
            raise OSError("the disk is full")

    button = qt.QPushButton()
    button.clicked.connect(fail)
    button.click()
    (message,) = host.messages
    assert (message.kind, message.text) == ("error", "It failed.\n\nthe disk is full")
    assert "OSError" in message.details
    assert "OSError" in host.uncaught.pop()


def test_an_unguarded_error_is_kept(host, qt):
    button = qt.QPushButton()
    button.clicked.connect(lambda: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in host.uncaught.pop()


def test_questions_get_the_answer_that_the_test_gave(host, slicer):
    assert slicer.util.confirmOkCancelDisplay("Install?")
    host.answer = lambda message: "small" in message.text
    assert not slicer.util.confirmOkCancelDisplay("A large download?")
    assert slicer.util.confirmOkCancelDisplay("A small download?")
    assert [message.kind for message in host.messages] == ["ok-cancel"] * 3


# Views


CUSTOM_LAYOUT = """<layout type="horizontal"><item><view class="vtkMRMLSliceNode" singletontag="HostExtra">
<property name="orientation" action="default">Coronal</property><property name="viewlabel" action="default">X</property>
<property name="viewcolor" action="default">#5F8AC7</property></view></item>
<item><view class="vtkMRMLPlotViewNode" singletontag="HostPlot"/></item></layout>"""


@pytest.mark.parametrize("time", ["first", "again"])
def test_the_views_of_a_module_are_gone_in_the_next_test_and_come_again(host, slicer, time):
    manager = slicer.app.layoutManager()
    assert set(manager.sliceViewNames()) == {"Red", "Green", "Yellow"}
    assert len(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")) == 3
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(7001, CUSTOM_LAYOUT)
    manager.setLayout(7001)
    assert manager.sliceWidget("HostExtra").mrmlSliceNode().GetOrientation() == "Coronal"
    assert len(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")) == 4


def marked_head():
    """Bright at the patient's left, front and top; voxels in RAS order."""
    voxels = np.full((20, 20, 20), 10, np.float32)
    voxels[:, :, :10] = 100
    voxels[:, 10:, :] += 50
    voxels[10:] += 25
    return voxels


def quadrants(widget):
    """Mean brightness (upper left, upper right, lower left, lower right) of what the slice view shows."""
    from Host.slice_picture import picture

    image = picture(widget.sliceLogic())
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.width(), 4)[..., 0].astype(float)
    height, width = pixels.shape
    upper, lower = pixels[: height // 2], pixels[height // 2 :]
    return [float(part.max()) for half in (upper, lower) for part in (half[:, : width // 2], half[:, width // 2 :])]


@pytest.mark.parametrize("view", ["Red", "Green"], ids=["axial", "coronal"])
def test_a_slice_view_shows_the_patients_left_at_the_right_and_front_or_top_above(slicer, add_volume, view):
    # i grows to the patient's right, so the bright half (i < 10) is the patient's left.
    grid = np.array([[1.0, 0, 0, -10], [0, 1, 0, -10], [0, 0, 1, -10], [0, 0, 0, 1]])
    volume = add_volume("head", marked_head(), grid)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    shown = quadrants(slicer.app.layoutManager().sliceWidget(view))
    # Left outweighs front, and front top.
    upper_left, upper_right, lower_left, lower_right = shown
    assert upper_right > lower_right > upper_left > lower_left


def test_border_marks_say_the_patients_directions(slicer, add_volume):
    from Host.slice_picture import directions

    manager = slicer.app.layoutManager()
    nodes = [manager.sliceWidget(name).mrmlSliceNode() for name in ("Red", "Green", "Yellow")]
    assert [directions(node) for node in nodes] == [
        ("R", "L", "A", "P"),
        ("R", "L", "S", "I"),
        ("A", "P", "S", "I"),
    ]


def test_pointing_into_a_view_moves_the_crosshair(host, slicer, qt, add_volume):
    slicer.util.setSliceViewerLayers(background=add_volume("v", np.zeros((20, 20, 20), np.float32)), fit=True)
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    events = []
    crosshair.AddObserver(slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent, lambda *_: events.append(1))
    host.point(view, view.width / 2, view.height / 2)
    ras = [0.0, 0.0, 0.0]
    assert crosshair.GetCursorPositionRAS(ras)
    assert events
    assert ras[:2] == pytest.approx([9.5, 9.5], abs=0.5)
    assert crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0]) is view.mrmlSliceNode()


def test_a_view_says_what_its_legend_shows(slicer, add_volume):
    volume = add_volume("sigma", np.zeros((4, 4, 4), np.float32))
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 300)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    view = slicer.app.layoutManager().sliceWidget("Red")
    assert view.sliceView().legends() == []
    view.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    node = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume)
    node.SetTitleText("sigma [HU]")
    (legend,) = view.sliceView().legends()
    assert (legend.title, legend.low, legend.high) == ("sigma [HU]", 0, 300)
    assert legend.labels == ("0.0", "75.0", "150.0", "225.0", "300.0")
    assert tuple(legend.colors[0]) == (0, 0, 0)
    assert tuple(legend.colors[-1]) == (255, 0, 0)
    node.SetVisibility(False)
    assert view.sliceView().legends() == []


def test_a_segmentation_is_drawn_over_the_slice(host, slicer, add_volume):
    from Host.overlay import Overlay, opengl_works

    if not opengl_works():
        pytest.skip("nothing can be rendered here: no OpenGL library")
    volume = add_volume("v", np.zeros((20, 20, 20), np.float32))
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    overlay = Overlay(node, slicer.app.applicationLogic())
    assert overlay.picture() is None
    segmentation = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "regions")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = segmentation.GetSegmentation().AddEmptySegment("left", "left", (1.0, 0.0, 0.0))
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:, :, :10] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(labels, segmentation, segment, volume)
    image = overlay.picture()
    middle = image.height() // 2
    colors = [image.pixelColor(round(image.width() * share), middle) for share in (0.4, 0.6)]
    # i grows to the right of the patient: the segment lies at the patient's left, the right of the screen.
    assert colors[0].alpha() == 0
    assert colors[1].alpha() > 50
    assert colors[1].red() > 200
    assert colors[1].green() < 40


# The host and its neighbours


def test_nothing_is_left_behind_when_the_host_is_uninstalled(host, slicer, example):
    host.uninstall()
    try:
        assert not {"qt", "ctk", "SampleData", "ContractExample", "slicer.i18n"} & set(sys.modules)
        assert not hasattr(slicer, "app")
        assert not hasattr(slicer, "modules")
        assert sys.excepthook is not host._record_exception
        assert "QFile" in slicer.util.loadUI.__code__.co_names
    finally:
        host.install()

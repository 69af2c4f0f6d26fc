"""The test host behaves as Slicer 5.10 was measured to, and refuses what Slicer refuses."""

import gc
import pathlib
import sys
from pathlib import Path

import numpy as np
import pytest

HOST = Path(__file__).parents[1] / "Host"
EXAMPLE = HOST / "example" / "Example.py"


@pytest.fixture
def qt(host):
    return sys.modules["qt"]


@pytest.fixture
def slicer(host):
    return sys.modules["slicer"]


@pytest.fixture
def example(host):
    return host.open_module(EXAMPLE)


@pytest.fixture
def choices(example):
    return example.parameterNode


# Properties, enums and signals, as PythonQt has them


def test_a_property_is_an_attribute_and_calling_it_is_a_type_error(qt):
    spin = qt.QSpinBox()
    spin.value = 7
    assert spin.value == 7
    with pytest.raises(TypeError):
        spin.value()


def test_a_method_that_is_no_property_stays_a_method(qt):
    combo = qt.QComboBox()
    combo.addItems(["a", "b"])
    assert combo.itemText(1) == "b"
    assert not combo.isVisible()
    assert qt.QTableWidgetItem("cell").text() == "cell"


def test_objects_made_by_qt_behave_like_those_made_in_python(qt):
    table = qt.QTableWidget(2, 3)
    header = table.horizontalHeader()
    assert header.visible in (True, False)
    assert table.columnCount == 3
    with pytest.raises(TypeError):
        table.rowCount()


def test_a_misspelt_attribute_is_refused(qt):
    label = qt.QLabel("x")
    with pytest.raises(AttributeError):
        label.txt = "y"
    with pytest.raises(AttributeError):
        label.setText = "y"


def test_a_subclass_in_python_takes_attributes(qt):
    class Panel(qt.QWidget):
        pass

    panel = Panel()
    panel.answer = 42
    assert panel.answer == 42


@pytest.mark.parametrize(("name", "value"), [("enabled", None), ("text", 5), ("enabled", object())])
def test_a_property_refuses_a_value_of_another_type(qt, name, value):
    with pytest.raises(ValueError, match=name):
        setattr(qt.QLabel(), name, value)


def test_numpys_integers_are_no_ints_for_a_property(qt):
    with pytest.raises(ValueError, match="value"):
        qt.QProgressBar().value = np.int64(3)


def test_a_read_only_property_cannot_be_written(qt):
    with pytest.raises(AttributeError):
        qt.QComboBox().count = 3


def test_enums_are_flat_ints_and_the_scoped_form_is_an_attribute_error(qt):
    assert (qt.Qt.AlignRight | qt.Qt.AlignVCenter) == 0x82
    assert isinstance(qt.QProcess.NotRunning, int)
    assert qt.QMessageBox.Yes == 0x4000
    for owner, name in ((qt.Qt, "AlignmentFlag"), (qt.QProcess, "ProcessState"), (qt.QMessageBox, "StandardButton")):
        with pytest.raises(AttributeError):
            getattr(owner, name)


def test_flat_enums_are_taken_by_qt(qt):
    label = qt.QLabel("x")
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignVCenter
    label.setAlignment(qt.Qt.AlignLeft)
    assert label.alignment == qt.Qt.AlignLeft


def test_both_ways_to_connect_give_the_arguments_that_the_slot_takes(qt):
    button, got = qt.QPushButton("b"), []
    button.clicked.connect(lambda checked: got.append(("signal", checked)))
    button.connect("clicked(bool)", lambda checked: got.append(("bool", checked)))
    button.connect("clicked()", lambda: got.append(("none",)))
    button.clicked.connect(lambda *arguments: got.append(("any", *arguments)))
    button.click()
    assert got == [("signal", False), ("bool", False), ("none",), ("any", False)]


def test_disconnect_ends_one_connection(qt):
    button, got = qt.QPushButton("b"), []

    def slot(checked):
        got.append(checked)

    button.connect("clicked(bool)", slot)
    assert button.disconnect("clicked(bool)", slot)
    assert not button.disconnect("clicked(bool)", slot)
    button.click()
    assert got == []


def test_a_connected_method_keeps_its_object_alive(qt):
    class Receiver:
        got = 0

        def slot(self, checked=False):
            Receiver.got += 1

    button = qt.QPushButton("b")
    button.clicked.connect(Receiver().slot)
    button.click()
    assert Receiver.got == 1


def test_an_unknown_signal_is_refused(qt):
    with pytest.raises(ValueError, match="no signal"):
        qt.QPushButton().connect("klicked(bool)", print)
    with pytest.raises(ValueError, match="no signal"):
        qt.QComboBox().connect("currentIndexChanged(QString)", print)


def test_blocked_signals_are_not_sent(qt):
    spin, got = qt.QSpinBox(), []
    spin.valueChanged.connect(got.append)
    spin.blockSignals(True)
    spin.value = 3
    spin.blockSignals(False)
    spin.value = 4
    assert got == [4]


def test_dynamic_properties_are_read_by_name_and_as_attributes(qt):
    label = qt.QLabel()
    label.setProperty("SlicerParameterName", "look.opacity")
    assert label.property("SlicerParameterName") == label.SlicerParameterName == "look.opacity"


def test_combo_items_carry_any_python_object(qt):
    combo, thing = qt.QComboBox(), object()
    combo.addItem("thing", thing)
    combo.addItem("path", pathlib.Path("/tmp"))
    assert combo.itemData(0) is thing
    assert combo.findData(thing) == 0
    combo.currentIndex = 1
    assert combo.currentData == pathlib.Path("/tmp")


def test_a_process_says_exit_code_and_status_and_takes_text(host, qt):
    process, ended, read = qt.QProcess(), [], []
    process.finished.connect(lambda *arguments: ended.append(arguments))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    process.connect("readyReadStandardOutput()", lambda: read.append(process.readAllStandardOutput().data()))
    process.start(sys.executable, ["-c", "import sys; print(sys.stdin.read()); sys.exit(3)"])
    assert process.waitForStarted(10000)
    process.write("grün")
    process.closeWriteChannel()
    host.wait_until(lambda: len(ended) == 2)
    assert (3,) in ended
    assert (3, qt.QProcess.NormalExit) in ended
    assert b"".join(read).decode().strip() == "grün"
    assert process.state() == qt.QProcess.NotRunning


class Teller:
    def __init__(self, said):
        self.said = said

    def tell(self):
        self.said.append("static")


def test_a_timer_fires_once_by_the_static_function_and_knows_its_properties(host, qt):
    fired, timer = [], qt.QTimer()
    qt.QTimer.singleShot(0, Teller(fired).tell)
    # The static function hides the property of its name.
    with pytest.raises(AttributeError, match="can not be overwritten"):
        timer.singleShot = True
    timer.setSingleShot(True)
    timer.interval = 1
    timer.timeout.connect(lambda: fired.append("timer"))
    timer.start()
    host.wait_until(lambda: len(fired) == 2)
    assert not timer.active


def test_dialogs_never_wait_for_a_user(host, qt):
    host.conversation.file_answer = "a.nrrd"
    assert qt.QFileDialog.getOpenFileName(None, "Open") == "a.nrrd"
    assert qt.QMessageBox.question(None, "title", "Really?") == qt.QMessageBox.Yes
    host.answer = False
    assert qt.QMessageBox.question(None, "title", "Really?") == qt.QMessageBox.No
    box = qt.QMessageBox()
    box.text, box.standardButtons = "Again?", qt.QMessageBox.Retry | qt.QMessageBox.Cancel
    assert box.exec_() == qt.QMessageBox.Cancel
    assert qt.QDialog().exec_() == qt.QDialog.Rejected
    assert [message.kind for message in host.messages] == ["file", "yes-no", "yes-no", "dialog", "dialog"]


# Files of Qt Designer


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


def test_an_absent_panel_file_is_an_error(slicer, tmp_path):
    with pytest.raises(RuntimeError):
        slicer.util.loadUI(str(tmp_path / "absent.ui"))


def test_a_panel_file_gives_names_properties_buddies_and_connections(example, qt):
    ui = example.ui
    assert ui.opacitySlider.decimals == 3
    assert ui.rangeWidget.maximum == 100
    assert ui.volumeLabel.buddy() is ui.volumeSelector
    assert ui.volumeSelector.toolTip == "The volume."
    assert ui.volumeSelector.mrmlScene() is not None
    ui.verboseCheck.checked = False
    assert not ui.titleEdit.enabled
    assert type(ui.layersSpin) is qt.QSpinBox


def test_a_folded_section_hides_its_children_but_not_what_was_hidden_before(example, host):
    ui = example.ui
    ui.titleEdit.hide()
    height = ui.section.height
    ui.section.collapsed = True
    host.process_events()
    assert not ui.layersSpin.isVisible()
    assert ui.section.height < height / 3
    ui.section.collapsed = False
    host.process_events()
    assert ui.layersSpin.isVisible()
    assert not ui.titleEdit.isVisible()


def test_a_slider_widget_keeps_its_range_and_says_its_value(host, qt):
    ctk = sys.modules["ctk"]
    slider, got = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.decimals = -10, 10, 1
    slider.connect("valueChanged(double)", got.append)
    slider.value = 3.14
    slider.value = 99
    assert got == [3.1, 10.0]
    with pytest.raises(TypeError):
        slider.value()


def test_a_path_edit_announces_only_what_is_not_empty(host):
    edit, paths, valid = sys.modules["ctk"].ctkPathLineEdit(), [], []
    edit.connect("currentPathChanged(QString)", paths.append)
    edit.connect("validInputChanged(bool)", valid.append)
    for path in ("/no", "/nowhere", "", "/tmp"):
        edit.currentPath = path
    assert paths == ["/no", "/nowhere", "/tmp"]
    assert valid == [True, False, True]


def test_a_range_widget_says_both_ends(host):
    widget, got = sys.modules["ctk"].ctkRangeWidget(), []
    widget.minimum, widget.maximum = 0, 50
    widget.connect("valuesChanged(double,double)", lambda low, high: got.append((low, high)))
    widget.setValues(10, 70)
    assert got == [(10.0, 50.0)]
    assert (widget.minimumValue, widget.maximumValue) == (10.0, 50.0)


def test_a_checkable_combo_box_says_what_is_checked(host, qt):
    combo, changes = sys.modules["ctk"].ctkCheckableComboBox(), []
    combo.addItems(["alpha", "beta", "sigma"])
    combo.connect("checkedIndexesChanged()", lambda: changes.append(1))
    combo.setCheckState(combo.model().index(1, 0), qt.Qt.Checked)
    assert [index.row() for index in combo.checkedIndexes()] == [1]
    assert changes


# Slicer's and CTK's own classes


def test_the_host_offers_no_method_that_python_does_not_see_in_slicer(host, slicer):
    from Host.slicer_api import OFFERED, inventions

    standing_in = [*host.widget_classes().values(), *map(type, (slicer.app, slicer.app.layoutManager()))]
    standing_in += [type(slicer.app.moduleManager()), slicer.qSlicerScriptedLoadableModuleWidget]
    assert {cls.__name__ for cls in standing_in} == set(OFFERED)
    assert {cls.__name__: inventions(cls) for cls in standing_in if inventions(cls)} == {}


def test_a_plot_view_does_not_tell_its_node_and_its_widget_does(slicer):
    layout = slicer.app.layoutManager()
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView)
    widget = layout.plotWidget(0)
    assert widget.mrmlPlotViewNode().IsA("vtkMRMLPlotViewNode")
    with pytest.raises(AttributeError):
        widget.plotView().mrmlPlotViewNode()


def test_setters_that_are_no_slots_are_refused(slicer):
    slider, selector = sys.modules["ctk"].ctkSliderWidget(), slicer.qMRMLNodeComboBox()
    slider.setValue(3.0)
    assert slider.value == 3.0
    for widget, name in ((slider, "setRange"), (slider, "setMaximum"), (selector, "setNodeTypes")):
        with pytest.raises(AttributeError):
            getattr(widget, name)


def test_a_table_view_shows_a_tables_cells(host, slicer):
    vtk = sys.modules["vtk"]
    node = host.scene.AddNewNodeByClass("vtkMRMLTableNode", "figures")
    column = vtk.vtkStringArray()
    column.SetName("MAE")
    column.InsertNextValue("88.8")
    node.AddColumn(column)
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    model = view.model()
    assert (model.rowCount(), model.columnCount()) == (1, 1)
    assert model.data(model.index(0, 0)) == "88.8"


# Parameters


def test_parameters_begin_with_their_defaults(choices):
    assert choices.volume is None
    assert choices.folder == pathlib.Path()
    assert choices.plane.name == "AXIAL"
    assert (choices.threshold, choices.device, choices.verbose, choices.title) == (2.5, "auto", True, "untitled")
    assert (choices.look.opacity, choices.look.layers) == (0.5, 3)


def test_a_value_outside_its_range_is_a_value_error_and_changes_nothing(choices):
    for change in (
        lambda: setattr(choices, "threshold", 10.5),
        lambda: setattr(choices.look, "opacity", -0.1),
        lambda: setattr(choices, "device", "tpu"),
        lambda: setattr(choices, "title", None),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - the words are Slicer's
            change()
    assert (choices.threshold, choices.look.opacity, choices.device) == (2.5, 0.5, "auto")


def test_a_value_of_another_type_is_a_type_error(choices):
    with pytest.raises(TypeError):
        choices.title = 5
    with pytest.raises(TypeError):
        choices.look.layers = 2.5


def test_a_pack_has_no_other_members(choices):
    with pytest.raises(AttributeError):
        choices.look.colour = "red"


def test_a_pack_is_a_copy_that_writes_all_of_its_values(example, choices):
    kept = choices.look
    example.logic.getParameterNode().look.layers = 7
    assert (kept.layers, choices.look.layers) == (3, 7)
    kept.opacity = 0.25
    assert (choices.look.opacity, choices.look.layers) == (0.25, 3)


def test_an_earlier_observer_of_equal_priority_reads_old_values_and_one_of_lower_priority_new_ones(example, choices):
    """As VTK calls them: an observer that is added as the second one of its priority comes before the first."""
    node = choices.parameterNode
    Wrapper, read = type(choices), []  # noqa: N806 - a class
    early = node.AddObserver("ModifiedEvent", lambda caller, event: read.append(("equal", late.title)))
    late = Wrapper(node)
    lower = node.AddObserver("ModifiedEvent", lambda caller, event: read.append(("lower", late.title)), -1.0)
    choices.title = "head"
    assert read == [("equal", "untitled"), ("lower", "head")]
    for tag in (early, lower):
        node.RemoveObserver(tag)


def test_a_wrapper_that_nobody_holds_observes_its_node_no_more(example, choices, host):
    node, Wrapper = choices.parameterNode, type(choices)  # noqa: N806 - a class
    tag = node.AddObserver("ModifiedEvent", lambda caller, event: None)
    for _ in range(3):
        Wrapper(node)
    gc.collect()
    choices.title = "head"
    assert host.uncaught == []
    node.RemoveObserver(tag)


def test_a_pack_that_was_stored_before_it_had_a_part_cannot_be_read(slicer, choices):
    node = choices.parameterNode
    with slicer.util.NodeModify(node):
        node.UnsetParameter("look.layers")
        with pytest.raises(ValueError, match="int"):
            type(choices)(node)
        node.SetParameter("look.layers", "3")


def test_widgets_show_the_parameters_from_the_start(example, choices):
    ui = example.ui
    assert (ui.opacitySlider.minimum, ui.opacitySlider.maximum, ui.opacitySlider.value) == (0, 1, 0.5)
    assert [ui.planeSelector.itemText(i) for i in range(ui.planeSelector.count)] == ["AXIAL", "CORONAL"]
    assert [ui.deviceSelector.itemText(i) for i in range(ui.deviceSelector.count)] == ["auto", "cpu"]
    assert ui.verboseCheck.checked
    assert ui.titleEdit.text == "untitled"
    assert ui.layersSpin.value == 3


def test_parameters_reach_the_widgets(example, choices, add_volume):
    volume, ui = add_volume(), example.ui
    choices.volume, choices.threshold, choices.device, choices.verbose = volume, 7.25, "cpu", False
    choices.plane = type(choices.plane).CORONAL
    choices.look.opacity, choices.look.layers = 0.125, 8
    choices.title, choices.folder = "head", pathlib.Path("/tmp")
    assert ui.volumeSelector.currentNode() is volume
    assert (ui.thresholdSpin.value, ui.deviceSelector.currentText, ui.verboseCheck.checked) == (7.25, "cpu", False)
    assert (ui.planeSelector.currentText, ui.opacitySlider.value, ui.layersSpin.value) == ("CORONAL", 0.125, 8)
    assert (ui.titleEdit.text, ui.folderEdit.currentPath) == ("head", "/tmp")


def test_widgets_reach_the_parameters(example, choices, add_volume):
    volume, ui = add_volume(), example.ui
    ui.volumeSelector.setCurrentNode(volume)
    ui.thresholdSpin.value, ui.opacitySlider.value, ui.layersSpin.value = 9.5, 0.75, 2
    ui.deviceSelector.currentIndex, ui.planeSelector.currentIndex = 1, 1
    ui.verboseCheck.click()
    ui.titleEdit.text, ui.folderEdit.currentPath = "neck", "/usr"
    assert choices.volume is volume
    assert (choices.threshold, choices.look.opacity, choices.look.layers) == (9.5, 0.75, 2)
    assert (choices.device, choices.plane.name, choices.verbose) == ("cpu", "CORONAL", False)
    assert (choices.title, choices.folder) == ("neck", pathlib.Path("/usr"))


def test_one_change_of_a_widget_modifies_the_node_once(example, choices):
    vtk = sys.modules["vtk"]
    events = []
    tag = choices.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: events.append(event))
    example.ui.thresholdSpin.value = 4.0
    choices.RemoveObserver(tag)
    assert events == ["ModifiedEvent"]


def test_changes_between_start_and_end_modify_are_one_event(slicer, choices):
    events = []
    choices.AddObserver("ModifiedEvent", lambda caller, event: events.append(event))
    with slicer.util.NodeModify(choices):
        choices.title = "one"
        choices.look.layers = 5
    assert len(events) == 1


def test_connect_gui_keeps_its_tag_for_itself_as_in_slicer(example, choices):
    assert choices.connectGui(example.ui) is None


def test_a_disconnected_panel_leaves_the_parameters_alone(example, choices):
    choices.disconnectGui(example.guiTag)
    example.ui.titleEdit.text = "other"
    assert choices.title == "untitled"


def test_a_widget_that_slicer_cannot_bind_is_refused(qt, choices):
    with pytest.raises(RuntimeError):
        choices.connectParametersToGui({"title": qt.QSpinBox()})
    with pytest.raises(ValueError, match="no_such"):
        choices.connectParametersToGui({"no_such": qt.QSpinBox()})


def test_values_survive_a_scene_bundle(host, slicer, example, choices, add_volume, tmp_path):
    choices.volume = add_volume("kept")
    choices.threshold, choices.plane = 1.5, type(choices.plane).CORONAL
    choices.look.opacity = 0.25
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    host.close_scene()
    assert example.parameterNode.threshold == 2.5
    slicer.util.loadScene(str(path))
    read = example.logic.getParameterNode()
    assert read.volume.GetName() == "kept"
    assert (read.threshold, read.plane.name, read.look.opacity) == (1.5, "CORONAL", 0.25)


# The node selector


@pytest.fixture
def selector(host, slicer):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(host.scene)
    return selector


def test_the_selector_takes_the_first_node_unless_none_is_a_choice(selector, add_volume, slicer, host):
    optional = slicer.qMRMLNodeComboBox()
    optional.nodeTypes, optional.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    optional.setMRMLScene(host.scene)
    volume = add_volume()
    assert selector.currentNode() is volume
    assert selector.currentNodeID == volume.GetID()
    assert optional.currentNode() is None


def test_the_selector_says_what_was_chosen(selector, add_volume):
    first, second = add_volume("a"), add_volume("b")
    nodes, valid = [], []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    selector.connect("currentNodeChanged(bool)", valid.append)
    selector.setCurrentNode(second)
    selector.setCurrentNode(None)
    assert nodes == [second, None]
    assert valid == [True, False]
    selector.setCurrentNodeID(first.GetID())
    assert selector.currentNode() is first


def test_the_selector_follows_removal_renaming_and_closing(host, selector, add_volume):
    first, second = add_volume("a"), add_volume("b")
    selector.setCurrentNode(second)
    second.SetName("renamed")
    assert selector._box.currentText == "renamed"
    host.scene.RemoveNode(second)
    assert selector.currentNode() is first
    host.close_scene()
    assert selector.currentNode() is None
    assert selector.nodeCount() == 0


def test_a_deleted_selector_is_not_called_any_more(host, selector, add_volume):
    nodes = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    selector.delete()
    add_volume()
    host.close_scene()
    assert nodes == []
    assert host.uncaught == []


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


def test_the_selector_shows_only_the_types_and_attributes_asked_for(host, selector, add_volume):
    plain, marked = add_volume("plain"), add_volume("marked")
    label = host.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "label")
    hidden = add_volume("hidden")
    hidden.SetHideFromEditors(True)
    marked.SetAttribute("UncertaintyGuidedI2I.Quantity", "image")
    selector.setMRMLScene(None)
    selector.setMRMLScene(host.scene)
    assert [selector.nodeFromIndex(i) for i in range(selector.nodeCount())] == [plain, marked, label]
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 2
    selector.addAttribute("vtkMRMLScalarVolumeNode", "UncertaintyGuidedI2I.Quantity", "image")
    assert [selector.nodeFromIndex(i) for i in range(selector.nodeCount())] == [marked]


def test_the_selector_never_shows_a_node_that_is_added_hidden(host, selector, slicer):
    nodes = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    hidden = slicer.vtkMRMLScalarVolumeNode()
    hidden.SetHideFromEditors(True)
    host.scene.AddNode(hidden)
    assert nodes == []


def test_the_selector_shows_a_node_as_soon_as_it_gets_the_attribute(selector, add_volume):
    selector.addAttribute("vtkMRMLScalarVolumeNode", "UncertaintyGuidedI2I.Quantity")
    volume = add_volume()
    assert selector.currentNode() is None
    volume.SetAttribute("UncertaintyGuidedI2I.Quantity", "sigma")
    assert selector.currentNode() is volume
    volume.RemoveAttribute("UncertaintyGuidedI2I.Quantity")
    assert selector.currentNode() is None


# The module's life


def test_a_module_is_started_set_up_and_entered(host, slicer, example):
    assert example.calls == ["setup", "enter"]
    assert sys.modules["slicer"].modules.ExampleWidget is example
    assert example.parent.isEntered
    assert slicer.util.modulePath("Example") == str(EXAMPLE)
    assert host.module("Example").started


def test_leaving_a_module_calls_exit_and_coming_back_enter(slicer, example):
    slicer.util.selectModule("Data")
    assert not example.parent.isEntered
    slicer.util.selectModule("Example")
    assert example.calls == ["setup", "enter", "exit", "enter"]


def test_closing_the_scene_tells_the_module_and_gives_it_fresh_parameters(host, example, choices):
    choices.title = "before"
    host.close_scene()
    assert example.calls[-2:] == ["close", "closed"]
    assert example.parameterNode.title == "untitled"


def test_ending_cleans_up(host, example):
    host.close_modules()
    assert example.calls[-2:] == ["exit", "cleanup"]


def test_an_error_in_a_guarded_slot_is_shown_with_details(host, example):
    example.ui.failButton.click()
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
    assert not slicer.util.confirmYesNoDisplay("A large download?")
    assert slicer.util.confirmYesNoDisplay("A small download?")
    assert [message.kind for message in host.messages] == ["ok-cancel", "yes-no", "yes-no"]


def test_the_self_test_runs(host, example):
    host.module("Example").runTest()
    assert host.messages[-1].text == "Test passed"


def test_slicers_own_small_functions_work(host, slicer, qt, add_volume):
    slicer.app.temporaryPath = str(pathlib.Path(slicer.app.temporaryPath))
    assert pathlib.Path(slicer.util.tempDirectory()).is_dir()
    assert slicer.util.settingsValue("Example/number", 3, converter=int) == 3
    qt.QSettings().setValue("Example/number", 4)
    assert slicer.util.settingsValue("Example/number", 3, converter=int) == 4
    with slicer.util.WaitCursor(), slicer.util.RenderBlocker():
        slicer.util.forceRenderAllViews()
    slicer.util.resetSliceViews()
    assert slicer.util.showStatusMessage("ready")
    assert host.messages[-1].text == "ready"
    volume = add_volume("head")
    assert slicer.util.getNode("hea*") is volume
    with pytest.raises(RuntimeError):
        slicer.util.pip_install("anything")


# Views


def test_the_usual_layout_has_three_slice_views(slicer):
    manager = slicer.app.layoutManager()
    assert set(manager.sliceViewNames()) >= {"Red", "Green", "Yellow"}
    orientations = [manager.sliceWidget(name).mrmlSliceNode().GetOrientation() for name in ("Red", "Green", "Yellow")]
    assert orientations == ["Axial", "Coronal", "Sagittal"]


CUSTOM_LAYOUT = """<layout type="horizontal"><item><view class="vtkMRMLSliceNode" singletontag="HostExtra">
<property name="orientation" action="default">Coronal</property><property name="viewlabel" action="default">X</property>
<property name="viewcolor" action="default">#5F8AC7</property></view></item>
<item><view class="vtkMRMLPlotViewNode" singletontag="HostPlot"/></item></layout>"""


def test_a_layout_of_the_module_brings_its_own_views(host, slicer):
    manager = slicer.app.layoutManager()
    changes = []
    manager.connect("layoutChanged(int)", changes.append)
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(7001, CUSTOM_LAYOUT)
    manager.setLayout(7001)
    host.process_events()
    assert manager.layout == 7001
    assert changes == [7001]
    extra = manager.sliceWidget("HostExtra")
    assert extra.mrmlSliceNode().GetOrientation() == "Coronal"
    assert extra.mrmlSliceCompositeNode() is not None
    assert extra.isVisible()
    assert not manager.sliceWidget("Red").isVisible()
    assert manager.plotViewCount == 1


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


def test_a_legend_is_taken_up_when_it_changes_and_not_when_a_script_changes_the_layers(host, slicer, add_volume):
    volume = add_volume("sigma", np.zeros((4, 4, 4), np.float32))
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 300)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    view = slicer.app.layoutManager().sliceWidget("Red")
    composite = view.mrmlSliceCompositeNode()
    composite.SetBackgroundVolumeID(None)
    node = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume)
    node.SetTitleText("sigma [HU]")
    composite.SetBackgroundVolumeID(volume.GetID())
    assert view.sliceView().legends() == []
    node.Modified()
    (legend,) = view.sliceView().legends()
    assert (legend.title, legend.low, legend.high) == ("sigma [HU]", 0, 300)
    assert legend.labels == ("0.0", "75.0", "150.0", "225.0", "300.0")
    assert tuple(legend.colors[0]) == (0, 0, 0)
    assert tuple(legend.colors[-1]) == (255, 0, 0)
    # Slicer leaves it there too, until the legend changes again.
    composite.SetBackgroundVolumeID(None)
    assert len(view.sliceView().legends()) == 1
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


def test_a_sequence_browser_shows_the_chosen_item(host, slicer, add_volume):
    slicer.modules.sequences.logic()
    sequence = host.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "phases")
    for phase in range(2):
        volume = add_volume(f"phase {phase}", np.full((2, 2, 2), phase, np.float32))
        sequence.SetDataNodeAtValue(volume, str(phase))
        host.scene.RemoveNode(volume)
    browser = host.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateAllProxyNodes()
    proxy = browser.GetProxyNode(sequence)
    browser.SetSelectedItemNumber(1)
    assert slicer.util.arrayFromVolume(proxy).max() == 1
    browser.SetSelectedItemNumber(0)
    assert slicer.util.arrayFromVolume(proxy).max() == 0


def test_a_chart_is_drawn_in_its_colours(host, slicer):
    table = host.scene.AddNewNodeByClass("vtkMRMLTableNode", "t")
    slicer.util.updateTableFromArray(table, [np.arange(5.0), np.arange(5.0) ** 2], ["x", "y"])
    series = host.scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "coverage")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("x")
    series.SetYColumnName("y")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetColor(1, 0, 0)
    chart = host.scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Coverage")
    view_node = host.scene.AddNewNodeByClass("vtkMRMLPlotViewNode", "view")
    view_node.SetPlotChartNodeID(chart.GetID())
    view = slicer.qMRMLPlotView()
    view.setMRMLScene(host.scene)
    view.setMRMLPlotViewNode(view_node)
    view.resize(400, 300)
    image = view.grab().toImage()
    pixels = [image.pixelColor(x, y).getRgb()[:3] for x in range(0, 400, 2) for y in range(300)]
    assert sum(red > 200 and green < 60 and blue < 60 for red, green, blue in pixels) > 50


# The host and its neighbours


def test_nothing_is_left_behind_when_the_host_is_uninstalled(host, slicer, example):
    host.uninstall()
    try:
        assert not {"qt", "ctk", "SampleData", "Example", "slicer.i18n"} & set(sys.modules)
        assert not hasattr(slicer, "app")
        assert not hasattr(slicer, "modules")
        assert sys.excepthook is not host._record_exception
        assert "QFile" in slicer.util.loadUI.__code__.co_names
    finally:
        host.install()

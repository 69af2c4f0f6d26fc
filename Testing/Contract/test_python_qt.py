"""Properties, enums, signals, timers and processes, as PythonQt shows Qt to Python."""

import pathlib
import shutil
import sys

import numpy as np


def test_a_property_is_an_attribute_and_calling_it_is_a_type_error(host):
    spin = host.qt.QSpinBox()
    spin.value = 7
    assert spin.value == 7
    with host.refuses(TypeError):
        spin.value()


def test_a_method_that_is_no_property_stays_a_method(host):
    combo = host.qt.QComboBox()
    combo.addItems(["a", "b"])
    assert combo.itemText(1) == "b"
    assert not combo.isVisible()
    assert host.qt.QTableWidgetItem("cell").text() == "cell"


def test_objects_made_by_qt_behave_like_those_made_in_python(host):
    table = host.qt.QTableWidget(2, 3)
    header = table.horizontalHeader()
    assert header.visible in (True, False)
    assert table.columnCount == 3
    with host.refuses(TypeError):
        table.rowCount()


def test_a_misspelt_attribute_is_refused(host):
    label = host.qt.QLabel("x")
    with host.refuses(AttributeError):
        label.txt = "y"
    with host.refuses(AttributeError):
        label.setText = "y"


def test_a_subclass_in_python_takes_attributes(host):
    class Panel(host.qt.QWidget):
        pass

    panel = Panel()
    panel.answer = 42
    assert panel.answer == 42


def test_a_property_refuses_a_value_of_another_type(host):
    for name, value in (("enabled", None), ("text", 5), ("enabled", object())):
        with host.refuses(ValueError):
            setattr(host.qt.QLabel(), name, value)


def test_numpys_integers_are_no_ints_for_a_property(host):
    with host.refuses(ValueError):
        host.qt.QProgressBar().value = np.int64(3)


def test_a_read_only_property_cannot_be_written(host):
    with host.refuses(AttributeError):
        host.qt.QComboBox().count = 3


def test_enums_are_flat_ints_and_the_scoped_form_is_an_attribute_error(host):
    qt = host.qt
    assert (qt.Qt.AlignRight | qt.Qt.AlignVCenter) == 0x82
    assert isinstance(qt.QProcess.NotRunning, int)
    assert qt.QMessageBox.Yes == 0x4000
    for owner, name in ((qt.Qt, "AlignmentFlag"), (qt.QProcess, "ProcessState"), (qt.QMessageBox, "StandardButton")):
        with host.refuses(AttributeError):
            getattr(owner, name)


def test_flat_enums_are_taken_by_qt(host):
    qt = host.qt
    label = qt.QLabel("x")
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignVCenter
    label.setAlignment(qt.Qt.AlignLeft)
    assert label.alignment == qt.Qt.AlignLeft
    table = qt.QTableWidget(1, 2)
    table.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.Stretch)
    assert table.horizontalHeader().sectionResizeMode(1) == qt.QHeaderView.Stretch


def test_both_ways_to_connect_give_the_arguments_that_the_slot_takes(host):
    button, got = host.qt.QPushButton("b"), []
    button.clicked.connect(lambda checked: got.append(("signal", checked)))
    button.connect("clicked(bool)", lambda checked: got.append(("bool", checked)))
    button.connect("clicked()", lambda: got.append(("none",)))
    button.clicked.connect(lambda *arguments: got.append(("any", *arguments)))
    button.click()
    assert got == [("signal", False), ("bool", False), ("none",), ("any", False)]


def test_disconnect_ends_one_connection(host):
    button, got = host.qt.QPushButton("b"), []

    def slot(checked):
        got.append(checked)

    button.connect("clicked(bool)", slot)
    assert button.disconnect("clicked(bool)", slot)
    assert not button.disconnect("clicked(bool)", slot)
    button.click()
    assert got == []


def test_a_connected_method_keeps_its_object_alive(host):
    class Receiver:
        got = 0

        def slot(self, checked=False):
            Receiver.got += 1

    button = host.qt.QPushButton("b")
    button.clicked.connect(Receiver().slot)
    button.click()
    assert Receiver.got == 1


def test_the_signals_that_panels_listen_to_are_there(host):
    qt, ctk, slicer = host.qt, host.ctk, host.slicer
    menu = qt.QMenu()
    signals = (
        (host.app, "aboutToQuit()"),
        (host.app, "startupCompleted()"),
        (menu.addAction("a"), "triggered(bool)"),
        (qt.QCheckBox(), "toggled(bool)"),
        (qt.QComboBox(), "activated(int)"),
        (qt.QComboBox(), "currentIndexChanged(int)"),
        (qt.QDoubleSpinBox(), "valueChanged(double)"),
        (qt.QLineEdit(), "textChanged(QString)"),
        (qt.QLineEdit(), "textEdited(QString)"),
        (qt.QProcess(), "errorOccurred(QProcess::ProcessError)"),
        (qt.QProcess(), "finished(int,QProcess::ExitStatus)"),
        (qt.QProcess(), "readyReadStandardError()"),
        (qt.QProcess(), "readyReadStandardOutput()"),
        (qt.QTableWidget(), "cellClicked(int,int)"),
        (qt.QTableWidget(), "itemSelectionChanged()"),
        (qt.QTimer(), "timeout()"),
        (qt.QToolButton(), "clicked(bool)"),
        (ctk.ctkCollapsibleButton(), "contentsCollapsed(bool)"),
        (ctk.ctkCollapsibleGroupBox(), "toggled(bool)"),
        (ctk.ctkPathLineEdit(), "currentPathChanged(QString)"),
        (ctk.ctkPathLineEdit(), "validInputChanged(bool)"),
        (ctk.ctkSliderWidget(), "valueChanged(double)"),
        (slicer.qMRMLNodeComboBox(), "currentNodeChanged(vtkMRMLNode*)"),
    )

    def slot(*arguments):
        pass

    absent = [name for sender, name in signals if not sender.connect(name, slot)]
    assert absent == []
    for sender, name in signals:
        sender.disconnect(name, slot)


def test_blocked_signals_are_not_sent(host):
    spin, got = host.qt.QSpinBox(), []
    spin.valueChanged.connect(lambda value: got.append(value))
    spin.blockSignals(True)
    spin.value = 3
    spin.blockSignals(False)
    spin.value = 4
    assert got == [4]


def test_only_what_the_user_types_and_picks_is_edited_and_activated(host):
    line, combo, edited, activated = host.qt.QLineEdit(), host.qt.QComboBox(), [], []
    line.connect("textEdited(QString)", lambda text: edited.append(text))
    line.text = "head"
    host.press_keys(line, "s2")
    assert line.text == "heads2"
    assert edited == ["heads", "heads2"]
    combo.addItems(["a", "b"])
    combo.connect("activated(int)", lambda index: activated.append(index))
    combo.currentIndex = 1
    assert activated == []


def test_dynamic_properties_are_read_by_name_and_as_attributes(host):
    label = host.qt.QLabel()
    label.setProperty("SlicerParameterName", "look.opacity")
    assert label.property("SlicerParameterName") == label.SlicerParameterName == "look.opacity"


def test_combo_items_carry_any_python_object(host):
    combo, thing = host.qt.QComboBox(), object()
    combo.addItem("thing", thing)
    combo.addItem("path", pathlib.Path("/tmp"))
    assert combo.itemData(0) is thing
    assert combo.findData(thing) == 0
    combo.currentIndex = 1
    assert combo.currentData == pathlib.Path("/tmp")


def test_a_process_says_exit_code_and_status_and_takes_text(host):
    qt = host.qt
    process, ended, read = qt.QProcess(), [], []
    process.finished.connect(lambda *arguments: ended.append(arguments))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    process.connect("readyReadStandardOutput()", lambda: read.append(process.readAllStandardOutput().data()))
    process.start(python(), ["-c", "import sys; print(ascii(sys.stdin.buffer.read())); sys.exit(3)"])
    assert process.waitForStarted(10000)
    process.write("grün")
    process.closeWriteChannel()
    host.wait_until(lambda: len(ended) == 2)
    assert (3,) in ended
    assert (3, qt.QProcess.NormalExit) in ended
    assert b"".join(read).decode().strip() == ascii("grün".encode())
    assert process.state() == qt.QProcess.NotRunning


def test_a_process_that_cannot_be_started_says_so(host):
    process, errors = host.qt.QProcess(), []
    process.connect("errorOccurred(QProcess::ProcessError)", lambda error: errors.append(error))
    process.start(str(host.folder / "absent"), [])
    host.wait_until(lambda: errors)
    assert errors == [host.qt.QProcess.FailedToStart]


def test_a_timer_fires_once_by_the_static_function_and_knows_its_properties(host):
    qt, fired = host.qt, []
    timer = qt.QTimer()
    qt.QTimer.singleShot(0, Teller(fired).tell)
    # The static function hides the property of its name.
    with host.refuses(AttributeError):
        timer.singleShot = True
    timer.setSingleShot(True)
    timer.interval = 1
    timer.timeout.connect(lambda: fired.append("timer"))
    timer.start()
    host.wait_until(lambda: len(fired) == 2)
    assert not timer.active


def python() -> str:
    """Return a Python to start: in Slicer ``sys.executable`` is the application."""
    return shutil.which("PythonSlicer") or sys.executable


class Teller:
    def __init__(self, said):
        self.said = said

    def tell(self):
        self.said.append("static")

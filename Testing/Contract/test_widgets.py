"""Files of Qt Designer, CTK's widgets, and which methods of C++ Python sees."""


def test_an_absent_panel_file_is_an_error(host):
    with host.refuses(RuntimeError):
        host.slicer.util.loadUI(str(host.folder / "absent.ui"))


def test_a_panel_file_gives_names_properties_buddies_and_connections(host):
    ui = host.example().ui
    assert ui.opacitySlider.decimals == 3
    assert ui.volumeLabel.buddy() == ui.volumeSelector
    # Slicer may give it as rich text.
    assert "The volume." in ui.volumeSelector.toolTip
    assert ui.volumeSelector.mrmlScene() is not None
    ui.verboseCheck.checked = False
    assert not ui.titleEdit.enabled
    assert type(ui.layersSpin) is host.qt.QSpinBox


def test_a_folded_section_hides_its_children_but_not_what_was_hidden_before(host):
    ui = host.example().ui
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
    ui.titleEdit.show()


def test_a_slider_widget_keeps_its_range_and_says_its_value(host):
    slider, got = host.ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.decimals = -10, 10, 1
    slider.connect("valueChanged(double)", lambda value: got.append(value))
    slider.value = 3.14
    slider.value = 99
    assert got == [3.1, 10.0]
    with host.refuses(TypeError):
        slider.value()


def test_a_path_edit_announces_only_what_is_not_empty(host):
    edit, paths, valid = host.ctk.ctkPathLineEdit(), [], []
    edit.connect("currentPathChanged(QString)", lambda path: paths.append(path))
    edit.connect("validInputChanged(bool)", lambda is_valid: valid.append(is_valid))
    for path in ("/no", "/nowhere", "", "/tmp"):
        edit.currentPath = path
    assert paths == ["/no", "/nowhere", "/tmp"]
    assert valid == [True, False, True]


def test_setters_that_are_no_slots_are_refused(host):
    slider, selector = host.ctk.ctkSliderWidget(), host.slicer.qMRMLNodeComboBox()
    slider.setValue(3.0)
    assert slider.value == 3.0
    for widget, name in ((slider, "setRange"), (slider, "setMaximum"), (selector, "setNodeTypes")):
        with host.refuses(AttributeError):
            getattr(widget, name)

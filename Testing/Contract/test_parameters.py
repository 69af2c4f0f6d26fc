"""``slicer.parameterNodeWrapper``: typed choices that the scene keeps, bound to widgets both ways."""

import gc
import pathlib

import vtk


def choices_of(host):
    return host.example().parameterNode


def another(choices):
    """Return a second wrapper of the same node."""
    return type(choices)(choices.parameterNode)


def test_parameters_begin_with_their_defaults(host):
    choices = choices_of(host)
    assert choices.volume is None
    assert choices.folder == pathlib.Path()
    assert choices.plane.name == "AXIAL"
    assert (choices.threshold, choices.device, choices.verbose, choices.title) == (2.5, "auto", True, "untitled")
    assert (choices.look.opacity, choices.look.layers) == (0.5, 3)


def test_a_value_outside_its_range_is_a_value_error_and_changes_nothing(host):
    choices = choices_of(host)
    for owner, name, value in (
        (choices, "threshold", 10.5),
        (choices.look, "opacity", -0.1),
        (choices, "device", "tpu"),
        (choices, "title", None),
    ):
        with host.refuses(ValueError):
            setattr(owner, name, value)
    assert (choices.threshold, choices.look.opacity, choices.device) == (2.5, 0.5, "auto")


def test_a_value_of_another_type_is_a_type_error(host):
    choices = choices_of(host)
    with host.refuses(TypeError):
        choices.title = 5
    with host.refuses(TypeError):
        choices.look.layers = 2.5


def test_a_pack_has_no_other_members(host):
    look = choices_of(host).look
    with host.refuses(AttributeError):
        look.colour = "red"


def test_a_pack_is_a_copy_that_writes_all_of_its_values(host):
    choices = choices_of(host)
    kept = choices.look
    another(choices).look.layers = 7
    assert (kept.layers, choices.look.layers) == (3, 7)
    kept.opacity = 0.25
    assert (choices.look.opacity, choices.look.layers) == (0.25, 3)


def test_an_earlier_observer_of_equal_priority_reads_old_values_and_one_of_lower_priority_new_ones(host):
    """As VTK calls them: an observer that is added as the second one of its priority comes before the first."""
    choices = choices_of(host)
    node, Wrapper, read = choices.parameterNode, type(choices), []  # noqa: N806 - a class
    early = node.AddObserver("ModifiedEvent", lambda caller, event: read.append(("equal", late.title)))
    late = Wrapper(node)
    lower = node.AddObserver("ModifiedEvent", lambda caller, event: read.append(("lower", late.title)), -1.0)
    choices.title = "head"
    assert read == [("equal", "untitled"), ("lower", "head")]
    for tag in (early, lower):
        node.RemoveObserver(tag)


def test_a_wrapper_that_nobody_holds_observes_its_node_no_more(host):
    choices = choices_of(host)
    node, Wrapper = choices.parameterNode, type(choices)  # noqa: N806 - a class
    tag = node.AddObserver("ModifiedEvent", lambda caller, event: None)
    for _ in range(3):
        Wrapper(node)
    gc.collect()
    choices.title = "head"
    assert host.uncaught == []
    node.RemoveObserver(tag)


def test_a_pack_that_was_stored_before_it_had_a_part_cannot_be_read(host):
    choices = choices_of(host)
    node = choices.parameterNode
    with host.slicer.util.NodeModify(node):
        node.UnsetParameter("look.layers")
        with host.refuses(ValueError):
            type(choices)(node)
        node.SetParameter("look.layers", "3")


def test_widgets_show_the_parameters_from_the_start(host):
    ui = host.example().ui
    assert (ui.opacitySlider.minimum, ui.opacitySlider.maximum, ui.opacitySlider.value) == (0, 1, 0.5)
    assert [ui.planeSelector.itemText(i) for i in range(ui.planeSelector.count)] == ["AXIAL", "CORONAL"]
    assert [ui.deviceSelector.itemText(i) for i in range(ui.deviceSelector.count)] == ["auto", "cpu"]
    assert ui.verboseCheck.checked
    assert ui.titleEdit.text == "untitled"
    assert ui.layersSpin.value == 3


def test_parameters_reach_the_widgets(host):
    example, volume = host.example(), host.add_volume()
    choices, ui = example.parameterNode, example.ui
    choices.volume, choices.threshold, choices.device, choices.verbose = volume, 7.25, "cpu", False
    choices.plane = type(choices.plane).CORONAL
    choices.look.opacity, choices.look.layers = 0.125, 8
    choices.title, choices.folder = "head", pathlib.Path("/tmp")
    assert ui.volumeSelector.currentNode() is volume
    assert (ui.thresholdSpin.value, ui.deviceSelector.currentText, ui.verboseCheck.checked) == (7.25, "cpu", False)
    assert (ui.planeSelector.currentText, ui.opacitySlider.value, ui.layersSpin.value) == ("CORONAL", 0.125, 8)
    assert (ui.titleEdit.text, pathlib.Path(ui.folderEdit.currentPath)) == ("head", pathlib.Path("/tmp"))


def test_widgets_reach_the_parameters(host):
    example, volume = host.example(), host.add_volume()
    choices, ui = example.parameterNode, example.ui
    ui.volumeSelector.setCurrentNode(volume)
    ui.thresholdSpin.value, ui.opacitySlider.value, ui.layersSpin.value = 9.5, 0.75, 2
    ui.deviceSelector.currentIndex, ui.planeSelector.currentIndex = 1, 1
    ui.titleEdit.text, ui.folderEdit.currentPath = "neck", "/usr"
    ui.verboseCheck.click()
    assert choices.volume is volume
    assert (choices.threshold, choices.look.opacity, choices.look.layers) == (9.5, 0.75, 2)
    assert (choices.device, choices.plane.name, choices.verbose) == ("cpu", "CORONAL", False)
    assert (choices.title, choices.folder) == ("neck", pathlib.Path("/usr"))


def test_one_change_of_a_widget_modifies_the_node_once(host):
    example, events = host.example(), []
    tag = example.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: events.append(event))
    example.ui.thresholdSpin.value = 4.0
    example.parameterNode.RemoveObserver(tag)
    assert events == ["ModifiedEvent"]


def test_changes_between_start_and_end_modify_are_one_event(host):
    choices, events = choices_of(host), []
    tag = choices.AddObserver("ModifiedEvent", lambda caller, event: events.append(event))
    with host.slicer.util.NodeModify(choices):
        choices.title = "one"
        choices.look.layers = 5
    choices.RemoveObserver(tag)
    assert len(events) == 1


def test_a_disconnected_panel_leaves_the_parameters_alone(host):
    example = host.example()
    example.parameterNode.disconnectGui(example.guiTag)
    example.ui.titleEdit.text = "other"
    assert example.parameterNode.title == "untitled"


def test_a_widget_that_cannot_be_bound_is_refused(host):
    choices = choices_of(host)
    with host.refuses(RuntimeError):
        choices.connectParametersToGui({"title": host.qt.QSpinBox()})
    with host.refuses(ValueError):
        choices.connectParametersToGui({"no_such": host.qt.QSpinBox()})


def test_values_survive_a_scene_bundle(host):
    example, path = host.example(), str(host.folder / "scene.mrb")
    choices = example.parameterNode
    choices.volume = host.add_volume("kept")
    choices.threshold, choices.plane = 1.5, type(choices.plane).CORONAL
    choices.look.opacity = 0.25
    assert host.slicer.util.saveScene(path)
    host.close_scene()
    assert example.parameterNode.threshold == 2.5
    host.slicer.util.loadScene(path)
    read = another(choices)
    assert read.volume.GetName() == "kept"
    assert (read.threshold, read.plane.name, read.look.opacity) == (1.5, "CORONAL", 0.25)

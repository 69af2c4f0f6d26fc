"""The panel as Qt Designer wrote it."""

import ast
import xml.etree.ElementTree as ET

import pytest


@pytest.fixture
def panel(module):
    return ET.parse(module / "Resources" / "UI" / "UncertaintyGuidedI2I.ui").getroot()


def properties(widget):
    return {entry.get("name"): "".join(entry.itertext()).strip() for entry in widget.findall("property")}


def widgets(panel):
    return {widget.get("name"): widget for widget in panel.iter("widget")}


def test_the_top_level_widget_hands_the_scene_on(panel):
    assert panel.find("widget").get("class") == "qMRMLWidget"


def test_every_mrml_widget_receives_the_scene(panel):
    top = panel.find("widget").get("name")
    connected = {
        connection.findtext("receiver")
        for connection in panel.iter("connection")
        if connection.findtext("sender") == top
        and connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    needing = {name for name, widget in widgets(panel).items() if widget.get("class").startswith("qMRML")} - {top}
    assert needing
    assert connected == needing


def test_every_widget_that_a_user_touches_has_a_tooltip(panel):
    for name, widget in widgets(panel).items():
        if widget.get("class") in ("QLabel", "qMRMLWidget") and name != "statusLabel":
            continue
        assert properties(widget).get("toolTip"), name


def test_every_bound_widget_is_bound_to_a_choice_that_exists(panel, module):
    tree = ast.parse((module / "UncertaintyGuidedI2ILib" / "parameters.py").read_text())
    choices = {node.target.id for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)}
    bound = {name for widget in panel.iter("widget") if (name := properties(widget).get("SlicerParameterName"))}
    assert bound
    assert bound <= choices


def test_every_custom_widget_is_declared(panel):
    declared = {entry.findtext("class") for entry in panel.iter("customwidget")}
    used = {widget.get("class") for widget in panel.iter("widget")}
    assert {name for name in used if not name.startswith("Q")} == declared


def test_a_form_label_says_which_widget_it_belongs_to(panel):
    named = widgets(panel)
    for name, widget in named.items():
        if widget.get("class") == "QLabel" and name != "statusLabel":
            assert properties(widget)["buddy"] in named

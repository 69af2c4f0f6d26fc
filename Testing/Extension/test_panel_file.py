"""The panels as Qt Designer wrote them."""

import ast
import difflib
import re
import xml.etree.ElementTree as ET

import pytest

PANELS = ("TranslatePanel", "InspectPanel", "CheckPanel", "TrainPanel")


@pytest.fixture(params=PANELS)
def panel(module, request):
    return ET.parse(module / "Resources" / "UI" / f"{request.param}.ui").getroot()


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


def test_every_panel_has_a_file_and_every_file_is_a_panel(module):
    files = {path.stem for path in (module / "Resources" / "UI").glob("*.ui")}
    assert files == {*PANELS, "UncertaintyGuidedI2I"}


def test_every_widget_that_a_user_touches_has_a_tooltip(panel):
    for name, widget in widgets(panel).items():
        if widget.get("class") in ("QLabel", "QWidget", "QFrame", "qMRMLWidget"):
            continue
        assert properties(widget).get("toolTip"), name


def test_every_bound_widget_is_bound_to_a_choice_that_exists(panel, module):
    tree = ast.parse((module / "UncertaintyGuidedI2ILib" / "parameters.py").read_text())
    packs = {
        node.name: {
            field.target.id: ast.unparse(field.annotation) for field in node.body if isinstance(field, ast.AnnAssign)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    choices = {f"{name}.{field}" for name, pack in packs["StoredChoices"].items() for field in packs[pack]}
    bound = {name for widget in panel.iter("widget") if (name := properties(widget).get("SlicerParameterName"))}
    assert bound
    assert bound <= choices


def test_every_custom_widget_is_declared(panel):
    declared = {entry.findtext("class") for entry in panel.iter("customwidget")}
    used = {widget.get("class") for widget in panel.iter("widget")}
    assert {name for name in used if not name.startswith("Q")} == declared


def test_a_form_label_says_which_widget_it_belongs_to(panel):
    named = widgets(panel)
    for layout in panel.iter("layout"):
        if layout.get("class") != "QFormLayout":
            continue
        for item in layout.findall("item[@column='0']"):
            label = item.find("widget[@class='QLabel']")
            if item.get("colspan") is None and label is not None:
                assert properties(label)["buddy"] in named, label.get("name")


def test_a_label_shows_text_as_it_is_for_names_of_nodes_and_models_are_written_by_strangers(panel):
    for label in panel.iterfind(".//widget[@class='QLabel']"):
        assert properties(label).get("textFormat") == "Qt::PlainText", label.get("name")


def names_of_the_panels(module):
    """Tabs, sections, buttons, boxes and labels as the user reads them, also those that a button changes to."""
    texts = {
        text.removesuffix(":")
        for path in (module / "Resources" / "UI").glob("*.ui")
        for widget in ET.parse(path).getroot().iter("widget")
        for name, text in properties(widget).items()
        if name in ("text", "title") and text
    }
    for path in [module / "UncertaintyGuidedI2I.py", *(module / "UncertaintyGuidedI2ILib").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "_" and isinstance(node.args[0], ast.Constant):
                texts.add(node.args[0].value)
    return texts


def test_what_the_documents_call_a_button_is_what_is_written_on_it(root, module):
    names = names_of_the_panels(module)
    assert {"Save as model", "Models…", "Cancel", "Translate"} <= names
    quoted = {
        part
        for path in [root / "README.md", *(root / "Documentation").glob("*.md")]
        for text in re.findall(r"(?<![*\w])\*([A-Z][^*\n]*)\*(?!\*)", path.read_text())
        for part in text.split(" › ")
    }
    assert len(quoted & names) > 8
    meant = {text: difflib.get_close_matches(text, names, n=1, cutoff=0.8) for text in quoted - names}
    assert {text: name for text, name in meant.items() if name} == {}


def test_an_ellipsis_stands_on_buttons_that_ask_for_more_before_they_do_anything(panel):
    """For a file, a folder, an entry of a menu, or leave to download."""
    ellipses = {name for name, widget in widgets(panel).items() if properties(widget).get("text", "").endswith("…")}
    assert ellipses <= {"installButton", "exportButton", "loadButton", "modelsButton"}

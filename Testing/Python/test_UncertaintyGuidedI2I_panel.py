"""How the Slicer application behaves where the panels rely on it, and the panels in it.

Run by CTest (slicer_add_python_unittest), and by pytest in the host.
"""

import sys
import unittest
from pathlib import Path

import slicer


def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
    """State the claims of Testing/Contract before the panels are made, which makes each of them slower."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from Contract.run_in_slicer import claims

    stated = [unittest.FunctionTestCase(state, description=name) for name, state in claims()]
    return unittest.TestSuite([*stated, tests])


class PanelTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.widget = slicer.util.getModuleWidget("UncertaintyGuidedI2I")
        self.widget.enter()
        self.ui = self.widget.translatePanel.ui

    def test_a_disabled_apply_says_why(self) -> None:
        assert not self.ui.applyButton.enabled
        assert "Choose the volume" in self.ui.applyButton.toolTip

    def test_a_chosen_volume_becomes_a_choice_of_the_scene(self) -> None:
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
        self.ui.inputSelector.setCurrentNode(volume)
        assert self.widget.logic.getParameterNode().translate.inputVolume is volume
        assert "Choose the volume" not in self.ui.applyButton.toolTip

    def test_closing_the_scene_disables_apply_again(self) -> None:
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
        self.ui.inputSelector.setCurrentNode(volume)
        slicer.mrmlScene.Clear()
        self.widget.enter()
        assert not self.ui.applyButton.enabled

    def test_the_bundled_models_are_offered(self) -> None:
        offered = [self.ui.modelSelector.itemData(i) for i in range(self.ui.modelSelector.count)]
        assert set(self.widget.logic.modelNames()) <= set(offered)

    def test_every_panel_has_its_tab(self) -> None:
        tabs = self.widget.ui.panels
        assert [tabs.tabText(i) for i in range(tabs.count)] == ["Translate", "Inspect", "Check", "Train"]

    def test_the_samples_are_offered(self) -> None:
        assert "UncertaintyGuidedI2I" in slicer.modules.sampleDataSources

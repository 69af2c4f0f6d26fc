"""The panel inside the Slicer application; run by CTest (slicer_add_python_unittest)."""

import unittest

import slicer


class PanelTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.widget = slicer.util.getModuleWidget("UncertaintyGuidedI2I")
        self.widget.enter()

    def test_a_disabled_apply_says_why(self) -> None:
        assert not self.widget.ui.applyButton.enabled
        assert "Choose the volume" in self.widget.ui.applyButton.toolTip

    def test_apply_is_enabled_once_a_volume_is_chosen(self) -> None:
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
        self.widget.ui.inputSelector.setCurrentNode(volume)
        assert self.widget.ui.applyButton.enabled

    def test_closing_the_scene_disables_apply_again(self) -> None:
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
        self.widget.ui.inputSelector.setCurrentNode(volume)
        slicer.mrmlScene.Clear()
        self.widget.enter()
        assert not self.widget.ui.applyButton.enabled

    def test_the_bundled_models_are_offered(self) -> None:
        names = self.widget.logic.modelNames()
        assert self.widget.ui.modelSelector.count == len(names)
        assert self.widget.ui.modelSelector.currentText == names[0]

    def test_the_samples_are_offered(self) -> None:
        assert "UncertaintyGuidedI2I" in slicer.modules.sampleDataSources

"""Which models are offered first for a volume, and which is chosen for it."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

BUNDLED = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "Models" / "pet-ct-phantom"
PATIENT_S = 60
PET, MRI, MOTION, UNDERSAMPLED = "pet-ct-phantom", "mr-ct-phantom", "mri-motion", "mri-undersampled"


@pytest.fixture
def models(models_home):
    """A bundled model's files under another name, said to be for MRI."""
    folder = Path(os.environ["UPGAN_MODELS"]) / "trained" / MOTION
    shutil.copytree(BUNDLED, folder)
    path = folder / "configs" / "metadata.json"
    said = json.loads(path.read_text())
    said["upgan"]["task"]["input_modality"] = "MR"
    path.write_text(json.dumps({**said, "name": MOTION}))


@pytest.fixture
def panel(host, models, module_widget):
    host.wait_until(lambda: module_widget.translatePanel.engine.isReady, PATIENT_S)
    return module_widget.translatePanel


@pytest.fixture
def choices(module_widget):
    return module_widget.logic.getParameterNode().translate


@pytest.fixture
def add(host, panel, choices):
    """Add a volume of a head's size, and choose it."""

    def add(name, modality=None, spacing=3.0, voxels=None):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        image = np.zeros((4, 110, 100), dtype=np.float32) if voxels is None else voxels
        slicer.util.updateVolumeFromArray(node, image)
        node.SetSpacing(2.0, 2.0, spacing)
        if modality:
            node.SetAttribute("DICOM.Modality", modality)
        choices.inputVolume = node
        # The panel looks again a moment after a volume's last change.
        host.wait_until(lambda: not panel._recheck.active)
        return node

    return add


def offered(panel):
    selector = panel.ui.modelSelector
    return [(selector.itemData(i), selector.itemText(i).partition("(")[2]) for i in range(selector.count)]


AIR = np.where(np.arange(27000).reshape(30, 30, 30) % 3, 40.0, -1000.0).astype(np.float32)


# Name, what it is marked with, voxels, and what it is taken for.
VOLUMES = [
    ("scan", "MR", None, "MR"),
    ("sub-01_T1w", "PT", None, "PT"),  # what it is marked with comes first
    ("sample_undersampled", None, None, "MR"),
    ("sub-01_T1w", None, None, "MR"),
    ("NAC-PET 3", None, None, "PT"),
    ("PET to MRI", None, None, None),
    ("carpet", None, None, None),
    ("head", None, AIR, "CT"),
    ("head", None, np.abs(AIR), None),
    ("head", None, np.full((3, 3, 3), np.nan, np.float32), None),
]


def test_a_volumes_modality_is_told_by_its_mark_its_name_or_its_values(panel, add):
    from UncertaintyGuidedI2ILib.translate import fit

    found = [fit.told(add(name, modality, voxels=voxels)) for name, modality, voxels, _told in VOLUMES]
    assert [known.modality if known else None for known in found] == [told for *_volume, told in VOLUMES]


def test_models_made_for_the_volume_come_first_and_the_others_say_what_they_are_for(panel, choices, add):
    add("scan", "MR")
    assert offered(panel) == [
        (MRI, "bundled)"),
        (UNDERSAMPLED, "bundled)"),
        (MOTION, "trained here)"),
        (PET, "PET)"),
    ]
    choices.inputVolume = None
    assert [name for name, _text in offered(panel)] == [PET, MRI, UNDERSAMPLED, MOTION]
    assert {text for _name, text in offered(panel)} == {"bundled)", "trained here)"}
    add("thick", "PT", spacing=20.0)
    assert {text for _name, text in offered(panel)} == {"misfit)", "MRI)"}


def test_a_volume_chooses_a_model_that_fits_until_somebody_chooses_one(panel, choices, add):
    selector = panel.ui.modelSelector
    assert choices.model == PET
    mri = add("scan", "MR")
    assert choices.model == selector.currentData == MRI
    pet = add("other", "PT")
    assert choices.model == PET
    add("sample_motion")
    assert choices.model == MOTION  # the sample's own
    # By hand, also the one that is there already.
    selector.activated.emit(selector.currentIndex)
    choices.inputVolume = pet
    assert choices.model == MOTION
    choices.preselected = choices.model
    # By a script.
    choices.model = PET
    choices.inputVolume = mri
    assert choices.model == PET

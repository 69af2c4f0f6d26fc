"""The Translate panel on a real scene with a real worker: the user's journey, and everything that may cross it."""

import copy
import json
import os
import re
import shutil
import signal
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from Panels.heartbeat import shortest_block_s
from Panels.processes import children_of, pause

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

SAMPLES = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "SampleData"
PATIENT_S = 60


@pytest.fixture
def panel(host, warm_worker, module_widget):
    panel = module_widget.translatePanel
    panel.ui.deviceSelector.currentIndex = 0
    host.wait_until(lambda: panel.engine.isReady)
    return panel


@pytest.fixture
def choices(module_widget):
    return module_widget.logic.getParameterNode().translate


@pytest.fixture
def pet(host, choices):
    """The sample PET, chosen as input."""
    node = slicer.util.loadVolume(str(SAMPLES / "sample_nacpet.nrrd"))
    choices.inputVolume = node
    return node


@pytest.fixture(scope="session")
def slab(tmp_path_factory):
    """Twelve slices of the sample PET, which are translated in a moment."""
    image = SimpleITK.ReadImage(str(SAMPLES / "sample_nacpet.nrrd"))
    path = tmp_path_factory.mktemp("slab") / "slab.nrrd"
    SimpleITK.WriteImage(image[:, :, 26:38], str(path))
    return path


@pytest.fixture
def small_pet(host, choices, slab):
    """A slab, chosen as input."""
    node = slicer.util.loadVolume(str(slab))
    choices.inputVolume = node
    return node


@pytest.fixture
def apply(host, panel):
    """Press Apply and wait until something happens, or until it is over."""

    def press(until=lambda: True):
        panel.ui.applyButton.click()
        host.wait_until(lambda: idle(panel) or until(), PATIENT_S)

    return press


def idle(panel):
    return panel.ui.applyButton.text == "Apply"


def at_work(panel):
    return "Phase " in panel.ui.statusLabel.text


def volumes():
    return sorted(node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))


def scratch_folders():
    return list(Path(slicer.app.temporaryPath).glob("upgan-*"))


@pytest.fixture
def nothing_is_left(warm_worker):
    """Tell whether neither processes nor files of a run are there."""

    def look():
        return children_of(os.getpid()) | warm_worker() == set() and scratch_folders() == []

    return look


def test_the_user_translates_the_sample_and_finds_the_outputs_on_its_grid(host, panel, apply, pet):
    assert panel.ui.applyButton.enabled
    seen = []
    apply(until=lambda: seen.append((panel.ui.statusLabel.text, panel.ui.progressBar.value)) or idle(panel))
    assert panel.ui.statusLabel.text.startswith("Done in")
    stages = [text for text, _ in seen]
    assert any("Phase " in text and "slice" in text and "spent" in text and "left" in text for text in stages)
    values = [value for _, value in seen]
    assert values == sorted(values)
    names = ("sample_nacpet pseudo-CT", "sample_nacpet alpha (HU)", "sample_nacpet beta", "sample_nacpet sigma (HU)")
    for name in names:
        node = slicer.util.getNode(name)
        assert node.GetImageData().GetDimensions() == pet.GetImageData().GetDimensions()
        assert node.GetOrigin() == pet.GetOrigin()
        assert node.GetSpacing() == pet.GetSpacing()
    assert host.messages == []


def test_the_outputs_are_those_of_the_engine_itself(host, panel, apply, small_pet, choices):
    from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic
    from upgan.inference.translation import Quantity

    choices.precision, choices.epistemic = "float32", True
    apply(until=lambda: idle(panel))
    names: tuple[Quantity, Quantity] = ("sigma", "epistemic")
    shown = {name: slicer.util.arrayFromVolume(slicer.util.getNode(f"slab {name} (HU)")).copy() for name in names}
    alone = UncertaintyGuidedI2ILogic().translate(small_pet, device="cpu", precision="float32", outputs=names)
    for name, voxels in shown.items():
        np.testing.assert_allclose(voxels, slicer.util.arrayFromVolume(alone[name]), rtol=1e-3, atol=0.1)
    assert shown["epistemic"].max() > 10


def test_the_main_thread_is_never_blocked_for_more_than_100_ms(host, panel, apply, pet):
    def run():
        apply(until=lambda: idle(panel))
        assert panel.ui.statusLabel.text.startswith("Done in")

    run()
    assert shortest_block_s(run) < 0.1


def test_a_second_run_on_the_warm_worker_adds_less_than_half_a_second(host, panel, apply, small_pet):
    from UncertaintyGuidedI2ILib.scene.nodes import provenanceOf

    apply(until=lambda: idle(panel))
    added = []
    for run in (1, 2, 3):  # the best of a few: what the machine does beside is not ours
        started = time.monotonic()
        apply(until=lambda: idle(panel))
        elapsed = time.monotonic() - started
        added.append(elapsed - provenanceOf(slicer.util.getNode(f"slab pseudo-CT_{run}"))["seconds"])
    assert min(added) < 0.5


def test_cancel_is_idle_in_less_than_a_second_and_leaves_nothing(host, panel, apply, pet, nothing_is_left):
    apply(until=lambda: at_work(panel))
    pause(host, 0.5)
    before = volumes()
    started = time.monotonic()
    panel.ui.applyButton.click()
    host.wait_until(lambda: idle(panel), 5)
    assert time.monotonic() - started < 1
    assert panel.ui.statusLabel.text == "Cancelled. Nothing was added to the scene."
    assert volumes() == before
    assert nothing_is_left()
    assert host.messages == []


def test_a_double_click_on_apply_is_one_click(host, panel, apply, small_pet):
    panel.ui.applyButton.click()
    panel.ui.applyButton.click()
    host.wait_until(lambda: idle(panel), PATIENT_S)
    assert panel.ui.statusLabel.text.startswith("Done in")


def test_after_the_worker_was_killed_the_panel_says_so_and_the_next_run_works(host, panel, apply, pet):
    apply(until=lambda: at_work(panel))
    for pid in children_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    host.wait_until(lambda: idle(panel), 5)
    assert "ended" in host.messages[0].text
    assert volumes() == ["sample_nacpet"]
    host.messages.clear()
    apply(until=lambda: idle(panel))
    assert panel.ui.statusLabel.text.startswith("Done in")


def test_deleting_the_input_during_the_run_cancels_it_without_a_pop_up(host, panel, apply, pet, nothing_is_left):
    apply(until=lambda: at_work(panel))
    slicer.mrmlScene.RemoveNode(pet)
    host.wait_until(lambda: idle(panel), 2)
    assert volumes() == []
    host.wait_until(nothing_is_left, 2)
    assert host.messages == []


def test_closing_the_scene_during_the_run_cancels_it_without_a_pop_up(host, panel, apply, pet, nothing_is_left):
    apply(until=lambda: at_work(panel))
    host.close_scene()
    host.wait_until(lambda: idle(panel), 2)
    assert volumes() == []
    host.wait_until(nothing_is_left, 2)
    assert host.messages == []
    assert "Choose the volume" in panel.ui.applyButton.toolTip


@pytest.mark.parametrize("stage", ["starting", "loading", "handing over", "adding the results"])
def test_the_scene_may_be_closed_at_any_stage_of_the_run(host, panel, module_widget, small_pet, stage):
    """Each stage is caught as it begins; what is not seen in time was over, which is fine too."""
    progress = panel._action._onProgress

    def close_at_stage(event):
        progress(event)
        if event["stage"].startswith(stage) and volumes():
            host.close_scene()

    panel._action._onProgress = close_at_stage
    panel.ui.applyButton.click()
    host.wait_until(lambda: idle(panel), PATIENT_S)
    host.close_scene()
    assert volumes() == []
    host.wait_until(lambda: scratch_folders() == [] or not panel.isBusy, 5)
    assert host.messages == []
    panel._action._onProgress = progress


def test_a_cancel_between_the_results_and_their_showing_takes_them_out_again(
    host, panel, apply, small_pet, choices, monkeypatch
):
    from UncertaintyGuidedI2ILib.translate.job import TranslationJob
    from upgan.errors import Cancelled

    receive = TranslationJob.receive

    def receive_and_cancel(self, result):
        steps = receive(self, result)
        for _ in steps:
            yield
            if len(volumes()) > 1:
                steps.close()
                raise Cancelled

    monkeypatch.setattr(TranslationJob, "receive", receive_and_cancel)
    choices.allPhases = True
    before = slicer.mrmlScene.GetNumberOfNodes()
    apply(until=lambda: idle(panel))
    assert panel.ui.statusLabel.text.startswith("Cancelled")
    assert volumes() == ["slab"]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_a_result_comes_back_from_a_saved_scene_with_phases_overlay_and_provenance(
    host, module_widget, panel, apply, small_pet, tmp_path
):
    from UncertaintyGuidedI2ILib.scene.nodes import provenanceOf

    apply(until=lambda: idle(panel))
    inspect = module_widget.logic.getParameterNode().inspect
    inspect.overlay, inspect.threshold, inspect.showOverlay = "probability", 450.0, True
    host.wait_until(lambda: slicer.mrmlScene.GetFirstNodeByName("slab probability"), 5)
    pause(host, 0.5)
    provenance = provenanceOf(slicer.util.getNode("slab sigma (HU)"))
    voxels = slicer.util.arrayFromVolume(slicer.util.getNode("slab pseudo-CT")).copy()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    host.close_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))

    assert provenanceOf(slicer.util.getNode("slab sigma (HU)")) == provenance
    assert len(provenance["run"]) == 32
    again = module_widget.logic.getParameterNode().inspect
    assert (again.overlay, again.threshold, again.showOverlay) == ("probability", 450.0, True)
    assert again.result.GetName() == "slab pseudo-CT"
    probability = slicer.util.getNode("slab probability")
    shown = {node.GetForegroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
    assert probability.GetID() in shown
    (browser,) = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again.result), voxels)
    module_widget.inspectPanel.ui.phaseSlider.value = 1
    host.wait_until(lambda: (slicer.util.arrayFromVolume(again.result) != voxels).any(), 5)
    assert browser.GetSelectedItemNumber() == 0


def test_reloading_the_module_during_the_run_leaves_no_process(host, panel, apply, pet, module_widget, nothing_is_left):
    apply(until=lambda: at_work(panel))
    module_widget.cleanup()
    assert nothing_is_left()
    assert host.messages == []


def test_leaving_the_module_lets_the_run_go_on(host, panel, apply, pet, module_widget):
    apply(until=lambda: at_work(panel))
    module_widget.exit()
    host.wait_until(lambda: idle(panel), PATIENT_S)
    assert panel.ui.statusLabel.text.startswith("Done in")


def test_outputs_follow_the_parent_transform_of_the_input(host, panel, apply, small_pet):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    small_pet.SetAndObserveTransformNodeID(transform.GetID())
    apply(until=lambda: idle(panel))
    sigma = slicer.util.getNode("slab sigma (HU)")
    assert sigma.GetParentTransformNode() is transform


def test_names_and_paths_may_hold_any_letters(host, panel, apply, choices, slab, tmp_path):
    folder = tmp_path / "Bücher & Köpfe – 頭"
    folder.mkdir()
    shutil.copy(slab, folder / "Kopf ü.nrrd")
    node = slicer.util.loadVolume(str(folder / "Kopf ü.nrrd"))
    node.SetName("Kopf “ü” 頭")
    choices.inputVolume = node
    apply(until=lambda: idle(panel))
    assert "Kopf “ü” 頭 pseudo-CT" in volumes()


def test_an_input_marked_as_another_modality_is_warned_about_before_the_run(panel, pet, host):
    assert not panel.ui.warningLabel.visible
    pet.SetAttribute("DICOM.Modality", "MR")
    host.wait_until(lambda: "MR" in panel.ui.warningLabel.text, 2)
    assert panel.ui.applyButton.enabled


def test_a_file_that_says_no_place_is_warned_about_until_the_volume_is_moved(panel, pet, choices, host, tmp_path):
    image = nibabel.Nifti1Image(slicer.util.arrayFromVolume(pet).T, np.diag([2.0, 2, 2, 1]))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "unplaced.nii")
    choices.inputVolume = slicer.util.loadVolume(str(tmp_path / "unplaced.nii"))
    host.wait_until(lambda: "'unplaced.nii'" in panel.ui.warningLabel.text, 2)
    assert panel.ui.applyButton.enabled
    choices.inputVolume.SetOrigin(1, 2, 3)
    host.wait_until(lambda: "'unplaced.nii'" not in panel.ui.warningLabel.text, 2)


@pytest.mark.parametrize("name", ["fruit_t1_ge_slab", "phantom_bottle_t1_2mm"])
def test_fruit_and_bottle_are_warned_about(host, panel, choices, shared_data, name):
    choices.inputVolume = slicer.util.loadVolume(str(shared_data / "ood" / f"{name}.nii.gz"))
    assert panel.ui.warningLabel.text


def test_heads_are_not_warned_about(host, panel, choices, shared_data):
    warned = {}
    for path in sorted((shared_data / "t1").glob("*.nii.gz")):
        choices.inputVolume = slicer.util.loadVolume(str(path))
        warned[path.name] = panel.ui.warningLabel.text
    # Of one the qform lies half a voxel beside the sform.
    said = {name: text for name, text in warned.items() if text}
    assert list(said) == [name for name in warned if name == "allineate_T1_head_2mm.nii.gz"]
    assert all(text.count("⚠") == 1 and "two places" in text for text in said.values())


def test_opening_the_settings_lists_the_devices_with_their_memory(host, panel, choices):
    assert panel.ui.deviceSelector.count == 1
    panel.ui.settingsButton.collapsed = False
    host.wait_until(lambda: panel.ui.deviceSelector.count > 1, PATIENT_S)
    selector = panel.ui.deviceSelector
    devices = {selector.itemData(i): selector.itemText(i) for i in range(selector.count)}
    assert "GiB free" in devices["cpu"]
    assert selector.currentData == "auto"
    selector.currentIndex = selector.findData("cpu")
    assert choices.device == "cpu"


def test_the_card_of_the_chosen_model_is_shown_with_its_warning(panel):
    card = panel.ui.cardBrowser.toPlainText()
    assert "not for patients" in card
    assert "MAE (HU)" in card
    assert "Apache License" in card


@pytest.mark.parametrize(
    ("familiarity", "said"),
    [(None, "cannot tell"), ("yes", "cannot tell"), ({"limits": None}, "too few"), ({"limits": {"subjects": 9}}, "9")],
)
def test_the_card_says_whether_the_model_can_tell_unlike_inputs(familiarity, said, panel):
    from UncertaintyGuidedI2ILib.translate.model_card import cardHtml

    metadata = copy.deepcopy(panel.models.model.metadata)
    metadata["upgan"]["familiarity"] = familiarity
    card = cardHtml(replace(panel.models.model, metadata=metadata))
    (row,) = re.findall(r"Unlike inputs</b>&nbsp;</td><td>(.*?)</td>", card)
    assert said in row


def test_the_log_says_what_ran_and_names_no_patient(host, panel, apply, small_pet):
    small_pet.SetName("DOE^JANE")
    apply(until=lambda: idle(panel))
    log = panel.ui.logEdit.plainText
    assert "pet-ct-phantom" in log
    assert "Done in" in log
    assert "DOE" not in log


def test_an_estimate_is_shown_before_the_run_and_learns_from_it(host, panel, apply, small_pet):
    from UncertaintyGuidedI2ILib.text import duration

    assert panel.ui.estimateLabel.text.startswith("Roughly")
    assert "memory" in panel.ui.estimateLabel.text
    apply(until=lambda: idle(panel))
    assert panel.ui.estimateLabel.text.startswith("About")
    seconds = float(re.search(r"network took ([0-9.]+) s", panel.ui.logEdit.plainText).group(1))
    assert duration(max(seconds, 1)) in panel.ui.estimateLabel.text


@pytest.fixture
def expect(panel, choices, slab):
    """What is expected of a volume so many times as thick as a slab, with a model."""
    from UncertaintyGuidedI2ILib.translate import preflight

    node = slicer.util.loadVolume(str(slab))

    def expect(thick=1, model=None):
        voxels = slicer.util.arrayFromVolume(node)
        slicer.util.updateVolumeFromArray(node, np.repeat(voxels[:12], thick, axis=0))
        chosen = panel.models.model
        return preflight.estimate([replace(chosen, name=model or chosen.name)], node, choices, 4)

    return expect


def test_a_models_numbers_are_checked_before_the_viewer_counts_with_them(panel, choices, slab):
    from UncertaintyGuidedI2ILib.translate import preflight

    node = slicer.util.loadVolume(str(slab))
    metadata = copy.deepcopy(panel.models.model.metadata)
    metadata["upgan"]["architecture"]["phases"] = 10**12
    endless = replace(panel.models.model, metadata=metadata)
    assert preflight.estimate([endless], node, choices, 4) is None
    (warning,) = preflight.warnings([endless], node, choices.plane)
    assert "architecture.up-gan.phases" in warning


def test_the_same_image_takes_as_long_as_it_took_and_a_larger_one_longer(expect):
    from UncertaintyGuidedI2ILib.translate import preflight

    guess = expect()
    assert not guess.isLearned
    preflight.remember(guess, "cpu", 2.0)
    preflight.remember(expect(thick=4), "cpu", 6.0)
    assert expect().isLearned
    # Each as the run nearest in size, for a small image keeps no processor busy.
    assert [expect(thick).cost.seconds for thick in (1, 4, 8)] == pytest.approx([2.0, 6.0, 12.0], rel=1e-3)
    preflight.remember(expect(), "cpu", 1.0)
    assert [expect(thick).cost.seconds for thick in (1, 4)] == pytest.approx([1.0, 6.0], rel=1e-3)


def test_the_epistemic_map_is_expected_to_take_twice_the_time(expect, choices):
    from UncertaintyGuidedI2ILib.translate import preflight

    preflight.remember(expect(), "cpu", 2.0)
    choices.epistemic = True
    assert expect().cost.seconds == pytest.approx(4.0, rel=1e-3)


def test_another_model_is_expected_to_be_about_as_fast_and_another_device_is_not(expect, choices):
    from UncertaintyGuidedI2ILib.translate import preflight

    preflight.remember(expect(), "cpu", 2.0)
    other = expect(model="other")
    assert not other.isLearned
    assert other.cost.seconds == pytest.approx(2.0, rel=1e-3)
    preflight.remember(expect(), "cuda:0", 0.5)
    assert expect().kind == "cuda"
    assert expect().cost.seconds == pytest.approx(0.5, rel=1e-3)
    choices.device = "cpu"
    assert not expect().isLearned


@pytest.mark.parametrize("text", ["", "cpu", "cpu 3e9", "cpu x:y", "cpu 0:1", "cpu 5:-1", "1.5e10"])
def test_what_the_settings_hold_of_another_version_is_no_run(expect, text):
    import_module("qt").QSettings().setValue(expect().keys[0], text)
    assert not expect().isLearned


def test_a_disabled_apply_says_why(host, panel, choices, pet):
    for change, why in (
        ({"inputVolume": None}, "Choose the volume"),
        ({"inputVolume": pet, "image": False, "alpha": False, "beta": False, "sigma": False}, "at least one output"),
    ):
        for name, value in change.items():
            setattr(choices, name, value)
        assert not panel.ui.applyButton.enabled
        assert why in panel.ui.applyButton.toolTip
    choices.image = True
    assert panel.ui.applyButton.enabled


def test_holes_in_the_image_count_as_zero_only_when_the_user_says_so(host, panel, apply, small_pet):
    voxels = slicer.util.arrayFromVolume(small_pet).astype(np.float32)
    voxels[3, 50, 50] = np.nan
    slicer.util.updateVolumeFromArray(small_pet, voxels)
    host.answer = False
    apply(until=lambda: idle(panel))
    assert "NaN" in host.messages[0].text
    assert volumes() == ["slab"]
    host.answer = True
    apply(until=lambda: idle(panel))
    assert panel.ui.statusLabel.text.startswith("Done in")
    assert np.isnan(slicer.util.arrayFromVolume(small_pet)[3, 50, 50])
    assert np.isfinite(slicer.util.arrayFromVolume(slicer.util.getNode("slab pseudo-CT"))).all()


def test_an_input_that_no_model_could_take_is_refused_before_the_run(host, panel, choices):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "one slice")
    slicer.util.updateVolumeFromArray(node, np.ones((1, 20, 20), dtype=np.float32))
    choices.inputVolume = node
    host.wait_until(lambda: "single slice" in panel.ui.applyButton.toolTip, 2)
    assert not panel.ui.applyButton.enabled


@pytest.mark.parametrize("what", ["voxels", "place"])
def test_an_input_that_changes_during_the_run_gives_an_error_and_no_outputs(host, panel, apply, pet, what):
    apply(until=lambda: at_work(panel))
    if what == "voxels":
        slicer.util.arrayFromVolume(pet)[:] = slicer.util.arrayFromVolume(pet)[::-1]
        slicer.util.arrayFromVolumeModified(pet)
    else:
        pet.SetOrigin(1, 2, 3)
    host.wait_until(lambda: idle(panel), PATIENT_S)
    assert "changed" in host.messages[0].text
    assert volumes() == ["sample_nacpet"]


def test_one_panel_at_a_time_has_the_engine_and_the_other_says_so(host, module_widget, panel, apply, pet):
    check = module_widget.checkPanel
    reference = slicer.util.loadVolume(str(SAMPLES / "sample_ct.nrrd"))
    apply(until=lambda: idle(panel))
    module_widget.logic.getParameterNode().check.reference = reference
    assert check.ui.compareButton.enabled
    apply(until=lambda: at_work(panel))
    assert not check.ui.compareButton.enabled
    assert "at work" in check.ui.compareButton.toolTip
    assert not check.ui.installButton.enabled
    host.wait_until(lambda: idle(panel), PATIENT_S)
    check.ui.compareButton.click()
    assert not panel.ui.applyButton.enabled
    assert "at work" in panel.ui.applyButton.toolTip
    host.wait_until(lambda: panel.ui.applyButton.enabled, PATIENT_S)
    assert host.messages == []


def test_names_that_look_like_markup_are_shown_as_they_are(host, panel, apply, small_pet):
    small_pet.SetName('<img src="file:///etc/hostname"><b>bold</b>')
    apply(until=lambda: idle(panel))
    assert "<b>bold</b>" in panel.ui.statusLabel.text
    assert panel.ui.statusLabel.textFormat == 0  # Qt::PlainText


def test_missing_packages_are_named_and_installed_only_when_asked(host, panel, pet, monkeypatch):
    from UncertaintyGuidedI2ILib import dependencies

    lacking, asked = ["torch>=2.5"], []
    monkeypatch.setattr(dependencies, "missing", lambda *files: list(lacking))
    monkeypatch.setattr(
        dependencies, "ensureInstalled", lambda confirm: asked.append(confirm) or lacking.clear() or True
    )
    panel.enter()
    assert "torch>=2.5" in panel.ui.packagesLabel.text
    assert not panel.ui.applyButton.enabled
    assert "torch>=2.5" in panel.ui.applyButton.toolTip
    assert asked == []
    panel.ui.installButton.click()
    assert len(asked) == 1
    assert panel.ui.applyButton.enabled


def test_with_several_models_and_the_epistemic_map_missing_packages_are_named_as_well(
    host, panel, pet, choices, monkeypatch
):
    """What reads models' metadata needs packages, too: without them nothing of it may be asked for."""
    from UncertaintyGuidedI2ILib import dependencies

    bundled = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "Models" / "pet-ct-phantom"
    shutil.copytree(bundled, Path(os.environ["UPGAN_MODELS"]) / "trained" / "site")
    choices.epistemic, choices.together = True, '["site"]'
    choices.image = choices.alpha = choices.beta = choices.sigma = False
    choices.plane = "sagittal"
    monkeypatch.setattr(dependencies, "missing", lambda *files: ["pydantic>=2"])
    for module in [name for name in sys.modules if name.partition(".")[0] == "pydantic"]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in ("upgan.bundles.companions", "upgan.bundles.metadata"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    panel.enter()
    assert host.messages == []
    assert "pydantic>=2" in panel.ui.packagesLabel.text
    assert "pydantic>=2" in panel.ui.applyButton.toolTip
    assert not panel.ui.togetherButton.enabled


def test_only_the_asked_for_outputs_are_added(host, module_widget, panel, apply, small_pet, choices):
    choices.alpha = choices.beta = choices.image = False
    choices.allPhases = False
    choices.epistemic = True
    apply(until=lambda: idle(panel))
    assert volumes() == ["slab", "slab epistemic (HU)", "slab sigma (HU)"]
    # Neither is the translated image.
    assert module_widget.logic.getParameterNode().check.result is None


def test_sagittal_slices_have_no_epistemic_map_and_the_panel_says_so_before_the_run(panel, small_pet, choices):
    choices.plane = "sagittal"
    before = panel.ui.warningLabel.text
    choices.epistemic = True
    assert "no epistemic map" in panel.ui.warningLabel.text.removeprefix(before)
    assert panel.ui.applyButton.enabled
    choices.image = choices.alpha = choices.beta = choices.sigma = False
    assert not panel.ui.applyButton.enabled
    assert "Sagittal" in panel.ui.applyButton.toolTip
    choices.plane = "as trained"
    assert panel.ui.applyButton.enabled


def test_after_a_run_the_panel_says_that_the_image_was_unfamiliar_until_another_is_chosen(
    panel, apply, small_pet, choices, slab, monkeypatch
):
    from Scene.inspected import UNLIKE
    from UncertaintyGuidedI2ILib.translate.job import TranslationJob

    receive = TranslationJob.receive

    def receive_verdict(self, result):
        result["provenance"]["familiarity"] = UNLIKE
        return (yield from receive(self, result))

    monkeypatch.setattr(TranslationJob, "receive", receive_verdict)
    apply(until=lambda: idle(panel))
    assert panel.ui.warningLabel.visible
    assert f"⚠ {UNLIKE['sentence']}" in panel.ui.warningLabel.text
    choices.device = "cpu"
    assert UNLIKE["sentence"] in panel.ui.warningLabel.text
    choices.inputVolume = slicer.util.loadVolume(str(slab))
    assert UNLIKE["sentence"] not in panel.ui.warningLabel.text


def test_a_temporary_folder_that_cannot_be_written_is_told_and_the_panel_is_idle(host, panel, pet, monkeypatch):
    monkeypatch.setattr(slicer.app, "temporaryPath", "/proc/1")
    panel.ui.applyButton.click()
    host.wait_until(lambda: idle(panel), 5)
    assert "/proc/1" in host.messages[0].text
    assert volumes() == ["sample_nacpet"]


def test_showing_the_result_changes_views_only_when_asked_and_is_the_overlay_of_inspect(
    host, module_widget, panel, apply, small_pet
):
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    red = slicer.app.layoutManager().sliceWidget("Red")
    slicer.util.setSliceViewerLayers(background=small_pet, fit=True)
    bounds = [0.0] * 6
    red.sliceLogic().GetLowestVolumeSliceBounds(bounds)
    place = 0.7 * bounds[4] + 0.3 * bounds[5]
    red.sliceLogic().SetSliceOffset(place)
    red.mrmlSliceNode().SetFieldOfView(33, 33, 1)
    apply(until=lambda: idle(panel))
    assert {composite.GetForegroundVolumeID() for composite in composites} <= {None, ""}

    panel.ui.showResultButton.click()
    image, sigma = slicer.util.getNode("slab pseudo-CT"), slicer.util.getNode("slab sigma (HU)")
    host.wait_until(host.legends)
    layers = {(node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) for node in composites}
    assert layers == {(image.GetID(), sigma.GetID())}
    assert {legend.title for shown in host.legends().values() for legend in shown} == {"sigma (HU)"}
    assert list(host.legends()) == ["Red", "Green", "Yellow"]
    # The module keeps the numbers beside the colours true.
    sigma.GetDisplayNode().SetWindowLevelMinMax(0, 1)
    assert [float(label) for label in host.legends()["Red"][0].labels] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert red.sliceLogic().GetSliceOffset() == place
    assert red.mrmlSliceNode().GetFieldOfView()[0] == 33
    inspect = module_widget.inspectPanel
    assert inspect.ui.showOverlayCheckBox.checked
    assert inspect.ui.anatomySelector.currentText == "translated image"
    inspect.ui.showOverlayCheckBox.checked = False
    host.wait_until(lambda: not host.legends())
    assert {node.GetBackgroundVolumeID() for node in composites} == {small_pet.GetID()}


def test_a_deleted_output_is_no_longer_offered(host, panel, apply, small_pet):
    apply(until=lambda: idle(panel))
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("slab sigma (HU)"))
    panel.enter()
    assert not panel.ui.showResultButton.enabled
    assert panel.ui.showResultButton.toolTip


def test_an_imported_model_is_offered_translates_and_can_be_removed(
    host, panel, apply, small_pet, choices, tmp_path, monkeypatch
):
    source = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "Models" / "pet-ct-phantom"
    folder = tmp_path / "my model ü"
    shutil.copytree(source, folder)
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    (folder / "configs" / "metadata.json").write_text(json.dumps({**metadata, "name": "mine", "version": "9"}))
    host.conversation.file_answer = str(folder)
    panel.models.onImportFolder()
    host.wait_until(lambda: choices.model == "mine", PATIENT_S)
    assert "imported" in panel.ui.modelSelector.currentText
    shutil.rmtree(folder)
    apply(until=lambda: idle(panel))
    assert panel.ui.statusLabel.text.startswith("Done in")
    host.answer = True
    panel.models.onRemove()
    host.wait_until(lambda: choices.model == "pet-ct-phantom", 10)


def test_further_models_of_the_same_task_join_when_asked_to(host, panel, apply, small_pet, choices, monkeypatch):
    from UncertaintyGuidedI2ILib.scene.nodes import provenanceOf
    from UncertaintyGuidedI2ILib.work.progress_line import ProgressLine

    source = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "Models" / "pet-ct-phantom"
    stated = json.loads((source / "configs" / "metadata.json").read_text())
    deeper = {**stated["upgan"]["architecture"], "phases": stated["upgan"]["architecture"]["phases"] + 1}
    changes: dict[str, dict] = {
        "site": {},
        "R&D": {},
        "deep": {"architecture": deeper, "calibration": None},
        "coronal": {"plane": "coronal"},
        "unread": {"spacing_mm": 0},
    }
    for name, change in changes.items():
        folder = Path(os.environ["UPGAN_MODELS"]) / "trained" / name
        shutil.copytree(source, folder)
        said = {**stated, "name": "site", "upgan": {**stated["upgan"], **change}}
        (folder / "configs" / "metadata.json").write_text(json.dumps(said))
    assert not panel.ui.togetherButton.enabled
    slicer.util.updateVolumeFromArray(small_pet, slicer.util.arrayFromVolume(small_pet)[5:35].copy())
    panel.enter()
    button = panel.ui.togetherButton
    assert button.enabled
    actions = panel.models._togetherActions
    assert [action.text for action in actions] == [f"{name} (trained here)" for name in ("R&&D", "deep", "site")]
    assert [model.name for model in panel.models.members] == ["pet-ct-phantom"]
    alone = panel._expected.cost

    actions[1].trigger()
    assert "different numbers of phases" in panel.ui.warningLabel.text
    choices.allPhases = False
    assert "different numbers of phases" not in panel.ui.warningLabel.text
    choices.allPhases = True
    actions[1].trigger()
    actions[2].trigger()
    assert json.loads(choices.together) == ["site"]
    assert (button.text, actions[0].checked, actions[2].checked) == ("site", False, True)
    cost = panel._expected.cost
    assert cost.multiply_adds == 2 * alone.multiply_adds
    assert alone.host_bytes < cost.host_bytes < 1.2 * alone.host_bytes
    choices.epistemic = True  # their disagreement, which is there anyway
    assert panel._expected.cost.multiply_adds == cost.multiply_adds
    # All that is told: what is drawn of it follows a clock, which a quick model may outrun.
    stages, tell = [], ProgressLine.tell
    monkeypatch.setattr(ProgressLine, "tell", lambda line, said: stages.append(said["stage"]) or tell(line, said))
    apply(until=lambda: idle(panel))
    assert any("model 2 of 2, phase" in stage for stage in stages)
    provenance = provenanceOf(slicer.util.getNode("slab sigma (HU)"))
    assert [member["bundle"] for member in provenance["members"]] == ["pet-ct-phantom", "site"]
    assert all(len(member["bundle_sha256"]) == 64 for member in provenance["members"])
    assert "same weights" in panel.ui.statusLabel.text  # which both have here
    assert not slicer.util.arrayFromVolume(slicer.util.getNode("slab epistemic (HU)")).any()

    actions[2].trigger()
    assert json.loads(choices.together) == []
    choices.together = '["coronal", "gone"]'
    for name in ("coronal", "gone"):
        assert f"“{name}” does not join" in panel.ui.warningLabel.text
    # A scene may hold anything.
    for odd in ("no JSON", "7", '[7, "gone"]', "[" * 100_000):
        choices.together = odd
        assert [model.name for model in panel.models.members] == ["pet-ct-phantom"]


def test_a_model_deleted_during_the_run_does_not_disturb_it(host, panel, apply, pet, choices, tmp_path):
    source = Path(__file__).parents[3] / "UncertaintyGuidedI2I" / "Resources" / "Models" / "pet-ct-phantom"
    folder = Path(os.environ["UPGAN_MODELS"]) / "imported" / "soon gone"
    shutil.copytree(source, folder)
    panel.enter()
    choices.model = "soon gone"
    apply(until=lambda: at_work(panel))
    shutil.rmtree(folder)
    host.wait_until(lambda: idle(panel), PATIENT_S)
    assert panel.ui.statusLabel.text.startswith("Done in")
    apply(until=lambda: idle(panel))
    assert "no model" in host.messages[0].text


def test_the_choices_come_back_from_a_saved_scene(host, module_widget, panel, pet, choices, tmp_path):
    choices.precision, choices.allPhases, choices.device = "bfloat16", False, "cpu"
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    host.close_scene()
    assert module_widget.logic.getParameterNode().translate.allPhases
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = module_widget.logic.getParameterNode().translate
    assert (again.precision, again.allPhases, again.device) == ("bfloat16", False, "cpu")
    assert again.inputVolume.GetName() == "sample_nacpet"
    assert not panel.ui.allPhasesCheckBox.checked


@pytest.mark.nightly
def test_a_volume_of_512_by_512_by_300_is_translated_with_the_viewer_live(host, panel, apply, choices):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "large")
    node.SetSpacing(0.25, 0.25, 0.6)
    k, j, i = np.ogrid[-1:1:300j, -1:1:512j, -1:1:512j]
    voxels = np.where(k * k + j * j + i * i < 0.8, np.int16(1000), np.int16(0))
    voxels[:, 200:300, 200:300] = 1500
    slicer.util.updateVolumeFromArray(node, voxels)
    choices.inputVolume = node
    choices.allPhases = False
    host.wait_until(lambda: not panel._recheck.active)
    choices.model = "pet-ct-phantom"  # its grid is nearer to another's

    def run():
        panel.ui.applyButton.click()
        host.wait_until(lambda: idle(panel), 240)
        assert panel.ui.statusLabel.text.startswith("Done in")

    longest_s = shortest_block_s(run, attempts=2)
    assert slicer.util.getNode("large sigma (HU)").GetImageData().GetDimensions() == (512, 512, 300)
    assert longest_s < 0.1

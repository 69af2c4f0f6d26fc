"""The comparison: four linked views of their own, and a way back on which nothing is lost."""

import numpy as np
import pytest

from Scene.conftest import SHEARED, SLICER_IS_ABSENT

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)
vtk = pytest.importorskip("vtk", reason=SLICER_IS_ABSENT)

from Scene.inspected import add_input, add_result, random_phases  # noqa: E402
from UncertaintyGuidedI2ILib.inspection.comparison import (  # noqa: E402
    LAYOUT_ID,
    VIEWS,
    isComparisonShown,
    leaveComparison,
    registerLayout,
    showComparison,
)
from UncertaintyGuidedI2ILib.scene.display import showOverlay, sliceComposites  # noqa: E402
from UncertaintyGuidedI2ILib.scene.views import isComparisonView  # noqa: E402

LABELS = {"input": "PET", "image": "pseudo-CT", "sigma": "sigma (HU)", "probability": "P(HU > 300)"}


class Views:
    """Makes the logic and the layers of every slice view that the layout asks for, as the application does."""

    def __init__(self, app):
        self.app, self.logics = app, {}
        self.layout = slicer.vtkMRMLLayoutLogic()
        self.layout.SetMRMLScene(app.scene)
        self.layout.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.layout.GetLayoutNode().AddObserver("ModifiedEvent", self.fill)
        self.fill()

    def fill(self, *args):
        scene = self.app.scene
        for i in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
            view = scene.GetNthNodeByClass(i, "vtkMRMLSliceNode")
            if view.GetName() not in self.logics:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self.app.app_logic)
                logic.SetMRMLScene(scene)
                logic.SetSliceNode(view)
                self.logics[view.GetName()] = logic
                self.app.app_logic.GetSliceLogics().AddItem(logic)

    def composite(self, name):
        return self.logics[name].GetSliceCompositeNode()

    def arrangement(self):
        return self.layout.GetLayoutNode().GetViewArrangement()


@pytest.fixture
def views(app):
    app.app_logic.SetSliceLogics(vtk.vtkCollection())
    return Views(app)


@pytest.fixture
def volumes(mrml_scene, rng):
    pet = add_input(mrml_scene, SHEARED)
    result = add_result(pet, random_phases(rng, 1)[1])
    return {"input": pet, "probability": result.nodes["beta"], **result.nodes}


def comparison(views, volumes):
    return showComparison({key: volumes[key] for key in VIEWS if key in volumes}, LABELS, views.app.app_logic)


def test_each_view_shows_its_volume_alone(views, volumes):
    comparison(views, volumes)
    for key, name in VIEWS.items():
        composite = views.composite(name)
        assert composite.GetBackgroundVolumeID() == volumes[key].GetID()
        assert composite.GetForegroundVolumeID() is None
        assert views.logics[name].GetSliceNode().GetLayoutLabel() == LABELS[key]
        assert views.logics[name].GetSliceNode().GetOrientation() == "Axial"


def test_the_views_are_linked_to_each_other_and_to_no_others(views, volumes, mrml_scene):
    comparison(views, volumes)
    groups = {name: logic.GetSliceNode().GetViewGroup() for name, logic in views.logics.items()}
    assert len({groups[name] for name in VIEWS.values()}) == 1
    assert groups[VIEWS["input"]] not in {groups[name] for name in ("Red", "Green", "Yellow")}
    for name in VIEWS.values():
        assert views.composite(name).GetLinkedControl()
        assert views.composite(name).GetHotLinkedControl()
    assert not views.composite("Red").GetLinkedControl()


def test_the_views_are_fitted_and_stay_on_the_users_slice(views, volumes):
    views.logics["Red"].GetSliceNode().JumpSliceByOffsetting(0, 0, -6.5)
    comparison(views, volumes)
    fields = {views.logics[name].GetSliceNode().GetFieldOfView() for name in VIEWS.values()}
    assert len(fields) == 1
    bounds = np.zeros(6)
    volumes["input"].GetRASBounds(bounds)
    assert next(iter(fields))[0] < 3 * (bounds[1] - bounds[0])
    for name in VIEWS.values():
        assert views.logics[name].GetSliceOffset() == pytest.approx(-6.5)


def test_the_slice_is_that_of_an_axial_view_on_the_screen_whichever_it_is(views, volumes):
    for name, orientation in (("Red", "Coronal"), ("Green", "Axial"), ("Yellow", "Axial")):
        views.logics[name].GetSliceNode().SetOrientation(orientation)
    views.logics["Red"].SetSliceOffset(3.0)
    views.logics["Green"].SetSliceOffset(-3.0)
    views.logics["Yellow"].SetSliceOffset(-4.5)
    views.logics["Yellow"].GetSliceNode().SetMappedInLayout(1)
    comparison(views, volumes)
    assert {round(views.logics[name].GetSliceOffset(), 6) for name in VIEWS.values()} == {-4.5}


@pytest.mark.parametrize(("placed", "offset"), [(-3.5, -3.5), (1000.0, None)])
def test_without_an_axial_view_the_crosshair_says_where_the_user_is_if_it_lies_in_the_image(
    placed, offset, views, volumes
):
    for name in ("Red", "Green", "Yellow"):
        views.logics[name].GetSliceNode().SetOrientation("Sagittal")
    crosshair = views.app.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(0, 0, placed)
    comparison(views, volumes)
    found = {views.logics[name].GetSliceOffset() for name in VIEWS.values()}
    bounds = np.zeros(6)
    volumes["input"].GetRASBounds(bounds)
    assert len(found) == 1
    assert found == {offset} if offset is not None else bounds[4] < found.pop() < bounds[5]


def test_the_way_back_leads_to_the_users_layout_with_all_its_layers(views, volumes):
    views.layout.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    views.composite("Red").SetBackgroundVolumeID(volumes["image"].GetID())
    views.composite("Red").SetForegroundOpacity(0.25)
    before = comparison(views, volumes)
    assert views.arrangement() == LAYOUT_ID
    leaveComparison(views.app.scene, before.layout)
    assert views.arrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    assert views.composite("Red").GetBackgroundVolumeID() == volumes["image"].GetID()
    assert views.composite("Red").GetForegroundOpacity() == 0.25
    assert views.composite("Green").GetBackgroundVolumeID() is None


def test_a_user_who_left_by_himself_is_not_moved(views, volumes):
    before = comparison(views, volumes)
    views.layout.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView)
    leaveComparison(views.app.scene, before.layout)
    assert views.arrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView


def test_a_layout_that_is_not_known_any_more_is_the_usual_one(views, volumes):
    comparison(views, volumes)
    leaveComparison(views.app.scene, 987654)
    assert views.arrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_a_missing_volume_leaves_its_view_empty(views, volumes):
    del volumes["input"]
    comparison(views, volumes)
    assert views.composite(VIEWS["input"]).GetBackgroundVolumeID() is None
    assert views.composite(VIEWS["sigma"]).GetBackgroundVolumeID() == volumes["sigma"].GetID()


def test_an_overlay_on_the_users_views_does_not_reach_the_comparison(views, volumes):
    comparison(views, volumes)
    showOverlay(volumes["input"], volumes["alpha"], 0.5)
    assert views.composite("Red").GetForegroundVolumeID() == volumes["alpha"].GetID()
    assert views.composite(VIEWS["image"]).GetForegroundVolumeID() is None
    assert not any(isComparisonView(composite.GetLayoutName()) for composite in sliceComposites(views.app.scene))


def test_the_layout_is_known_once_and_shown_only_when_asked_for(views):
    layout = registerLayout(views.app.scene)
    registerLayout(views.app.scene)
    assert layout.IsLayoutDescription(LAYOUT_ID)
    assert not isComparisonShown(views.app.scene)


def test_a_scene_without_layouts_says_so(mrml_scene, volumes):
    assert registerLayout(mrml_scene) is None
    assert not isComparisonShown(mrml_scene)
    with pytest.raises(RuntimeError):
        showComparison(volumes, LABELS, None)

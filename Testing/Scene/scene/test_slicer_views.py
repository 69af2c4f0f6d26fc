"""The demo's scene and picture: the right way round, and no crash where nothing can be rendered."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from Demo import slicer_views
from Demo.slicer_views import DemoNodes, NoOpenGLError, ViewsNotRenderedError, render_slices, render_views, write_scene
from Scene.conftest import SLICER_IS_ABSENT
from Scene.fake_engine import FakeBundle, FakeEngine

slicer = pytest.importorskip("slicer", reason=SLICER_IS_ABSENT)
vtk = pytest.importorskip("vtk", reason=SLICER_IS_ABSENT)

# The logic imports slicer, which may be absent.
from UncertaintyGuidedI2ILib.logic import UncertaintyGuidedI2ILogic  # noqa: E402

TESTING = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def app():
    return pytest.importorskip("trame_slicer.core", reason=SLICER_IS_ABSENT).SlicerApp()


@pytest.fixture(scope="module")
def demo_nodes(app):
    """A block that is bright at the patient's left, front and top; sigma is as large as the image."""
    node = app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
    image = vtk.vtkImageData()
    image.SetDimensions(20, 24, 16)
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    node.SetAndObserveImageData(image)
    # LPS order, as DICOM has it: i runs to the left, j to the back, k up.
    node.SetIJKToRASMatrix(
        slicer.util.vtkMatrixFromArray(np.array([[-5, 0, 0, 50], [0, -5, 0, 60], [0, 0, 5, -40], [0, 0, 0, 1.0]]))
    )
    voxels = slicer.util.arrayFromVolume(node)
    voxels[:] = 20
    voxels[8:, :12, 10:] = 400
    nodes = UncertaintyGuidedI2ILogic(findBundle=FakeBundle, makeEngine=FakeEngine).translate(node)
    return DemoNodes(node, nodes["pseudo_ct"], nodes["sigma"], truth=None)


@pytest.fixture(scope="module")
def slices(app, demo_nodes):
    try:
        return render_slices(app, demo_nodes, centre=(-20, 20, 10))
    except NoOpenGLError as error:
        pytest.skip(str(error))


def quadrants(picture):
    """Mean brightness (upper left, upper right, lower left, lower right) of the part that is not background."""
    height, width = picture.shape[:2]
    parts = [picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :]]
    parts += [picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :]]
    return np.array([part.mean() for part in parts])


@pytest.mark.parametrize(
    ("orientation", "brightest", "right", "up"),
    [
        ("Axial", 1, (-1, 0, 0), (0, 1, 0)),
        ("Coronal", 1, (-1, 0, 0), (0, 0, 1)),
        ("Sagittal", 0, (0, -1, 0), (0, 0, 1)),
    ],
)
def test_patients_are_seen_as_radiologists_see_them(orientation, brightest, right, up, slices):
    # The patient's left is on the screen's right; the face looks up in axial and to the left in sagittal views.
    assert quadrants(slices[f"{orientation}/0"]).argmax() == brightest
    np.testing.assert_allclose(slices[f"{orientation}/axes"], [right, up], atol=1e-9)


def test_sigma_is_coloured_only_where_it_is_over_its_threshold(slices):
    plain, overlaid = slices["Axial/1"].astype(int), slices["Axial/2"].astype(int)
    coloured = np.ptp(overlaid, axis=-1) > 20
    height, width = coloured.shape
    assert not np.ptp(plain, axis=-1).any()
    # The bright quarter holds sigma of 400 HU, the rest 20 HU, under the threshold.
    assert coloured[height // 4, 5 * width // 8]
    np.testing.assert_array_equal(overlaid[3 * height // 4], plain[3 * height // 4])


def test_the_picture_is_written(app, demo_nodes, slices, tmp_path):
    from PIL import Image

    render_views(app, demo_nodes, tmp_path / "views.png")
    with Image.open(tmp_path / "views.png") as picture:
        assert picture.width > 3 * slicer_views.TILE_PIXELS
        assert picture.height > sum(slices[f"{row}/0"].shape[0] for row in slicer_views.VERTICAL_AXIS)


def test_rendering_leaves_no_trace_of_its_temporary_folder(app, demo_nodes, tmp_path, monkeypatch):
    script = tmp_path / "renderer.py"
    script.write_text("raise SystemExit(1)")
    monkeypatch.setattr(slicer_views, "RENDERER", script)
    app.scene.SetURL("where the user saved it")
    with pytest.raises(ViewsNotRenderedError):
        render_slices(app, demo_nodes)
    assert app.scene.GetURL() == "where the user saved it"
    storage = demo_nodes.image.GetStorageNode()
    assert storage is None or not storage.GetFileName()


def test_the_saved_scene_opens_with_sigma_over_the_translation_in_all_views(app, demo_nodes, tmp_path):
    write_scene(app, demo_nodes, tmp_path / "scene.mrb")
    scene = type(app)()
    scene.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    assert scene.io_manager.load_scene(tmp_path / "scene.mrb")
    views = {}
    for i in range(scene.scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode")
        layers = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
        names = tuple(scene.scene.GetNodeByID(layer).GetName() for layer in layers)
        orientation = scene.scene.GetNodeByID(f"vtkMRMLSliceNode{composite.GetLayoutName()}").GetOrientation()
        views[composite.GetLayoutName()] = (orientation, *names, composite.GetForegroundOpacity())
    shown = ("PET pseudo-CT", "PET sigma (HU)", 0.5)
    assert views == {"Red": ("Axial", *shown), "Green": ("Coronal", *shown), "Yellow": ("Sagittal", *shown)}
    sigma = scene.scene.GetFirstNodeByName("PET sigma (HU)").GetDisplayNode()
    assert sigma.GetApplyThreshold()
    assert sigma.GetLowerThreshold() == demo_nodes.sigma.GetDisplayNode().GetLowerThreshold() > 0


@pytest.mark.parametrize(
    ("renderer", "error"),
    [
        ("import os; os.abort()", NoOpenGLError),
        ("import pathlib, sys; pathlib.Path(sys.argv[2]).with_suffix('.opengl').touch(); 1 / 0", ViewsNotRenderedError),
    ],
)
def test_a_crash_of_the_renderer_is_an_error_that_says_why(renderer, error, app, demo_nodes, tmp_path, monkeypatch):
    script = tmp_path / "renderer.py"
    script.write_text(renderer)
    monkeypatch.setattr(slicer_views, "RENDERER", script)
    with pytest.raises(ViewsNotRenderedError) as failure:
        render_views(app, demo_nodes, tmp_path / "views.png")
    assert type(failure.value) is error
    assert not (tmp_path / "views.png").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the loader is fooled in the way of Linux")
def test_without_any_opengl_library_the_scene_is_written_and_the_picture_refused(tmp_path):
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    # The loader stops at the first file of that name, and these are no libraries.
    for stem in ("libGL", "libEGL", "libOSMesa", "libX11"):
        for ending in (".so", ".so.1", ".so.6", ".so.8"):
            (libraries / f"{stem}{ending}").touch()
    path = os.pathsep.join([str(TESTING), str(TESTING.parent / "UncertaintyGuidedI2I")])
    process = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "scene.mrb")],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No OpenGL library" in process.stdout, process.stderr[-2000:]
    assert process.returncode == 0
    assert (tmp_path / "scene.mrb").stat().st_size > 1000


def main(path: Path) -> None:
    """Write a scene, then try to render it; run by the test above in a process without OpenGL."""
    from trame_slicer.core import SlicerApp

    app = SlicerApp()
    nodes = []
    for name in ("input", "image", "sigma"):
        node = app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        image = vtk.vtkImageData()
        image.SetDimensions(4, 4, 4)
        image.AllocateScalars(vtk.VTK_FLOAT, 1)
        node.SetAndObserveImageData(image)
        node.CreateDefaultDisplayNodes()
        nodes.append(node)
    write_scene(app, DemoNodes(*nodes), path)
    try:
        render_views(app, DemoNodes(*nodes), path.with_suffix(".png"))
    except NoOpenGLError as error:
        print(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

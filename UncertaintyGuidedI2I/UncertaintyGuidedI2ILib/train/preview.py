"""A validation patient as the training sees him now: input, truth, prediction and sigma, refreshed in place.

The volumes are not saved with the scene: they are a view of the run's folder, and of a moment of it.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from UncertaintyGuidedI2ILib.scene.display import DisplayHints, setUpDisplay, setUpMap, showOverlay, sliceComposites
from UncertaintyGuidedI2ILib.scene.legends import legends, refreshLegends, showLegend
from UncertaintyGuidedI2ILib.scene.nodes import isInScene
from UncertaintyGuidedI2ILib.scene.voxels import slabs
from UncertaintyGuidedI2ILib.text import shownUnit

QUANTITIES = ("input", "target", "image", "sigma")
# Sigma beyond any that a training may come to: what is above the end of a display's threshold would be hidden.
HIGHEST = 1e9
# Of what is said of a preview, in bytes.
LONGEST_ABOUT = 64 << 10
NAMES = {"input": "input", "target": "truth", "image": "prediction", "sigma": "sigma"}


class TrainingPreview:
    """The preview of one run at a time.

    Args:
        scene: The scene that the volumes live in; the user may delete them at any time.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._run: Path | None = None
        self._nodes: dict[str, slicer.vtkMRMLScalarVolumeNode] = {}
        self._about: dict[str, Any] = {}
        # What could not be read, and need not be tried again.
        self._failed: dict[str, Any] | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What the volumes show: subject, stage, epoch, phase, unit; empty where there are none."""
        return self._about if self.isShown else {}

    @property
    def isShown(self) -> bool:
        """Whether all volumes are there."""
        return bool(self._nodes) and all(isInScene(node, self._scene) for node in self._nodes.values())

    def isAvailable(self, run: Path) -> bool:
        """Return whether a run has written a preview."""
        return (run / "preview" / "preview.json").is_file()

    def isOutdated(self, run: Path) -> bool:
        """Return whether there are volumes of a run, and a newer preview than they show that may be readable."""
        return run == self._run and self.isShown and _read(run) not in (None, self._about, self._failed)

    def show(self, quantity: str) -> None:
        """Show one of the volumes in the slice views, sigma over the prediction; call it only when the user asks.

        Args:
            quantity: "image", "target" or "input".
        """
        if not self.isShown:
            return
        node = self._nodes[quantity]
        if quantity == "image":
            showOverlay(node, self._nodes["sigma"])
            unit = shownUnit(str(self._about.get("unit", "")))
            showLegend(self._nodes["sigma"], f"sigma ({unit})").SaveWithSceneOff()
        else:
            for composite in sliceComposites(self._scene):
                with slicer.util.NodeModify(composite):
                    composite.SetBackgroundVolumeID(node.GetID())
                    composite.SetForegroundVolumeID(None)
            refreshLegends(self._scene)

    def clear(self) -> None:
        """Remove the volumes, and the legend, which a volume does not take with it."""
        for legend in list(legends(self._scene)):
            if legend.GetDisplayableNode() in self._nodes.values():
                self._scene.RemoveNode(legend)
        for node in self._nodes.values():
            if isInScene(node, self._scene):
                self._scene.RemoveNode(node)
        self._nodes, self._about, self._failed = {}, {}, None

    def load(self, run: Path) -> Generator[None, None, None]:
        """Make or refresh the volumes of a run stepwise, a little between two yields; those of another run go.

        Raises:
            InputError: ``no_preview`` or ``preview_unreadable``.
        """
        from upgan.errors import InputError

        about = _read(run)
        if about is None:
            raise InputError(
                "no_preview",
                "The training has no preview yet.",
                "Wait for the end of the first epoch.",
            )
        if run != self._run or not self.isShown:
            self.clear()
        self._run = run
        try:
            yield from self._refresh(run, about)
        except Exception:
            self._failed = about
            raise
        self._about = about

    def _refresh(self, run: Path, about: dict[str, Any]) -> Generator[None, None, None]:
        changed = [name for name in QUANTITIES if not _isSamePatient(about, self._about) or name in ("image", "sigma")]
        for name in changed:
            # Read whole and closed at once: an open file could not be replaced by the training (Windows).
            voxels = _array(run, name)
            yield
            image = self._imageFor(name, voxels.shape)
            target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)
            for slab in slabs(voxels.shape):
                target[slab] = voxels[slab]
                yield
            # Between two steps the user may have deleted what is being filled.
            if name in self._nodes and isInScene(self._nodes[name], self._scene):
                self._fill(self._nodes[name], image, about)
            else:
                self._nodes[name] = self._add(name, image, about)

    def _imageFor(self, name: str, shape: tuple[int, ...]) -> vtk.vtkImageData:
        """Return the image that is shown now, to be filled in place, or a new one where there is none of this size."""
        node = self._nodes.get(name)
        image = node.GetImageData() if node is not None and isInScene(node, self._scene) else None
        if image is not None and image.GetDimensions() == shape[::-1] and image.GetScalarType() == vtk.VTK_FLOAT:
            return image
        image = vtk.vtkImageData()
        image.SetDimensions(*shape[::-1])
        image.AllocateScalars(vtk.VTK_FLOAT, 1)
        return image

    def _fill(self, node: slicer.vtkMRMLScalarVolumeNode, image: vtk.vtkImageData, about: dict[str, Any]) -> None:
        with slicer.util.NodeModify(node):
            if node.GetImageData() is not image:
                node.SetAndObserveImageData(image)
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.array(about["ijk_to_ras"], dtype=float)))
        slicer.util.arrayFromVolumeModified(node)

    def _add(self, name: str, image: vtk.vtkImageData, about: dict[str, Any]) -> slicer.vtkMRMLScalarVolumeNode:
        assert self._run is not None
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(f"{self._run.name} preview {NAMES[name]}")
        node.SaveWithSceneOff()
        self._scene.AddNode(node)
        self._fill(node, image, about)
        if name == "input":
            setUpMap(node, (0.0, 1.0), None)
        else:
            hints = DisplayHints.of(about["display"])
            setUpDisplay(node, "image" if name == "target" else name, hints, HIGHEST)
        node.GetDisplayNode().SaveWithSceneOff()
        return node


def _isSamePatient(about: dict[str, Any], before: dict[str, Any]) -> bool:
    return all(about.get(name) == before.get(name, about) for name in ("subject", "ijk_to_ras"))


def _read(run: Path) -> dict[str, Any] | None:
    """Return what the newest preview shows, or None where there is none or it is being replaced."""
    from upgan.files import read_json

    try:
        about = read_json(run / "preview" / "preview.json", LONGEST_ABOUT)
        affine = np.array(about["ijk_to_ras"], dtype=float)
        DisplayHints.of(about["display"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return about if affine.shape == (4, 4) else None


def _array(run: Path, name: str) -> np.ndarray:
    from upgan.errors import InputError

    try:
        voxels: np.ndarray = np.load(run / "preview" / f"{name}.npy", allow_pickle=False)
        if voxels.ndim != 3 or voxels.dtype != np.float32 or not voxels.size:
            raise ValueError("no volume")
    except (OSError, ValueError, MemoryError) as error:
        raise InputError(
            "preview_unreadable", "The preview of the training cannot be read.", "Wait for the next epoch."
        ) from error
    return voxels

"""The demo's scene for Slicer and its picture: what Slicer would show, without a Slicer, a screen or a server."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RENDERER = Path(__file__).with_name("slice_renderer.py")
VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
# The RAS axis that runs up the screen.
VERTICAL_AXIS = {"Axial": 1, "Coronal": 2, "Sagittal": 2}
LETTERS = ("LR", "PA", "IS")
TILE_PIXELS = 440
OVERLAY_OPACITY = 0.5

Point = tuple[float, float, float]


class ViewsNotRenderedError(RuntimeError):
    """Slicer's views could not be rendered; draw the picture in another way."""


class NoOpenGLError(ViewsNotRenderedError):
    """No OpenGL library (libGL, libEGL or libOSMesa) can be used on this machine."""


@dataclass(frozen=True)
class DemoNodes:
    """The volume nodes of the demo, all in one scene.

    Attributes:
        input: What was translated.
        image: Its translation, with the display that the logic gave it.
        sigma: Its uncertainty.
        truth: The true image, where there is one.
    """

    input: Any
    image: Any
    sigma: Any
    truth: Any | None = None


def write_scene(app: Any, nodes: DemoNodes, path: Path) -> None:
    """Write a scene that opens in Slicer with sigma over the translation in all three slice views.

    Needs no OpenGL.

    Args:
        app: A ``trame_slicer.core.SlicerApp``.
        nodes: In the app's scene.
        path: Ends in .mrb.

    Raises:
        OSError: The file cannot be written.
    """
    import slicer

    from UncertaintyGuidedI2ILib.scene.display import showOverlay
    from UncertaintyGuidedI2ILib.scene.legends import showLegend

    _show_truth_like_image(nodes)
    # Only slice views that exist are saved with their layers. Their logics need no window, hence no OpenGL.
    for name, orientation in VIEWS.items():
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(app.app_logic)
        logic.SetMRMLScene(app.scene)
        logic.AddSliceNode(name).SetOrientation(orientation)
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(nodes.image.GetID())
        logic.ResizeSliceNode(400, 400)
        logic.FitSliceToBackground()
    showOverlay(nodes.image, nodes.sigma, OVERLAY_OPACITY)
    if nodes.sigma.GetScene().GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 0:
        showLegend(nodes.sigma)
    if not app.io_manager.write_scene(path):
        raise OSError(f"cannot write {path}")


def render_views(app: Any, nodes: DemoNodes, path: Path, centre: Point | None = None) -> None:
    """Draw axial, coronal and sagittal slice views, rendered by Slicer's pipeline, of the demo's volumes.

    Args:
        app: A ``trame_slicer.core.SlicerApp``.
        nodes: In the app's scene.
        path: Of the picture, .png.
        centre: Where the three slices meet, RAS in mm; by default the middle of the input.

    Raises:
        NoOpenGLError: Nothing can be rendered on this machine.
        ViewsNotRenderedError: Rendering failed otherwise.
    """
    _compose(render_slices(app, nodes, centre), nodes, path)


def render_slices(app: Any, nodes: DemoNodes, centre: Point | None = None) -> Mapping[str, np.ndarray]:
    """Render the slices of the picture alone; see ``render_views`` and ``slice_renderer.render``.

    Returns:
        By ``<orientation>/<column>``: pixels [H, W, 3] uint8, all at one scale; columns are input, translation,
        translation with sigma and, where there is one, the true image.
    """
    _show_truth_like_image(nodes)
    bounds = np.zeros(6)
    nodes.input.GetRASBounds(bounds)
    low, high = bounds[::2], bounds[1::2]
    extent = high - low
    # Columns of equal width keep the rows aligned.
    width = max(extent[0], extent[1])
    columns = [
        (nodes.input.GetID(), None, 0.0),
        (nodes.image.GetID(), None, 0.0),
        (nodes.image.GetID(), nodes.sigma.GetID(), OVERLAY_OPACITY),
    ]
    if nodes.truth is not None:
        columns.append((nodes.truth.GetID(), None, 0.0))
    request = {
        "columns": columns,
        "middle": list((low + high) / 2),
        "centre": list(centre or (low + high) / 2),
        "sizes_mm": {name: (width, extent[vertical]) for name, vertical in VERTICAL_AXIS.items()},
        "pixels_per_mm": TILE_PIXELS / width,
    }
    return _render(app, request)


def _show_truth_like_image(nodes: DemoNodes) -> None:
    """Give the true image the translation's grey window: only then does the eye compare anatomy, not windows."""
    for node in (nodes.input, nodes.truth):
        if node is not None and node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
    if nodes.truth is not None:
        shown, display = nodes.image.GetDisplayNode(), nodes.truth.GetDisplayNode()
        display.AutoWindowLevelOff()
        display.SetWindowLevel(shown.GetWindow(), shown.GetLevel())


def _render(app: Any, request: dict[str, Any]) -> Mapping[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        scene, asked, answered = (Path(folder) / name for name in ("scene.mrb", "request.json", "views.npz"))
        with _scene_url_kept(app.scene):
            if not app.io_manager.write_scene(scene):
                raise ViewsNotRenderedError("The scene could not be written for rendering.")
        asked.write_text(json.dumps({**request, "scene": str(scene)}), encoding="utf-8")
        try:
            process = subprocess.run(
                [sys.executable, str(RENDERER), str(asked), str(answered)],
                capture_output=True,
                timeout=300,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ViewsNotRenderedError("Rendering took more than five minutes.") from error
        if not answered.with_suffix(".opengl").exists():
            raise NoOpenGLError("No OpenGL library (libGL, libEGL or libOSMesa) can be used here.")
        if process.returncode != 0 or not answered.exists():
            reason = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise ViewsNotRenderedError(f"Rendering ended with code {process.returncode}. {' '.join(reason)}")
        with np.load(answered) as pictures:
            return dict(pictures)


@contextmanager
def _scene_url_kept(scene: Any) -> Iterator[None]:
    """Forget afterwards that the scene was written to a temporary folder."""
    url, root = scene.GetURL(), scene.GetRootDirectory()
    try:
        yield
    finally:
        scene.SetURL(url)
        scene.SetRootDirectory(root)


def _compose(pictures: Mapping[str, np.ndarray], nodes: DemoNodes, path: Path) -> None:
    """Lay the rendered slices out with titles, orientation marks, windows and a colour bar."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(VERTICAL_AXIS)
    count = sum(key.startswith("Axial/") for key in pictures) - 1
    heights = [pictures[f"{row}/0"].shape[0] for row in rows]
    dpi, left, right, top, bottom, gap = 150, 46, 150, 84, 12, 8
    width = left + count * (TILE_PIXELS + gap) + right
    height = top + sum(heights) + gap * len(rows) + bottom
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor="black")
    FigureCanvasAgg(figure)
    y = height - top
    for row, tile_height in zip(rows, heights, strict=True):
        y -= tile_height
        for column in range(count):
            x = left + column * (TILE_PIXELS + gap)
            axes = figure.add_axes((x / width, y / height, TILE_PIXELS / width, tile_height / height))
            axes.imshow(pictures[f"{row}/{column}"], interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            _mark_orientation(axes, pictures[f"{row}/axes"])
        figure.text(
            left / 2 / width, (y + tile_height / 2) / height, row, rotation=90, ha="center", va="center", **_text(11)
        )
        y -= gap
    for column, (title, detail) in enumerate(_titles(nodes)):
        x = left + column * (TILE_PIXELS + gap) + TILE_PIXELS / 2
        figure.text(x / width, 1 - 30 / height, title, ha="center", va="center", **_text(11))
        figure.text(x / width, 1 - 62 / height, detail, ha="center", va="center", **_text(8))
    bar_height = min(height - top - bottom, 620)
    area = ((width - right + 24) / width, (height - top - bar_height) / height, 26 / width, bar_height / height)
    _draw_colour_bar(figure.add_axes(area), nodes.sigma)
    figure.savefig(path, facecolor="black")


def _text(size: float) -> dict[str, Any]:
    return {"color": "white", "fontsize": size}


def _titles(nodes: DemoNodes) -> list[tuple[str, str]]:
    """Return each column's title and second line."""
    unit = nodes.image.GetAttribute("UncertaintyGuidedI2I.Unit") or ""
    translation = nodes.image.GetName().removeprefix(nodes.input.GetName()).strip()
    threshold = nodes.sigma.GetDisplayNode().GetLowerThreshold()
    titles = [
        (f"Input: {nodes.input.GetName()}", _window(nodes.input, "")),
        (translation, _window(nodes.image, unit)),
        (f"{translation} with σ", f"σ over {threshold:.3g} {unit}".rstrip() + f", {OVERLAY_OPACITY:.0%} opaque"),
    ]
    if nodes.truth is not None:
        titles.append((f"True image: {nodes.truth.GetName()}", _window(nodes.truth, unit)))
    return titles


def _window(node: Any, unit: str) -> str:
    display = node.GetDisplayNode()
    return f"window {display.GetWindow():.4g}, level {display.GetLevel():.4g} {unit}".rstrip()


def _mark_orientation(axes: Any, directions: np.ndarray) -> None:
    """Write the patient's side at the left, right, lower and upper edge of a view."""
    from matplotlib.patheffects import withStroke

    edges = (((0.03, 0.5), (0.97, 0.5)), ((0.5, 0.045), (0.5, 0.955)))
    # A typewriter's I is not mistaken for a line; the rim keeps letters legible on bone.
    style = {**_text(9), "family": "monospace", "path_effects": [withStroke(linewidth=2, foreground="black")]}
    for direction, (low, high) in zip(directions, edges, strict=True):
        axis = int(np.abs(direction).argmax())
        negative, positive = LETTERS[axis] if direction[axis] > 0 else LETTERS[axis][::-1]
        for letter, position in ((negative, low), (positive, high)):
            axes.text(*position, letter, transform=axes.transAxes, ha="center", va="center", **style)


def _draw_colour_bar(axes: Any, node: Any) -> None:
    """Draw the node's own colours over its own range, and where it turns transparent."""
    from matplotlib.colors import ListedColormap

    display, colours = node.GetDisplayNode(), []
    table = display.GetColorNode()
    for i in range(table.GetNumberOfColors()):
        rgba = [0.0] * 4
        table.GetColor(i, rgba)
        colours.append(rgba)
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    axes.imshow(
        np.linspace(0, 1, 256)[:, None],
        cmap=ListedColormap(colours),
        extent=(0, 1, low, high),
        aspect="auto",
        origin="lower",
    )
    threshold = display.GetLowerThreshold()
    axes.fill_between((0, 1), low, threshold, facecolor="black", edgecolor="0.6", hatch="////", linewidth=0.5)
    axes.set_ylim(low, high)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(colors="white", labelsize=8)
    for spine in axes.spines.values():
        spine.set_color("white")
    unit = node.GetAttribute("UncertaintyGuidedI2I.Unit")
    axes.set_title(f"σ ({unit})" if unit else "σ", **_text(10), pad=10)

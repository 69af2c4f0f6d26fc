"""Draws the rooms and their imports, from the code as it is: Documentation/architecture.png.

An arrow from one room to another means that some file of the first imports one of the second. Arrows that a longer way
says too are left out, and so are those to the ground, on which everything stands. The dashed arrow is no import: there
one side starts the other as a process.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
import tomllib
from pathlib import Path
from statistics import fmean

import grimp
import networkx
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "UncertaintyGuidedI2I"
ENGINE, SLICER_SIDE, FRONT_DOOR = "upgan", "UncertaintyGuidedI2ILib", "UncertaintyGuidedI2I"
PROCESS = f"{ENGINE}.worker"
TITLES = {SLICER_SIDE: f"in Slicer: {SLICER_SIDE}", ENGINE: f"the engine: {ENGINE}"}

# Of a room, and from one row of rooms to the next, in inches; an arrow that passes a row needs a gap in it.
WIDTH, HEIGHT, ROW, GAP, BETWEEN, MIDDLE = 1.82, 0.94, 1.36, 0.32, 0.16, 0.8
FILL = {ENGINE: "#e3eefb", SLICER_SIDE: "#fdf0dc"}
EDGE = {ENGINE: "#2b6cb0", SLICER_SIDE: "#b7791f"}
GREY = "#7a7a7a"

Node = str | tuple[str, str, int]
"""A room by its full name, or where an arrow between two rooms passes a row."""


def layers(package: str) -> list[list[str]]:
    """Return what stands beside each other in a package, from the top, as import-linter holds it."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = (one for one in tool["contracts"] if one.get("containers") == [package])
    return [re.split(r"\s*[|:]\s*", layer) for layer in contract["layers"]]


def rooms_and_ground(package: str) -> tuple[list[str], list[str]]:
    """Part what a package holds: down to the lowest folder it is rooms, and below them the ground."""
    stories = layers(package)
    lowest = max(n for n, names in enumerate(stories) if any((MODULE / package / name).is_dir() for name in names))
    above, below = stories[: lowest + 1], stories[lowest + 1 :]
    return [name for names in above for name in names], [name for names in below for name in names]


def imports_between_rooms() -> networkx.DiGraph:
    """Read from the code which room imports which; what follows from the rest is left out."""
    rooms = networkx.DiGraph()
    for package in (ENGINE, SLICER_SIDE):
        rooms.add_nodes_from(f"{package}.{name}" for name in rooms_and_ground(package)[0])
    sys.path.insert(0, str(MODULE))
    graph = grimp.build_graph(ENGINE, SLICER_SIDE, exclude_type_checking_imports=True, cache_dir=None)
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            ends = [".".join(name.split(".")[:2]) for name in (importer, imported)]
            if ends[0] != ends[1] and all(end in rooms for end in ends):
                rooms.add_edge(*ends)
    # No package, which is all that grimp knows.
    front = f"{SLICER_SIDE}.{FRONT_DOOR}"
    for node in ast.walk(ast.parse((MODULE / f"{FRONT_DOOR}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(SLICER_SIDE):
            for room in (
                ".".join(node.module.split(".")[:2]),
                *(f"{node.module}.{alias.name}" for alias in node.names),
            ):
                if room in rooms:
                    rooms.add_edge(front, room)
    return networkx.transitive_reduction(rooms)


def words_of(room: str) -> tuple[str, str]:
    """Return a room's name, and the beginning of the sentence in which it says what it is."""
    package, name = room.split(".")
    if name == FRONT_DOOR:
        return "front door", "What Slicer loads"
    path = MODULE / package / name
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    sentence = re.split(r"[:;.]", ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")[0]
    return name, sentence if len(sentence) <= 50 else sentence.split(",")[0]


def package_of(node: Node) -> str:
    """Return on which side a room is, or an arrow passes: that of the room where it begins."""
    return (node if isinstance(node, str) else node[0]).split(".")[0]


def starters_of(room: str) -> set[str]:
    """Return the rooms of the Slicer side in which some file names a module of the engine to run as a process."""
    naming = re.compile(rf"""run_module\(['"]{re.escape(room)}['"]|"-m", "{re.escape(room)}\"""")
    return {
        ".".join(path.relative_to(MODULE).with_suffix("").parts[:2])
        for path in (MODULE / SLICER_SIDE).rglob("*.py")
        if naming.search(path.read_text(encoding="utf-8"))
    }


def width_of(node: Node) -> float:
    """Return how much of its row something needs, in inches."""
    return WIDTH + BETWEEN if isinstance(node, str) else GAP


def rows_of(imports: networkx.DiGraph) -> dict[Node, int]:
    """Put every room above all that it imports, and rooms of one layer of the contract into one row."""
    beside = [{f"{package}.{name}" for name in layer} & set(imports) for package in TITLES for layer in layers(package)]
    upwards = list(reversed(list(networkx.topological_sort(imports))))
    row: dict[Node, int] = dict.fromkeys(imports, 0)
    before: dict[Node, int] = {}
    while row != before:
        before = dict(row)
        for room in upwards:
            row[room] = max([row[room], *(row[below] + 1 for below in imports[room])])
        for rooms in beside:
            row |= dict.fromkeys(rooms, max((row[room] for room in rooms), default=0))
    return row


def laid_out(imports: networkx.DiGraph) -> dict[Node, tuple[float, float]]:
    """Give every room a place in inches, and every arrow a gap in the rows that it passes."""
    row = rows_of(imports)
    lines = networkx.DiGraph()
    for above, below in imports.edges:
        passed = [(above, below, level) for level in range(row[above] - 1, row[below], -1)]
        row |= {node: node[2] for node in passed}
        networkx.add_path(lines, [above, *passed, below])
    levels = range(max(row.values()) + 1)
    order = {
        (package, level): [node for node in lines if row[node] == level and package_of(node) == package]
        for package in TITLES
        for level in levels
    }
    # Neighbours are drawn to each other, down the rows and up again, until the order is as good as this makes it.
    found = placed(order)
    for _ in range(8):
        for toward, rows in ((lines.predecessors, reversed(levels)), (lines.successors, levels)):
            for level in rows:
                for package in TITLES:
                    near = {n: [found[m][0] for m in toward(n)] or [found[n][0]] for n in order[package, level]}
                    order[package, level].sort(key=lambda node, near=near: fmean(near[node]))
                found = placed(order)
    return found


def placed(order: dict[tuple[str, int], list[Node]]) -> dict[Node, tuple[float, float]]:
    """Set the nodes of every row beside each other, in the middle of their side."""
    found: dict[Node, tuple[float, float]] = {}
    left = 0.0
    for package in TITLES:
        rows = {level: nodes for (side, level), nodes in order.items() if side == package}
        widest = max(sum(map(width_of, nodes)) for nodes in rows.values())
        for level, nodes in rows.items():
            x = left + (widest - sum(map(width_of, nodes))) / 2
            for node in nodes:
                found[node] = (x + width_of(node) / 2, level * ROW)
                x += width_of(node)
        left += widest + MIDDLE
    return found


def draw(path: Path) -> None:
    """Write the picture as a PNG file."""
    imports = imports_between_rooms()
    where = laid_out(imports)
    left, right = (end(x for x, _ in where.values()) for end in (min, max))
    top = max(y for _, y in where.values())
    low, high = -ROW - HEIGHT, top + HEIGHT + 0.25
    figure = Figure(figsize=(right - left + WIDTH + 0.2, high - low), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(left - WIDTH / 2 - 0.1, right + WIDTH / 2 + 0.1), ylim=(low, high))
    axes.set_axis_off()
    for package, title in TITLES.items():
        own = [x for node, (x, _) in where.items() if isinstance(node, str) and package_of(node) == package]
        centre, width = (min(own) + max(own)) / 2, max(own) - min(own) + WIDTH
        axes.text(centre, top + HEIGHT / 2 + 0.25, title, fontsize=19, ha="center", color=EDGE[package])
        ground = ", ".join(sorted(rooms_and_ground(package)[1]))
        box(axes, (centre, -ROW), width, package, "the ground", ground)
    for above, below in imports.edges:
        passed = [where[node] for node in where if not isinstance(node, str) and node[:2] == (above, below)]
        points = [(where[above][0], where[above][1] - HEIGHT / 2)]
        for x, y in sorted(passed, key=lambda place: -place[1]):
            points += [(x, y + HEIGHT / 2), (x, y - HEIGHT / 2)]
        points.append((where[below][0], where[below][1] + HEIGHT / 2))
        arrow(axes, points, GREY if package_of(above) == package_of(below) else EDGE[SLICER_SIDE])
    for starter in starters_of(PROCESS):
        (x, y), (end, height) = where[starter], where[PROCESS]
        middle = max(x for node, (x, _) in where.items() if package_of(node) == SLICER_SIDE) + WIDTH / 2 + MIDDLE / 2
        arrow(axes, [(x + WIDTH / 2, y), (middle, y), (middle, height), (end - WIDTH / 2, height)], GREY, "--")
        note = {"bbox": {"fc": "white", "ec": "none", "pad": 2}, "ha": "center", "va": "center", "rotation": 90}
        axes.text(middle, height - 1.35 * ROW, "starts; lines of JSON", fontsize=11.5, **note)
    for node, place in where.items():
        if isinstance(node, str):
            box(axes, place, WIDTH, package_of(node), *words_of(node))
    path.parent.mkdir(parents=True, exist_ok=True)
    # As wide as compress.py leaves a picture: what is drawn in pixels is not blurred.
    figure.savefig(path, dpi=1200 / figure.get_figwidth())


def box(axes: Axes, centre: tuple[float, float], width: float, package: str, name: str, words: str) -> None:
    x, y = centre
    pad = 0.05
    corner = (x - width / 2 + pad, y - HEIGHT / 2 + pad)
    shape = FancyBboxPatch(
        corner, width - 2 * pad, HEIGHT - 2 * pad, boxstyle=f"round,pad={pad}", fc=FILL[package], ec=EDGE[package]
    )
    shape.set_zorder(3)
    axes.add_patch(shape)
    axes.text(x, y + 0.28, name, fontsize=16, fontweight="bold", ha="center", va="center", zorder=4)
    lines = "\n".join(textwrap.wrap(words, round(width * 10.6)))
    axes.text(x, y - 0.13, lines, fontsize=11.5, ha="center", va="center", zorder=4, linespacing=1.05)


def arrow(axes: Axes, points: list[tuple[float, float]], colour: str, style: str = "-") -> None:
    """Draw an arrow along points."""
    axes.add_patch(
        FancyArrowPatch(path=Line(points), arrowstyle="-|>", mutation_scale=15, color=colour, lw=1.4, ls=style)
    )


if __name__ == "__main__":
    draw(Path(sys.argv[1]))

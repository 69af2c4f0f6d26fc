"""The face: soft tissue, orbits, nose and sinuses, jaws, teeth, mouth and airway."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from upgan.simulation.canvas import SIDES, Canvas, Field, Point, mirrored, smooth_union, span
from upgan.simulation.tissue import Tissue, marrow_space

BONE_HU = 950.0
THIN_BONE_HU = 750.0
MUSCLE_HU = 55.0
MUSCLE_UPTAKE = 0.25
FAT_HU = -95.0
FAT_UPTAKE = 0.10
ENAMEL_HU = 2400.0
DENTINE_HU = 1500.0


def head_surface(canvas: Canvas, cranium: Field) -> Field:
    """Signed distance (mm) to the skin: scalp, face, nose, jaw and neck in one."""
    face = canvas.ellipsoid((0.0, 26.0, -52.0), (63.0, 58.0, 66.0))
    jaw = canvas.ellipsoid((0.0, 34.0, -88.0), (50.0, 51.0, 40.0))
    neck = canvas.capsule((0.0, -18.0, -60.0), (0.0, -16.0, -190.0), (57.0, 57.0))
    # Muscles fill the temples, so that the skin is convex there.
    temples = canvas.ellipsoid((0.0, -4.0, -16.0), (72.0, 86.0, 44.0))
    surface = smooth_union(smooth_union(cranium, temples, 10.0), face, 14.0)
    surface = smooth_union(surface, jaw, 12.0)
    surface = smooth_union(surface, neck, 14.0)
    bridge = canvas.capsule((0.0, 80.0, -16.0), (0.0, 93.0, -50.0), (7.0, 9.0))
    surface = smooth_union(surface, bridge, 8.0)
    wings = canvas.ellipsoid((0.0, 87.0, -54.0), (17.0, 10.0, 8.0))
    surface = smooth_union(surface, wings, 5.0)
    lips = canvas.ellipsoid((0.0, 82.0, -83.0), (24.0, 8.0, 12.0))
    return smooth_union(surface, lips, 6.0)


def paint_soft_tissue(canvas: Canvas, surface: Field, texture: Field) -> None:
    """Paint skin, the fat under it and, deeper, a mixture of muscle and fat."""
    skin_fat = canvas.rng.uniform(2.0, 5.0)
    depth = -surface
    muscle = np.clip((depth - skin_fat - 2.0) / 4.0, 0.0, 1.0) * np.clip(0.55 + 0.45 * texture, 0.0, 1.0)
    skin = np.clip((2.5 - depth) / 1.5, 0.0, 1.0)
    lean = np.maximum(muscle, skin)
    hu = FAT_HU + lean * (45.0 - FAT_HU)
    uptake = 0.15 + 0.08 * lean
    tissue = {Tissue.FAT: 1.0 - lean, Tissue.MUSCLE: muscle * (lean > skin), Tissue.SKIN: lean * (lean <= skin)}
    canvas.paint(surface, hu.astype(np.float32), uptake.astype(np.float32), tissue)


def paint_muscles_and_glands(canvas: Canvas) -> None:
    """Paint the chewing muscles and the salivary glands."""
    for side in SIDES:
        for centre, radii in (
            ((61.0, 26.0, 0.0), (5.0, 26.0, 30.0)),
            ((56.0, 22.0, -26.0), (5.0, 14.0, 16.0)),
            ((56.0, 26.0, -68.0), (6.0, 15.0, 27.0)),
            ((34.0, 20.0, -60.0), (9.0, 12.0, 18.0)),
        ):
            canvas.organ(mirrored(side, centre), radii, MUSCLE_HU, MUSCLE_UPTAKE, Tissue.MUSCLE)
        canvas.organ(
            mirrored(side, (56.0, 2.0, -66.0)), (9.0, 12.0, 20.0), -5.0, 0.45, {Tissue.GLAND: 0.6, Tissue.FAT: 0.4}
        )
        canvas.organ(mirrored(side, (30.0, 26.0, -108.0)), (9.0, 12.0, 11.0), 40.0, 0.50, Tissue.GLAND)
        canvas.organ(mirrored(side, (44.0, 50.0, -72.0)), (9.0, 11.0, 13.0), FAT_HU, FAT_UPTAKE, Tissue.FAT)


def paint_facial_bones(canvas: Canvas) -> None:
    """Paint the maxilla, cheek bones, nasal bones and hard palate."""
    for side in SIDES:
        canvas.organ(mirrored(side, (48.0, 56.0, -42.0)), (10.0, 8.0, 10.0), 900.0, 0.12, marrow_space(900.0))
        arch = [mirrored(side, p) for p in ((52.0, 54.0, -40.0), (65.0, 30.0, -37.0), (66.0, 2.0, -33.0))]
        canvas.long_bone(arch, 3.4, 1000.0, 700.0)
        rim = [mirrored(side, p) for p in ((48.0, 64.0, -4.0), (52.0, 58.0, -20.0), (50.0, 58.0, -38.0))]
        canvas.long_bone(rim, 4.2, 1050.0, 600.0)
        brow = [mirrored(side, p) for p in ((6.0, 78.0, -4.0), (28.0, 78.0, 0.0), (48.0, 64.0, -4.0))]
        canvas.long_bone(brow, 4.0, 1050.0, 550.0)
        nasal = [mirrored(side, p) for p in ((3.0, 82.0, -10.0), (5.0, 89.0, -32.0))]
        canvas.long_bone(nasal, 2.0, 800.0, 700.0)
        frontal_process = [mirrored(side, p) for p in ((9.0, 78.0, -12.0), (15.0, 72.0, -42.0))]
        canvas.long_bone(frontal_process, 2.8, 850.0, 600.0)


def paint_orbits(canvas: Canvas) -> None:
    """Paint the orbits: bony wall, fat, globe with lens, optic nerve and eye muscles."""
    for side in SIDES:
        centre = canvas.jitter(mirrored(side, (31.0, 56.0, -20.0)), 0.7)
        radii = canvas.swell((18.0, 24.0, 17.0), 0.04)
        part = canvas.around(centre, 30.0)
        orbit = part.ellipsoid(centre, radii, side * -22.0)
        bounded = np.maximum(orbit - 2.4, part.anterior - 68.0)
        part.paint(bounded, THIN_BONE_HU, 0.10, Tissue.COMPACT_BONE)
        part.paint(np.maximum(orbit, part.anterior - 78.0), FAT_HU, FAT_UPTAKE, Tissue.FAT)
        _globe(canvas, side, centre)


def _globe(canvas: Canvas, side: float, orbit: Point) -> None:
    eye = (orbit[0] + side * 1.0, orbit[1] + 9.5, orbit[2] + 0.5)
    apex = mirrored(side, (15.0, 32.0, -16.0))
    canvas.rod([eye, apex], 2.1, 35.0, 0.30, Tissue.WHITE)
    for offset in ((10.0, 0.0, 0.0), (-10.0, 0.0, 0.0), (0.0, 0.0, 10.0), (0.0, 0.0, -10.0)):
        belly = (0.6 * eye[0] + 0.4 * apex[0] + offset[0], eye[1] - 14.0, eye[2] + offset[2])
        insertion = (eye[0] + offset[0], eye[1], eye[2] + offset[2])
        canvas.rod([insertion, belly, apex], 2.0, 50.0, 0.45, Tissue.MUSCLE)
    part = canvas.around(eye, 16.0)
    globe = part.ellipsoid(eye, (12.3, 12.3, 12.0))
    part.paint(globe, 55.0, 0.25, Tissue.MUSCLE)
    part.paint(globe + 1.6, 8.0, 0.05, Tissue.VITREOUS)
    lens = (eye[0], eye[1] + 8.0, eye[2])
    part.paint(part.ellipsoid(lens, (4.6, 2.4, 4.6)), 95.0, 0.05, Tissue.LENS)


def paint_nose_and_sinuses(canvas: Canvas) -> None:
    """Paint the nasal cavity with septum and turbinates, and the four pairs of sinuses."""
    for side in SIDES:
        _maxillary_sinus(canvas, side)
        canvas.sinus(mirrored(side, (8.0, 21.0, -23.0)), (7.5, 11.0, 9.0), 1.6, THIN_BONE_HU)
        _ethmoid(canvas, side)
    _nasal_cavity(canvas)
    for side in SIDES:
        nostril = [mirrored(side, p) for p in ((6.0, 72.0, -55.0), (7.0, 87.0, -56.0), (8.0, 89.0, -66.0))]
        canvas.rod(nostril, 3.4, -1000.0, 0.02, Tissue.AIR)
    _frontal_sinuses(canvas)


def _maxillary_sinus(canvas: Canvas, side: float) -> None:
    """A pyramid: flat towards the nose, the cheek, the temple and the orbit, with a rounded floor over the teeth."""
    size = canvas.rng.uniform(0.78, 1.0)
    centre = canvas.jitter(mirrored(side, (27.0, 50.0, -47.0)))
    planes: list[tuple[Point, float]] = [
        ((-side * 1.0, 0.05, -0.05), 12.0),
        ((side * 0.50, 0.87, -0.10), 16.0),
        ((side * 0.80, -0.60, 0.0), 15.0),
        ((0.0, 0.0, 1.0), 13.0),
        ((side * 0.35, 0.0, -0.94), 17.0),
    ]
    part = canvas.around(centre, 30.0)
    distance = part.polyhedron(centre, [(normal, size * offset) for normal, offset in planes], 6.0)
    part.paint(distance - 1.7, THIN_BONE_HU, 0.10, Tissue.COMPACT_BONE)
    part.paint(distance, 40.0, 0.25, Tissue.MUCOSA)
    # Mucosa is thin in most patients and swollen in some.
    mucosa = float(np.clip(canvas.rng.exponential(0.7) - 0.2, 0.0, 4.0))
    part.paint(distance + mucosa, -1000.0, 0.02, Tissue.AIR)


def _nasal_cavity(canvas: Canvas) -> None:
    """A tent over the palate, with the septum in the middle and turbinates hanging from the side walls."""
    centre: Point = (0.0, 46.0, -45.0)
    part = canvas.around(centre, 42.0)
    planes: list[tuple[Point, float]] = [
        ((1.0, 0.08, 0.20), 11.0),
        ((-1.0, 0.08, 0.20), 11.0),
        ((0.0, 0.0, -1.0), 17.0),
        ((0.0, 0.25, 1.0), 20.0),
        ((0.0, 1.0, 0.55), 31.0),
        ((0.0, -1.0, 0.0), 32.0),
    ]
    distance = part.polyhedron(centre, planes, 4.0)
    wall = np.maximum(distance - 1.5, part.anterior - 74.0)
    part.paint(wall, THIN_BONE_HU, 0.10, Tissue.COMPACT_BONE)
    part.paint(distance, -1000.0, 0.02, Tissue.AIR)
    deviation = canvas.rng.uniform(-2.5, 2.5)
    bend = deviation * np.exp(-(((part.anterior - 55.0) / 15.0) ** 2))
    septum = np.maximum(np.abs(part.right - bend) - 1.2, distance)
    part.paint(septum, 220.0, 0.18, Tissue.CARTILAGE)
    _turbinates(canvas)


def _turbinates(canvas: Canvas) -> None:
    swelling = canvas.rng.uniform(-0.6, 1.2, 2)
    for side, swollen in zip(SIDES, swelling, strict=True):
        inferior = [mirrored(side, p) for p in ((8.0, 70.0, -53.0), (8.8, 48.0, -54.0), (8.8, 26.0, -52.0))]
        canvas.rod(inferior, 4.2 + swollen, 55.0, 0.35, Tissue.MUCOSA)
        canvas.rod(
            [mirrored(side, p) for p in ((8.5, 66.0, -55.0), (8.5, 32.0, -55.0))], 1.0, 350.0, 0.2, Tissue.COMPACT_BONE
        )
        middle = [mirrored(side, p) for p in ((5.8, 62.0, -40.0), (6.4, 46.0, -42.0), (6.4, 28.0, -42.0))]
        canvas.rod(middle, 2.8 + 0.5 * swollen, 70.0, 0.35, Tissue.MUCOSA)


def _ethmoid(canvas: Canvas, side: float) -> None:
    centre = canvas.jitter(mirrored(side, (8.0, 50.0, -17.0)))
    part = canvas.around(centre, 24.0)
    box = part.ellipsoid(centre, (7.0, 21.0, 12.0))
    part.paint(box - 1.4, 600.0, 0.10, Tissue.COMPACT_BONE)
    phase = canvas.rng.uniform(0.0, 2.0 * np.pi, 2)
    # Cells of about 9 mm with septa thinner than a voxel.
    wave = np.sin(part.anterior * (2.0 * np.pi / 17.0) + phase[0] + 0.15 * part.superior)
    cross = np.sin(part.superior * (2.0 * np.pi / 19.0) + phase[1] + 0.12 * part.anterior)
    septa = np.minimum(np.abs(wave), np.abs(cross))
    air = np.clip(septa / 0.32, 0.25, 1.0)
    part.blend(np.clip(0.5 - box / part.edge_mm, 0.0, 1.0) * air, -1000.0, 0.02, Tissue.AIR)


def _frontal_sinuses(canvas: Canvas) -> None:
    # About one adult in ten has none on a side (Tatlisumak 2008: up to 12 %).
    for side in SIDES:
        if canvas.rng.random() < 0.9:
            size = canvas.rng.uniform(0.75, 1.25)
            radii = (11.0 * size, 5.2, 10.0 * size)
            canvas.sinus(mirrored(side, (11.5 * size, 75.0, 5.0)), radii, 2.2, 1050.0, side * -12.0)


def paint_mouth(canvas: Canvas) -> None:
    """Paint the tongue, oral cavity and the airway down to the larynx."""
    canvas.organ((0.0, 40.0, -92.0), (23.0, 31.0, 19.0), MUSCLE_HU, 0.38, {Tissue.MUSCLE: 0.8, Tissue.FAT: 0.2})
    canvas.organ((0.0, 36.0, -111.0), (24.0, 26.0, 8.0), MUSCLE_HU, 0.30, Tissue.MUSCLE)
    gap = canvas.rng.uniform(1.2, 3.5)
    part = canvas.crop((-22.0, 12.0, -84.0), (22.0, 72.0, -64.0))
    roof = -72.0 - 0.006 * (part.anterior - 44.0) ** 2 - 0.010 * part.right**2
    air = np.maximum(
        np.abs(part.superior - roof) - gap, np.hypot(part.right / 20.0, (part.anterior - 42.0) / 27.0) * 20 - 20
    )
    part.paint(air, -1000.0, 0.02, Tissue.AIR)
    canvas.organ((0.0, 14.0, -46.0), (11.0, 9.0, 13.0), -1000.0, 0.02, Tissue.AIR)
    throat: list[Point] = [(0.0, 10.0, -54.0), (0.0, 6.0, -78.0), (0.0, 5.0, -100.0), (0.0, 10.0, -125.0)]
    for start, end in pairwise(throat):
        canvas.rod([start, end], canvas.rng.uniform(4.5, 7.5), -1000.0, 0.02, Tissue.AIR)
    velum: list[Point] = [(0.0, 24.0, -64.0), (0.0, 14.0, -70.0), (0.0, 13.0, -84.0)]
    canvas.rod(velum, 3.2, 50.0, 0.35, Tissue.MUSCLE)
    for side in SIDES:
        canvas.organ(mirrored(side, (14.0, 11.0, -80.0)), (5.0, 6.0, 9.0), 50.0, 0.55, Tissue.GLAND)


def paint_jaws(canvas: Canvas) -> None:
    """Paint the hard palate, alveolar ridges, mandible and teeth."""
    palate = canvas.crop((-24.0, 16.0, -72.0), (24.0, 80.0, -58.0))
    slab = np.maximum(np.abs(palate.superior + 64.5 + 0.006 * palate.right**2) - 1.8, np.abs(palate.right) - 22.0)
    palate.paint(np.maximum(slab, np.abs(palate.anterior - 48.0) - 26.0), 800.0, 0.10, Tissue.COMPACT_BONE)
    _arch_bone(canvas, -67.0, 7.0, 5.0, (25.0, 40.0))
    _arch_bone(canvas, -106.0, 13.0, 5.6, (30.0, 43.0))
    for side in SIDES:
        body = [mirrored(side, p) for p in ((28.0, 40.0, -107.0), (42.0, 22.0, -104.0), (46.0, 12.0, -96.0))]
        canvas.long_bone(body, 6.0, 1200.0, 350.0)
        _ramus(canvas, side)
    shift = canvas.rng.uniform(-0.2, 0.2)
    _teeth(canvas, (-80.0, -66.0), (25.0, 40.0), shift)
    _teeth(canvas, (-99.0, -84.0), (25.0, 38.5), shift + 0.1)


def _ramus(canvas: Canvas, side: float) -> None:
    part = canvas.crop(*span(mirrored(side, (38.0, -8.0, -108.0)), mirrored(side, (58.0, 34.0, -30.0))))
    sheet = np.abs(side * part.right - 47.5 - 0.05 * (part.superior + 70.0)) - 3.6
    # The notch between the condyle (behind) and the coronoid process (in front).
    top = -52.0 + 14.0 * np.abs(np.sin((part.anterior - 12.0) / 9.0))
    outline = np.maximum(np.abs(part.anterior - 13.0 + 0.08 * (part.superior + 70.0)) - 14.0, part.superior - top)
    outline = np.maximum(outline, -102.0 - part.superior)
    part.bone(np.maximum(sheet, outline).astype(np.float32), 2.2, 1250.0, 450.0)
    canvas.long_bone([mirrored(side, p) for p in ((44.0, 2.0, -41.0), (54.0, 0.0, -41.0))], 4.2, 1100.0, 500.0)


def _arch_bone(canvas: Canvas, level: float, half_height: float, half_width: float, radii: tuple[float, float]) -> None:
    part = canvas.crop((-42.0, 24.0, level - half_height), (42.0, 92.0, level + half_height))
    band, _ = _dental_arch(part, radii)
    shape = np.maximum(np.abs(band) - half_width, np.abs(part.superior - level) - half_height)
    part.bone(np.maximum(shape, 30.0 - part.anterior).astype(np.float32), 2.2, 1100.0, 400.0)


def _dental_arch(part: Canvas, radii: tuple[float, float]) -> tuple[Field, Field]:
    """Distance (mm) from the arch through the teeth and the angle along it (radian, 0 at the midline)."""
    r, a = part.right / radii[0], (part.anterior - 36.0) / radii[1]
    level = np.maximum(np.hypot(r, a), 1e-3)
    slope = np.hypot(r / radii[0], a / radii[1]) / level
    return ((level - 1.0) / slope).astype(np.float32), np.arctan2(r, a).astype(np.float32)


def _teeth(canvas: Canvas, heights: tuple[float, float], radii: tuple[float, float], shift: float) -> None:
    part = canvas.crop((-32.0, 24.0, heights[0]), (32.0, 84.0, heights[1]))
    band, angle = _dental_arch(part, radii)
    # Sixteen teeth over about 190 degrees; the gaps between neighbours are narrower than a voxel.
    gap = np.abs(np.sin(angle * 4.6 + np.float32(np.pi / 2 + 0.3 * shift)))
    root = np.abs(part.superior - 0.5 * (heights[0] + heights[1])) - 0.5 * (heights[1] - heights[0])
    tooth = np.maximum(np.maximum(np.abs(band) - 4.0, root), np.abs(angle) - 1.75) + 5.0 * np.clip(0.22 - gap, 0.0, 1.0)
    part.paint(tooth.astype(np.float32), DENTINE_HU, 0.05, Tissue.COMPACT_BONE)
    middle = -82.0
    crown = np.maximum(np.abs(part.superior - middle) - 9.0, tooth + 0.3)
    part.blend(0.8 * np.clip(0.5 - crown / part.edge_mm, 0.0, 1.0), ENAMEL_HU, 0.03, Tissue.COMPACT_BONE)


def paint_ears(canvas: Canvas, surface: Field) -> None:
    """Paint the outer ears: thin curved plates standing off the head."""
    for side in SIDES:
        centre = canvas.jitter(mirrored(side, (75.0, -18.0, -30.0)))
        part = canvas.around(centre, 34.0)
        # The back edge stands off the head by about 20 degrees.
        plate = part.ellipsoid(centre, (3.2, 15.0, 27.0), side * 24.0)
        hollow = part.ellipsoid(
            (centre[0] + side * 4.0, centre[1] + 5.0, centre[2] - 3.0), (4.5, 8.0, 13.0), side * 24.0
        )
        outside = -canvas.riding(surface).around(centre, 34.0).hu
        part.paint(np.maximum(np.maximum(plate, -hollow), outside + 1.0), -10.0, 0.18, Tissue.SKIN)

"""Headrests, table tops and masks that touch the patient in a CT, and would count as body by their HU alone.

They are shells and plates: what is thick of them is foam, below −500 HU. So thin parts are looked for that reach far
from what is thick; an ear or a nose is thin as well, but ends soon. This is done on pixels of about 2 mm, plane by
plane where the plane is enough, so that no step takes long and nothing depends on the scanner's pixel size.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from scipy import ndimage

from upgan.stepwise.components import Components, component_stepwise

# Pixels on which is looked, at least.
_PIXEL_MM = 2.0

# Thinner than twice this is a plate or a shell, an ear, a nose, a fold of skin.
_THIN_MM = 8.0

# An ear or a nose ends within this from what is thick, counted along rows, columns and planes of its own voxels.
_REACH_MM = 50.0

# A gap under a head holds air; lungs hold tissue, too.
_AIR_HU = -950.0

# Less than this beyond the reach is the tip of an ear, mL.
_TIP_ML = 2.0

# Smaller gaps are left filled: so are the cells of a mastoid bone behind an ear.
_GAP_MM2 = 200.0


def appliance_stepwise(
    ct: np.ndarray, spacing_mm: tuple[float, float, float], parts: Components
) -> Generator[None, None, np.ndarray | None]:
    """Find what of the largest part above −500 HU is no patient, in steps.

    Args:
        ct: HU, [K, J, I], axial slices.
        spacing_mm: Voxel size along K, J, I.
        parts: The connected components of the voxels above −500 HU.

    Returns:
        Boolean [K, J, I]; None where there is nothing of the kind.
    """
    if not parts.sizes.any():
        return None
    grid = _Coarse.of(ct.shape, spacing_mm)
    shape = (ct.shape[0], *grid.shape)
    solid, filled = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    gaps = np.zeros(shape, dtype=bool)
    largest = int(parts.sizes.argmax())
    for k in range(len(ct)):
        solid[k] = grid.mean(parts.of(k) == largest) >= 0.5
        yield
        filled[k] = ndimage.binary_fill_holes(solid[k])
        gaps[k] = grid.gaps(filled[k] & ~solid[k], ct[k])
        yield
    thick = yield from _thick_stepwise(filled, grid)
    found = yield from _far_stepwise(filled, thick, grid, None)
    if found is None:
        return None
    # What such a part encloses with the patient was filled, and looked thick: now without.
    opened = False
    for k in range(len(ct)):
        if not (gaps[k].any() and found[k].any()):
            continue
        labels, _count = ndimage.label(gaps[k])
        near = ndimage.distance_transform_edt(~found[k], grid.pixel_mm) <= 2 * _THIN_MM
        beside = np.unique(labels[near & gaps[k]])
        if beside.any():
            filled[k] &= ~np.isin(labels, beside[beside > 0])
            opened = True
        yield
    if opened:
        thick = yield from _thick_stepwise(filled, grid)
        again = yield from _far_stepwise(filled, thick, grid, found)
        found = found if again is None else again
    appliances = np.empty(ct.shape, dtype=bool)
    for k in range(len(ct)):
        # Pixels at its rim are less than half full.
        wider = ndimage.binary_dilation(found[k], np.ones((3, 3))) & ~(filled[k] & ~found[k])
        appliances[k] = grid.enlarged(wider)
        yield
    return appliances


class _Coarse:
    """The planes on pixels of about 2 mm, each a block of the image's own.

    Attributes:
        shape: Rows and columns of blocks.
        pixel_mm: Size of the blocks along J and I, mm.
        spacing_mm: Distance of the planes along K, then the size of the blocks along J and I, mm.
    """

    def __init__(self, fine: tuple[int, int], blocks: tuple[int, int], spacing_mm: tuple[float, float, float]) -> None:
        self._fine, self._blocks = fine, blocks
        self.shape = -(-fine[0] // blocks[0]), -(-fine[1] // blocks[1])
        self.pixel_mm = blocks[0] * spacing_mm[1], blocks[1] * spacing_mm[2]
        self.spacing_mm = spacing_mm[0], *self.pixel_mm

    @classmethod
    def of(cls, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> _Coarse:
        rows, columns = (max(1, round(_PIXEL_MM / step)) for step in spacing_mm[1:])
        return cls((shape[1], shape[2]), (rows, columns), spacing_mm)

    def mean(self, plane: np.ndarray) -> np.ndarray:
        """Return the mean of each block; blocks that reach over the edge repeat it."""
        rows, columns = self._blocks
        if rows == columns == 1:
            return plane.astype(np.float32)
        over = [
            (0, coarse * block - fine) for coarse, block, fine in zip(self.shape, self._blocks, self._fine, strict=True)
        ]
        padded = np.pad(plane.astype(np.float32), over, mode="edge")
        mean: np.ndarray = padded.reshape(self.shape[0], rows, self.shape[1], columns).mean(axis=(1, 3))
        return mean

    def gaps(self, holes: np.ndarray, ct: np.ndarray) -> np.ndarray:
        """Return those of a plane's holes that hold nothing but air and are no mere cells."""
        if not holes.any():
            return holes
        labels, count = ndimage.label(holes)
        inside = np.arange(1, count + 1)
        hu = ndimage.mean(self.mean(ct), labels, inside)
        area = np.bincount(labels.ravel(), minlength=count + 1)[1:] * self.pixel_mm[0] * self.pixel_mm[1]
        chosen: np.ndarray = np.isin(labels, inside[(hu < _AIR_HU) & (area >= _GAP_MM2)])
        return chosen

    def enlarged(self, plane: np.ndarray) -> np.ndarray:
        """Return a plane of blocks on the image's own pixels."""
        rows, columns = self._blocks
        return plane.repeat(rows, axis=0)[: self._fine[0]].repeat(columns, axis=1)[:, : self._fine[1]]


def _thick_stepwise(body: np.ndarray, grid: _Coarse) -> Generator[None, None, np.ndarray]:
    """Open each plane by a disc, which leaves what is thicker than its diameter; then the largest part of it."""
    opened = np.empty_like(body)
    margin = int(np.ceil(2 * _THIN_MM / min(grid.pixel_mm)))
    for k in range(len(body)):
        # The edge of a slice cuts the body off, it does not end it.
        plane = np.pad(body[k], margin, mode="edge")
        eroded = ndimage.distance_transform_edt(plane, grid.pixel_mm) > _THIN_MM
        yield
        near = ndimage.distance_transform_edt(~eroded, grid.pixel_mm) <= _THIN_MM if eroded.any() else eroded
        opened[k] = near[margin:-margin, margin:-margin] & body[k]
        yield
    parts = yield from component_stepwise(body.shape, lambda slab: opened[slab])
    if parts.sizes.any():
        largest = parts.sizes.argmax()
        for k in range(len(body)):
            opened[k] = parts.of(k) == largest
            yield
    return opened


def _far_stepwise(
    body: np.ndarray, thick: np.ndarray, grid: _Coarse, known: np.ndarray | None
) -> Generator[None, None, np.ndarray | None]:
    """Of what is not thick, the connected parts that reach far from it, or hold something known already."""
    if not thick.any():
        return None
    rest = yield from component_stepwise(body.shape, lambda slab: body[slab] & ~thick[slab])
    beyond = np.zeros(rest.sizes.size)
    unreached = yield from _unreached_stepwise(body, thick, grid)
    for k in range(len(body)):
        beyond += np.bincount(rest.of(k)[unreached[k]], minlength=beyond.size)
        yield
    chosen = beyond * np.prod(grid.spacing_mm) / 1000 >= _TIP_ML
    if known is not None:
        for k in range(len(body)):
            chosen[rest.of(k)[known[k]]] = True
            yield
    chosen[0] = False
    if not chosen.any():
        return None
    found = np.empty_like(body)
    for k in range(len(body)):
        found[k] = chosen[rest.of(k)]
        yield
    return found


def _unreached_stepwise(body: np.ndarray, thick: np.ndarray, grid: _Coarse) -> Generator[None, None, np.ndarray]:
    """Of what is not thick, the voxels to which no way of ``_REACH_MM`` along the axes leads from what is."""
    # With a rim, so that a neighbour's index never leaves the volume on the other side.
    ahead, start = (np.zeros([size + 2 for size in body.shape], dtype=bool) for _ in range(2))
    thin, at_rim = (array[1:-1, 1:-1, 1:-1] for array in (ahead, start))
    for k in range(len(body)):
        thin[k] = body[k] & ~thick[k]
        at_rim[k] = thick[k] & ndimage.binary_dilation(thin[k])
        for beside in (k - 1, k + 1):
            if 0 <= beside < len(body):
                at_rim[k] |= thick[k] & body[beside] & ~thick[beside]
        yield
    pixel = min(grid.pixel_mm)
    hops = [(max(1, round(size / pixel)), stride) for size, stride in zip(grid.spacing_mm, ahead.strides, strict=True)]
    reach = int(_REACH_MM / pixel)
    arriving: list[list[np.ndarray]] = [[] for _ in range(reach + max(hops)[0] + 1)]
    arriving[0].append(np.flatnonzero(start))
    way = ahead.ravel()
    for time in range(reach + 1):
        # Each once, and nobody who was there before.
        front = np.unique(np.concatenate(arriving[time])) if arriving[time] else np.empty(0, dtype=np.intp)
        if time:
            front = front[way[front]]
            way[front] = False
        yield
        for later, stride in hops:
            neighbours = np.concatenate([front - stride, front + stride])
            arriving[time + later].append(neighbours[way[neighbours]])
        arriving[time] = []
        yield
    return thin

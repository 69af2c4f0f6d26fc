"""Connected components of a volume, slab by slab: exactly those of the whole, but never long without a pause."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from upgan.stepwise.steps import slabs, spans


@dataclass(frozen=True, eq=False)
class Components:
    """Voxels of a mask that hang together by their faces, numbered from 1 in the order of their first voxels.

    They are stored as pieces, of which each lies in one slab: to number the voxels anew would be one more pass.

    Attributes:
        pieces: Piece of each voxel, [K, J, I]; 0 outside the mask.
        numbers: Component of each piece; that of piece 0 is 0.
        sizes: Voxels of each component; that of component 0, which is none, is 0.
    """

    pieces: np.ndarray
    numbers: np.ndarray
    sizes: np.ndarray

    def of(self, slab: slice | int) -> np.ndarray:
        """Return the component of each voxel of some planes, 0 outside the mask."""
        return self.numbers[self.pieces[slab]]


def component_stepwise(
    shape: tuple[int, int, int], mask: Callable[[slice], np.ndarray]
) -> Generator[None, None, Components]:
    """Find the connected components of a mask, in steps.

    Args:
        shape: The shape (K, J, I) of the mask.
        mask: Returns some of its planes, boolean.
    """
    pieces = np.empty(shape, dtype=np.int32)
    # At most every second voxel of a slab is a piece of its own. Memory that stays untouched is never taken.
    most = (pieces.size + shape[0]) // 2 + 1
    # A lower piece of the same component, or the piece itself: then it is the component's first.
    parents, piece_sizes = (np.empty(most, dtype=dtype) for dtype in (np.int32, np.int64))
    parents[0] = piece_sizes[0] = 0
    count = 1
    for slab in slabs(shape):
        labels = pieces[slab]
        new = slice(count, count + ndimage.label(mask(slab), output=labels))
        piece_sizes[new] = np.bincount(labels.ravel(), minlength=new.stop - new.start + 1)[1:]
        np.add(labels, count - 1, out=labels, where=labels > 0)
        parents[new] = np.arange(new.start, new.stop)
        count = new.stop
        yield
        if slab.start > 0:
            _merge(pieces[slab.start - 1], labels[0], parents)
            yield
    numbers, found = np.zeros(count, dtype=np.int32), 0
    for span in spans(count):
        first = _first(np.arange(span.start, span.stop), parents)
        parents[span] = first
        new_components = np.flatnonzero(first == np.arange(span.start, span.stop)) + span.start
        # Piece 0 is no component.
        new_components = new_components[new_components > 0]
        numbers[new_components] = np.arange(found + 1, found + 1 + new_components.size)
        numbers[span] = numbers[first]
        found += new_components.size
        yield
    sizes = np.zeros(found + 1, dtype=np.int64)
    for span in spans(count):
        np.add.at(sizes, numbers[span], piece_sizes[span])
        yield
    return Components(pieces, numbers, sizes)


def _merge(before: np.ndarray, after: np.ndarray, parents: np.ndarray) -> None:
    """Join the pieces that touch across the border of two slabs, in ``parents``."""
    touching = (before > 0) & (after > 0)
    pairs = np.stack((before[touching], after[touching]))
    # Along a row the same two pieces touch again and again.
    pairs = pairs[:, np.flatnonzero(np.diff(pairs, axis=1, prepend=-1).any(axis=0))]
    if pairs.size == 0:
        return
    members, places = np.unique(_first(pairs, parents), return_inverse=True)
    one, other = places.reshape(2, -1)
    graph = sparse.coo_array((np.ones(one.size, dtype=bool), (one, other)), shape=(members.size, members.size))
    _count, group = sparse.csgraph.connected_components(graph, directed=False)
    lowest = np.full(members.size, np.iinfo(np.int32).max, dtype=np.int32)
    np.minimum.at(lowest, group, members)
    parents[members] = lowest[group]


def _first(pieces: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Return the first piece of each piece's component, as far as is known."""
    while True:
        lower = parents[pieces]
        if np.array_equal(lower, pieces):
            return lower
        pieces = lower

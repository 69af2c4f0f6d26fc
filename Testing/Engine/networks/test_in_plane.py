"""Slices at another pixel size, against a triangle kernel written in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from Engine.made_images import code_of, quick
from upgan.images.outline import Window
from upgan.networks.in_plane import MULTIPLE, InPlaneGrid, canvas_size, inner_size, resize


def triangle(before: int, after: int) -> np.ndarray:
    """Weights [after, before] of linear interpolation whose kernel is as wide as the coarser pixels."""
    step = before / after
    centres = (np.arange(after)[:, None] + 0.5) * step - 0.5
    weights = np.maximum(1 - np.abs(np.arange(before) - centres) / max(step, 1), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(9, 7), (9, 30), (40, 7), (40, 30), (27, 21)])
def test_lost_pixels_are_averaged_over_and_new_ones_interpolated(rng, size):
    image = rng.normal(size=(2, 1, 27, 21))
    expected = triangle(27, size[0]) @ image @ triangle(21, size[1]).T
    np.testing.assert_allclose(resize(torch.from_numpy(image), size).numpy(), expected, atol=1e-6)


def test_a_size_that_stays_changes_nothing(rng):
    image = torch.from_numpy(rng.normal(size=(1, 1, 5, 6)))
    assert resize(image, (5, 6)) is image


def test_the_field_of_view_stays_to_half_a_pixel():
    assert inner_size((100, 80), (2.0, 1.5), (2.0, 1.5)) == (100, 80)
    assert inner_size((100, 80), (2.0, 1.5), (4.1, 1.0)) == (49, 120)
    assert inner_size((2, 2), (1.0, 1.0), (50.0, 50.0)) == (1, 1)
    assert code_of(lambda: inner_size((100, 80), (30.0, 1.0), (1.0, 1.0))) == "absurd_field_of_view"
    assert inner_size((2048, 2048), (0.5, 0.5), (0.5, 0.5)) == (2048, 2048)
    assert code_of(lambda: inner_size((2048, 2049), (0.5, 0.5), (0.5, 0.5))) == "absurd_matrix"
    assert code_of(lambda: inner_size((100, 80), (2.0, 2.0), (0.01, 0.01))) == "absurd_matrix"


@quick
@given(st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600)), min_size=1, max_size=5))
def test_a_canvas_is_the_smallest_that_holds_all_and_can_be_halved_four_times(sizes):
    canvas = canvas_size(sizes)
    for room, needed in zip(canvas, map(max, zip(*sizes, strict=True)), strict=True):
        assert room % MULTIPLE == 0
        assert needed <= room < needed + MULTIPLE


def test_a_slice_lies_in_the_middle_of_what_the_network_sees_and_comes_back_as_it_was():
    grid = InPlaneGrid.of((20, 33), (2.0, 2.0), (2.0, 2.0))
    assert (grid.inside, grid.padded) == ((20, 33), (32, 48))
    assert grid.padding == (7, 8, 6, 6)
    slices = 1 + torch.rand(3, 1, 20, 33)
    seen = grid.enter(slices)
    assert torch.equal(seen[:, :, 6:26, 7:40], slices)
    assert seen.sum() == pytest.approx(slices.sum())
    assert torch.equal(grid.leave(seen), slices)


def test_a_window_is_all_that_the_network_sees_and_its_rim_goes_on_around_it():
    grid = InPlaneGrid.of((20, 33), (2.0, 2.0), (2.0, 2.0), Window(4, -2, 12, 10))
    slices = 1 + torch.rand(2, 1, 20, 33)
    seen = grid.resized(slices)
    assert torch.equal(seen[..., 2:], slices[:, :, 4:16, :8])
    assert not seen[..., :2].any()
    maps = torch.cat([seen, -seen], dim=1)
    back = grid.leave(grid.seat(maps))
    assert torch.equal(back[:, :, 4:16, :8], maps[..., 2:])
    around = torch.ones(20, 33, dtype=torch.bool)
    around[4:16, :8] = False
    for n, c in np.ndindex(2, 2):
        part = maps[n, c].numpy()
        rim = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]])
        # Of an even number torch takes the lower one of the two in the middle.
        expected = np.sort(rim)[(rim.size - 1) // 2]
        assert (back[n, c][around] == expected).all()


def test_a_window_at_other_pixels_is_resized_as_a_slice_of_its_own(rng):
    window = Window(3, 5, 14, 20)
    image = torch.from_numpy(rng.normal(size=(2, 1, 27, 31)))
    grid = InPlaneGrid.of((27, 31), (1.5, 1.0), (2.0, 2.1), window)
    alone = InPlaneGrid.of((14, 20), (1.5, 1.0), (2.0, 2.1))
    assert grid.inside == alone.inside
    assert torch.equal(grid.enter(image), alone.enter(image[:, :, 3:17, 5:25]))
    maps = torch.from_numpy(rng.normal(size=(2, 3, *grid.padded)))
    assert torch.equal(grid.leave(maps)[:, :, 3:17, 5:25], alone.leave(maps))


def test_a_mirrored_slice_is_padded_as_any_other():
    grid = InPlaneGrid.of((20, 33), (2.0, 2.0), (2.0, 2.0))
    slices = torch.rand(2, 1, 20, 33)
    assert torch.equal(grid.mirrored(grid.enter(slices)), grid.enter(slices.flip(-1)))

"""What simulated anatomy is made of, for images that HU and uptake do not explain."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOLID_HU = 1200.0
"""Bone of this many HU has no marrow between its trabeculae."""


class Tissue(IntEnum):
    """The tissues told apart; the value is their place in a canvas's stack of shares."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    COMPACT_BONE = 4
    MARROW = 5
    GREY = 6
    WHITE = 7
    CSF = 8
    DURA = 9
    BLOOD = 10
    MUCOSA = 11
    GLAND = 12
    VITREOUS = 13
    LENS = 14
    CARTILAGE = 15


Mixture = Mapping[Tissue, float | NDArray[np.floating[Any]]]
"""Shares of tissues that sum to 1, each one number or one per voxel [K,J,I]."""


def marrow_space(hu: float) -> dict[Tissue, float]:
    """Divide spongy bone of a mean CT number into compact bone and the marrow between its trabeculae."""
    solid = min(max(hu / SOLID_HU, 0.0), 1.0)
    return {Tissue.COMPACT_BONE: solid, Tissue.MARROW: 1.0 - solid}

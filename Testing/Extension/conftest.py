"""Where the extension lies on the disk."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "UncertaintyGuidedI2I"
if str(MODULE) not in sys.path:
    sys.path.insert(0, str(MODULE))


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def module() -> Path:
    return MODULE

"""What tests of several rooms need."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images, which is no part of the project; skip where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("UPGAN_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no shared data: set UPGAN_SHARED_DATA to the folder of real images")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Return the same random numbers for every test."""
    return np.random.default_rng(20260101)


@pytest.fixture(autouse=True)
def models_home(tmp_path_factory, monkeypatch) -> Path:
    """Keep every test, and the processes it starts, away from the models that this computer's user has installed."""
    home = tmp_path_factory.mktemp("models")
    monkeypatch.setenv("UPGAN_MODELS", str(home))
    return home

"""Runs to which something happens."""

import shutil

import pytest

from Engine.training_runs import kept, paused


@pytest.fixture(scope="session")
def uninterrupted(uneventful):
    """Everything that a run's last checkpoint holds when nothing happened to it."""
    return kept(uneventful / "run")


@pytest.fixture
def paused_after(made_once, begun, tmp_path):
    """Put a tiny run that was paused after so many steps where it may be spoilt; → its folder."""

    def make(folder):
        before, done = begun, 0
        for steps in (1, 5, 8, 11, 13, 17, 19):
            before = shutil.copytree(before, folder / str(steps))
            paused(before, steps - done)
            done = steps

    return lambda steps: shutil.copytree(made_once("paused", make) / str(steps), tmp_path / "run")

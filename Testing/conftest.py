"""What tests of several rooms need."""

import importlib.util
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Files whose tests take longest. They begin first: else two processes would end with one of them, the other idle.
LONGEST = (
    # It needs none of the runs that the next two share, of which one makes what the other would wait for.
    "test_train_journey.py",
    "test_faults.py",
    "test_stages.py",
    "test_worker_client.py",
    "test_training_session.py",
    "test_self_test.py",
    "test_cli_training.py",
    "test_damaged_runs.py",
    "test_training_commands.py",
    "test_divergence.py",
    "test_moved_images.py",
    "test_processes.py",
    "test_memory.py",
    "test_report.py",
    # It measures how long the viewer is held up: after the trainings, which would hold it up.
    "test_translate_panel.py",
)


def pytest_configure() -> None:
    """Let what tests start hear Ctrl-C, also where a shell has started the tests in the background, without it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first; the order within a file stays."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images, which is no part of the project; skip where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("UPGAN_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no shared data: set UPGAN_SHARED_DATA to the folder of real images")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Have a folder made once in a run of the suite, by whichever process asks first; it is everybody's to read.

    Called with the folder's name and with what fills it.
    """
    from filelock import FileLock

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, is_made = shared / name, shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not is_made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # A test that was interrupted may have left half of it.
                folder.mkdir()
                make(folder)
                is_made.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def write_pairs(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Callable[[Path, Iterable[int]], Path]:
    """Write small simulated heads into a folder, as ``upgan simulate`` does; each is simulated once."""
    from Engine.heads import copy_pairs, simulate

    def simulated(seed: int) -> Path:
        return made_once(f"head-{seed}", partial(simulate, seed))

    return lambda folder, seeds: copy_pairs(folder, seeds, simulated)


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


@pytest.fixture(scope="session")
def started_host() -> Iterator[Any]:
    """The process's only test host for panels, not installed between tests."""
    pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")
    pytest.importorskip("trame_slicer.core", reason="trame-slicer is not installed: pip install '.[slicer]'")
    # Not imported here: the host says how before PySide6 is imported.
    if importlib.util.find_spec("PySide6") is None:
        pytest.skip("PySide6 is not installed: pip install '.[gui-test]'")
    from Host.host import start

    try:
        host = start()
    except ImportError as error:
        if "shared object" not in str(error):
            raise
        pytest.skip(f"PySide6 lacks a library of the system: {error}")
    host.reset()
    host.uninstall()
    yield host
    host.quit()

"""The fuzzer itself: what must not happen is seen when it does, and the same seed gives the same inputs."""

import sys
from pathlib import Path

import pytest

from Fuzz.campaign import Limits, run_target, table
from Fuzz.targets import find, targets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in Linux's way")


def test_every_kind_of_fault_is_counted_and_kept(tmp_path: Path) -> None:
    limits = Limits(hang_s=0.5, memory=100 << 20)
    figures = run_target(find("faulty/everything"), 1, inputs=8, limits=limits, findings=tmp_path)
    assert figures.inputs == 8
    assert (figures.read, dict(figures.refused)) == (2, {"not_an_image": 1})
    assert dict(figures.faults) == {"crash": 1, "exception": 2, "hang": 1, "memory": 1}
    kept = sorted(path.read_text() for path in tmp_path.glob("*/input"))
    assert kept == ["1", "3", "4", "5", "6"]
    assert "ValueError: not a refusal" in (tmp_path / "faulty-everything-1-1.txt").read_text()
    assert "| all | 8 | 2 | 1 | 1 | 2 | 1 | 1 |" in table([figures])


def test_a_few_damaged_images_are_read_or_refused() -> None:
    figures = run_target(find("reader/NRRD, attached"), 3, inputs=40)
    assert figures.inputs == 40
    assert not figures.faults, figures.findings
    assert figures.read
    assert figures.refused


def test_a_seed_stands_for_its_inputs() -> None:
    target = next(target for target in targets("reader/DICOM, one file"))
    seeds = target.seeds()
    assert seeds == target.seeds()
    assert target.input(seeds, 1, 99) == target.input(seeds, 1, 99) != target.input(seeds, 2, 99)
    assert len({target.name for target in targets()}) == len(targets())
    assert not targets("faulty")

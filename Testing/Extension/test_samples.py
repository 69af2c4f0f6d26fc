"""The samples that Slicer's Sample Data module offers."""

# Slicer's own names.
# ruff: noqa: N802, N803

import hashlib
import sys
from types import ModuleType

import pytest

from UncertaintyGuidedI2ILib import samples


@pytest.fixture
def registered(monkeypatch):
    stub = ModuleType("SampleData")
    sources = []

    class SampleDataLogic:
        # Slicer's own signature: an argument that it does not know must fail here too.
        @staticmethod
        def registerCustomSampleDataSource(
            category=None,
            sampleName=None,
            uris=None,
            fileNames=None,
            nodeNames=None,
            customDownloader=None,
            thumbnailFileName=None,
            loadFileType="VolumeFile",
            loadFiles=None,
            loadFileProperties={},  # noqa: B006
            checksums=None,
        ):
            sources.append(dict(locals()))

    stub.SampleDataLogic = SampleDataLogic
    monkeypatch.setitem(sys.modules, "SampleData", stub)
    return sources


def test_every_sample_is_registered_with_its_checksum_and_works_offline(registered, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SAMPLES", tmp_path)
    (tmp_path / "sample_ct.nrrd").write_bytes(b"voxels")
    digest = hashlib.sha256(b"voxels").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  sample_ct.nrrd\n")
    samples.registerSampleData()
    (source,) = registered
    assert source["uris"] == (tmp_path / "sample_ct.nrrd").as_uri()
    assert source["uris"].startswith("file://")
    assert source["checksums"] == f"SHA256:{digest}"
    assert source["fileNames"] == "sample_ct.nrrd"
    assert source["category"] == "UncertaintyGuidedI2I"
    assert source["sampleName"] == "Simulated head: CT"
    assert source["nodeNames"] == "sample_ct"


def test_samples_of_all_tasks_are_offered_as_far_as_they_are_there_each_with_its_picture(
    registered, tmp_path, monkeypatch
):
    monkeypatch.setattr(samples, "SAMPLES", tmp_path)
    monkeypatch.setattr(samples, "ICONS", tmp_path)
    there = ["sample_t1.nrrd", "sample_motion.nrrd", "site.nrrd"]
    for name in there:
        (tmp_path / name).touch()
    (tmp_path / "sample_motion.png").touch()
    # The undersampled one has a checksum and is not there.
    (tmp_path / "SHA256SUMS").write_text("".join(f"0  {name}\n" for name in (*there, "sample_undersampled.nrrd")))
    samples.registerSampleData()
    assert [source["fileNames"] for source in registered] == there
    pictures = [source["thumbnailFileName"].rpartition("/")[2] for source in registered]
    assert pictures == ["UncertaintyGuidedI2I.png", "sample_motion.png", "UncertaintyGuidedI2I.png"]


@pytest.mark.parametrize(
    ("name", "model"),
    [("sample_motion", "mri-motion"), ("sample_t1_2", "mr-ct-phantom"), ("sample_t1_mine", None), ("T1", None)],
)
def test_a_sample_is_known_again_by_the_name_of_its_volume(name, model):
    sample = samples.sampleNamed(name)
    assert (sample.model if sample else None) == model


def test_a_sample_is_for_every_task_that_has_a_model():
    from upgan.tasks import TASKS

    models = {sample.model: sample.modality for sample in samples.KNOWN.values() if sample.model}
    assert len(models) == len(TASKS)
    assert sorted(models.values()) == sorted(task.input_modality for task in TASKS.values())


def test_without_samples_nothing_is_registered(registered, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SAMPLES", tmp_path)
    samples.registerSampleData()
    assert registered == []


def test_the_shipped_samples_match_their_checksums():
    sums = samples.checksums()
    if not sums:
        pytest.skip("no samples in this checkout")
    assert set(sums) <= set(samples.KNOWN)
    assert {path.name for path in samples.SAMPLES.glob("*.nrrd")} == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((samples.SAMPLES / name).read_bytes()).hexdigest() == digest

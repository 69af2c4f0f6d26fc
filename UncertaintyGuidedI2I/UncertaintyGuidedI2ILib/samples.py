"""The images that come with the module, offered in Slicer's Sample Data module; they work offline."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

RESOURCES = Path(__file__).parent.parent / "Resources"
SAMPLES = RESOURCES / "SampleData"
ICONS = RESOURCES / "Icons"
CHECKSUMS = "SHA256SUMS"

CATEGORY = "UncertaintyGuidedI2I"


class Sample(NamedTuple):
    """What there is to know of an image that comes with the module.

    Attributes:
        title: What it is called in Sample Data.
        modality: DICOM modality code; the files themselves do not say it.
        model: Name of the model that it is for; empty for an image to compare with.
    """

    title: str
    modality: str
    model: str = ""


# By file name, in the order in which they are offered; one that is not there is not.
KNOWN = {
    "sample_nacpet.nrrd": Sample("Simulated head: PET without attenuation correction", "PT", "pet-ct-phantom"),
    "sample_ct.nrrd": Sample("Simulated head: CT", "CT"),
    "sample_t1.nrrd": Sample("Simulated head: T1 MRI, for a pseudo-CT", "MR", "mr-ct-phantom"),
    "sample_t1_ct.nrrd": Sample("Simulated head: CT of the same as the T1 MRI", "CT"),
    "sample_undersampled.nrrd": Sample("Real head: T1 MRI, undersampled", "MR", "mri-undersampled"),
    "sample_motion.nrrd": Sample("Real head: T1 MRI with motion", "MR", "mri-motion"),
    "sample_head.nrrd": Sample("Real head: T1 MRI as it was scanned", "MR"),
}


def registerSampleData() -> None:
    """Add the samples to the Sample Data module; call it once the application has started."""
    import SampleData

    digests = checksums()
    for fileName in (*KNOWN, *(name for name in digests if name not in KNOWN)):
        path = SAMPLES / fileName
        if fileName not in digests or not path.is_file():
            continue
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=KNOWN[fileName].title if fileName in KNOWN else path.stem,
            thumbnailFileName=str(thumbnail(fileName)),
            uris=path.as_uri(),
            fileNames=fileName,
            nodeNames=path.stem,
            checksums=f"SHA256:{digests[fileName]}",
        )


def thumbnail(fileName: str) -> Path:
    """Return the picture of a sample, or the module's icon where it has none."""
    picture = ICONS / f"{Path(fileName).stem}.png"
    return picture if picture.is_file() else ICONS / "UncertaintyGuidedI2I.png"


def sampleNamed(nodeName: str) -> Sample | None:
    """Return what is known of the sample that a volume was loaded from, by the volume's name; None for any other.

    A second copy in the scene is called "sample_t1_1".
    """
    for fileName, sample in KNOWN.items():
        stem = Path(fileName).stem
        copy = nodeName.removeprefix(stem)
        if nodeName.startswith(stem) and (not copy or (copy[0] == "_" and copy[1:].isdecimal())):
            return sample
    return None


def checksums() -> dict[str, str]:
    """Return the SHA-256 of each sample by file name, as ``sha256sum`` wrote them; empty where there are none."""
    path = SAMPLES / CHECKSUMS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name.lstrip("*"): digest for digest, name in (line.split(maxsplit=1) for line in lines if line.strip())}

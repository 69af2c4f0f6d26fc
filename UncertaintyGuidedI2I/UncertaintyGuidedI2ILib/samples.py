"""The images that come with the module, offered in Slicer's Sample Data module; they work offline."""

from __future__ import annotations

from pathlib import Path

RESOURCES = Path(__file__).parent.parent / "Resources"
SAMPLES = RESOURCES / "SampleData"
CHECKSUMS = "SHA256SUMS"

CATEGORY = "UncertaintyGuidedI2I"
TITLES = {
    "sample_nacpet.nrrd": "Simulated head: PET without attenuation correction",
    "sample_ct.nrrd": "Simulated head: CT",
}


def registerSampleData() -> None:
    """Add the samples to the Sample Data module; call it once the application has started."""
    import SampleData

    thumbnail = str(RESOURCES / "Icons" / "UncertaintyGuidedI2I.png")
    for fileName, checksum in checksums().items():
        path = SAMPLES / fileName
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=TITLES.get(fileName, path.stem),
            thumbnailFileName=thumbnail,
            uris=path.as_uri(),
            fileNames=fileName,
            nodeNames=path.stem,
            checksums=f"SHA256:{checksum}",
        )


def checksums() -> dict[str, str]:
    """Return the SHA-256 of each sample by file name, as ``sha256sum`` wrote them; empty where there are none."""
    path = SAMPLES / CHECKSUMS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name.lstrip("*"): digest for digest, name in (line.split(maxsplit=1) for line in lines if line.strip())}

"""Draw the thumbnails of the samples, as Slicer's Sample Data module shows them: the image's own middle slice.

With upgan installed, or PYTHONPATH=UncertaintyGuidedI2I, from the top of the checkout:

    python Testing/Pictures/samples.py
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from UncertaintyGuidedI2ILib.samples import ICONS, KNOWN, SAMPLES
from upgan.images.reading import read_volume
from upgan.pairs.thumbnails import thumbnail

# Pixels, of each side: what Sample Data shows without scaling.
SIDE = 128
# HU; other images from 0 to their brightest.
CT_WINDOW = (-200.0, 1000.0)


def main() -> None:
    """Draw a thumbnail of every sample that is there."""
    for file_name, sample in KNOWN.items():
        path = SAMPLES / file_name
        if not path.is_file():
            continue
        pixels = thumbnail(read_volume(path), "axial", CT_WINDOW if sample.modality == "CT" else None)
        square = np.zeros((SIDE, SIDE), dtype=np.uint8)
        top, left = ((SIDE - size) // 2 for size in pixels.shape)
        square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        target = ICONS / f"{path.stem}.png"
        Image.fromarray(square).save(target, optimize=True)
        print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""Writes a picture as small as it stays legible and true in colour: what goes into the repository."""

import sys
from pathlib import Path

from PIL import Image


def main(source: Path, target: Path, width: int) -> None:
    """Reduce a picture to a width in pixels, if it is wider; a palette would put steps into its colour bars."""
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(source).convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), 1200)

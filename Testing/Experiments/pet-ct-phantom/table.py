"""Write the table of the simulated heads with the bundled model's split: 80 to train on, 5 to watch, 15 held out.

    python Testing/Experiments/pet-ct-phantom/table.py build/phantom-heads

makes pairs.csv beside manifest.json. The last head, the bundled sample, is left out altogether.
"""

import csv
import json
import sys
from pathlib import Path

PARTS = ["train"] * 80 + ["validation"] * 5 + ["test"] * 15


def main(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    sides = manifest["input"], manifest["target"]
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", "input", "target", "split"])
        for subject, part in zip(manifest["subjects"], PARTS, strict=False):
            table.writerow([subject["subject"], *(subject[side] for side in sides), part])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

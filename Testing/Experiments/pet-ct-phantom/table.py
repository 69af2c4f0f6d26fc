"""Write the table of the simulated heads with the bundled model's split: 80 to train on, 22 to watch, 15 held out.

    python Testing/Experiments/pet-ct-phantom/table.py build/phantom-heads

makes pairs.csv beside manifest.json. Head 101, the bundled sample, is left out altogether.
"""

import csv
import json
import sys
from pathlib import Path

# 22 heads are the fewest whose coverage can be certified (upgan.uncertainty.recalibration). The first version had five;
# those after the sample were added without a change of the others.
PARTS = ["train"] * 80 + ["validation"] * 5 + ["test"] * 15 + ["sample"] + ["validation"] * 17


def main(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    sides = manifest["input"], manifest["target"]
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", "input", "target", "split"])
        for subject, part in zip(manifest["subjects"], PARTS, strict=True):
            if part == "sample":
                continue
            table.writerow([subject["subject"], *(subject[side] for side in sides), part])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

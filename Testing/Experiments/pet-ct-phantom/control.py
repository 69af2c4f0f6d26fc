"""Compare the bundled model with its control, one network trained for the same time, on the held-out heads.

    python Testing/Experiments/pet-ct-phantom/control.py MODEL CONTROL build/phantom-heads/pairs.csv

prints a Markdown table of the last phases, and paired tests head by head.
"""

import sys
from pathlib import Path

from upgan.bundles.library import find_bundle
from upgan.evaluation.paired import compare_paired
from upgan.evaluation.report import evaluate
from upgan.inference.engine import InferenceEngine
from upgan.pairs.config import DataConfig
from upgan.pairs.finding import find_pairs
from upgan.pairs.preparation import prepare_pair
from upgan.tasks import PET_TO_CT

# Figures, how they are printed, and whether more is better.
FIGURES = {
    "mae": ("MAE (HU)", ".1f", False),
    "mae_bone": ("MAE, bone (HU)", ".0f", False),
    "mae_air": ("MAE, air (HU)", ".0f", False),
    "mae_soft": ("MAE, soft tissue (HU)", ".1f", False),
    "psnr": ("PSNR (dB)", ".2f", True),
    "ssim_3d": ("SSIM (3-D)", ".4f", True),
    "rmse": ("RMSE (HU)", ".0f", False),
}


def main(models: tuple[str, str], table: Path) -> None:
    """Print the table."""
    data = DataConfig(path=table, layout="csv")
    files = [pair for pair in find_pairs(data) if pair.split == "test"]
    rows = []
    for model in models:
        pairs = (prepare_pair(each, data, PET_TO_CT) for each in files)
        phases = evaluate(InferenceEngine(find_bundle(model), "cpu"), pairs, len(files))["rows"]
        rows.append(phases[max(phases)])
    print("| | model | control | heads on which the model is better | p (Wilcoxon) |\n|---|---|---|---|---|")
    for key, (title, form, more_is_better) in FIGURES.items():
        ours, theirs = ([row[pair.subject][key] for pair in files] for row in rows)
        test = compare_paired(key, ours, theirs, higher_is_better=more_is_better)
        better = sum((one > other) == more_is_better for one, other in zip(ours, theirs, strict=True))
        means = [f"{sum(each) / len(each):{form}}" for each in (ours, theirs)]
        print(f"| {title} | {' | '.join(means)} | {better} of {len(files)} | {test.p:.2g} |")


if __name__ == "__main__":
    main((sys.argv[1], sys.argv[2]), Path(sys.argv[3]))

"""Print what a plan's queue has found, as Markdown: means over seeds with their spread, and paired tests by patient.

python Testing/Experiments/cascade/table.py small
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np
from run import read
from scipy import stats

CONTROLS = ("one network", "one network, beta-NLL")
COLUMNS = ("mae", "mae_bone", "mae_air", "mae_soft", "rmse", "ssim_3d", "nll", "ence", "coverage_90")
DIGITS = {"ssim_3d": 4, "nll": 3, "ence": 3, "coverage_90": 3}


def main(plan: str) -> None:
    """Print the tables."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read(plan):
        rows[row["variant"]].append(row)
    print(f"| variant | seeds | parameters | multiply-adds in training | {' | '.join(COLUMNS)} |")
    print("|---" * (4 + len(COLUMNS)) + "|")
    for name, found in rows.items():
        cells = [spread([float(row[column]) for row in found], DIGITS.get(column, 1)) for column in COLUMNS]
        cost = f"{int(found[0]['parameters']) / 1e6:.2f} M | {float(found[0]['training_multiply_adds']):.3g}"
        print(f"| {name} | {len(found)} | {cost} | {' | '.join(cells)} |")
    for control in CONTROLS:
        if control in rows:
            print(f"\n| against {control} | MAE | of patients × seeds better | p by patient | p by seed |")
            print("|---|---|---|---|---|")
            for name, found in rows.items():
                if name != control:
                    print(f"| {name} | {compared(found, rows[control])} |")


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation over seeds."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean


def compared(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> str:
    """Differ patient by patient: of means over the seeds both have (Wilcoxon), and of the seeds' means (paired t)."""
    of = [{row["seed"]: np.array(row["mae_of_patients"].split(), float) for row in side} for side in (ours, theirs)]
    seeds = sorted(of[0].keys() & of[1].keys())
    if not seeds:
        return "– | – | – | –"
    one, other = (np.array([side[seed] for seed in seeds]) for side in of)
    difference = one - other
    by_patient = stats.wilcoxon(difference.mean(0)).pvalue
    by_seed = f"{stats.ttest_1samp(difference.mean(1), 0).pvalue:.3f}" if len(seeds) > 1 else "–"
    relative = difference.mean() / other.mean()
    return (
        f"{difference.mean():+.1f} HU ({relative:+.1%}) | {(difference < 0).sum()} of {difference.size} | "
        f"{by_patient:.1g} | {by_seed}"
    )


if __name__ == "__main__":
    main(sys.argv[1])

"""Prints the table of Documentation/Method.md: which β and σ each loss finds in residuals whose law is known."""

import sys
from pathlib import Path

from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from fitting import RESIDUALS, draw, fit_eq_1, fit_published

TRUE_BETA = {"gaussian": "2", "laplace": "1", "uniform": "→ ∞"}


def main() -> None:
    """Fit both losses to each kind of residual."""
    print("| residuals | true β | β by Eq. 1 | σ by Eq. 1 / true σ | β as published | σ as published / true σ |")
    print("|---|---|---|---|---|---|")
    for name, law in RESIDUALS.items():
        row = [name, TRUE_BETA.get(name, "none")]
        for fit in (fit_eq_1, fit_published):
            alpha, beta = fit(draw(name))
            row += [f"{beta:.3f}", f"{stats.gennorm(beta, 0, alpha).std() / law.std():.2f}"]
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

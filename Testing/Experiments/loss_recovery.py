"""Prints the tables of Documentation/Method.md: which β and σ each loss finds in residuals whose law is known."""

import sys
from pathlib import Path

from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from fitting import RESIDUALS, draw, fit_eq_1, fit_published, quantiles

# True σ in units of ε, which is 1 HU in PET→CT.
WIDTHS = (3, 5, 7, 10, 20, 30, 50, 100, 200)

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
    print_smoothing()


def print_smoothing() -> None:
    """Fit Eq. 1 to residuals that are not much larger than its ε, which rounds the peak of their distribution off."""
    epsilon = 1e-3
    print("\n| true σ / ε | β of Laplace (1) | σ / true σ | β of Gaussian (2) | σ / true σ |")
    print("|---|---|---|---|---|")
    for width in WIDTHS:
        row = [f"{width:g}"]
        for law in (stats.laplace(scale=width * epsilon / 2**0.5), stats.norm(scale=width * epsilon)):
            alpha, beta = fit_eq_1(quantiles(law), epsilon)
            row += [f"{beta:.2f}", f"{stats.gennorm(beta, 0, alpha).std() / law.std():.2f}"]
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

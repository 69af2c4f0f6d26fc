"""Coverage and RMSE/σ tissue by tissue, with numpy and scipy alone."""

import numpy as np
from scipy import stats


def of_tissues(image, truth, alpha, beta):
    """Coverage of 90 % and RMSE/σ where the reference has a tissue, and where the image shows it; all of [N]."""
    found = {}
    inside = np.abs(image.astype(float) - truth) <= stats.gennorm.ppf(0.95, beta, scale=alpha)
    square, variance = (image.astype(float) - truth) ** 2, stats.gennorm.var(beta, scale=alpha)
    for prefix, values in (("", truth), ("predicted_", image)):
        for name, where in (
            ("air", values <= -300),
            ("soft", (values > -300) & (values <= 200)),
            ("bone", values > 200),
        ):
            if where.any():
                found[f"coverage_90%_{prefix}{name}"] = inside[where].mean()
                found[f"rmse_over_sigma_{prefix}{name}"] = np.sqrt(square[where].mean() / variance[where].mean())
    return found

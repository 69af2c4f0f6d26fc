"""Markdown for model cards: paragraphs, tables, lists."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any

from upgan.evaluation.metrics import SSIM_2D, SSIM_3D
from upgan.training.settings.config import TrainingConfig

_WIDTH = 118

# Title, key in the figures, one number's form; {unit} is the task's.
_ROWS = (
    ("MAE ({unit})", "mae", ".1f"),
    ("MAE, air ({unit})", "mae_air", ".0f"),
    ("MAE, soft tissue ({unit})", "mae_soft", ".0f"),
    ("MAE, bone ({unit})", "mae_bone", ".0f"),
    ("PSNR (dB)", "psnr", ".2f"),
    (SSIM_3D, "ssim_3d", ".3f"),
    (SSIM_2D, "ssim_2d", ".3f"),
    ("coverage of 50 %", "coverage_50%", ".1%"),
    ("coverage of 80 %", "coverage_80%", ".1%"),
    ("coverage of 90 %", "coverage_90%", ".1%"),
    ("coverage of 95 %", "coverage_95%", ".1%"),
    ("coverage of 90 %, shown as air", "coverage_90%_predicted_air", ".1%"),
    ("coverage of 90 %, shown as soft tissue", "coverage_90%_predicted_soft", ".1%"),
    ("coverage of 90 %, shown as bone", "coverage_90%_predicted_bone", ".1%"),
    ("coverage of 90 %, truly air", "coverage_90%_air", ".1%"),
    ("coverage of 90 %, truly soft tissue", "coverage_90%_soft", ".1%"),
    ("coverage of 90 %, truly bone", "coverage_90%_bone", ".1%"),
    ("RMSE/σ, shown as air", "rmse_over_sigma_predicted_air", ".2f"),
    ("RMSE/σ, shown as soft tissue", "rmse_over_sigma_predicted_soft", ".2f"),
    ("RMSE/σ, shown as bone", "rmse_over_sigma_predicted_bone", ".2f"),
    ("RMSE/σ, truly air", "rmse_over_sigma_air", ".2f"),
    ("RMSE/σ, truly soft tissue", "rmse_over_sigma_soft", ".2f"),
    ("RMSE/σ, truly bone", "rmse_over_sigma_bone", ".2f"),
    ("RMSE ({unit})", "rmse", ".0f"),
    ("RMS of σ ({unit})", "sigma_rms", ".0f"),
    ("Spearman ρ(error, σ)", "spearman_error_sigma", ".2f"),
)
# What fits HU does not fit a unit nobody knows the size of.
_ARBITRARY = {".1f": ".4g", ".0f": ".4g"}

# They say where the site keeps its images, and nothing of the model.
_PRIVATE = {"name", "base", "architecture", "data.path", "data.input", "data.target", "compute.device"}


def unit_in_words(unit: str) -> str:
    """What a figure's unit is called on a card."""
    return unit or "the input's unit"


def wrap(paragraph: str) -> str:
    """Break a paragraph into lines."""
    return textwrap.fill(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False)


def bullets(items: Iterable[str]) -> str:
    """Make a list."""
    return "\n".join(textwrap.fill(f"- {item}", _WIDTH, subsequent_indent="  ") for item in items)


def enumerated(items: Iterable[Any]) -> str:
    """1; 1 and 2; 1, 2 and 3."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table, its first column a title."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def rounded_up(level: float, digits: int = 4) -> str:
    """Print a level that must be reached: never a smaller number than it is."""
    return str(Decimal(level).quantize(Decimal(1).scaleb(-digits), ROUND_CEILING))


def figures_table(test: dict[str, Any]) -> str:
    """Show what ``report.evaluate`` measured, a column for each phase."""
    phases, unit = test["phases"], unit_in_words(test["unit"])
    rows = []
    for title, key, form in _ROWS:
        form = form if test["unit"] else _ARBITRARY.get(form, form)
        if any(key in figures for figures in phases.values()):
            cells = [_spread(figures.get(key), form, test["subjects"]) for figures in phases.values()]
            rows.append([title.format(unit=unit), *cells])
    return table(["", *(f"phase {phase}" for phase in phases)], rows)


def _spread(figure: list[float] | None, form: str, subjects: int) -> str:
    if figure is None:
        return ""
    mean, deviation = (format(value, form) for value in figure)
    return f"{mean} ± {deviation}" if subjects > 1 else mean


def settings(config: TrainingConfig) -> str:
    """Show all values of a configuration but those that say where something lies."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in _flat(config.model_dump(mode="json"))]
    return "\n".join(["```", *lines, "```"])


def _flat(section: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in section.items():
        if prefix + name in _PRIVATE:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value

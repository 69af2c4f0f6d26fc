"""What a comparison found, as people read it: rows of a table and curves of charts, with their units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from UncertaintyGuidedI2ILib.text import ARBITRARY, formatValue, shownUnit

# Rows that are no figures, but without which no figure means anything.
MASK, DATA_RANGE, DEFINITION, NOTE = "Mask", "Data range of PSNR and SSIM", "PSNR and SSIM", "Note"
# The last where they are arbitrary: figures in HU say so themselves.
UNIT_OF_INTENSITIES = "Unit of intensities"
# Of the figures in the unit of the image, where that has no name.
_ARBITRARY_UNITS = {**dict.fromkeys(("mae", "rmse", "bias", "sigma_rms"), ARBITRARY), "uce": f"{ARBITRARY}^2"}
# Figures that are compared from one image to the next as shares of the reference.
SHARES = {"mae": "MAE / reference", "rmse": "RMSE / reference", "sigma_rms": "RMS sigma / reference"}

BLUE, GREY, RED, GREEN = (0.12, 0.35, 0.75), (0.45, 0.45, 0.45), (0.80, 0.20, 0.10), (0.10, 0.50, 0.25)


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        name: The line's name in the legend.
        x: The column of the curve's table that the horizontal positions come from.
        y: The column that the vertical positions come from.
        color: Red, green and blue, each from 0 to 1.
        dashed: Whether it is a line to compare with, which has no markers.
    """

    name: str
    x: str
    y: str
    color: tuple[float, float, float]
    dashed: bool = False


@dataclass(frozen=True)
class Curve:
    """A chart and the numbers behind it.

    Attributes:
        title: The chart's title.
        xTitle: The title of the horizontal axis, with its unit.
        yTitle: The title of the vertical axis, with its unit.
        columns: The table's columns, by names that hold the units.
        lines: The chart's lines.
        xMaximum: The end of the horizontal axis, which starts at 0.
        yMaximum: The end of the vertical axis, which starts at 0.
    """

    title: str
    xTitle: str
    yTitle: str
    columns: Mapping[str, Sequence[float]]
    lines: Sequence[Line]
    xMaximum: float
    yMaximum: float


def figureRows(result: Mapping[str, Any], unit: str, reference: float | None = None) -> Iterator[tuple[str, str, str]]:
    """Yield figure, value and unit as text; in which unit, where and over which range comes first.

    Args:
        result: The answer of ``upgan.evaluation.check.run_check``.
        unit: The unit of the image; empty for the input's own.
        reference: The reference intensity of the translation's input, where the unit is the input's own; None else.
    """
    yield MASK, result["mask"], ""
    yield DATA_RANGE, result["data_range"], ""
    if not unit:
        yield UNIT_OF_INTENSITIES, _arbitrary(reference), ""
    if "definition" in result:
        yield DEFINITION, result["definition"], ""
    for figure in result["figures"]:
        key, value = figure["key"], figure["value"]
        yield figure["name"], formatValue(value), figure["unit"] or _ARBITRARY_UNITS.get(key, "")
        if reference and not unit and key in SHARES:
            yield SHARES[key], f"{100 * value / reference:.2f}", "%"
    for note in result["notes"]:
        yield NOTE, note, ""


def _arbitrary(reference: float | None) -> str:
    text = f"the input's own ({ARBITRARY})"
    return f"{text}; its reference intensity is {formatValue(reference)} {ARBITRARY}" if reference else text


def curvesOf(result: Mapping[str, Any], unit: str) -> dict[str, Curve]:
    """Return the charts of a comparison, none where no distribution was predicted."""
    found = result["curves"]
    if not found:
        return {}
    suffix = f" ({shownUnit(unit)})"
    return {
        "coverage": _coverage(found["coverage"]),
        "reliability": _reliability(found["reliability"], suffix),
        "sparsification": _sparsification(found["sparsification"], suffix),
    }


def _coverage(found: Mapping[str, list[float]]) -> Curve:
    level, observed, ideal = "level (%)", "observed (%)", "ideal (%)"
    nominal = _percent(found["nominal"])
    return Curve(
        title="Do the intervals hold the reference? (dashed: ideal)",
        xTitle="Level of the credible interval (%)",
        yTitle="Voxels inside the interval (%)",
        columns={level: nominal, observed: _percent(found["observed"]), ideal: nominal},
        lines=[Line("observed", level, observed, BLUE), Line("ideal", level, ideal, GREY, dashed=True)],
        xMaximum=100.0,
        yMaximum=100.0,
    )


def _reliability(found: Mapping[str, list[float]], suffix: str) -> Curve:
    sigma, rmse, ideal = f"predicted sigma{suffix}", f"observed RMSE{suffix}", f"ideal{suffix}"
    most = roundUp(max(*found["predicted"], *found["observed"]))
    return Curve(
        title="Is sigma as large as the error? (dashed: ideal)",
        xTitle=f"Predicted sigma{suffix}",
        yTitle=f"Observed RMSE{suffix}",
        columns={
            sigma: found["predicted"],
            rmse: found["observed"],
            ideal: found["predicted"],
            "voxels": found["voxels"],
        },
        lines=[Line("observed", sigma, rmse, BLUE), Line("ideal", sigma, ideal, GREY, dashed=True)],
        xMaximum=most,
        yMaximum=most,
    )


def _sparsification(found: Mapping[str, list[float]], suffix: str) -> Curve:
    removed = "removed voxels (%)"
    columns = {"by sigma": "by_sigma", "by true error (best possible)": "oracle", "at random": "random"}
    colors = (BLUE, GREEN, RED)
    names = {name: f"MAE {name}{suffix}" for name in columns}
    return Curve(
        title="Does removing uncertain voxels remove error?",
        xTitle="Removed voxels (%)",
        yTitle=f"MAE of the remaining voxels{suffix}",
        columns={
            removed: _percent(found["removed"]),
            **{names[name]: found[column] for name, column in columns.items()},
        },
        lines=[
            Line(name, removed, names[name], color, dashed=name != "by sigma")
            for name, color in zip(columns, colors, strict=True)
        ],
        xMaximum=100.0,
        # Room for the legend above the lines.
        yMaximum=roundUp(1.2 * max(max(found[column]) for column in columns.values())),
    )


def _percent(shares: Sequence[float]) -> list[float]:
    return [round(100 * share, 6) for share in shares]


def roundUp(value: float) -> float:
    """Return the next of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten: an axis ends at a round number."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= value))

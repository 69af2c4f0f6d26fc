"""The Inspect panel's tables: figures as radiologists read them, narrow enough for a panel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import qt
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.inspection.overlays import Overlay
from UncertaintyGuidedI2ILib.inspection.readout import Reading
from UncertaintyGuidedI2ILib.inspection.statistics import RankedSlice, Statistics, columns
from UncertaintyGuidedI2ILib.inspection.text import withheldText
from UncertaintyGuidedI2ILib.scene.familiarity import areIntervalsWithheld
from UncertaintyGuidedI2ILib.scene.results import Result

NOTHING = "–"
# Of the input's reference intensity, where the unit is the input's own.
SHARE_TITLE = _("σ (% of reference)")


def fillReadings(table: Any, readings: Sequence[Reading], result: Result, overlay: Overlay) -> None:
    """Show one column a phase, so that one sees from left to right how the cascade refines."""
    unit, reference = result.shownUnit, result.reference
    table.columnCount = len(readings)
    for column, reading in enumerate(readings):
        shown = reading.phase == result.phase and len(readings) > 1
        title = _("Phase {phase}").format(phase=reading.phase)
        item = qt.QTableWidgetItem(f"● {title}" if shown else title)
        item.setToolTip(_("This phase is shown in the views.") if shown else title)
        table.setHorizontalHeaderItem(column, item)
    level = f"{100 * overlay.level:g} %"
    rows = [
        (_withUnit(result.imageName, unit), [amount(r.image, unit) for r in readings]),
        (_withUnit("σ", unit), [amount(r.sigma, unit) for r in readings]),
        *([(SHARE_TITLE, [_share(r.sigma, reference) for r in readings])] if reference else []),
        (_withUnit(_("epistemic"), unit), [amount(r.epistemic, unit) for r in readings]),
        (_withUnit("α", unit), [amount(r.alpha, unit) for r in readings]),
        ("β", [_number(r.beta, ".2f") for r in readings]),
        (_withUnit(_("{level} interval").format(level=level), unit), [_interval(r, unit) for r in readings]),
        *_enough(readings, level, unit),
        (overlay.title(result), [_probability(r.probability) for r in readings]),
    ]
    if all(math.isnan(reading.epistemic) for reading in readings):
        rows = [row for row in rows if row[0] != _withUnit(_("epistemic"), unit)]
    table.rowCount = len(rows)
    table.setVerticalHeaderLabels([title for title, _cells in rows])
    for row, (title, _cells) in enumerate(rows):
        isEnough = title.startswith(_nineOfTen(level))
        table.verticalHeaderItem(row).setToolTip(_enoughText().format(level=level) if isEnough else title)
    withheld = withheldText() if areIntervalsWithheld(result) else ""
    # None is said to be enough then.
    interval = len(rows) - 2
    for row, (_title, cells) in enumerate(rows):
        for column, text in enumerate(cells):
            item = _right(text)
            item.setToolTip(withheld if row == interval else "")
            table.setItem(row, column, item)


def fillStatistics(table: Any, rows: Sequence[Statistics], result: Result, level: float) -> None:
    """Show one row a region; the tool tip of a column's header says in full what the column holds."""
    unit = result.shownUnit
    short = {
        "region": _("Region"),
        "voxels": _("Voxels"),
        "volume": "mL",
        "mean": _("Mean"),
        "share": _("% of ref."),
        "median": _("Median"),
        "percentile95": _("95th"),
        "width": _("Width"),
        "epistemic": _("Epist."),
        "enough": _("9 of 10"),
    }
    titles = columns(rows, unit, level)
    _setColumns(table, [short[field] for field in titles], list(titles.values()))
    # The only long words: they take what the figures leave, in several lines if need be.
    table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
    table.rowCount = len(rows)
    for row, entry in enumerate(rows):
        table.setItem(row, 0, qt.QTableWidgetItem(entry.region))
        cells = [str(entry.voxels), f"{entry.volume:.3g}" if entry.volume < 100 else f"{entry.volume:.0f}"]
        units = {"share": "%"}
        cells += [amount(getattr(entry, field), units.get(field, unit)) for field in list(titles)[3:]]
        for column, text in enumerate(cells, start=1):
            table.setItem(row, column, _right(text))


def fillSlices(table: Any, slices: Sequence[RankedSlice], unit: str, threshold: float) -> None:
    """Show one row a slice, the most uncertain first."""
    share = f"σ ≥ {threshold:g} {unit}".rstrip()
    titles = [_("Slice"), _("Position"), _withUnit(_("Mean σ"), unit), share]
    _setColumns(
        table,
        titles,
        [
            _("Number of the slice, from 1, as the voxels are stored"),
            _("Where the slice lies in the patient"),
            _("Mean sigma inside the body"),
            _("Share of the body's voxels in the slice with a sigma at or above the lowest one of uncertain regions"),
        ],
    )
    table.rowCount = len(slices)
    for row, entry in enumerate(slices):
        cells = (str(entry.number), entry.position, amount(entry.mean, unit), f"{entry.share:.0%}")
        for column, text in enumerate(cells):
            table.setItem(row, column, _right(text))


def clearTable(table: Any) -> None:
    """Empty a table whose figures are not true any more."""
    table.rowCount = 0


def amount(value: float, unit: str) -> str:
    """Return a value in its unit without the unit: whole HU, a tenth of a per cent, four digits of any other."""
    return _number(value, {"HU": ".0f", "%": ".1f"}.get(unit, ".4g"))


def _share(value: float, reference: float) -> str:
    return amount(100 * value / reference, "%")


def _enough(readings: Sequence[Reading], level: str, unit: str) -> list[tuple[str, list[str]]]:
    """Return the row of intervals that are enough for 9 of 10 patients, where the model claims any."""
    if all(math.isnan(reading.enough) for reading in readings):
        return []
    wide = [replace(r, low=r.image - r.enough, high=r.image + r.enough) for r in readings]
    return [(_withUnit(_nineOfTen(level), unit), [_interval(reading, unit) for reading in wide])]


def _nineOfTen(level: str) -> str:
    # Short, for the header takes the width of its longest title from the figures.
    return _("{level}, 9 of 10").format(level=level)


def _enoughText() -> str:
    return _(
        "The interval that is wide enough for 9 of 10 patients: in each of these it holds {level} of the voxels that "
        "look like this tissue. The model's card says how this was measured, and what is not claimed."
    )


def _interval(reading: Reading, unit: str) -> str:
    if math.isnan(reading.low):
        return NOTHING
    return _("{low} to {high}").format(low=amount(reading.low, unit), high=amount(reading.high, unit))


def _probability(value: float) -> str:
    if value < 0.001:
        return "< 0.001"
    if value > 0.999:
        return "> 0.999"
    return _number(value, ".3f")


def _number(value: float, form: str) -> str:
    # A true minus sign, which is not mistaken for a dash; and no minus before a zero.
    return NOTHING if math.isnan(value) else format(value, "z" + form).replace("-", "−")


def _withUnit(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _right(text: str) -> Any:
    item = qt.QTableWidgetItem(text)
    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    return item


def _setColumns(table: Any, titles: Sequence[str], tips: Sequence[str]) -> None:
    table.columnCount = len(titles)
    for column, (title, tip) in enumerate(zip(titles, tips, strict=True)):
        item = qt.QTableWidgetItem(title)
        item.setToolTip(tip)
        table.setHorizontalHeaderItem(column, item)

"""The table of pairs to train on: who, in which part, what the images look like, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import qt
from slicer.i18n import tr as _

from UncertaintyGuidedI2ILib.messages import plain
from UncertaintyGuidedI2ILib.text import duration
from UncertaintyGuidedI2ILib.work.cooperative import Cooperative

SUBJECT, PART, INPUT, TARGET, FINDINGS = range(5)
THUMBNAIL = 44  # pixels
ROW_HEIGHT = THUMBNAIL + 6


@dataclass(frozen=True)
class Row:
    """One patient in the table.

    Attributes:
        subject: The patient's label.
        part: The part of the split: "train", "validation", "test", or "" where it is not known.
        input: Path of a picture of the input, or the name of what is used as input.
        target: Path of a picture of the target, or the name of what is used as target.
        problems: What is wrong, each with "sentence", "remedy" and "severity".
        isChecked: Whether the engine has looked at the images.
        pair: ID of the target, where the images are volumes of the scene.
    """

    subject: str
    part: str = ""
    input: str = ""
    target: str = ""
    problems: list[Mapping[str, str]] = field(default_factory=list)
    isChecked: bool = True
    pair: str = ""

    @property
    def severity(self) -> int:
        """0 for nothing found, 1 for warnings, 2 for a patient that cannot be used."""
        return max((2 if problem["severity"] == "error" else 1 for problem in self.problems), default=0)


def checkedRows(result: Mapping[str, Any]) -> list[Row]:
    """Return the rows of what the engine found; those with problems come first."""
    rows = []
    for pair in result["pairs"]:
        thumbnails = pair.get("thumbnails") or {}
        pictures = (thumbnails.get("input") or "", thumbnails.get("target") or "")
        rows.append(Row(pair["subject"], pair.get("part", ""), *pictures, pair["problems"]))
    return sorted(rows, key=lambda row: -row.severity)


class PairTable:
    """Fills a QTableWidget; pictures come in one after another, so that hundreds of patients stop nobody."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._rows: list[Row] = []
        self._work: Cooperative[None] | None = None
        table.setColumnCount(5)
        table.setHorizontalHeaderLabels([_("Patient"), _("Part"), _("Input"), _("Target"), _("Findings")])
        table.iconSize = qt.QSize(THUMBNAIL, THUMBNAIL)
        table.verticalHeader().defaultSectionSize = ROW_HEIGHT
        header = table.horizontalHeader()
        for column, width in ((SUBJECT, 84), (PART, 68), (INPUT, 58), (TARGET, 58)):
            table.setColumnWidth(column, width)
        header.setSectionResizeMode(FINDINGS, qt.QHeaderView.Stretch)

    @property
    def rows(self) -> list[Row]:
        """What is shown."""
        return self._rows

    @property
    def selectedRow(self) -> Row | None:
        """The row that the user chose."""
        row = self._table.currentRow()
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def show(self, rows: Iterable[Row]) -> None:
        """Show these and no others."""
        self.stop()
        self._rows = list(rows)
        self._table.visible = bool(self._rows)
        self._table.setRowCount(0)
        self._table.setRowCount(len(self._rows))
        for index, row in enumerate(self._rows):
            texts = (row.subject, partName(row.part), "", "", findings(row))
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(plain(tooltip(row) if column == FINDINGS else text))
                self._table.setItem(index, column, item)
        self._work = Cooperative(self._pictures(), self._finish, self._fail)

    def stop(self) -> None:
        """Leave the pictures that are still missing."""
        if self._work is not None:
            self._work.cancel()
            self._work = None

    def _pictures(self) -> Generator[None, None, None]:
        for index, row in enumerate(self._rows):
            for column, shown in ((INPUT, row.input), (TARGET, row.target)):
                item = self._table.item(index, column)
                item.setToolTip(plain(shown))
                picture = qt.QPixmap(shown) if row.isChecked and shown else None
                if picture is not None and not picture.isNull():
                    item.setIcon(qt.QIcon(picture))
                    item.setToolTip("")
                else:
                    item.setText("" if row.isChecked else shown)
                yield

    def _finish(self, result: None) -> None:
        self._work = None

    def _fail(self, error: Exception) -> None:
        self._work = None
        raise error


def partName(part: str) -> str:
    """Return a part of the split for people."""
    return {"train": _("train"), "validation": _("validate"), "test": _("test")}.get(part, "")


def findings(row: Row) -> str:
    """Return one line a finding: "✓", "⚠ …" or "✗ …"."""
    if not row.isChecked:
        return ""
    return "\n".join(f"{_sign(problem)} {problem['sentence']}" for problem in row.problems) or "✓"


def tooltip(row: Row) -> str:
    """Return all findings with what to do about each."""
    if not row.problems:
        return _("Nothing was found that speaks against this patient.") if row.isChecked else _("Not checked yet.")
    return "\n".join(f"{_sign(problem)} {problem['sentence']} {problem['remedy']}" for problem in row.problems)


def summary(result: Mapping[str, Any]) -> str:
    """Return what a check of the data found as a whole, with the estimate: a few lines."""
    rows = checkedRows(result)
    usable = [row for row in rows if row.severity < 2]
    counts = {part: sum(row.part == part for row in usable) for part in ("train", "validation", "test")}
    lines = [f"{_sign(problem)} {problem['sentence']} {problem['remedy']}" for problem in result.get("problems", [])]
    bad = len(rows) - len(usable)
    if bad:
        lines.append(_("✗ {count} of {total} patients cannot be used.").format(count=bad, total=len(rows)))
    split = _("{train} patients to train on, {validation} to validate, {test} to test")
    slices = _("{count} slices").format(count=result["slices"])
    lines.append(f"{split.format(**counts)}; {slices}{_size(result)}.")
    lines.append(_cost(result.get("estimate") or {}))
    return "\n".join(filter(None, lines))


def _size(result: Mapping[str, Any]) -> str:
    canvas, spacing = result.get("canvas"), result.get("spacing_mm")
    if not result["slices"] or not canvas or not spacing:
        return ""
    text = _(" of up to {rows} × {columns} pixels of {height:.3g} × {width:.3g} mm")
    return text.format(rows=canvas[0], columns=canvas[1], height=spacing[0], width=spacing[1])


def _cost(estimate: Mapping[str, Any]) -> str:
    size = estimate.get("memory_bytes")
    if not size:
        return ""
    memory = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
    device = estimate.get("device", "")
    if estimate.get("seconds") is None:
        return _("About {memory} of memory on {device}; how long it takes is known after the first steps.").format(
            memory=memory, device=device
        )
    text = _("Roughly {time} and {memory} of memory on {device}.")
    return text.format(time=duration(estimate["seconds"]), memory=memory, device=device)


def _sign(problem: Mapping[str, str]) -> str:
    return "✗" if problem["severity"] == "error" else "⚠"

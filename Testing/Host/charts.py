"""Draws a vtkMRMLPlotChartNode: axes, titles, lines, markers and a legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen, QPolygonF
from vtk.util.numpy_support import vtk_to_numpy

GRID, INK = QColor("#e3e3e3"), QColor("#303030")


@dataclass(frozen=True)
class Series:
    """One line or cloud: its numbers [N] and how it looks."""

    name: str
    x: np.ndarray
    y: np.ndarray
    color: QColor
    is_line: bool
    is_dashed: bool
    has_marker: bool


def series_of(chart: Any) -> list[Series]:
    """Return a chart's series that have numbers."""
    nodes = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    kind = slicer.vtkMRMLPlotSeriesNode
    found = []
    for node in nodes:
        table = node.GetTableNode().GetTable() if node.GetTableNode() is not None else None
        column = table.GetColumnByName(node.GetYColumnName()) if table is not None else None
        if column is None:
            continue
        y = vtk_to_numpy(column).astype(float)
        across = table.GetColumnByName(node.GetXColumnName() or "")
        x = vtk_to_numpy(across).astype(float) if across is not None else np.arange(len(y), dtype=float)
        finite = np.isfinite(x) & np.isfinite(y)
        style = node.GetLineStyle()
        found.append(
            Series(
                node.GetName(),
                x[finite],
                y[finite],
                QColor.fromRgbF(*node.GetColor()),
                style != kind.LineStyleNone,
                style == kind.LineStyleDash,
                node.GetMarkerStyle() != kind.MarkerStyleNone,
            )
        )
    return [series for series in found if len(series.x)]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about ``count`` of them."""
    span = high - low
    rough = span / max(1, count)
    power = 10.0 ** np.floor(np.log10(rough))
    step = min((power * factor for factor in (1, 2, 2.5, 5, 10)), key=lambda candidate: abs(candidate - rough))
    first = np.ceil(low / step - 1e-9) * step
    # Adding zero makes no number of minus zero.
    return [round(float(value) / step) * step + 0.0 for value in np.arange(first, high + step * 1e-6, step)]


def _limits(values: list[np.ndarray], wanted: tuple[float, float] | None) -> tuple[float, float]:
    if wanted is not None:
        return wanted
    joined = np.concatenate(values)
    low, high = float(joined.min()), float(joined.max())
    if high <= low:
        return low - 0.5, high + 0.5
    return low, high + 0.04 * (high - low)


def draw_chart(painter: QPainter, place: Any, chart: Any, font: QFont) -> None:
    """Draw a chart into a rectangle; nothing but white paper if there is none."""
    painter.fillRect(place, QColor("white"))
    series = series_of(chart) if chart is not None else []
    if not series:
        return
    painter.setRenderHint(QPainter.Antialiasing)
    small = QFont(font)
    small.setPointSizeF(8.5)
    bold = QFont(font)
    bold.setBold(True)
    ranges = []
    for axis, values in (("X", [one.x for one in series]), ("Y", [one.y for one in series])):
        is_set = not getattr(chart, f"Get{axis}AxisRangeAuto")()
        wanted = tuple(getattr(chart, f"Get{axis}AxisRange")()) if is_set else None
        ranges.append(_limits(values, wanted))
    (x0, x1), (y0, y1) = ranges
    title_height = 26 if chart.GetTitleVisibility() and chart.GetTitle() else 8
    box = QRectF(place.adjusted(66, title_height, -16, -44))

    def at(x: float, y: float) -> QPointF:
        return QPointF(
            box.left() + box.width() * (x - x0) / (x1 - x0), box.bottom() - box.height() * (y - y0) / (y1 - y0)
        )

    if title_height > 8:
        painter.setFont(bold)
        painter.setPen(INK)
        painter.drawText(QRectF(place.left(), place.top() + 4, place.width(), 20), Qt.AlignCenter, chart.GetTitle())
    painter.setFont(small)
    _draw_axes(painter, box, chart, (x0, x1), (y0, y1), at)
    painter.save()
    painter.setClipRect(box.adjusted(-4, -4, 4, 4))
    for one in series:
        _draw_series(painter, one, at)
    painter.restore()
    if chart.GetLegendVisibility():
        points = [at(x, y) for one in series for x, y in zip(one.x, one.y, strict=True)]
        _draw_legend(painter, box, series, points)


def _draw_axes(painter: QPainter, box: QRectF, chart: Any, xs: tuple, ys: tuple, at: Any) -> None:
    for value in ticks(*xs, count=max(2, int(box.width() / 80))):
        point = at(value, ys[0])
        painter.setPen(GRID)
        painter.drawLine(QPointF(point.x(), box.top()), QPointF(point.x(), box.bottom()))
        painter.setPen(INK)
        painter.drawText(QRectF(point.x() - 40, box.bottom() + 3, 80, 16), Qt.AlignCenter, f"{value:g}")
    for value in ticks(*ys, count=max(2, int(box.height() / 45))):
        point = at(xs[0], value)
        painter.setPen(GRID)
        painter.drawLine(QPointF(box.left(), point.y()), QPointF(box.right(), point.y()))
        painter.setPen(INK)
        painter.drawText(QRectF(box.left() - 46, point.y() - 8, 42, 16), Qt.AlignRight | Qt.AlignVCenter, f"{value:g}")
    painter.setPen(INK)
    painter.drawRect(box)
    painter.drawText(
        QRectF(box.left(), box.bottom() + 20, box.width(), 18), Qt.AlignCenter, chart.GetXAxisTitle() or ""
    )
    painter.save()
    painter.translate(box.left() - 56, box.center().y())
    painter.rotate(-90)
    painter.drawText(QRectF(-box.height() / 2, -9, box.height(), 18), Qt.AlignCenter, chart.GetYAxisTitle() or "")
    painter.restore()


def _draw_series(painter: QPainter, one: Series, at: Any) -> None:
    points = [at(x, y) for x, y in zip(one.x, one.y, strict=True)]
    if one.is_line:
        painter.setBrush(Qt.NoBrush)
        painter.setPen(QPen(one.color, 1.8, Qt.DashLine if one.is_dashed else Qt.SolidLine))
        painter.drawPolyline(QPolygonF(points))
    if one.has_marker:
        painter.setPen(Qt.NoPen)
        painter.setBrush(one.color)
        for point in points:
            painter.drawEllipse(point, 3, 3)


def _draw_legend(painter: QPainter, box: QRectF, series: list[Series], points: list[QPointF]) -> None:
    """Draw the names of the series in the corner with the fewest points."""
    metrics = painter.fontMetrics()
    width, height = max(metrics.horizontalAdvance(one.name) for one in series) + 36, 17 * len(series) + 6
    lefts, tops = (box.right() - width - 6, box.left() + 6), (box.top() + 6, box.bottom() - height - 6)
    corners = [QRectF(left, top, width, height) for left in lefts for top in tops]
    frame = min(corners, key=lambda corner: sum(corner.contains(point) for point in points))
    painter.setPen(GRID.darker(115))
    painter.setBrush(QColor(255, 255, 255, 215))
    painter.drawRect(frame)
    for row, one in enumerate(series):
        y = frame.top() + 11 + 17 * row
        painter.setPen(QPen(one.color, 2.0, Qt.DashLine if one.is_dashed else Qt.SolidLine))
        if one.is_line:
            painter.drawLine(QPointF(frame.left() + 6, y), QPointF(frame.left() + 24, y))
        else:
            painter.setBrush(one.color)
            painter.drawEllipse(QPointF(frame.left() + 15, y), 3, 3)
        painter.setPen(INK)
        painter.drawText(QRectF(frame.left() + 30, y - 8, width - 32, 16), Qt.AlignLeft | Qt.AlignVCenter, one.name)

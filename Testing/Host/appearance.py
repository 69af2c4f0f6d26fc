"""How the host looks: light, one accent, small type, as a panel of Slicer does."""

from __future__ import annotations

from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication

FONTS = ("Inter", "Noto Sans", "Open Sans", "DejaVu Sans", "Liberation Sans")

STYLE = """
QToolTip { color: #222; background: #fffbe6; border: 1px solid #c9c2a0; }
QTabWidget::pane { border: 1px solid #c8ccd2; top: -1px; }
QGroupBox { font-weight: bold; }
"""


def dress(application: QApplication) -> None:
    """Give the application Qt's Fusion style, a light palette and a font that is there."""
    application.setStyle("Fusion")
    palette = QPalette()
    colors = {
        QPalette.Window: "#f4f5f7",
        QPalette.WindowText: "#1f2328",
        QPalette.Base: "#ffffff",
        QPalette.AlternateBase: "#f2f4f7",
        QPalette.Text: "#1f2328",
        QPalette.Button: "#e9ebef",
        QPalette.ButtonText: "#1f2328",
        QPalette.Highlight: "#2f6fb5",
        QPalette.HighlightedText: "#ffffff",
        QPalette.PlaceholderText: "#8a9099",
        QPalette.Mid: "#c2c7ce",
        QPalette.Dark: "#8f959d",
        QPalette.Link: "#1f5fa8",
    }
    for role, color in colors.items():
        palette.setColor(role, QColor(color))
    for role in (QPalette.Text, QPalette.ButtonText, QPalette.WindowText):
        palette.setColor(QPalette.Disabled, role, QColor("#9aa0a8"))
    application.setPalette(palette)
    application.setStyleSheet(STYLE)
    families = set(QFontDatabase.families())
    family = next((family for family in FONTS if family in families), None)
    if family:
        application.setFont(QFont(family, 9))

"""Every text of every panel can be read at usual sizes of the window."""

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install '.[slicer]'")

# What stands there at times, where it is longer than at the start.
AT_TIMES = {
    "changesLabel": "15 settings differ from the preset.",
    "pauseButton": "Pausing…",
    "stopButton": "Stopping…",
    "checkButton": "Cancel",
    "applyButton": "Cancelling…",
    "compareButton": "Cancelling…",
    "statusLabel": "All phases together, epoch 12 of 20, step 1234 of 5678; 1 h 5 min spent, about 12 h 40 min left",
    "estimateLabel": "About 12 h 40 min and 1.3 GB of memory, and 1.3 GB on the graphics card of memory.",
}
# Slicer's panel may be narrower by a fifth, or its type larger, and a selector is what gives way.
SPARE = 90


def hint(widget):
    """The size that a widget asks for; a method of some of the host's."""
    size = widget.sizeHint
    return size() if callable(size) else size


def cut_off(widget):
    """Say what of a widget's text is out of sight, or nothing."""
    from PySide6 import QtWidgets

    def is_a(kind):
        return isinstance(widget, kind)

    width = widget.fontMetrics().horizontalAdvance
    if is_a(QtWidgets.QLabel):
        if widget.wordWrap:
            return widget.text if widget.heightForWidth(widget.width) > widget.height else ""
        return widget.text if width(widget.text) > widget.contentsRect().width() else ""
    if is_a(QtWidgets.QAbstractButton):
        return widget.text if widget.text and hint(widget).width() > widget.width else ""
    if is_a(QtWidgets.QAbstractSpinBox):
        return widget.text if hint(widget).width() > widget.width else ""
    if is_a(QtWidgets.QComboBox):
        option = QtWidgets.QStyleOptionComboBox()
        widget.initStyleOption(option)
        style = widget.style()
        field = style.subControlRect(style.CC_ComboBox, option, style.SC_ComboBoxEditField, widget).width()
        texts = [widget.itemText(index) for index in range(widget.count)]
        long = [text for text in texts if width(text) + SPARE > field]
        return ", ".join(long)
    return ""


@pytest.mark.parametrize("size", [(1600, 1000), (1280, 800)])
@pytest.mark.parametrize("tab", range(4))
def test_no_text_is_cut_off(host, module_widget, add_volume, tab, size, monkeypatch):
    from PySide6 import QtWidgets

    add_volume()
    host.wait_until(lambda: module_widget.translatePanel.engine.isReady)
    module_widget.ui.panels.currentIndex = tab
    ui = module_widget.panels[tab].ui
    # Sections ask the engine when they are opened; here nobody waits for an answer.
    monkeypatch.setattr(module_widget.client, "request", lambda *arguments, **more: None)
    monkeypatch.setattr(module_widget.logic.training, "presetConfig", lambda *arguments: None)
    for name, widget in vars(ui).items():
        if hasattr(widget, "collapsed"):
            widget.collapsed = False
        if isinstance(widget, QtWidgets.QWidget) and widget.isHidden():
            widget.show()
        if name in AT_TIMES:
            widget.text = AT_TIMES[name]
    host.main_window.resize(*size)
    for _ in range(3):
        host.process_events()
    page = module_widget.ui.panels.widget(tab)
    shown = [widget for widget in page.findChildren(QtWidgets.QWidget) if widget.isVisible()]
    assert len(shown) > 20
    assert {widget.objectName: text for widget in shown if (text := cut_off(widget))} == {}

"""The host itself: one application with one scene, installed into ``sys.modules`` for as long as it is needed."""

# Slicer's own names.

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

MISSING = object()
SETTINGS_ORGANIZATION = "UncertaintyGuidedI2I-Host"


class _ExceptionsLogged(logging.Handler):
    """Keeps the tracebacks of exceptions that were caught and logged."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._kept.append("".join(traceback.format_exception(*record.exc_info)))


class Host:
    """A test instrument in the place of Slicer's application.

    Attributes:
        app: ``slicer.app``.
        scene: ``slicer.mrmlScene``.
        conversation: What was said and what is answered; also as ``messages`` and ``answer``.
        uncaught: Tracebacks of exceptions in slots and observers, which Qt and VTK only print, and of those that were
            caught and logged.
    """

    def __init__(self, offscreen: bool = True) -> None:
        if offscreen:
            os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        # The first to import PySide6, which reads once how its enums shall be.
        from Host.pythonqt import patch_pyside

        patch_pyside()
        from Host import qt_module

        self._qt, self._ctk = qt_module.qt_module(), qt_module.ctk_module()
        self._make_qt_application()
        self._make_core()
        from PySide6.QtWidgets import QApplication

        from Host.application import Application, core_modules
        from Host.files import Files
        from Host.layouts import LayoutManager
        from Host.messages import Conversation
        from Host.panel import MainWindow

        self.conversation = Conversation(interactive=not offscreen)
        self._files = Files(self.core)
        self.scene = self.core.scene
        self.layout_manager = LayoutManager(self.core)
        self.app = Application(self.core, self.layout_manager, self)
        self._core_modules = core_modules
        self.uncaught: list[str] = []
        self._undo: list[Callable[[], None]] = []
        self._modules: dict[str, SimpleNamespace] = {}
        self._entered: str | None = None
        self._exposed: set[tuple[str, ...]] = set()
        self._kept: list[Any] = []
        self.main_window = MainWindow(self.layout_manager._viewport)
        # Views have their real size from the start: a volume is fitted into them when it is loaded.
        self.main_window.show()
        QApplication.processEvents()

    def _make_qt_application(self) -> None:
        from PySide6.QtCore import QCoreApplication, QSettings, qInstallMessageHandler
        from PySide6.QtWidgets import QApplication

        from Host.appearance import dress

        qInstallMessageHandler(_print_qt_message)
        self.qt_application = QApplication.instance() or QApplication(["Host"])
        QCoreApplication.setOrganizationName(SETTINGS_ORGANIZATION)
        QCoreApplication.setApplicationName("Host")
        self._folder = tempfile.TemporaryDirectory(prefix="host-settings-")
        QSettings.setDefaultFormat(QSettings.IniFormat)
        QSettings.setPath(QSettings.IniFormat, QSettings.UserScope, self._folder.name)
        dress(self.qt_application)

    def _make_core(self) -> None:
        import slicer
        import vtk
        from trame_slicer.core import SlicerApp

        self.core = SlicerApp()
        vtk.vtkOutputWindow.GetInstance().SetDisplayModeToNever()
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
        # A scene with a node type that nobody registered is not read.
        self.core.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())

    # Installing and uninstalling

    def install(self) -> None:
        """Put ``qt``, ``ctk``, ``slicer.app`` and the like where scripts look for them."""
        if self._undo:
            return
        import slicer
        import slicer.util
        import vtk

        from Host import parameter_nodes, samples, scripted_module

        vtk.vtkOutputWindow.GetInstance().SetDisplayModeToNever()
        for factory in (
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(self.core.app_logic)
        i18n = ModuleType("slicer.i18n")
        i18n.tr, i18n.translate = (lambda text: text), (lambda context, text: text)
        modules = {
            "qt": self._qt,
            "ctk": self._ctk,
            "SampleData": samples.sample_data_module(),
            "slicer.i18n": i18n,
            "slicer.ScriptedLoadableModule": scripted_module.scripted_module(),
            "slicer.parameterNodeWrapper": parameter_nodes.parameter_node_module(),
        }
        for name, module in modules.items():
            self._put_module(name, module)
            if name.startswith("slicer."):
                self._put(slicer, name.split(".")[1], module)
        self._put(slicer, "app", self.app)
        self._put(slicer, "mrmlScene", self.scene)
        self._put(slicer, "modules", self._core_modules(self.core))
        for name, cls in self.widget_classes().items():
            if name.startswith("qMRML"):
                self._put(slicer, name, cls)
        from Host.panel import ModulePanel

        self._put(slicer, "qSlicerScriptedLoadableModuleWidget", ModulePanel)
        for name, function in self._util_functions().items():
            self._put(slicer.util, name, function)
        from Host.dialogs import dialogs

        for owner, name, function in dialogs(self.conversation):
            self._put(owner, name, function)
        self._put(sys, "excepthook", self._record_exception)
        watch = _ExceptionsLogged(self.uncaught)
        logging.getLogger().addHandler(watch)
        self._undo.append(lambda: logging.getLogger().removeHandler(watch))

    def uninstall(self) -> None:
        """Take everything back, in reverse."""
        self.close_modules()
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _put(self, owner: Any, name: str, value: Any) -> None:
        before = vars(owner).get(name, MISSING)
        setattr(owner, name, value)
        self._undo.append(lambda: delattr(owner, name) if before is MISSING else setattr(owner, name, before))

    def _put_module(self, name: str, module: ModuleType | None) -> None:
        before = sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module

        def undo() -> None:
            sys.modules.pop(name, None)
            if before is not None:
                sys.modules[name] = before

        self._undo.append(undo)

    def _record_exception(self, kind: type, error: BaseException, trace: Any) -> None:
        self.uncaught.append("".join(traceback.format_exception(kind, error, trace)))
        sys.__excepthook__(kind, error, trace)

    def widget_classes(self) -> dict[str, type]:
        """Return the widgets that .ui files may name besides Qt's own."""
        from Host import qmrml_base, qmrml_nodes, qmrml_plots, views
        from Host.progress import ProgressBar

        parts = (self._ctk, qmrml_base, qmrml_nodes, qmrml_plots, views)
        named = {
            name: value
            for part in parts
            for name, value in vars(part).items()
            if isinstance(value, type) and name.startswith(("ctk", "qMRML"))
        }
        return {**named, "QProgressBar": ProgressBar}

    def _util_functions(self) -> dict[str, Callable]:
        from Host.ui_loader import load_ui

        return {
            **self.conversation.functions(),
            **self._files.functions(),
            "loadUI": lambda path: load_ui(path, self.widget_classes()),
            "mainWindow": lambda: self.main_window,
            "selectModule": self.select_module,
            "pip_install": _install_nothing,
        }

    # Modules

    def open_module(self, path: str | Path) -> Any:
        """Load a scripted module's main file as Slicer does at its start, open its panel and return its widget."""
        self.load_module(path)
        self.complete_startup()
        self.select_module(Path(path).stem)
        return self._modules[Path(path).stem].widget

    def complete_startup(self) -> None:
        """Tell the modules that are loaded that all are, once, as the application does when it has started."""
        self.app._emit("startupCompleted()")
        self.app._slots["startupCompleted()"].clear()

    def load_module(self, path: str | Path) -> None:
        """Load a scripted module's main file; its panel is made when it is asked for first."""
        import slicer

        path = Path(path).resolve()
        name = path.stem
        self.expose_library(path.parent, name)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        opened = SimpleNamespace(name=name, python=module, panel=None, widget=None)
        opened.module = getattr(module, name)(SimpleNamespace(path=str(path), name=name))
        self._modules[name] = opened
        proxy = SimpleNamespace(name=name, path=str(path), widgetRepresentation=lambda: self._panel(opened))
        proxy.logic = lambda: self._panel(opened).self().logic
        setattr(slicer.modules, name.lower(), proxy)

    def module(self, name: str) -> Any:
        """Return the object of a module's first class, of an opened module."""
        return self._modules[name].module

    def point(self, view: Any, x: float, y: float) -> None:
        """Move the mouse to a place in a widget, in pixels from its upper left corner."""
        from PySide6.QtCore import QEvent, QPointF, Qt
        from PySide6.QtGui import QMouseEvent
        from PySide6.QtWidgets import QApplication

        place = QPointF(x, y)
        event = QMouseEvent(QEvent.MouseMove, place, place, Qt.NoButton, Qt.NoButton, Qt.NoModifier)
        QApplication.sendEvent(view, event)

    def legends(self) -> dict[str, list[Any]]:
        """Return the colour legends that Slicer's own manager shows, by the name of the view of the present layout."""
        widgets = {name: self.layout_manager.sliceWidget(name) for name in self.layout_manager.sliceViewNames()}
        shown = {
            name: widget.sliceView().legends()
            for name, widget in widgets.items()
            if widget.mrmlSliceNode().IsMappedInLayout()
        }
        return {name: legends for name, legends in shown.items() if legends}

    def expose_library(self, folder: Path, name: str) -> None:
        """Let a module's files be imported afresh, as Slicer lets it, until the host is uninstalled."""
        packages = (name, f"{name}Lib")
        if packages in self._exposed:
            return
        self._exposed.add(packages)
        for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] in packages]:
            self._put_module(loaded, None)
        self._forget_later(packages)
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
            self._undo.append(lambda: sys.path.remove(str(folder)))

    def _forget_later(self, packages: tuple[str, ...]) -> None:
        """Let no later test meet modules that were imported into this host."""

        def forget() -> None:
            for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] in packages]:
                del sys.modules[loaded]
            self._exposed.discard(packages)

        self._undo.append(forget)

    def _panel(self, opened: SimpleNamespace) -> Any:
        import slicer

        from Host.panel import ModulePanel

        if opened.panel is None:
            opened.panel = ModulePanel()
            opened.panel.setMRMLScene(self.scene)
            opened.widget = getattr(opened.python, f"{opened.name}Widget")(opened.panel)
            setattr(slicer.modules, f"{opened.name}Widget", opened.widget)
            opened.panel._set_widget(opened.widget)
            opened.widget.setup()
        return opened.panel

    def select_module(self, module: str) -> None:
        """Leave the module that is open and enter another; any name that the host does not know is Slicer's own."""
        name = module if isinstance(module, str) else module.name
        if self._entered == name:
            return
        if self._entered in self._modules:
            self._enter(self._modules[self._entered], False)
        self._entered = name
        if name in self._modules:
            self._enter(self._modules[name], True)

    def _enter(self, opened: SimpleNamespace, entered: bool) -> None:
        if entered:
            self.main_window.show_panel(self._panel(opened))
        opened.panel._set_entered(entered)
        hook = getattr(opened.widget, "enter" if entered else "exit", None)
        if hook:
            hook()

    def close_modules(self) -> None:
        """Leave and clean up every module, as at the end of the application."""
        self.select_module("")
        for name, opened in self._modules.items():
            if opened.panel is None:
                continue
            self.app.moduleManager()._emit("moduleAboutToBeUnloaded(QString)", name)
            opened.widget.cleanup()
            self.main_window.take_panel()
            opened.panel.deleteLater()
        self._modules.clear()
        self.process_events()

    # The user's part

    @property
    def messages(self) -> list:
        return self.conversation.messages

    @property
    def answer(self) -> Any:
        return self.conversation.answer

    @answer.setter
    def answer(self, answer: Any) -> None:
        self.conversation.answer = answer

    def process_events(self) -> None:
        """Let Qt do what is due."""
        from PySide6.QtCore import QCoreApplication, QEvent

        QCoreApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.DeferredDelete)

    def wait_until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Process events until a condition holds, and return what it returned.

        Raises:
            TimeoutError: It does not hold in time.
        """
        end = time.monotonic() + timeout_s
        while True:
            self.process_events()
            result = condition()
            if result:
                return result
            if time.monotonic() > end:
                raise TimeoutError(f"not within {timeout_s} s")
            time.sleep(0.005)

    def screenshot(self, widget: Any, path: str | Path, size: tuple[int, int] | None = None) -> Path:
        """Write a widget's picture to a PNG file."""
        if size is not None:
            widget.resize(*size)
        if not widget.isVisible():
            widget.show()
        for _ in range(3):
            self.process_events()
        if not widget.grab().save(str(path)):
            raise OSError(f"cannot write {path}")
        return Path(path)

    def keep(self, widget: Any) -> None:
        """Delete a widget without parent when the test is over, not before."""
        self._kept.append(widget)

    def close_scene(self) -> None:
        """Close the scene as the menu does."""
        self.scene.Clear(0)
        self.process_events()

    def reset(self) -> None:
        """Forget the last test: modules, nodes, messages, settings."""
        import slicer
        from PySide6.QtCore import QSettings

        from Host.progress import ProgressBar

        ProgressBar.draws, ProgressBar.draw_s = 0, 0.0
        self.close_modules()
        while self._kept:
            self._kept.pop().deleteLater()
        self.scene.Clear(0)
        # A module's parameter node is a singleton and outlives the closing of the scene.
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            self.scene.RemoveNode(node)
        self.layout_manager._reset()
        crosshair = self.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        crosshair.SetCrosshairRAS(0, 0, 0)
        crosshair.SetCursorPositionInvalid()
        self.messages.clear()
        self.conversation.answer, self.conversation.file_answer = True, ""
        self.uncaught.clear()
        QSettings().clear()
        self.process_events()

    def quit(self) -> None:
        """End as the application does: modules cleaned up, then everything uninstalled."""
        self.app._emit("aboutToQuit()")
        self.uninstall()
        self.main_window.close()


def _install_nothing(requirements: Any) -> None:
    raise RuntimeError(f"The host installs no packages; it was asked for {requirements}")


def _print_qt_message(kind: Any, context: Any, text: str) -> None:
    # The offscreen platform says this of every window.
    if "propagateSizeHints" not in text:
        print(text, file=sys.stderr)


_host: Host | None = None


def start(offscreen: bool = True) -> Host:
    """Return the process's only host, installed."""
    global _host
    if _host is None:
        _host = Host(offscreen)
    _host.install()
    return _host

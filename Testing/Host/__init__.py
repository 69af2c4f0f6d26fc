# ruff: noqa: N999 - the room has the name of its folder
"""The test host: PySide6 with the manners of Slicer's PythonQt on the real MRML scene of slicer-core.

It stands where the Slicer application stands, so that panels can be opened, used and photographed in tests.
No product code imports it. It has what the panels and their .ui files use and nothing else, and behaves as measured or
documented for Slicer 5.10: ``Testing/Contract`` says how, in claims that run inside a real Slicer too. It is stricter
where Slicer only warns (unknown signals, unknown widgets and properties of .ui files) or would wait (modal dialogs).

In a test of ``Testing/Panels`` (fixtures of its conftest)::

    def test_apply_is_enabled_when_an_input_is_chosen(host, add_volume):
        widget = host.open_module(MODULE / "UncertaintyGuidedI2I.py")  # loads, setup(), enter(), in a shown main window
        volume = add_volume("PET")
        assert widget.ui.applyButton.enabled

A panel class alone: import it inside the test (``qt`` exists only while the host is installed), load its .ui::

    def test_panel(host, load_panel):
        ui_widget, ui = load_panel("InspectPanel.ui")      # loadUI, childWidgetVariables, setMRMLScene
        from UncertaintyGuidedI2ILib.inspection.panel import InspectPanel

``host.scene``, ``host.app`` (slicer.app), ``host.main_window``; ``host.process_events()``;
``host.wait_until(lambda: ..., timeout_s=5)``; ``host.messages`` (kind, text, details) of every dialog, none is modal;
``host.answer = False`` or a function of the message, for questions; ``host.conversation.file_answer`` for file dialogs;
``host.screenshot(widget, path, size=None)``; ``host.close_scene()`` (StartClose and EndClose as in Slicer);
``host.select_module("Data")`` leaves the module (exit), ``host.select_module(name)`` enters it again;
``host.uncaught`` has the tracebacks of exceptions in slots and observers (the fixture fails the test if there are any).

Outside of pytest: ``from Host.host import start; host = start()``. ``python -m Host`` opens the module in a window.

What differs from Slicer and cannot be seen here:

- Qt is 6, Slicer 5.10's is 5.15: signals and functions that only Qt 5 has are absent. Methods take the flat enums but
  no bare numbers for them (``label.setAlignment(132)``); attributes do (``label.alignment = 132``).
- Slice views show volumes by Slicer's own slice logic, without OpenGL; segmentations and markups need OpenGL and are
  left out where there is none. Which colour legends a view shows is decided by Slicer's own displayable manager, with
  all its whims (``host.legends()``); the host draws a likeness, or has Slicer draw them (``Overlay.draws_legends``).
  There are no 3D views.
- Nodes get no subject hierarchy item by themselves, and ``pip_install`` refuses.
"""

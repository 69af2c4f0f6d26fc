# ruff: noqa: N999 - the room has the name of its folder
"""How Slicer behaves where the panels rely on it: claims that hold in a real Slicer and in the test host alike.

A claim is a function ``test_…(host)`` with plain asserts, where ``host`` is a ``SlicerHost``. It uses what Slicer
offers to scripts, and nothing of pytest, which Slicer's Python lacks. ``run_in_slicer.py`` states the claims in a real
Slicer, pytest in the test host. What is said of the host alone is in ``Testing/Panels/test_host.py``.
"""

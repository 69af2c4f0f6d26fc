"""Sequences as the application keeps them up to date."""

import slicer


def watch_sequences(app):
    """Let Slicer's own logic update the proxy nodes, as the Sequences module does in the application."""
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLApplicationLogic(app.app_logic)
    logic.SetMRMLScene(app.scene)
    return logic

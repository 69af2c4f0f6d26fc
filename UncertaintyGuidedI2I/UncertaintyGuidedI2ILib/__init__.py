"""The Slicer side of UncertaintyGuidedI2I: scene, display, logic and what the module needs to run.

Imports neither torch nor anything else that Slicer does not bring along; the engine (``upgan``) is imported when used.
"""

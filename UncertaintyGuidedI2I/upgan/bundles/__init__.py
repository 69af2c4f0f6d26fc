"""Models on disk: what a bundle must be, the library of installed ones, and how others come in."""

"""The stages: losses, steps, validation, and going on after a fault."""

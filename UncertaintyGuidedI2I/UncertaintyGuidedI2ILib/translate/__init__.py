"""The panel that translates: choose a volume and a model, see what to expect, translate, cancel."""

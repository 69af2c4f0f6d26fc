"""A model's images against references: figures, curves and error maps, of one image or of many."""

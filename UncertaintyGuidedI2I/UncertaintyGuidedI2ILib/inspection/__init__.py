"""The panel that inspects a result: overlays, comparison views, read-out, regions and statistics."""

"""A run from start to end: its data prepared, its time and memory told, its stages called."""

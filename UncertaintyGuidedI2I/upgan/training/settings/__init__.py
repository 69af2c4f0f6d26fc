"""What a run is to be: its configuration, the file it is written in, templates and presets."""

"""From pairs of images to a model: what a run is to be, what it does, what it writes down, what it leaves."""

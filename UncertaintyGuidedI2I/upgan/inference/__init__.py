"""A bundle and a device make a translation, within the memory there is, and save it whole."""

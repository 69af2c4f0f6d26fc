"""Voxels and where they lie in the patient: read, written, resampled, and where in them the patient is."""

"""Voxels and where they lie in the patient: reading, writing, geometry."""

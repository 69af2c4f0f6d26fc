"""Between the MRML scene and everything else: nodes, voxels, results, and how they are shown."""

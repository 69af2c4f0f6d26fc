"""The two ways to count in the patient: RAS here, in Slicer and in NIfTI, LPS in DICOM and ITK."""

import numpy as np

# 4x4, from LPS to RAS and back: right is minus left, front is minus back.
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

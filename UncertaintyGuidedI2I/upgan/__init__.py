"""The engine of UncertaintyGuidedI2I: images in, images with their uncertainty out.

Knows nothing of 3D Slicer or Qt. The method is "Uncertainty-guided Progressive GANs for Medical Image
Translation" (Upadhyay et al., MICCAI 2021).
"""

__version__ = "0.1.0"

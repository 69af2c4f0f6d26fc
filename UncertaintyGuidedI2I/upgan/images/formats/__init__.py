"""NIfTI, NRRD and MetaImage, one file each: their headers, read strictly."""

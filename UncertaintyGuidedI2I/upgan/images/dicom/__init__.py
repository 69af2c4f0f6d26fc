"""DICOM series: headers by pydicom, pixels by a process of their own where C code would decode a stranger's bytes."""

"""Made-up acquisitions: NAC-PET and CT of heads that were never scanned, and MR images made worse."""

"""Images that belong together: found, checked, aligned, and parted into training, validation and test."""

"""The file that holds an image's voxels, as its header names it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from upgan.images.unreadable import missing_data, scattered_data


def data_beside(path: Path, name: str) -> Path:
    """Return the data file that a header names.

    Args:
        path: The header's own file.
        name: A file in the same folder or in one below it. Nothing else is opened at a stranger's word.

    Raises:
        InputError: ``unsupported_format`` for another folder, ``file_not_found``.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or "\0" in name or parts.is_absolute() or ".." in parts.parts or ":" in name:
        raise scattered_data(path)
    data = path.parent / parts
    # Path's own way raises where a name is too long for any file.
    if not os.path.isfile(data):
        raise missing_data(path, name)
    return data

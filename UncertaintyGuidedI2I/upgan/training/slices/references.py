"""What the validation compares with: a target on its input's grid, not as the networks see it, and where it counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from upgan.files import atomically
from upgan.images.orientation import Plane, Reorientation
from upgan.pairs.preparation import Pair, patient_scope
from upgan.tasks import Task

SUFFIX = ".reference"


class Reference(NamedTuple):
    """A subject's target and the scope of its figures, see ``upgan.images.scope.scope_of``.

    Attributes:
        target: Output units, float32, [N, J, I]: the slices that are trained on, at the input's own pixel size.
        mask: Boolean [N, J, I]: where figures count.
        data_range: Intensities (low, high) over which PSNR and SSIM are computed.
    """

    target: np.ndarray
    mask: np.ndarray
    data_range: tuple[float, float]

    @classmethod
    def of(cls, pair: Pair, task: Task, plane: Plane) -> Self:
        """Lay a pair's target out in the slices of a plane.

        Raises:
            InputError: ``no_body`` or ``no_foreground``.
        """
        layout = Reorientation.of(pair.target.ijk_to_ras, plane)
        scope = patient_scope(pair.target, task)
        target = np.ascontiguousarray(layout.apply(pair.target.voxels), dtype=np.float32)
        return cls(target, np.ascontiguousarray(layout.apply(scope.mask)), scope.data_range)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        content = save({"target": self.target, "mask": self.mask}, metadata={"data_range": json.dumps(self.data_range)})
        with atomically(path) as temporary:
            # Through Python's own file: what the disk refuses is an OSError then.
            temporary.write_bytes(content)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it.

        Raises:
            ValueError: It is damaged or not there.
        """
        try:
            with safe_open(path, framework="np") as file:
                low, high = json.loads(file.metadata()["data_range"])
                return cls(file.get_tensor("target"), file.get_tensor("mask"), (low, high))
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no reference.") from error

"""Every metric of an image against its reference: error, similarity, and whether its uncertainty is true.

MAE, PSNR and SSIM are those of the SynthRAD 2023 challenge's published code (github.com/SynthRAD2023/metrics,
functions/image_metrics.py): MAE inside the mask, nothing clipped; PSNR inside the mask, both images clipped to
[−1024, 3000] HU, with 4024 HU as the peak; for SSIM see ``upgan.evaluation.ssim``. SynthRAD 2025 clips to
[−1024, 3071] HU instead: its PSNR of the same images is up to 0.15 dB higher.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr

from upgan.evaluation.ssim import WINDOW_2D, similarity
from upgan.images.hounsfield import HU_RANGE, TISSUES
from upgan.uncertainty.coverage import LEVELS, central_probability
from upgan.uncertainty.distribution import GeneralizedNormal
from upgan.uncertainty.tissues import tissue_of

# What the two are called, for whoever prints them.
SSIM_3D, SSIM_2D = "SSIM (3-D)", "SSIM (2-D, slice by slice)"
DEFINITION = (
    "PSNR and SSIM of both images clipped to the range; SSIM outside the mask at the range's lower end and shifted to "
    "start at 0, windows of 7 voxels each way, averaged over the mask but for 3 voxels at the volume's edge: in 3-D as "
    "SynthRAD 2023, in 2-D slice by slice"
)

# An image without error would have an infinite PSNR, which JSON does not know: so it ends at 160 dB.
_SMALLEST = 1e-16


class Metrics:
    """The metrics of one image inside a mask; each is computed when it is first asked for, in float64, and finite.

    Whoever compares images asks this for what it wants to know, so that the journal of a training, a model's card and
    a check mean the same by the same name.

    Args:
        image: The image to measure, [K, J, I], axial slices, finite inside the mask.
        reference: What the image should be, [K, J, I], in the same unit and on the same grid, finite inside the mask.
        mask: The voxels that count, boolean [K, J, I], at least one of them.
        data_range: Intensities (low, high), low < high, that PSNR and SSIM are clipped to and relative to. In an image
            of arbitrary unit the lower end takes the part that −1024 HU has in a CT.
        alpha: The scale α in the same unit, [K, J, I], > 0 inside the mask; None where there is no distribution.
        beta: The shape β without unit, [K, J, I], > 0 inside the mask; None where there is no distribution.
    """

    def __init__(
        self,
        image: np.ndarray,
        reference: np.ndarray,
        mask: np.ndarray,
        data_range: tuple[float, float] = HU_RANGE,
        alpha: np.ndarray | None = None,
        beta: np.ndarray | None = None,
    ) -> None:
        self._image, self._reference, self._mask, self._data_range = image, reference, mask, data_range
        self._alpha, self._beta = alpha, beta

    @cached_property
    def error(self) -> np.ndarray:
        """Image minus reference of each voxel of the mask, [N]."""
        return self._ours - self._theirs

    @cached_property
    def sigma(self) -> np.ndarray:
        """Predicted standard deviation of each voxel of the mask, [N]."""
        alpha, beta = (torch.from_numpy(array[self._mask].astype(np.float64)) for array in self._distribution)
        distribution = GeneralizedNormal(torch.zeros(()).double(), alpha, beta, validate_args=False)
        sigma: np.ndarray = distribution.stddev.numpy()
        return sigma

    @property
    def absolute_error(self) -> np.ndarray:
        """|image − reference| of each voxel of the mask, [N]."""
        return np.abs(self.error)

    @property
    def mae(self) -> float:
        """Mean absolute error in the image's unit."""
        return float(self.absolute_error.mean())

    @property
    def mae_of_tissues(self) -> dict[str, float]:
        """Mean absolute error in each tissue class of ``TISSUES`` that the reference, a CT in HU, has in the mask."""
        error = self.absolute_error
        return {name: float(error[inside].mean()) for name, inside in _classes(self._theirs)}

    @property
    def rmse(self) -> float:
        """Root mean squared error in the image's unit."""
        return float(np.sqrt(np.square(self.error).mean()))

    @property
    def bias(self) -> float:
        """Mean of image minus reference, in the image's unit."""
        return float(self.error.mean())

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio over the data range, dB."""
        low, high = self._data_range
        mean_squared = float(np.square(np.clip(self._ours, low, high) - np.clip(self._theirs, low, high)).mean())
        return float(10 * np.log10((high - low) ** 2 / max(mean_squared, _SMALLEST * (high - low) ** 2)))

    @property
    def ssim_3d(self) -> float:
        """SynthRAD's structural similarity, without unit."""
        return similarity(self._image, self._reference, self._mask, self._data_range)

    @property
    def ssim_2d(self) -> float:
        """Structural similarity slice by slice, without unit."""
        return similarity(self._image, self._reference, self._mask, self._data_range, WINDOW_2D)

    def coverage(self, levels: tuple[float, ...] = LEVELS, most: int | None = None) -> dict[float, float]:
        """Share of the voxels whose reference lies in the central interval of each level; the level itself when true.

        Args:
            levels: The levels of the central intervals, each from 0 to 1.
            most: The largest number of voxels to count on, evenly strided; all of the mask where None.
        """
        central = self._central if most is None else self._central_of(np.flatnonzero(self._mask), most)
        return {level: float((central <= level).mean()) for level in levels}

    @property
    def coverage_of_tissues(self) -> dict[str, dict[float, float]]:
        """Coverage at ``LEVELS`` of each tissue class that is there, in HU.

        ``air`` is where the reference has air, ``predicted_air`` where the image shows it: calibration can make the
        latter true, and the former only as far as tissues are not mistaken for one another.
        """
        return {
            name: {level: float((self._central[inside] <= level).mean()) for level in LEVELS}
            for name, inside in self._tissues
        }

    @property
    def rmse_over_sigma_of_tissues(self) -> dict[str, float]:
        """Root mean squared error over root mean squared σ of each class of ``coverage_of_tissues``; 1 when true."""
        squares = np.square(self.error), np.square(self.sigma)
        return {
            name: float(np.sqrt(squares[0][inside].mean() / squares[1][inside].mean()))
            for name, inside in self._tissues
        }

    @property
    def sigma_rms(self) -> float:
        """Root mean squared σ, in the image's unit."""
        return float(np.sqrt(np.square(self.sigma).mean()))

    @property
    def spearman(self) -> float:
        """Rank correlation of |error| and σ; 0 where either is the same everywhere, which ranks nothing."""
        return float(spearmanr(self.absolute_error, self.sigma).statistic) if self._is_varied else 0.0

    @property
    def pearson(self) -> float:
        """Linear correlation of |error| and σ; 0 where either is the same everywhere."""
        return float(pearsonr(self.absolute_error, self.sigma).statistic) if self._is_varied else 0.0

    @cached_property
    def _central(self) -> np.ndarray:
        """Level of the smallest central interval that holds the reference, of each voxel of the mask, [N]."""
        return self._central_of(np.flatnonzero(self._mask))

    def _central_of(self, voxels: np.ndarray, most: int | None = None) -> np.ndarray:
        sample = voxels[:: 1 if most is None else -(-voxels.size // most)]
        arrays = (self._image, *self._distribution, self._reference)
        return central_probability(*(array.ravel()[sample] for array in arrays))

    @cached_property
    def _tissues(self) -> list[tuple[str, np.ndarray]]:
        return [*_classes(self._theirs), *((f"predicted_{name}", inside) for name, inside in _classes(self._ours))]

    @property
    def _is_varied(self) -> bool:
        return bool(np.ptp(self.sigma) > 0 and np.ptp(self.absolute_error) > 0)

    @property
    def _distribution(self) -> tuple[np.ndarray, np.ndarray]:
        if self._alpha is None or self._beta is None:
            raise ValueError("an image without its distribution has no uncertainty to look at")
        return self._alpha, self._beta

    @property
    def _ours(self) -> np.ndarray:
        return self._image[self._mask].astype(np.float64)

    @property
    def _theirs(self) -> np.ndarray:
        return self._reference[self._mask].astype(np.float64)


def _classes(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each class of ``TISSUES`` that there is, and where, boolean [N]."""
    member = tissue_of(values)
    for tissue, name in enumerate(TISSUES):
        inside = member == tissue
        if inside.any():
            yield name, inside

"""Whether an image is like those a model was trained on: what its bundle knows of them, two scores, a verdict.

σ is the noise that the training images taught; of an image unlike them it need not tell. Two scores do, up to a point:

**features**: how far the image's slices lie from the training's in the space of the first network's features, each
slice being the mean over its object's pixels. A slice's distance is Mahalanobis', divided by the square root of the
number of features, so that 1 is that of a training slice; a volume's is the geometric mean over its slices, each
counting as many times as its object has pixels. The share of single pixels beyond the training's 99 % distance was
tried and found blind: another scanner's smoother image has *fewer* such pixels, while its means lie far off.

**flip**: the mean disagreement of the image with its mirror image over the object, in the mean σ there. In HU it
overlaps between scanners; σ, which does not grow with what is unknown, makes it comparable.

The limit of a score is the one-sided 99 % prediction limit of a further subject, of the logarithms, by Student's t,
from subjects that were neither trained nor tested on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from upgan.errors import InputError
from upgan.schema import Label

# Of the further subject that a limit lets pass, and of the training's slices.
LEVEL = 0.99

# A standard deviation of two subjects is no more than a guess.
FEWEST_SUBJECTS = 3

# A slice with less of the object in it, in pixels of the network, is mostly noise; at 2 mm it is 256 mm².
FEWEST_PIXELS = 64

MOST_FEATURES = 32

# Added to each feature's variance, as a share of it, so that few training slices, or features that always go together,
# do not make a covariance without an inverse.
_RIDGE = 1e-3
# Variance in the square of the mean that is rounding.
_NEVER = 1e-12
_DIGITS = 6
_LARGEST = 1e12
_SMALLEST_SCORE = 1e-9

_Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
_Score = Annotated[float, Field(gt=0, le=_LARGEST)]
_Count = Annotated[int, Field(ge=1, le=10**12)]


class SliceFeatures(NamedTuple):
    """What a model's first network sees in a volume's slices.

    Attributes:
        means: The features' means over the object's pixels, float32 [S, F]; zero where a slice has none.
        pixels: How many pixels of the network the object has in each slice, [S].
    """

    means: np.ndarray
    pixels: np.ndarray

    @property
    def counted(self) -> SliceFeatures:
        """Those slices that show enough of an object."""
        enough = self.pixels >= FEWEST_PIXELS
        return SliceFeatures(self.means[enough], self.pixels[enough])


class Limits(BaseModel):
    """What a further subject like those trained on stays below in 99 of 100 cases.

    Attributes:
        measured_on: The part of the data that the limits were set on.
        subjects: The number of patients in it.
        features: The limit of the score ``features``.
        flip: The limit of the score ``flip``; None where the model's slices have no left and right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    measured_on: Label = "validation"
    subjects: _Count
    features: _Score
    flip: _Score | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether an image is like the training data.

    Attributes:
        is_unlike: Whether a score is beyond its limit; None where there is no limit, or nothing to score.
        sentence: The same for people, with its reasons.
        scores: Each score by its name; None where it was not asked for, or there is none.
        limits: Each limit by the score's name; None where there is none.
    """

    is_unlike: bool | None
    sentence: str
    scores: dict[str, float | None]
    limits: dict[str, float | None]

    def to_json(self) -> dict[str, Any]:
        """As provenance has it."""
        return {
            "is_unlike": self.is_unlike,
            "sentence": self.sentence,
            "scores": self.scores,
            "limits": self.limits,
        }


class Familiarity(BaseModel):
    """What a bundle knows of its training images' features, F of them.

    Attributes:
        volumes: The number of training images.
        slices: The number of their slices that showed an object.
        mean: Mean over these slices, [F].
        covariance: Their covariance, lower triangle by rows, [F][1 … F]; a thousandth is added to the variances.
        distance_99: The distance that 99 % of these slices do not exceed.
        limits: Those of the scores; None where too few subjects were held out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    volumes: _Count
    slices: _Count
    mean: tuple[_Number, ...] = Field(min_length=1, max_length=MOST_FEATURES)
    covariance: tuple[tuple[_Number, ...], ...]
    distance_99: _Score
    limits: Limits | None = None

    @model_validator(mode="after")
    def _has_an_inverse(self) -> Familiarity:
        if [len(row) for row in self.covariance] != list(range(1, len(self.mean) + 1)):
            raise ValueError(f"covariance is no triangle of {len(self.mean)} rows")
        try:
            self._whitening()
        except np.linalg.LinAlgError:
            raise ValueError("covariance is not positive definite") from None
        return self

    @classmethod
    def measure(cls, volumes: Iterable[SliceFeatures]) -> Self:
        """Measure training images, one after the other; no limits yet.

        Raises:
            InputError: ``nothing_measured`` where fewer than two slices show an object.
        """
        seen = [volume.counted.means.astype(np.float64) for volume in volumes]
        slices = np.concatenate(seen) if seen else np.empty((0, 1))
        if len(slices) < 2:
            raise InputError(
                "nothing_measured", "No training image has an object in it.", "Check the images that were trained on."
            )
        covariance = np.atleast_2d(np.cov(slices, rowvar=False))
        mean, variances = slices.mean(axis=0), np.diag(covariance).copy()
        # A feature that never varied could have any scale: one a thousandth as wide as the widest is as good as any.
        never = variances <= _NEVER * np.square(mean)
        variances[never] = 1e-6 * variances.max() or 1.0
        # What little it did vary, rounding, goes with nothing.
        covariance[never] = covariance[:, never] = 0.0
        np.fill_diagonal(covariance, (1 + _RIDGE) * variances)
        made = cls(
            volumes=len(seen),
            slices=len(slices),
            mean=tuple(_rounded(mean)),
            covariance=tuple(tuple(_rounded(row[: index + 1])) for index, row in enumerate(covariance)),
            distance_99=1.0,
        )
        [largest] = _rounded([float(np.quantile(made.distances(slices), LEVEL))])
        return made.model_copy(update={"distance_99": max(largest, _SMALLEST_SCORE)})

    def with_limits(self, features: Sequence[float], flip: Sequence[float]) -> Self:
        """Set the limits on subjects that were neither trained nor tested on.

        Args:
            features: Each subject's score.
            flip: Each subject's score; empty where there is none.
        """
        limit = prediction_limit(features)
        if limit is None:
            return self
        limits = Limits(subjects=len(features), features=limit, flip=prediction_limit(flip))
        return self.model_copy(update={"limits": limits})

    def distances(self, means: np.ndarray) -> np.ndarray:
        """Distance of each slice [S, F] from the training's, [S]: 1 is that of a training slice, root mean square."""
        centred = np.asarray(means, dtype=np.float64) - np.array(self.mean)
        return np.sqrt(np.square(self._whitening() @ centred.T).mean(axis=0))

    def score(self, volume: SliceFeatures) -> float | None:
        """Distance of a volume from the training's slices; None where no slice shows an object."""
        counted = volume.counted
        if not counted.pixels.size:
            return None
        logarithms = np.log(np.maximum(self.distances(counted.means), _SMALLEST_SCORE))
        return math.exp(float(np.average(logarithms, weights=counted.pixels)))

    def verdict(self, volume: SliceFeatures, flip: float | None = None) -> Verdict:
        """Judge a volume.

        Args:
            volume: What the model's first network sees in it.
            flip: The score of that name, where it was measured.
        """
        scores = {"features": self.score(volume), "flip": flip}
        stated = self.limits.model_dump(include=set(scores)) if self.limits else dict.fromkeys(scores)
        limits: dict[str, float | None] = {name: stated[name] for name in scores}
        compared = [
            (name, score, limit)
            for name in scores
            if (score := scores[name]) is not None and (limit := limits[name]) is not None
        ]
        if not compared:
            return Verdict(None, self._why_none(), scores, limits)
        is_unlike = any(score > limit for _, score, limit in compared)
        found = "; ".join(self._reason(name, score, limit, volume.counted) for name, score, limit in compared)
        sentence = (
            f"The image is unlike the training data: {found}. Errors may be far larger than the model's card and σ say."
            if is_unlike
            else f"The image is like the training data as far as can be told: {found}."
        )
        return Verdict(is_unlike, sentence, scores, limits)

    def _reason(self, name: str, score: float, limit: float, volume: SliceFeatures) -> str:
        if name == "flip":
            return f"it and its mirror image come out {score:.2f} σ apart (limit {limit:.2f})"
        beyond = float((self.distances(volume.means) > self.distance_99).mean())
        return (
            f"its features lie {score:.2f} times as far from the training's as training slices do (limit "
            f"{limit:.2f}), those of {beyond:.0%} of its slices beyond {LEVEL:.0%} of the training's"
        )

    def _why_none(self) -> str:
        if self.limits is not None:
            return "Whether the image is like the training data cannot be told: no slice shows enough of an object."
        return (
            "Whether the image is like the training data cannot be told: the model was made with fewer than "
            f"{FEWEST_SUBJECTS} held-out subjects to set a limit on."
        )

    def _whitening(self) -> np.ndarray:
        """L⁻¹ of the covariance LLᵀ, [F, F]."""
        lower = np.zeros((len(self.mean), len(self.mean)))
        lower[np.tril_indices(len(self.mean))] = np.concatenate(self.covariance)
        covariance = lower + np.tril(lower, -1).T
        return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)))


def prediction_limit(scores: Sequence[float], level: float = LEVEL) -> float | None:
    """What a further subject's score stays below with this probability, if logarithms are normal; None for too few.

    exp(m + t·s·√(1 + 1/n)) with mean m and standard deviation s of the n logarithms, and t of n − 1 degrees.

    Args:
        scores: Of independent subjects, not negative.
        level: The probability.
    """
    count = len(scores)
    if count < FEWEST_SUBJECTS:
        return None
    from scipy import stats

    logarithms = np.log(np.maximum(np.asarray(scores, dtype=np.float64), _SMALLEST_SCORE))
    width = float(stats.t.ppf(level, count - 1)) * float(logarithms.std(ddof=1)) * math.sqrt(1 + 1 / count)
    [limit] = _rounded([math.exp(float(logarithms.mean()) + width)])
    return min(limit, _LARGEST)


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values]

"""Pairs through the engine: what a model makes of inputs whose reference is known, ready to be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from upgan.errors import InputError
from upgan.images.orientation import Reorientation
from upgan.images.scope import Scope, scope_in
from upgan.inference.engine import InferenceEngine
from upgan.inference.translation import PhaseMaps
from upgan.progress import SILENT, Progress

if TYPE_CHECKING:
    from upgan.pairs.preparation import Pair


class Translated(NamedTuple):
    """One subject's maps beside the reference, all stood up in axial slices [K, J, I] however they were stored.

    Attributes:
        subject: The subject's label.
        phases: The maps of each phase by its number, the first being 1, in output units (HU for a CT).
        reference: The target in the same unit.
        scope: Where and over which intensities they are compared.
    """

    subject: str
    phases: dict[int, PhaseMaps]
    reference: np.ndarray
    scope: Scope


def translate_pairs(
    engine: InferenceEngine,
    pairs: Iterable[Pair],
    total: int,
    progress: Progress = SILENT,
) -> Iterator[Translated]:
    """Translate pairs one after the other, all phases; one pair is in memory at a time.

    Args:
        engine: The engine with the model.
        pairs: Source and target on one grid.
        total: How many pairs there are.
        progress: Told the patient's number after each batch of slices; what it raises ends the work.

    Raises:
        InputError: What the engine or the scope refuses, naming the subject.
    """
    for pair, step in progress.each(pairs, total, "patient"):
        try:
            yield _translated(engine, pair, step)
        except InputError as error:
            raise InputError(error.code, f"{pair.subject}: {error.sentence}", error.remedy) from error


def _translated(engine: InferenceEngine, pair: Pair, progress: Progress) -> Translated:
    # Bodies are filled, and one SSIM computed, in axial slices.
    axial = Reorientation.of(pair.target.ijk_to_ras, "axial")
    reference = np.ascontiguousarray(axial.apply(pair.target.voxels))
    unit = engine.bundle.metadata.upgan.task.unit
    scope = scope_in(reference, np.ones(reference.shape, dtype=bool), axial.spacing[::-1], unit)
    phases = engine.translate(pair.source, phases="all", progress=progress).phases
    # One phase after the other leaves the dictionary, so that only one is there twice.
    upright = {phase: _upright(phases.pop(phase), axial) for phase in sorted(phases)}
    return Translated(pair.subject, upright, reference, scope)


def _upright(maps: PhaseMaps, axial: Reorientation) -> PhaseMaps:
    return PhaseMaps(*(np.ascontiguousarray(axial.apply(array)) for array in (maps.image, maps.alpha, maps.beta)))

"""The limits beyond which an image is unlike a model's training data, set through the engine on held-out patients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from upgan.errors import InputError
from upgan.images.orientation import has_mirror_axis
from upgan.inference.engine import InferenceEngine
from upgan.progress import SILENT, Progress
from upgan.uncertainty.familiarity import Familiarity

if TYPE_CHECKING:
    from upgan.pairs.preparation import Pair


def limited(engine: InferenceEngine, pairs: Iterable[Pair], total: int, progress: Progress = SILENT) -> Familiarity:
    """Return what the engine's model knows of its training, with limits for what is like it.

    Args:
        engine: The model, calibrated, with a ``familiarity`` in its bundle.
        pairs: One scan of each patient who was neither trained nor tested on; the sources alone are looked at.
        total: How many patients.
        progress: Told the patient's number; what it raises ends the work.

    Raises:
        InputError: What the engine refuses, naming the subject.
    """
    section = engine.bundle.metadata.upgan
    assert section.familiarity is not None
    scores: dict[str, list[float]] = {"features": [], "flip": []}
    for pair, step in progress.each(pairs, total, "patient"):
        try:
            translation = engine.translate(pair.source, progress=step, epistemic=has_mirror_axis(section.plane))
        except InputError as error:
            raise InputError(error.code, f"{pair.subject}: {error.sentence}", error.remedy) from error
        found = translation.provenance["familiarity"]["scores"]
        for name, score in found.items():
            if score is not None:
                scores[name].append(score)
    return section.familiarity.with_limits(**scores)

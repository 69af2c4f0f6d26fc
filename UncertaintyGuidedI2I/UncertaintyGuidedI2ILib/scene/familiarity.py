"""Whether a translation's input was like the model's training data, and what is not claimed of it where it was not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import slicer

from UncertaintyGuidedI2ILib.scene.nodes import provenanceOf
from UncertaintyGuidedI2ILib.scene.results import Result

# Characters of a sentence; a scene from elsewhere may hold any number.
LONGEST = 600


class Familiarity(NamedTuple):
    """The verdict that a translation's outputs carry.

    Attributes:
        isUnlike: Whether the input was unlike the training data; None where the model cannot tell.
        sentence: What the engine says of it, with scores and limits; empty where the model knows nothing of its data.
    """

    isUnlike: bool | None
    sentence: str

    @classmethod
    def of(cls, node: slicer.vtkMRMLNode) -> Self:
        """Return what an output says; nothing where a scene from elsewhere says what makes no sense."""
        stated = provenanceOf(node).get("familiarity")
        if not isinstance(stated, Mapping):
            return cls(None, "")
        isUnlike, sentence = stated.get("is_unlike"), stated.get("sentence")
        return cls(
            isUnlike if isinstance(isUnlike, bool) else None, sentence[:LONGEST] if isinstance(sentence, str) else ""
        )


def areIntervalsWithheld(result: Result) -> bool:
    """Whether intervals of a level are not shown: what share of the truth they hold was measured on other images."""
    return Familiarity.of(next(iter(result.nodes.values()))).isUnlike is True

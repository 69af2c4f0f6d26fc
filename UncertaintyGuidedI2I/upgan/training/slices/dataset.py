"""What a run trains on: the task, who is in which part, and the cache of their slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from upgan.pairs.splitting import Split
from upgan.tasks import Task
from upgan.training.slices.cache import SliceCache

# Codes and sentences.
Notes = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunData:
    """What a run trains on.

    Attributes:
        task: The translation.
        split: Subjects' names.
        cache: Their slices.
        notes: What the journal tells of them once, when the run begins, each a code and a sentence.
        warnings: What it tells of them at this start, each a code and a sentence.
        begun: What its checkpoints are to remember, see ``begun.begun_with``.
    """

    task: Task
    split: Split
    cache: SliceCache
    notes: Notes = ()
    warnings: Notes = ()
    begun: Mapping[str, Any] = field(default_factory=dict)

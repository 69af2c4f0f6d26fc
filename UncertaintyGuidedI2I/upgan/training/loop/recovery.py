"""What an interrupted run can go on from: its last checkpoint, or what is whole where that is damaged or gone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from upgan.errors import InputError
from upgan.training.loop.stage import StagePlan
from upgan.training.record import checkpoint
from upgan.training.record.journal_reader import JOURNAL, lines_of
from upgan.training.record.state import RunState
from upgan.training.settings.config import TrainingConfig


class Recovered(NamedTuple):
    """The place from which a run goes on.

    Attributes:
        tensors: The tensors of the checkpoint, by name.
        state: How far the run is there.
        is_between: Whether it goes on at the beginning of ``state.stage``: ``tensors`` are the weights that the stage
            before has handed on, and the discriminators, and nothing else.
        told: What happened to the last checkpoint, in a sentence; empty where nothing did.
    """

    tensors: dict[str, Tensor]
    state: RunState
    is_between: bool
    told: str


def recover(run: Path, config: TrainingConfig, plans: Sequence[StagePlan]) -> Recovered | None:
    """Find the latest checkpoint of a run that is whole; None where it has not written any yet.

    In this order: the last, the one before it, and the outcome of the latest stage that was taken to its end, after
    which the next one begins as it did. Each of them leads to the weights of a run that nothing happened to.

    Args:
        run: The run's folder.
        config: The configuration with which it was begun.
        plans: The plans of its stages, in their order.

    Raises:
        InputError: ``checkpoint_damaged``: nothing is whole that the run could go on from; ``checkpoint_newer``.
    """
    last = checkpoint.path_of(run, checkpoint.LAST)
    previous = checkpoint.previous_of(last)
    ends = {index: checkpoint.path_of(run, plan.name) for index, plan in enumerate(plans)}
    # The base model's figure is kept as the best before anything else is written.
    is_new = not last.exists() and not previous.exists() and not any(path.exists() for path in ends.values())
    if is_new and not _was_trained(checkpoint.path_of(run, checkpoint.BEST)):
        return None
    for path in (last, previous):
        found = _whole(path)
        if found is None or found[1].stage >= len(plans):
            continue
        tensors, state = found
        told = f"The training goes on from the checkpoint before it, with step {state.step + 1} of stage "
        told += f"{plans[state.stage].number}."
        return Recovered(tensors, state, False, "" if path == last else f"{_fate(last)} {told}")
    lines = _journal(run)
    for index in _taken_to_the_end(config, plans, lines):
        found = _whole(ends[index])
        if found is None:
            continue
        tensors, state = found[0], _at_the_end_of(found[1], index, plans, lines)
        told = f"The training goes on from the end of {plans[index].title(plans[-1].trained[-1] + 1)}."
        return Recovered(tensors, state, True, f"{_fate(last)} {told}")
    raise _nothing_whole(run, last)


def _whole(path: Path) -> tuple[dict[str, Tensor], RunState] | None:
    """Read a checkpoint's tensors and state; None where it is damaged or not there.

    Raises:
        InputError: ``checkpoint_newer``.
    """
    try:
        tensors, content = checkpoint.load(path)
        return tensors, RunState.from_json(content)
    except ValueError:
        return None
    except InputError as error:
        if error.code == "checkpoint_newer":
            raise
        return None


class _Line(NamedTuple):
    """A line of the journal, and where it begins."""

    at: int
    content: dict[str, Any]


def _journal(run: Path) -> list[_Line]:
    try:
        text = (run / JOURNAL).read_bytes()
    except OSError:
        return []
    return [_Line(at, content) for at, content in lines_of(text)]


def _begun(lines: Sequence[_Line], plan: StagePlan) -> int | None:
    """Return where in the journal the latest beginning of a stage is told; None where it is not."""
    found = [line.at for line in lines if line.content.get("kind") == "stage" and line.content["stage"] == plan.number]
    return found[-1] if found else None


def _taken_to_the_end(config: TrainingConfig, plans: Sequence[StagePlan], lines: Sequence[_Line]) -> Iterator[int]:
    """Indices of the stages whose outcome is kept, the latest first."""
    for index in reversed(range(len(plans))):
        # Where a stage may end early, its best epoch so far is kept while it lasts.
        is_over = index + 1 < len(plans) and _begun(lines, plans[index + 1]) is not None
        if is_over or not config.schedule.early_stopping:
            yield index


def _at_the_end_of(kept: RunState, index: int, plans: Sequence[StagePlan], lines: Sequence[_Line]) -> RunState:
    """The state in which a run begins the stage after ``index``: the journal tells what its outcome does not."""
    next_stage = _begun(lines, plans[index + 1]) if index + 1 < len(plans) else None
    before = [line for line in lines if next_stage is None or line.at < next_stage]
    steps: dict[int, int] = {}
    seconds = kept.seconds
    for _, line in before:
        if line["kind"] == "steps" and "stage" in line and "seconds" in line:
            steps[line["stage"]], seconds = line["step"], line["seconds"]
    state = RunState(
        total_steps=sum(steps.values()),
        seconds=seconds,
        phases_trained=kept.phases_trained,
        # As it was when the stage's outcome was kept, after which the stage brought nothing better.
        best=kept.best,
        journal=kept.journal if next_stage is None else next_stage,
        measure=kept.measure,
    )
    state.begin_stage(index + 1)
    return state


def _was_trained(best: Path) -> bool:
    """Whether the best checkpoint is of an epoch that was trained, or can no longer tell."""
    if not best.exists():
        return False
    found = _whole(best)
    return found is None or bool(found[1].total_steps)


def _fate(last: Path) -> str:
    return f"The last checkpoint ({last}) is {'damaged' if last.exists() else 'not there any more'}."


def _nothing_whole(run: Path, last: Path) -> InputError:
    whole = []
    for path in sorted(last.parent.glob("*.safetensors")):
        try:
            checkpoint.load(path)
        except InputError:
            continue
        whole.append(path.stem)
    if whole:
        model = f"upgan bundle create {shlex.quote(str(run))} --checkpoint {whole[0]} --output MODEL --licence FILE"
        way = f"make a model of what is whole ({model}) and begin a new training with it as the base"
    else:
        way = f"remove {last.parent} and have the run begin anew"
    return InputError(
        "checkpoint_damaged",
        f"{_fate(last)} None is whole that the training could go on from.",
        f"Put back a copy of {last.name}; or {way}.",
    )

"""What a training session can be doing, what each thing that happens means then, and which buttons are live.

The session follows these tables, and the panel shows its buttons by them: what is not in them does not happen.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal


class State(Enum):
    """Where a session stands; its states of rest are what the folder of the run that is looked at tells."""

    # No run is looked at; or the last one was ended before it had begun, and nothing is left of it.
    NONE = "none"
    GONE = "gone"
    # The run is over, can go on, or is trained by another process.
    OVER = "over"
    PAUSED = "paused"
    WATCHED = "watched"
    # The engine answers a question, or its process ends.
    WAITING = "waiting"
    # A configuration is put together.
    PREPARING = "preparing"
    CHECKING = "checking"
    RUNNING = "running"
    PAUSING = "pausing"
    STOPPING = "stopping"
    SAVING = "saving"

    @property
    def word(self) -> str:
        """The state's name for scripts, e.g. "paused"."""
        return {"none": "idle", "gone": "idle", "over": "idle", "watched": "running"}.get(self.value, self.value)


class Event(Enum):
    """What may be asked of a session, and what it is told."""

    PREPARE = "prepare"
    DROP = "drop"
    ASK = "ask"
    CHECK = "check"
    START = "start"
    RESUME = "resume"
    PAUSE = "pause"
    STOP = "stop"
    SAVE = "save"
    SELECT = "select"
    # The work is over, or it was ended before it had begun.
    ENDED = "ended"
    NOTHING_LEFT = "nothing_left"
    # The run's folder was looked at.
    LOOKED = "looked"
    ENGINE_BUSY = "engine_busy"
    ENGINE_FREE = "engine_free"


# The code of the error with which something is refused.
Refusal = Literal["training_busy", "run_in_use", "run_over", "no_run"]
# To the state of rest that the run's folder tells.
Rest = Literal["rest"]
Button = Literal["check", "start", "pause", "stop", "save", "choose"]

RESTING = frozenset({State.NONE, State.GONE, State.OVER, State.PAUSED, State.WATCHED})
# This session trains the run.
OURS = frozenset({State.RUNNING, State.PAUSING, State.STOPPING})

# A dot: it stays as it is. "!": refused.
_ASKED = """
            prepare    drop  ask        check     start    resume   pause    stop      save    select
none        preparing  .     waiting    checking  running  !none    .        .         !none   rest
gone        preparing  .     waiting    checking  running  !none    .        .         !none   rest
over        preparing  .     waiting    checking  running  !over    .        .         saving  rest
paused      preparing  .     waiting    checking  running  running  .        stopping  saving  rest
watched     preparing  .     waiting    checking  running  !used    !used    !used     saving  rest
waiting     !busy      .     !busy      !busy     !busy    !busy    .        !busy     !busy   .
preparing   !busy      rest  preparing  checking  running  !busy    .        !busy     !busy   .
checking    !busy      .     !busy      !busy     !busy    !busy    .        .         !busy   .
running     !busy      .     !busy      !busy     !busy    !busy    pausing  stopping  !busy   !busy
pausing     !busy      .     !busy      !busy     !busy    !busy    .        stopping  !busy   !busy
stopping    !busy      .     !busy      !busy     !busy    !busy    .        .         !busy   !busy
saving      !busy      .     !busy      !busy     !busy    !busy    .        .         !busy   .
"""
_TOLD = """
            ended      nothing_left  looked  engine_busy  engine_free
none        rest       rest          rest    waiting      .
gone        .          .             .       waiting      .
over        rest       rest          rest    waiting      .
paused      rest       rest          rest    waiting      .
watched     rest       rest          rest    waiting      .
waiting     rest       rest          .       .            rest
preparing   .          .             .       .            .
checking    rest       rest          .       .            .
running     rest       rest          .       .            .
pausing     rest       gone          .       .            .
stopping    rest       gone          .       .            .
saving      rest       rest          .       .            .
"""
# What a click on a button of the panel asks for, where the button is live; "choose" are the run and what to train.
_BUTTONS = """
            check    start    pause   stop  save  choose
none        prepare  prepare  .       .     .     select
gone        prepare  prepare  .       .     .     select
over        prepare  prepare  .       .     save  select
paused      prepare  prepare  resume  stop  save  select
watched     prepare  prepare  .       .     save  select
waiting     .        .        .       .     .     .
preparing   .        .        .       .     .     .
checking    stop     .        .       .     .     .
running     .        .        pause   stop  .     .
pausing     .        .        .       .     .     .
stopping    .        .        .       .     .     .
saving      .        .        .       .     stop  .
"""
_REFUSALS: dict[str, Refusal] = {
    "!busy": "training_busy",
    "!used": "run_in_use",
    "!over": "run_over",
    "!none": "no_run",
}


def _cells(table: str) -> dict[tuple[str, str], str]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    return {(name, column): cell for name, *cells in rows for column, cell in zip(head, cells, strict=True)}


def _target(state: State, cell: str) -> State | Rest | Refusal:
    if cell == ".":
        return state
    return "rest" if cell == "rest" else _REFUSALS.get(cell) or State(cell)


# By state and event: the state that follows, or why nothing does.
TRANSITIONS: dict[tuple[State, Event], State | Rest | Refusal] = {
    (State(state), Event(event)): _target(State(state), cell)
    for table in (_ASKED, _TOLD)
    for (state, event), cell in _cells(table).items()
}
_SENT = {(State(state), button): cell for (state, button), cell in _cells(_BUTTONS).items() if cell != "."}


def refusal(state: State, event: Event) -> Refusal | None:
    """Return the code of the error with which an event is refused in a state, or None where it is not."""
    target = TRANSITIONS[state, event]
    return None if isinstance(target, State) or target == "rest" else target


def following(state: State, event: Event, resting: State) -> State:
    """Return the state that follows an event that is not refused.

    Args:
        state: The state that the session is in.
        event: The event that is asked for or told.
        resting: The state of rest that the folder of the run looked at tells.
    """
    target = TRANSITIONS[state, event]
    if isinstance(target, State):
        return target
    assert target == "rest", "a refused event does not happen"
    return resting


def sentBy(state: State, button: Button) -> Event | None:
    """Return what a click on a button asks for in a state, or None where the button is dead."""
    cell = _SENT.get((state, button))
    return Event(cell) if cell is not None else None


def stateOf(folder: str | None) -> State:
    """Return the state of rest that a run's folder tells.

    Args:
        folder: What ``upgan.training.record.runs.read_run_state`` says of it; None where there is no run.
    """
    states = {None: State.NONE, "stopped": State.OVER, "finished": State.OVER, "running": State.WATCHED}
    # Just begun, paused, damaged, or of a newer version: resuming it says how.
    return states.get(folder, State.PAUSED)

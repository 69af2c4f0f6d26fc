"""What a training session does in every state with everything that can happen, and which buttons are live then."""

import itertools
from typing import get_args

import pytest

from UncertaintyGuidedI2ILib.train.session.states import (
    OURS,
    RESTING,
    TRANSITIONS,
    Button,
    Event,
    State,
    following,
    refusal,
    sentBy,
    stateOf,
)

BUSY = [state for state in State if state not in RESTING]
ASKED = {Event.CHECK, Event.START, Event.RESUME, Event.PAUSE, Event.STOP, Event.SAVE, Event.SELECT, Event.PREPARE}
TOLD = set(Event) - ASKED - {Event.ASK, Event.DROP}
CODES = {"training_busy", "run_in_use", "run_over", "no_run"}
BUTTONS: tuple[Button, ...] = get_args(Button)


def targets(state, event):
    """Where an event may lead to, whatever the run's folder tells."""
    if refusal(state, event) is not None:
        return set()
    return {following(state, event, resting) for resting in RESTING - {State.GONE}}


def test_every_event_in_every_state_leads_somewhere_or_is_refused_with_a_code():
    assert set(TRANSITIONS) == set(itertools.product(State, Event))
    for state, event in TRANSITIONS:
        assert targets(state, event) or refusal(state, event) in CODES
    # What has happened cannot be refused.
    assert all(refusal(state, event) is None for state in State for event in TOLD | {Event.DROP})


def test_every_state_is_reached_from_none_and_left_for_rest():
    reached, new = set(), {State.NONE}
    while new:
        reached |= new
        new = {target for state in new for event in Event for target in targets(state, event)} - reached
    assert reached == set(State)
    for state in State:
        # Without the user, where the engine is at work; else by choosing another run.
        events = TOLD if state in BUSY and state is not State.PREPARING else {Event.DROP, Event.SELECT}
        assert set().union(*(targets(state, event) for event in events)) - {state}


@pytest.mark.parametrize("state", BUSY, ids=lambda state: state.value)
def test_one_thing_at_a_time(state):
    begins = {Event.PREPARE, Event.CHECK, Event.START, Event.RESUME, Event.SAVE, Event.ASK}
    # What is prepared for may begin, and what it takes may be asked.
    allowed = {Event.CHECK, Event.START, Event.ASK} if state is State.PREPARING else set()
    assert {event for event in begins if refusal(state, event) != "training_busy"} == allowed
    # What the clock finds in the folder, or the engine says of itself, is not its end.
    for event in (Event.LOOKED, Event.ENGINE_BUSY):
        assert targets(state, event) == {state}


@pytest.mark.parametrize("state", [state for state in State if state in OURS], ids=lambda state: state.value)
def test_a_run_that_is_trained_here_is_neither_left_nor_lost_before_it_ends(state):
    assert refusal(state, Event.SELECT) == "training_busy"
    for event in Event:
        if event not in (Event.ENDED, Event.NOTHING_LEFT):
            assert targets(state, event) <= OURS
    assert targets(state, Event.ENDED) == RESTING - {State.GONE}


WAYS = [
    ("prepare check ended", State.NONE, "preparing checking rest"),
    ("prepare ask ended start", State.NONE, "preparing preparing preparing running"),
    ("prepare drop", State.OVER, "preparing rest"),
    ("prepare ask drop engine_busy ended", State.PAUSED, "preparing preparing rest waiting rest"),
    ("start pause pause ended resume", State.PAUSED, "running pausing pausing rest running"),
    ("start pause stop stop pause ended", State.OVER, "running pausing stopping stopping stopping rest"),
    ("start pause nothing_left select", State.NONE, "running pausing gone rest"),
    ("start stop nothing_left prepare", State.NONE, "running stopping gone preparing"),
    ("start nothing_left", State.NONE, "running rest"),
    ("stop ended", State.PAUSED, "stopping rest"),
    ("check stop select ended", State.WATCHED, "checking checking checking rest"),
    ("save stop ended", State.OVER, "saving saving rest"),
    ("ask looked engine_free", State.WATCHED, "waiting waiting rest"),
    ("engine_busy engine_free", State.PAUSED, "waiting rest"),
    ("pause stop", State.NONE, "rest rest"),
]


@pytest.mark.parametrize(("events", "resting", "states"), WAYS)
def test_the_ways_that_a_training_goes(events, resting, states):
    at = resting
    for event, expected in zip(events.split(), states.split(), strict=True):
        assert refusal(at, Event(event)) is None
        at = following(at, Event(event), resting)
        assert at is (resting if expected == "rest" else State(expected))


REFUSED = [
    (State.NONE, Event.RESUME, "no_run"),
    (State.GONE, Event.SAVE, "no_run"),
    (State.OVER, Event.RESUME, "run_over"),
    (State.WATCHED, Event.RESUME, "run_in_use"),
    (State.WATCHED, Event.PAUSE, "run_in_use"),
    (State.WATCHED, Event.STOP, "run_in_use"),
    (State.WAITING, Event.STOP, "training_busy"),
    (State.PREPARING, Event.STOP, "training_busy"),
]


@pytest.mark.parametrize(("state", "event", "code"), REFUSED)
def test_what_cannot_be_is_refused_with_the_reason(state, event, code):
    assert refusal(state, event) == code
    with pytest.raises(AssertionError):
        following(state, event, State.NONE)


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_a_live_button_asks_for_what_is_not_refused(state):
    for button in BUTTONS:
        event = sentBy(state, button)
        if event is None:
            continue
        assert refusal(state, event) is None
        # A click does something: a check and the making of a model are ended by the engine's answer.
        is_ended = event is Event.STOP and state in (State.CHECKING, State.SAVING)
        assert is_ended or targets(state, event) != {state}


LIVE = {
    State.NONE: "check start choose",
    State.GONE: "check start choose",
    State.OVER: "check start save choose",
    State.PAUSED: "check start pause stop save choose",
    State.WATCHED: "check start save choose",
    State.WAITING: "",
    State.PREPARING: "",
    State.CHECKING: "check",
    State.RUNNING: "pause stop",
    State.PAUSING: "",
    State.STOPPING: "",
    State.SAVING: "save",
}


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_the_buttons_that_are_live(state):
    assert [button for button in BUTTONS if sentBy(state, button) is not None] == LIVE[state].split()


def test_scripts_are_told_in_seven_words():
    words = {"idle", "checking", "running", "pausing", "paused", "stopping", "saving"}
    assert {state.word for state in set(State) - {State.WAITING, State.PREPARING}} == words
    assert [state.word for state in (State.NONE, State.GONE, State.OVER, State.WATCHED)] == ["idle"] * 3 + ["running"]


@pytest.mark.parametrize(
    ("folder", "state"),
    [
        (None, State.NONE),
        ("new", State.PAUSED),
        ("paused", State.PAUSED),
        ("damaged", State.PAUSED),
        ("running", State.WATCHED),
        ("stopped", State.OVER),
        ("finished", State.OVER),
    ],
)
def test_a_runs_folder_tells_how_it_rests(folder, state):
    assert stateOf(folder) is state

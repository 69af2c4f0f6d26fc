"""How far work is: parts within parts, names within names, the time left, and the end that a listener may put to it."""

import doctest

import pytest

from upgan import progress as module
from upgan.errors import Cancelled
from upgan.inference.engine import SlicesDone
from upgan.progress import SILENT, Progress, seconds_left


class Heard(list):
    """What was told."""

    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.progress = Progress(lambda *told: self.append(told), lambda: self.now)

    @property
    def fractions(self):
        return [fraction for _, fraction, _ in self]

    @property
    def names(self):
        return [what for what, *_ in self]


@pytest.fixture
def heard():
    return Heard()


def test_the_examples_are_true():
    assert doctest.testmod(module) == (0, doctest.testmod(module).attempted)
    assert doctest.testmod(module).attempted > 0


def test_nobody_need_listen():
    SILENT.steadily().part(0.2, 0.8).tell(0.5, "working")


def test_a_part_within_a_part_tells_of_the_whole(heard):
    heard.progress.part(0.2, 0.6).part(0.5, 1.0).tell(0.5, "working")
    assert heard == [("working", pytest.approx(0.2 + 0.4 * 0.75), None)]


def test_a_step_that_miscounts_stays_within_its_part(heard):
    step = heard.progress.part(0.2, 0.6)
    step.tell(-1.0)
    step.tell(7.0)
    heard.progress.part(0.3, 0.3).tell(0.9)  # one that does not count
    assert heard.fractions == pytest.approx([0.2, 0.6, 0.3])


def test_parts_one_after_the_other_never_go_back_and_end_where_the_whole_ends(heard):
    first, none, last = heard.progress.parts((3, "measuring"), (0, "nothing"), (1, "describing"))
    for name, step in first.each("abc", 3, "patient"):
        for done in (0.0, 0.5, 1.0):
            step.tell(done, name)
    none.tell(0.4)
    last.tell(0.0)
    last.tell(1.0)
    assert heard.fractions == sorted(heard.fractions)
    assert heard.fractions[-3:] == [0.75, 0.75, 1.0]
    assert set(heard.fractions) >= {0.0, 0.25, 0.5}


def test_a_named_part_is_called_by_its_name_and_one_within_it_by_both(heard):
    whole = heard.progress
    whole.part(0.0, 0.5).tell(0.1, "reading")
    named = whole.part(0.0, 0.5, "checking")
    named.tell(0.1, "reading")
    for _, step in named.each("ab", 2, "patient"):
        step.part(0.0, 0.5).tell(0.1, "reading")
    assert heard.names == ["reading", "checking", "checking patient 1 of 2", "checking patient 2 of 2"]


def test_what_the_listener_raises_ends_the_work_wherever_it_is_told():
    def cancel(what, fraction, remaining_s):
        if fraction > 0.5:
            raise Cancelled

    def work(progress):
        for number, step in progress.each(range(6), 6, "patient"):
            done.append(number)
            step.part(0.0, 1.0).tell(1.0)

    done = []
    with pytest.raises(Cancelled):
        work(Progress(cancel).part(0.4, 1.0))
    assert done == [0, 1]


def test_the_time_left_is_that_of_the_whole_at_the_speed_since_it_goes_on_steadily(heard):
    heard.progress.tell(0.1)
    whole = heard.progress.steadily(0.2)
    heard.now += 10
    whole.part(0.0, 0.5).tell(0.5)  # a quarter of the whole: a twentieth in 10 s
    heard.now += 10
    whole.tell(1.0)
    again = whole.part(0.5, 1.0).steadily(0.5)
    again.tell(0.5)
    heard.now += 2
    again.tell(0.75)
    assert [remaining_s for *_, remaining_s in heard] == [None, pytest.approx(150), 0, None, pytest.approx(2)]
    assert again.remaining_s(1.0) == 0
    assert heard.progress.remaining_s(0.5) is None


def test_before_anything_is_done_nobody_knows_the_time_left():
    assert seconds_left(5.0, 0.0) is None
    assert seconds_left(5.0, 0.3, 0.3) is None
    assert seconds_left(5.0, 0.2, 0.3) is None  # a training that went back
    assert seconds_left(5.0, 0.25) == pytest.approx(15)


def test_a_progress_goes_wherever_a_function_is_called_with_what_was_reached(heard):
    heard.progress.part(0.5, 1.0)(SlicesDone(2, 3, 64, 128, 1.5, 0.5))
    assert heard == [("phase 2 of 3, slice 64 of 128", 0.75, None)]
    assert SlicesDone(1, 3, 0, 128, 1.5, 0.0).remaining_s == float("inf")

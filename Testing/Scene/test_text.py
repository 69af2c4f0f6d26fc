"""Numbers as people read them."""

import pytest

from UncertaintyGuidedI2ILib.text import duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3900, "1 h 5 min")]
)
def test_a_time_is_said_as_people_say_it(seconds, text):
    assert duration(seconds) == text

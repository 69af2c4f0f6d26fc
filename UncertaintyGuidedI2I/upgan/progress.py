"""How far long work is: the one thing that whatever takes its time is given, and tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol, TypeVar

T = TypeVar("T")

# Hears what is being done, the fraction of the whole that is done, and the seconds left where they are known. It may
# raise ``upgan.errors.Cancelled``, and the work ends.
Listener = Callable[[str, float, float | None], None]


class Reached(Protocol):
    """Where some work is, which may say more about it than that."""

    @property
    def what(self) -> str:
        """What is being done, for people."""

    @property
    def fraction(self) -> float:
        """Share of it that is done."""


class _Beginning(NamedTuple):
    """When work began to go on steadily, by the clock, and the fraction of the whole that was done then."""

    at_s: float
    done: float


@dataclass(frozen=True)
class Progress:
    """Tells whoever listens how far work is; a step of it is given a part, and tells of that as if it were the whole.

    A progress can also be given where a function is called with what the work has ``Reached``.

    Attributes:
        listener: Hears of it, in the thread that works; nobody does, if None.
        clock: In seconds, for the time left.
        first: Fraction of the whole at which this part begins.
        last: Fraction at which it ends.
        name: What is said of this part, whatever its steps say.

    >>> progress = Progress(lambda what, fraction, remaining_s: print(f"{fraction:.0%} {what}"))
    >>> progress.tell(0.0, "reading")
    0% reading
    >>> for patient, step in progress.part(0.2, 1.0).each(["Ann", "Bob"], 2, "checking patient"):
    ...     step.tell(1.0)
    60% checking patient 1 of 2
    100% checking patient 2 of 2
    """

    listener: Listener | None = None
    clock: Callable[[], float] = time.monotonic
    first: float = 0.0
    last: float = 1.0
    name: str = ""
    _beginning: _Beginning | None = None

    def tell(self, fraction: float, what: str = "") -> None:
        """Say that a fraction of this part is done, 0 to 1, and what is done now.

        Raises:
            Cancelled: Whoever listens wants the work to end.
        """
        if self.listener is not None:
            self.listener(self.name or what, self._of_whole(fraction), self.remaining_s(fraction))

    def __call__(self, reached: Reached) -> None:
        """Tell what this part's work has reached."""
        self.tell(reached.fraction, reached.what)

    def part(self, first: float, last: float, name: str = "") -> Progress:
        """Return the progress of a step, which brings this part from one fraction to another.

        Args:
            first: Where the step begins.
            last: Where it ends; in the same place, if it does not count.
            name: What is said of it, behind this part's own name; what it says itself, if empty and this has no name.
        """
        names = " ".join(each for each in (self.name, name) if each)
        return replace(self, first=self._of_whole(first), last=self._of_whole(last), name=names)

    def parts(self, *steps: tuple[int, str]) -> list[Progress]:
        """Return the progresses of steps that follow one another, each given as what it costs, and its name."""
        ends = list(accumulate((cost for cost, _ in steps), initial=0))
        return [
            self.part(first / ends[-1], last / ends[-1], name)
            for (first, last), (_, name) in zip(pairwise(ends), steps, strict=True)
        ]

    def each(self, items: Iterable[T], total: int, name: str) -> Iterator[tuple[T, Progress]]:
        """Yield each of so many items with the progress of its own step, called "<name> 3 of 12"; they cost the same.

        Nothing is told by this alone.
        """
        for number, item in enumerate(items):
            yield item, self.part(number / total, (number + 1) / total, f"{name} {number + 1} of {total}")

    def steadily(self, done: float = 0.0) -> Progress:
        """Begin to tell the seconds left of the whole: it goes on steadily from now, when so much of this is done."""
        return replace(self, _beginning=_Beginning(self.clock(), self._of_whole(done)))

    def remaining_s(self, fraction: float) -> float | None:
        """Return the seconds until the whole is done, if a fraction of this part is; None where they are not known."""
        if self._beginning is None:
            return None
        return seconds_left(self.clock() - self._beginning.at_s, self._of_whole(fraction), self._beginning.done)

    def _of_whole(self, fraction: float) -> float:
        return self.first + (self.last - self.first) * max(min(fraction, 1.0), 0.0)


SILENT = Progress()


def seconds_left(elapsed_s: float, done: float, done_before: float = 0.0) -> float | None:
    """Return how long the rest takes at the speed so far.

    Args:
        elapsed_s: Since the beginning.
        done: Fraction of the whole that is done.
        done_before: Fraction that was done at the beginning.

    Returns:
        Seconds; None where nothing has been done since the beginning.
    """
    return elapsed_s / (done - done_before) * (1 - done) if done > done_before else None

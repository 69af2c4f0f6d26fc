"""What both ends of the worker's pipe agree on: numbers, limits and signals; and the type of a command."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from upgan.progress import Progress

# The number of the format of requests and events, which ``ready`` tells: the viewer talks to a worker of its own number
# only. It goes up where one end would misunderstand the other. A field that is added to an event does not raise it, for
# who does not know a field leaves it alone; an argument that is not known is refused, for work would differ without it.
PROTOCOL = 1


# After stdin has closed: time for work that looks at its progress; what does not is ended from outside Python.
# A process that trains is given more, to write a checkpoint.
GRACE_S = 0.3


# Bytes of a request: far more than any has. What JSON makes of it in memory is some hundred times as much at worst.
LONGEST_LINE = 1 << 20


# Whoever ends a process in order sends one of these; Windows has none.
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


Command = Callable[[dict[str, Any], Progress], dict[str, Any]]

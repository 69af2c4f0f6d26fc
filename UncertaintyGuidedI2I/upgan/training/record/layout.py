"""Names of the files in a run's folder."""

from __future__ import annotations

CONFIG = "config.json"
SPLIT = "split.json"
DATA = "data.json"
MACHINE = "machine.txt"
CACHE = "cache"
LOCK = "run.lock"
FINISHED = "finished.json"

"""Names of the files in a run's folder."""

from __future__ import annotations

CONFIG = "config.json"
SPLIT = "split.json"
DATA = "data.json"
MACHINE = "machine.txt"
CACHE = "cache"
HANDED_ON = "handed_on"
LOCK = "run.lock"
FINISHED = "finished.json"

# Of a run's folder, as ``config.json`` tells it under this key; a reader of this version knows no higher one. Folders
# without it are of the first.
FORMAT_KEY = "format"
FORMAT = 3

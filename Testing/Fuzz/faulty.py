"""Targets that do what none may, to see that it is found; never part of a campaign that does not name them."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from Fuzz.target import Files, Target
from upgan.errors import InputError


def _read(folder: Path) -> None:
    content = (folder / "input").read_bytes()
    if content == b"1":
        raise ValueError(f"not a refusal, but {folder.name}")
    if content == b"2":
        raise InputError("not_an_image", "A refusal.", "None.")
    if content == b"3":
        os.kill(os.getpid(), 9)
    if content == b"4":
        time.sleep(60)
    if content == b"5":
        _ = b"x" * (160 << 20)
    if content == b"6":
        (folder / "left behind").write_bytes(b"")


def _count(files: Files, chance: random.Random) -> Files:
    return {"input": str(chance.randrange(100)).encode()}


TARGETS = (Target("faulty/everything", lambda: [{"input": str(n).encode()} for n in range(7)], _count, _read),)

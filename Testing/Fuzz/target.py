"""What is fuzzed: a few seeds made by code, a way to damage them, and what is done with the result."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# The files of one input by name, relative to its folder, with "/" between the parts. Names may be any bytes that a file
# system takes, as os.fsdecode gives them.
Files = dict[str, bytes]


@dataclass(frozen=True)
class Target:
    """One reader of what comes from outside.

    Attributes:
        name: "group/what", e.g. "reader/NRRD, attached".
        seeds: Makes the files that are damaged: small, whole, and the same each time.
        mutate: Damages one seed; all of its chance comes from the generator.
        run: Does with the files of a folder what the program does with them. It may raise ``UpganError``; anything
            else that it raises is a finding.
        writes: Whether it may change the folder.
    """

    name: str
    seeds: Callable[[], list[Files]]
    mutate: Callable[[Files, random.Random], Files]
    run: Callable[[Path], object]
    writes: bool = False

    def input(self, seeds: list[Files], seed: int, index: int) -> Files:
        """Return the input of a number; the first ones are the seeds themselves."""
        if index < len(seeds):
            return seeds[index]
        chance = random.Random(f"{seed}/{self.name}/{index}")
        return self.mutate(dict(chance.choice(seeds)), chance)


def lay_out(files: Files, folder: Path) -> None:
    """Write the files of an input into a folder."""
    for name, content in files.items():
        path = os.path.join(folder, *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

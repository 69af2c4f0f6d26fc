"""A pickle that shows when it is opened."""

from pathlib import Path


class Bomb:
    """Makes a file when it is unpickled: what a model must never be able to do."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.target), "w")

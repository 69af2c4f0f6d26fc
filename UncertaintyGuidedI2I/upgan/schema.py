"""What arrives from outside the process: models that take nothing but what they name.

Types here refuse what no file system and no arithmetic takes, so that whoever uses a value need not ask again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator

from upgan.foreign_text import is_visible


class Arguments(BaseModel):
    """Base of the arguments of a piece of work: no unknown names, no numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _path(value: Any) -> Path:
    text = _name(str(value) if isinstance(value, Path) else value)
    if not text:
        raise ValueError("it must be the path of a file or folder")
    return Path(text)


def _name(value: Any) -> str:
    # Not by pydantic's own type: file names that are no Unicode are names all the same, on Linux.
    if not isinstance(value, str):
        raise ValueError("it must be text")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise ValueError("it must be text that a file's name can hold") from None
    if "\0" in value:
        raise ValueError("it must not contain the character NUL")
    return value


FilePath = Annotated[Path, PlainValidator(_path)]
"""A path, not empty; that something is there is for its user to find out."""

Name = Annotated[str, PlainValidator(_name)]
"""Text that may become, or be looked up as, the name of a file."""


def _visible(text: str) -> str:
    if not is_visible(text):
        raise ValueError("it must be one line without control characters")
    return text


Label = Annotated[str, Field(max_length=200), AfterValidator(_visible)]
"""One line that people read, such as a title: nothing in it that is not seen."""

_Row = Annotated[list[Annotated[float, Field(strict=True, allow_inf_nan=True)]], Field(min_length=4, max_length=4)]

Affine = Annotated[list[_Row], Field(min_length=4, max_length=4)]
"""4x4 numbers in rows, mm. Whether they place an image is for ``images.volume.Volume`` to say, in its own words."""


class Section(BaseModel):
    """Base of a configuration's parts, as people write them; docstrings of attributes describe them in the template."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

"""A configuration to begin with: every key with its meaning and its value, as TOML."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from upgan.errors import OutputError
from upgan.files import refusal
from upgan.networks.architecture import CascadeArchitecture
from upgan.training.settings.config import TrainingConfig
from upgan.training.settings.presets import PresetName, preset

_WIDTH = 100

# What has no default: a value to change.
_TO_FILL_IN = {"name": "my-model", "data.path": "pairs/manifest.json"}

# What follows from other keys, unless a preset says it.
_FOLLOWS = {"architecture.from_input"}

# What is off or found out by default: a value to uncomment. The split is the paper's.
_EXAMPLES = {
    "architecture.from_input": True,
    "base": "pet-ct-phantom",
    "data.spacing_mm": [2.0, 2.0],
    "split.train": 29,
    "split.validation": 5,
    "split.test": 15,
    "schedule.epoch_steps": 125,
    "schedule.gradient_clip": 1.0,
    "schedule.early_stopping": 20,
    "schedule.weight_averaging": 0.999,
}


def write_template(path: Path, name: PresetName, base: str | None = None) -> None:
    """Write a commented configuration with a preset's values.

    Args:
        path: The file, which must not exist yet.
        name: The preset.
        base: Model to go on from, by name or folder.

    Raises:
        OutputError: ``exists``, ``disk_full`` or ``not_writable``.
        InputError: What is wrong with the preset.
        BundleError: What is wrong with the base model.
    """
    if base and Path(base).is_dir():
        base = str(Path(base).resolve())  # the file may lie elsewhere
    text = template(name, base)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise OutputError("exists", f"{path} exists already.", "Choose another name or remove it first.") from error
    except OSError as error:
        raise refusal(error, str(path)) from error


def template(name: PresetName, base: str | None = None) -> str:
    """Return the text of a configuration with a preset's values; errors as for ``preset``."""
    values = preset(name, base)
    sections = {key: _section_of(field) for key, field in TrainingConfig.model_fields.items()}
    lines = [
        *_comment(f"A run of `upgan train`, with the preset '{name}'. Documentation/Training.md explains it."),
        *_comment("A key that is commented out is off, or found out by the software."),
    ]
    plain = {key: field for key, field in TrainingConfig.model_fields.items() if sections[key] is None}
    lines += _entries(plain, "", values, {})
    for key, section in sections.items():
        if section is not None:
            heading = inspect.getdoc(section) if key != "architecture" else TrainingConfig.model_fields[key].description
            lines += ["", "", *_comment((heading or "").partition("\n\n")[0]), f"[{key}]"]
            lines += _entries(section.model_fields, f"{key}.", values.get(key, {}), _attributes(section))
    return "\n".join(lines) + "\n"


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a section; None for a plain key."""
    default = field.default
    if isinstance(default, BaseModel):
        return CascadeArchitecture if isinstance(default, CascadeArchitecture) else type(default)
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _entries(
    fields: Mapping[str, FieldInfo], prefix: str, values: Mapping[str, Any], descriptions: Mapping[str, str]
) -> Iterator[str]:
    for key, field in fields.items():
        full = prefix + key
        default = None if full in _FOLLOWS else field.default
        value = values.get(key, _TO_FILL_IN[full] if field.is_required() else default)
        yield ""
        yield from _comment(field.description or descriptions[key])
        yield f"# {key} = {_toml(_EXAMPLES[full])}" if value is None else f"{key} = {_toml(value)}"


def _attributes(section: type[BaseModel]) -> dict[str, str]:
    """The fields' meanings as a docstring's list of attributes has them."""
    _, _, listed = (inspect.getdoc(section) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _comment(text: str) -> list[str]:
    plain = text.replace("``", "`")
    return textwrap.wrap(plain, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)  # text, whole numbers and truth values are the same in JSON

"""Configurations of runs as people write them: TOML files, ``--set key=value``, JSON from a viewer.

Whatever is wrong is said in the words of the file: the key with its section, what it must be, and for a key that does
not exist the one that was probably meant.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from upgan.bundles.library import installed_models
from upgan.errors import InputError
from upgan.files import read_regular
from upgan.networks.architecture import ARCHITECTURES
from upgan.simulation.degradation import FORMS, Degradation
from upgan.training.settings.config import TrainingConfig

# A configuration with every key explained has ten kilobytes.
_LARGEST = 256 << 10
# Of a line: a key of thousands of parts takes the parser minutes.
_LONGEST_LINE = 4 << 10
# Of what is wrong, said at once.
_MOST_FAULTS = 20
_REMEDY = "Correct it; `upgan train --init FILE` writes a configuration that explains every key."


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a run's configuration; paths in it are relative to the file.

    Args:
        path: TOML file.
        overrides: ``section.key=value`` each, with the value as in TOML or as bare text; paths in them are relative
            to the current folder, as any on a command line.

    Raises:
        InputError: ``config_not_found``, ``config_unreadable`` or ``config_invalid``.
    """
    try:
        content = _parsed_toml(read_regular(path, _LARGEST).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(
            "config_not_found", f"There is no configuration {path}.", "Write one with `upgan train --init FILE`."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            "config_unreadable", f"{path} cannot be read as TOML: {str(error).rstrip('.')}.", _REMEDY
        ) from error
    except RecursionError as error:
        raise _too_deep(str(path)) from error
    content = _with_absolute_paths(content, path.absolute().parent)
    for override in overrides:
        try:
            _merge(content, _with_absolute_paths(_parsed(override), Path.cwd()))
        except RecursionError as error:
            raise _too_deep(f"'{_shown(override)}'") from error
    return config_from(content)


def config_from(content: Mapping[str, Any]) -> TrainingConfig:
    """Validate a configuration that is given as nested values, e.g. from JSON; its paths are taken as they are.

    Raises:
        InputError: ``config_invalid``.
    """
    for section in _sections():
        if not isinstance(content.get(section, {}), Mapping):
            raise _invalid(f"'{section}' is a section with keys of its own, not a single value.")
    try:
        return _validated(content)
    except RecursionError as error:  # also of what is said about it
        raise _too_deep("The configuration") from error


def _validated(content: Mapping[str, Any]) -> TrainingConfig:
    try:
        return TrainingConfig.model_validate(dict(content))
    except ValidationError as error:
        faults = error.errors()
        said = [_sentence(details, content) for details in faults[:_MOST_FAULTS]]
        more = [f"{len(faults) - _MOST_FAULTS} more keys are wrong."] if len(faults) > _MOST_FAULTS else []
        raise _invalid(" ".join(said + more)) from error


def _parsed_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: It is none, or a line is longer than any.
    """
    if any(len(line) > _LONGEST_LINE for line in text.splitlines()):
        raise ValueError(f"a line has more than {_LONGEST_LINE} characters")
    return tomllib.loads(text)


def _parsed(override: str) -> dict[str, Any]:
    """Turn ``section.key=value`` into nested values."""
    key, sign, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not sign or not all(names):
        raise InputError(
            "config_invalid", f"'{override}' sets nothing.", "Write it as --set section.key=value, without spaces."
        )
    value: Any = _toml_value(text.strip())
    for name in reversed(names):
        value = {name: value}
    return dict(value)


def _toml_value(text: str) -> Any:
    try:
        (value,) = _parsed_toml(f"value = {text}").values()
    except ValueError:
        return text  # a shell has taken the quotes away
    return value


def _merge(content: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(content.get(name), dict):
            _merge(content[name], value)
        else:
            content[name] = value


def _with_absolute_paths(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    data = content.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        content = {**content, "data": {**data, "path": _resolved(folder, data["path"])}}
    base = content.get("base")
    # An installed model's name stays one: that is how the same name is understood everywhere else.
    if isinstance(base, str) and not _is_installed(base) and os.path.isdir(_resolved(folder, base)):
        content = {**content, "base": _resolved(folder, base)}
    return content


def _resolved(folder: Path, path: str) -> str:
    # Not resolved: what lies beside a link is meant, not what lies beside its target.
    with contextlib.suppress(RuntimeError):  # "~nobody" is nobody's home: a name like any other.
        path = str(Path(path).expanduser())
    return os.path.abspath(folder / path)


def _is_installed(name: str) -> bool:
    return any(model.name == name for model in installed_models())


# --- What is wrong, in words ------------------------------------------------------------------------------------------


def _invalid(sentence: str) -> InputError:
    return InputError("config_invalid", sentence, _REMEDY)


def _too_deep(what: str) -> InputError:
    return InputError("config_unreadable", f"{what} is nested too deep.", _REMEDY)


def _sentence(details: ErrorDetails, content: Mapping[str, Any]) -> str:
    place = [part for part in details["loc"] if part not in (*ARCHITECTURES, *FORMS)]
    key = ".".join(map(str, place))
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key([str(part) for part in place], content)
    if kind == "missing":
        return f"'{key}' is not given."
    if kind == "value_error":
        return f"{f'{key}: ' if key else ''}{context['error']}."
    if kind == "union_tag_invalid":
        return f"'{key}.name' must be one of {', '.join(ARCHITECTURES)}, not {_shown(context['tag'])}."
    if kind == "string_pattern_mismatch":
        return f"'{key}' cannot be {_shown(details['input'])}. {_description(place)}"
    needed = _NEEDED.get(kind)
    message = needed(context) if needed else details["msg"].removeprefix("Input should ").removeprefix("be ")
    return f"'{key}' must be {message}, not {_shown(details['input'])}."


_NEEDED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda context: f"above {context['gt']:g}",
    "greater_than_equal": lambda context: f"{context['ge']:g} or more",
    "less_than": lambda context: f"below {context['lt']:g}",
    "less_than_equal": lambda context: f"{context['le']:g} or less",
    "literal_error": lambda context: f"{'one of ' if ' or ' in context['expected'] else ''}{context['expected']}",
    "too_long": lambda context: f"a list of no more than {context['max_length']}",
    "too_short": lambda context: f"a list of at least {context['min_length']}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), lambda context: "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), lambda context: "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), lambda context: "true or false"),
    "string_type": lambda context: "text in quotes",
    "path_type": lambda context: "a path in quotes",
    "tuple_type": lambda context: "a list in brackets",
}


def _shown(value: Any) -> str:
    """Show a value as TOML would, as far as that differs from Python for what people type."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _description(place: Sequence[int | str]) -> str:
    model: type[BaseModel] = TrainingConfig
    *sections, name = place
    for section in sections:
        model = _sections()[str(section)][0]
    return model.model_fields[str(name)].description or ""


def _unknown_key(place: list[str], content: Mapping[str, Any]) -> str:
    """Say that a key does not exist, and which was probably meant."""
    key = ".".join(place)
    section, name = ".".join(place[:-1]), place[-1]
    known = list(_keys(content))
    elsewhere = [other for other in known if other.rpartition(".")[2] == name or other.replace(".", "_") == name]
    beside = [other for other in known if other.rpartition(".")[0] == section]
    near = elsewhere or _nearest(name, beside) or _nearest(name, known)
    if near:
        return f"There is no '{key}'; the nearest is {' or '.join(repr(other) for other in near)}."
    return f"There is no '{key}'; {f'[{section}]' if section else 'a configuration'} has {', '.join(_leaves(beside))}."


def _nearest(name: str, keys: Sequence[str]) -> list[str]:
    (best, *_) = [*difflib.get_close_matches(name, _leaves(keys), n=1), ""]
    return [key for key in keys if best and key.rpartition(".")[2] == best]


def _leaves(keys: Sequence[str]) -> list[str]:
    return [key.rpartition(".")[2] for key in keys]


def _keys(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield all keys with their sections, and the sections; the architecture's are those of its kind."""
    sections = _sections()
    kind = str(content.get("architecture", {}).get("name", "up-gan"))
    for name in TrainingConfig.model_fields:
        yield name
        for model in sections.get(name, ()):
            if name != "architecture" or model is ARCHITECTURES.get(kind):
                yield from (f"{name}.{key}" for key in model.model_fields)
    if isinstance(content.get("data", {}).get("degradation"), Mapping):
        yield from (f"data.degradation.{key}" for key in Degradation.model_fields)


def _sections() -> dict[str, tuple[type[BaseModel], ...]]:
    found: dict[str, tuple[type[BaseModel], ...]] = {}
    for name, field in TrainingConfig.model_fields.items():
        if name == "architecture":
            found[name] = tuple(ARCHITECTURES.values())
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[name] = (field.annotation,)
    return found

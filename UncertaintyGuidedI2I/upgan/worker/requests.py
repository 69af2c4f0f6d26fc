"""Arguments of the worker's commands, valid or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from upgan.errors import UpganError
from upgan.plain_json import is_deeper
from upgan.progress import Progress
from upgan.schema import Arguments

T = TypeVar("T", bound=Arguments)

# Nothing that is asked for is nested deeper; what is would only exhaust the stack of whoever looks at it.
_DEEPEST = 32
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Validated(Generic[T]):
    """A command of the worker, which is not run before its arguments are valid.

    Attributes:
        arguments: The class of the arguments that the command takes.
        run: Called with valid arguments and with the progress to tell; returns what JSON knows.
    """

    arguments: type[T]
    run: Callable[[T, Progress], dict[str, Any]]

    def __call__(self, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Validate the arguments and run the command.

        Raises:
            UpganError: ``bad_request``, and what the command raises.
        """
        return self.run(validated(self.arguments, arguments), progress)


class NoArguments(Arguments):
    """The arguments of a command that takes none."""


def validated(model: type[T], arguments: Mapping[str, Any]) -> T:
    """Return a request's arguments as an object of their class.

    Args:
        model: The class of the arguments.
        arguments: The arguments as they came, as JSON.

    Raises:
        UpganError: ``bad_request``, naming the first argument that is wrong.
    """
    if is_deeper(arguments):
        raise _bad_request("The request is wrong: it is nested too deep.")
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        # What is not known may have any name, of any length.
        where = ".".join(map(str, first["loc"]))[:_LONGEST_NAME]
        at = f" at {where}" if where else ""
        raise _bad_request(f"The request is wrong{at}: {first['msg'].rstrip('.')}.") from error


def _bad_request(sentence: str) -> UpganError:
    return UpganError("bad_request", sentence, "Use the viewer's and the engine's code of the same version.")

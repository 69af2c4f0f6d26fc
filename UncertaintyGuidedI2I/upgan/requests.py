"""Arguments of the worker's commands, valid or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from upgan.errors import UpganError

Arguments = TypeVar("Arguments", bound=BaseModel)


def validated(model: type[Arguments], arguments: Mapping[str, Any]) -> Arguments:
    """Return a request's arguments as what they must be.

    Raises:
        UpganError: ``bad_request``, naming the first that is wrong.
    """
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UpganError(
            "bad_request",
            f"The request is wrong at {where}: {first['msg']}.",
            "Use the viewer's and the engine's code of the same version.",
        ) from error

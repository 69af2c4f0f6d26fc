"""Ways to damage JSON: its values and keys, which stay JSON, or its text, which does not."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from Fuzz.mutation import FLOATS, INTEGERS, ODD_TEXT, damaged

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", [], {}, [[]], {"": {}}, 10**400, "nan", "1", [1] * 1000, "\ud800"),
    *(*INTEGERS, *FLOATS, *ODD_TEXT),
)
DEEP = 5000


def mutate_json(data: bytes, chance: random.Random) -> bytes:
    """Damage one or a few values of a text of JSON."""
    if chance.random() < 0.15:
        return damaged(data, chance)
    if chance.random() < 0.03:
        return chance.choice((b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b"9" * DEEP, b"1e999", b""))
    content = [json.loads(data)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        holder, key = chance.choice(_places(content))
        kind = chance.randrange(10)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[chance.choice(ODD_TEXT)] = holder[key]
        elif kind == 2:
            other, name = chance.choice(_places(content))
            holder[key] = json.loads(json.dumps(other[name]))
        elif kind == 3 and isinstance(holder[key], str):
            holder[key] += chance.choice(ODD_TEXT)
        elif kind == 4 and isinstance(holder[key], (int, float)):
            holder[key] = -holder[key]
        else:
            holder[key] = copy.deepcopy(chance.choice(ODD_VALUES))
    return json.dumps(content[0], ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return each value as the list or object that holds it, and where."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    found = [(content, key) for key in keys]
    for key in keys:
        found += _places(content[key])
    return found

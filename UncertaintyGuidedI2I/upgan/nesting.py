"""How deep JSON from outside is nested, found without the recursion that too deep a one would exhaust."""

from __future__ import annotations

from typing import Any

# Nothing that is read here is nested deeper; what is would only exhaust the stack of whoever looks at it.
DEEPEST = 32


def is_deeper(content: Any, levels: int = DEEPEST) -> bool:
    """Whether lists and objects lie in one another more than so many times; found level by level."""
    level = [content]
    for _ in range(levels + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True

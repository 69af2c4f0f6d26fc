"""JSON that everybody can read: not nested without end, and without numbers that it does not know."""

from __future__ import annotations

import math
from typing import Any

# Nothing that is read here is nested deeper; what is would only exhaust the stack of whoever looks at it.
DEEPEST = 32


def is_deeper(content: Any, levels: int = DEEPEST) -> bool:
    """Whether lists and objects lie in one another more than so many times; found level by level, not by recursion."""
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


def without_nan(content: Any) -> Any:
    """Return the same with null in place of NaN and infinities, which JSON does not know; tuples become lists."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content

"""Shapes in signatures are enforced while the tests run: jaxtyping's import hook calls this for every function.

Only arguments and results that are annotated as arrays are checked. Others, and numbers for which an array may stand,
are what a user hands in: the library checks them itself and says in a sentence what would do, which a type error in its
place would hide from the tests.
"""

from __future__ import annotations

import re
from typing import Any

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number is a number
_ARRAY = re.compile(r"\b(Float|Int|Bool)\[|\bArray\b")
_HANDED_IN = re.compile(r"\b(float|Literal)\b")
_OF_USERS = {"Nonlinearity.respond", "_answer"}  # what a user's own nonlinearity returns, which the library looks at


def checked(function: Any) -> Any:
    """The function with the shapes in its signature enforced, if there are any."""
    annotations = getattr(function, "__annotations__", None)
    if not annotations or function.__qualname__ in _OF_USERS:
        return function
    shapes = {name: hint for name, hint in annotations.items() if _is_shape(str(hint))}
    if not shapes:
        return function
    function.__annotations__ = shapes
    try:
        return _checked(function)
    finally:
        function.__annotations__ = annotations


def _is_shape(hint: str) -> bool:
    return bool(_ARRAY.search(hint)) and not _HANDED_IN.search(hint)

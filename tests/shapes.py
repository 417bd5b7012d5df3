"""Shapes in signatures are enforced while the tests run: jaxtyping's import hook calls this for every function.

Only what is annotated with arrays is checked. Other arguments are checked by the library itself, which tells a user in
a sentence what would do; a type error in its place would hide that from the tests.
"""

from __future__ import annotations

from typing import Any

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number is a number
_ARRAYS = ("Float[", "Int[", "Bool[", "Array")


def checked(function: Any) -> Any:
    """The function with the shapes in its signature enforced, if there are any."""
    annotations = getattr(function, "__annotations__", {}).values()
    if not any(name in str(annotation) for annotation in annotations for name in _ARRAYS):
        return function
    return _checked(function)

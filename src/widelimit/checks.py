"""Checks on what a user passes in: each failure names the argument, what was given and what would do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np


class ArgumentError(ValueError):
    """An argument that cannot work; the message names it, what was given and what would do."""


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    """`value` as a plain number; raises unless it is a finite real one within the given bounds."""
    wanted = _bounds("a finite number", above, at_least, at_most, below)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"{name} must be {wanted}; got {shortened(value)}.")
    try:
        plain = float(value)
    except OverflowError:
        plain = math.inf
    within = (
        math.isfinite(plain)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    )
    if not within:
        raise ArgumentError(f"{name} must be {wanted}; got {shortened(value)}.")
    return plain


def integer(name: str, value: Any, *, at_least: int, at_most: int | None = None) -> int:
    """`value` as a plain number; raises unless it is a whole one within the given bounds, and below 2^53."""
    wanted = _bounds("a whole number", None, at_least, at_most, None)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentError(f"{name} must be {wanted}; got {shortened(value)}.")
    if value < at_least or value > (2**53 if at_most is None else at_most):
        raise ArgumentError(f"{name} must be {wanted}; got {shortened(value)}.")
    return int(value)


def boolean(name: str, value: Any) -> bool:
    """`value` as a plain boolean; raises unless it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{name} must be True or False; got {shortened(value)}.")
    return bool(value)


def shortened(value: Any) -> str:
    """What was given, in at most a line."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return f"a number of about {int(value.bit_length() * 0.30103)} digits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({type(value).__name__})"


def instance(name: str, value: Any, kind: type, example: str) -> None:
    """Raise unless `value` is an instance of `kind`; a class given for its instance is named as such."""
    if isinstance(value, type) and issubclass(value, kind):
        raise ArgumentError(f"{name} must be an instance, and got the class; write {value.__name__}().")
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise ArgumentError(
            f"{name} must be {article} {kind.__name__}, for example {example}; got {type(value).__name__}."
        )


def real_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array of real numbers, of the type that it has.

    **Raises:** `ArgumentError` for anything else. Nothing is stripped: of masked, complex and structured arrays, texts
    and dates no part is taken for a number.
    """
    if np.ma.isMaskedArray(value):
        raise ArgumentError(f"{name} is a masked array; fill it (.filled(...)) or leave out the masked samples.")
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the library of the array at hand raises
        raise ArgumentError(f"{name} must be an array of real numbers; got {type(value).__name__} ({error}).") from None
    kind = array.dtype.kind
    # bfloat16 and the like are of no kind of NumPy's own.
    narrow = kind == "V" and array.dtype.fields is None and np.can_cast(array.dtype, np.float64)
    if kind not in "biuf" and not narrow:
        what = {"c": "complex numbers", "U": "text", "S": "text", "M": "dates", "m": "durations"}.get(kind)
        what = what or ("records" if array.dtype.fields else f"{array.dtype}, from {type(value).__name__}")
        raise ArgumentError(f"{name} must be an array of real numbers; it holds {what}.")
    return array


def finite_array(name: str, value: Any) -> np.ndarray:
    """`value` as a float64 array; raises where [`real_array`] does, and where it holds NaN or infinity."""
    array = real_array(name, value).astype(np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        raise ArgumentError(
            f"{name} holds {len(bad)} value(s) that are NaN or infinite, the first at index {where}; "
            "remove or impute those samples."
        )
    return array


def known(name: str, given: str, choices: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise unless `given` is one of `choices`, suggesting the nearest.

    Nothing is suggested for `others`: they are spelled right, and are things of the kind that will not do.
    """
    names = sorted(choices)
    if not isinstance(given, str):
        raise ArgumentError(f"{name} must be a name; got {given!r}. Known: {', '.join(names)}.")
    if given not in names:
        meant = _letters(given) in set(map(_letters, others)) - set(map(_letters, names))
        near = None if meant else _nearest(given, names)
        suggestion = f" Did you mean {near!r}?" if near else ""
        raise ArgumentError(f"{name}: unknown name {given!r}.{suggestion} Known: {', '.join(names)}.")


def _nearest(given: str, names: list[str]) -> str | None:
    """The name that a misspelt or shortened one stands for, if there is one that is near enough."""
    lowered = {n.lower(): n for n in names}
    text = given.lower()
    begun = [n for n in lowered if text and n.startswith(text)]
    near = begun if len(begun) == 1 else difflib.get_close_matches(text, lowered, n=1, cutoff=0.6)
    # Abbreviations that begin otherwise are other things: RNN is no CNN.
    another = len(text) <= 3 and near and near[0][0] != text[0]
    return lowered[near[0]] if near and not another else None


def _letters(name: str) -> str:
    return name.lower().replace("_", "")


def _bounds(what: str, above: float | None, at_least: float | None, at_most: float | None, below: float | None) -> str:
    parts = [
        f"{words} {bound:g}"
        for words, bound in (("above", above), ("at least", at_least), ("at most", at_most), ("below", below))
        if bound is not None
    ]
    return f"{what} {' and '.join(parts)}" if parts else what

"""What a sequence of numbers tends to, and how far from it the last of them can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .claims import Claim, equals
from .estimates import Estimate


def tends_to(statement: str, values: Sequence[float] | np.ndarray, expected: float) -> Claim:
    """That a sequence tends to a value, measured by its last number.

    Where changes at least halve from one number to the next, what is left of them is at most the last change: the
    systematic error that the claim allows for. Where the last change is more than half of the one before, the sequence
    has not settled, and the claim does not hold.
    """
    before, change = np.abs(np.diff(np.asarray(values, dtype=float)[-3:]))
    within = float(change) if change <= before / 2 else float("nan")
    return equals(statement, Estimate(float(values[-1])), expected, within=within, note=_told(values))


def local_exponents(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The slopes of log y against log x between neighbouring points."""
    return np.diff(np.log(y)) / np.diff(np.log(x))


def _told(values: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in values)

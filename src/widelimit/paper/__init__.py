"""The figures of the paper, each one file: what it computes, what its caption claims, and how it is drawn.

Everything is computed through the public API. What the figures share is in `base`, `claims`, `estimates`, `measures`,
`store` and `style`, in `widths` for networks at initialisation, and in `direct_feedback` for Figs. 3 and 6.
"""

from __future__ import annotations

import importlib

from ..checks import ArgumentError
from .base import PaperFigure
from .claims import Claim
from .store import computed

NUMBERS = (1, 2, 3, 4, 5, 6, 7)
"""The numbers of the paper's figures."""


def figure(number: int) -> PaperFigure:
    """One of the paper's figures. **Raises:** `ArgumentError` for a number that is not in the paper."""
    if number not in NUMBERS:
        raise ArgumentError(f"number must be one of {', '.join(map(str, NUMBERS))}; got {number!r}.")
    return importlib.import_module(f".figure{number}", __name__).FIGURE


__all__ = ["NUMBERS", "Claim", "PaperFigure", "computed", "figure"]

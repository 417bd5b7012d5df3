"""What the studies here share: runs that are kept, so that a study goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import widelimit as wl


def kept(path: Path, make: Callable[[], xr.Dataset]) -> xr.Dataset:
    """The run in this file, made and saved if there is none."""
    if path.exists():
        return wl.load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    run = make()
    wl.save(run, path)
    return run


def mean_and_error(values: list[np.ndarray] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the first axis (draws of the training set, or networks) and its standard error."""
    values = np.asarray(values)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def first_below(values: np.ndarray, bound: float) -> int:
    """The first place at which a falling series is at or below a bound, or its last place."""
    below = np.flatnonzero(values <= bound)
    return int(below[0]) if len(below) else len(values) - 1

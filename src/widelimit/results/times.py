"""Recorded times, which runs of different step sizes share up to rounding."""

from __future__ import annotations

import numpy as np
import xarray as xr

_SAME = 1e-9


def times_of(result: xr.Dataset) -> np.ndarray:
    """The recorded times of a result, (step,)."""
    return np.atleast_1d(np.asarray(result["time"].values, dtype=np.float64))


def recorded_steps(values: xr.DataArray) -> np.ndarray:
    """Where along `step` there are values: there are none after a divergence, or at times that other runs recorded."""
    over = [dim for dim in values.dims if dim != "step"]
    return np.flatnonzero(xr.DataArray(np.isfinite(values)).any(over).values)


def places(times: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Where each of `times` stands in `among`, -1 where it does not; both in any order."""
    order = np.argsort(among)
    after = np.searchsorted(among[order], times)
    # The nearest time is the one just below or the one from there on; t = ∞ equals itself.
    matches = np.full(len(times), -1)
    for neighbour in (after - 1, after):
        candidate = order[np.clip(neighbour, 0, len(among) - 1)]
        matches = np.where(np.isclose(among[candidate], times, rtol=_SAME, atol=0), candidate, matches)
    return matches


def union(each: list[np.ndarray]) -> np.ndarray:
    """All times of several runs, in their order."""
    times = np.unique(np.concatenate(each))
    return times[np.concatenate([[True], ~np.isclose(times[1:], times[:-1], rtol=_SAME, atol=0)])]

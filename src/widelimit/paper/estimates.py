"""Numbers with standard errors, as claims are made of."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import xarray as xr

from widelimit import observables


class Estimate(NamedTuple):
    """A number and its standard error, zero for what is exact."""

    value: float
    error: float = 0.0


def estimate(values: xr.DataArray) -> Estimate:
    """The mean over replicates of one number; exact where there are none."""
    return Estimate(float(observables.mean(values)), float(observables.standard_error(values)))


def along(values: xr.DataArray, dim: str) -> list[Estimate]:
    """The means over replicates of the numbers along one dimension."""
    return [estimate(values.isel({dim: place})) for place in range(values.sizes[dim])]


def steps_along(values: xr.DataArray, dim: str) -> list[Estimate]:
    """The means over replicates of the differences from each number along one dimension to the next.

    Their errors are those of paired differences, whatever the numbers of one replicate have in common.
    """
    return along(values.diff(dim), dim)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a − b of independent estimates."""
    return Estimate(a.value - b.value, math.hypot(a.error, b.error))


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """a/b of independent estimates, to first order in the errors."""
    value = a.value / b.value
    return Estimate(value, abs(value) * math.hypot(a.error / a.value, b.error / b.value))


def power_law(x: np.ndarray, y: np.ndarray, error: np.ndarray | None = None) -> Estimate:
    """The exponent of y ∝ x^a, by a straight line through log y against log x.

    Points weigh as their standard errors say; without errors all weigh alike, and the exponent has no error.
    """
    if error is None:
        return Estimate(float(np.polyfit(np.log(x), np.log(y), 1)[0]))
    line, covariance = np.polyfit(np.log(x), np.log(y), 1, w=y / error, cov="unscaled")
    return Estimate(float(line[0]), float(np.sqrt(covariance[0, 0])))


def local_exponents(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The slopes of log y against log x between neighbouring points."""
    return np.diff(np.log(y)) / np.diff(np.log(x))

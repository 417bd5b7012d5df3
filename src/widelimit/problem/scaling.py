"""The scale of inputs and targets: what the equations expect, a map that gives it, and warnings where it is missing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import checks
from ..checks import ArgumentError
from ..faults import TaskWarning
from ..formatting import number
from .losses import SquaredError
from .task import Task

_FAR = 3.0
"""A scale that is off by more than this factor is warned of: preactivations are then far from 1, and step sizes that
are safe elsewhere are not."""


@dataclass(frozen=True)
class Scaling:
    """The map x → (x − mean) · factor, with which test points go the way of training points; see [`scaled`]."""

    mean: np.ndarray
    factor: float

    def __call__(self, x: Any) -> np.ndarray:
        """Points of the shape of the training inputs, scaled as those were."""
        return (self._checked(x) - self.mean) * self.factor

    def inverse(self, x: Any) -> np.ndarray:
        """The points that are scaled to `x`."""
        return self._checked(x) / self.factor + self.mean

    def _checked(self, x: Any) -> np.ndarray:
        x = checks.finite_array("x", x)
        if x.ndim < 2 or x.shape[1:] != self.mean.shape:
            raise ArgumentError(f"x must have the shape (samples, {self.mean.shape}); got {x.shape}.")
        return x


def scaled(x: Any, *, centre: bool = True) -> tuple[np.ndarray, Scaling]:
    """Inputs whose rows have norm √D on average, and the map that does it, for test points.

        x, scaling = widelimit.scaled(x)
        task = widelimit.Task(x, y, scaling(x_test), y_test)

    One factor serves all points, so that distances keep their proportions; the first layer divides by √D, and
    preactivations then have variance 1 on average.

    **Arguments:** `x` (P, D) or (P, positions…, channels); `centre`: subtract the mean over the samples first.

    **Returns:** the scaled inputs, and the [`Scaling`].

    **Raises:** `ArgumentError` if `x` is no such array, or if all rows are equal (with `centre`) or zero.
    """
    x = checks.finite_array("x", x)
    if x.ndim < 2 or 0 in x.shape:
        raise ArgumentError(f"x must have shape (samples, D), or (samples, positions…, channels); got {x.shape}.")
    mean = x.mean(axis=0) if checks.boolean("centre", centre) else np.zeros(x.shape[1:])
    size = np.sqrt(np.mean((x - mean) ** 2))
    if not np.isfinite(size) or size <= 1e-12 * np.max(np.abs(x), initial=0):
        raise ArgumentError("x: all rows are equal or zero, and no factor gives them a norm.")
    scaling = Scaling(mean, float(1 / size))
    return scaling(x), scaling


def warn_of_scale(task: Task, stacklevel: int) -> None:
    """Warn of inputs and targets that are far from the scale that the equations expect, and of class labels."""
    sizes = np.sqrt(np.mean(task.x**2, axis=1))
    typical = float(np.sqrt(np.mean(sizes**2)))
    if not 1 / _FAR <= typical <= _FAR:
        _warn(
            f"The rows of x have a norm of {number(typical, 2)} √D (D = {task.x.shape[1]}), and preactivations a "
            "variance far from 1; widelimit.scaled(x) gives them the norm √D.",
            stacklevel,
        )
    elif np.any(sizes > _FAR * typical):
        worst = int(np.argmax(sizes))
        size = number(float(sizes[worst]), 2)
        _warn(f"Row {worst} of x has a norm of {size} √D; most others are smaller.", stacklevel)
    if isinstance(task.loss, SquaredError):
        _warn_of_targets(task, stacklevel + 1)


def size_of_targets(task: Task) -> float:
    """The root mean square over samples of the norm of a target."""
    return float(np.sqrt(np.mean(np.sum(task.y**2, axis=1))))


def _warn_of_targets(task: Task, stacklevel: int) -> None:
    values, classes = np.unique(task.y), int(task.y.max(initial=0)) + 1
    labels = task.scalar and len(values) == classes >= 2 and np.array_equal(values, np.arange(classes))
    if labels and classes > 2 and task.samples > classes:
        _warn(
            f"y holds the class labels 0 to {classes - 1} as numbers, which are learned as numbers; for one output for "
            f"each class pass numpy.eye({classes})[y].",
            stacklevel,
        )
    elif labels and classes == 2:
        _warn("y holds the labels 0 and 1; for two classes pass 2 * y - 1, which are +1 and -1.", stacklevel)
    size = size_of_targets(task)
    if size > 10 * _FAR or 0 < size < 1 / (10 * _FAR):
        _warn(
            f"The targets have a root mean square of {number(size, 3)}; richness and step sizes mean what is said of "
            f"them for targets of order 1. Divide y by {number(size, 3)}.",
            stacklevel,
        )


def _warn(sentence: str, stacklevel: int) -> None:
    warnings.warn(sentence, TaskWarning, stacklevel=stacklevel + 1)

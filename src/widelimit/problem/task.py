"""What is learned: inputs, targets and a loss, and test points that are never trained on."""

from __future__ import annotations

from typing import Any, final

import jax.numpy as jnp
import numpy as np

from .. import checks
from ..checks import ArgumentError
from .losses import Loss, SquaredError


@final
class Task:
    """A supervised task: what is learned, and from how far off the network is told that it is.

    **Arguments:** `x` (P, D) inputs, or (P, positions…, channels) where they lie on a grid; `y` (P,) for one output or
    (P, C) for C outputs; `x_test`, `y_test` points that are evaluated at the recorded steps and never trained on
    (`y_test` may be left out); `loss`, by default [`SquaredError`]. Inputs are used as they are: the first layer
    divides by √D, so rows of norm √D give preactivations of variance 1.

    `task.x` and `task.x_test` hold each input as one row of D numbers, and `task.shape` the shape that it had:
    (D,) or (positions…, channels).

    **Raises:** `ArgumentError` for empty or non-finite arrays, mismatched sizes, and targets the loss cannot take.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray | None
    loss: Loss
    scalar: bool
    shape: tuple[int, ...]

    def __init__(self, x: Any, y: Any, x_test: Any = None, y_test: Any = None, loss: Loss | None = None):
        self.loss = SquaredError() if loss is None else loss
        checks.instance("loss", self.loss, Loss, "widelimit.SquaredError()")
        inputs = _inputs("x", x)
        self.x, self.shape = inputs.reshape(len(inputs), -1), inputs.shape[1:]
        self.scalar = checks.real_array("y", y).ndim == 1
        self.y = self._targets("y", y, len(self.x))
        if x_test is None:
            if y_test is not None:
                raise ArgumentError("y_test was given without x_test; pass the test inputs too.")
            self.x_test, self.y_test = np.zeros((0, self.x.shape[1])), None
            return
        inputs = _inputs("x_test", x_test)
        if inputs.shape[1:] != self.shape:
            columns = f"{self.x.shape[1]} columns" if len(self.shape) == 1 else f"shape (samples, {self.shape})"
            raise ArgumentError(f"x_test must have the {columns} of x; got shape {inputs.shape}.")
        self.x_test = inputs.reshape(len(inputs), -1)
        self.y_test = None if y_test is None else self._targets("y_test", y_test, len(self.x_test))
        if y_test is not None and (np.ndim(y_test) != np.ndim(y) or np.shape(y_test)[1:] != np.shape(y)[1:]):
            raise ArgumentError(f"y_test must have as many outputs as y; got {np.shape(y_test)} beside {np.shape(y)}.")

    @property
    def inputs(self) -> np.ndarray:
        """x in the shape that it was given in."""
        return self.x.reshape(-1, *self.shape)

    @property
    def test_inputs(self) -> np.ndarray:
        """x_test in the shape of x."""
        return self.x_test.reshape(-1, *self.shape)

    @property
    def samples(self) -> int:
        """P, the number of training samples."""
        return len(self.x)

    @property
    def outputs(self) -> int:
        """C, the number of outputs."""
        return self.y.shape[1]

    def test_loss(self, output: np.ndarray) -> np.ndarray:
        """The loss at the test points, summed over them, of outputs (…, test sample, output_unit)."""
        assert self.y_test is not None
        return np.asarray(self.loss.value(jnp.asarray(output), jnp.asarray(self.y_test))).sum(axis=-1)

    def _targets(self, name: str, value: Any, samples: int) -> np.ndarray:
        target = checks.finite_array(name, value)
        if target.ndim not in (1, 2) or len(target) != samples or target.size == 0:
            raise ArgumentError(
                f"{name} must have shape ({samples},) or ({samples}, C), one row a sample; got {target.shape}."
            )
        columns = target.reshape(samples, -1)
        self.loss.check(name, columns, scalar=target.ndim == 1)
        return columns


_LARGEST = 1e100  # of an input's entries: their sums of squares are finite, and those of kernels too


def _inputs(name: str, value: Any) -> np.ndarray:
    inputs = checks.finite_array(name, value)
    if inputs.ndim < 2 or 0 in inputs.shape:
        raise ArgumentError(
            f"{name} must have shape (samples, D), or (samples, positions…, channels), with at least one sample and "
            f"one column; got {inputs.shape}."
        )
    largest = float(np.abs(inputs).max())
    if largest > _LARGEST:
        raise ArgumentError(
            f"{name} has an entry of size {largest:.2g}, whose products are beyond what numbers hold; scale the "
            "inputs, as a rule to a mean square of 1."
        )
    return inputs

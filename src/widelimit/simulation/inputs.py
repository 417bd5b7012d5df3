"""A task's inputs as the rows that a network's first layer multiplies."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..networks import Architecture, Geometry
from ..problem import Task


class Inputs(eqx.Module):
    """A task's inputs, as the rows of a network's first layer, in coordinates chosen for it.

    Only inner products of rows matter, because W^0 is isotropic and learns within their span. With more columns
    than rows, they are expressed in an orthonormal basis of the training rows followed by one of what test rows have
    outside it; `trained` counts the first kind.
    """

    train: Float[Array, "row coordinate"]
    test: Float[Array, "test_row coordinate"]
    trained: int = eqx.field(static=True)
    geometry: Geometry = eqx.field(static=True)

    @classmethod
    def of(cls, net: Architecture, task: Task, dtype: Any) -> Inputs:
        """The inputs of a task to a network."""
        train, test = (net.rows(x) for x in (task.inputs, task.test_inputs))
        trained = train.shape[1]
        if trained > len(train):
            scale = float(max(np.linalg.norm(train), np.linalg.norm(test)))
            basis = _row_space(train, scale)
            outside = _row_space(test - test @ basis.T @ basis, scale)
            basis, trained = np.concatenate([basis, outside]), len(basis)
            train, test = train @ basis.T, test @ basis.T
        return cls(jnp.asarray(train, dtype), jnp.asarray(test, dtype), trained, net.geometry(task.shape))

    @property
    def samples(self) -> int:
        """P, the number of training samples."""
        return len(self.train) // self.geometry.positions

    @property
    def tests(self) -> int:
        """The number of test points."""
        return len(self.test) // self.geometry.positions


def _row_space(rows: np.ndarray, scale: float) -> np.ndarray:
    """An orthonormal basis of the rows' span, up to directions that are rounding beside `scale`."""
    if not rows.size:
        return np.zeros((0, rows.shape[1]))
    _, values, directions = np.linalg.svd(rows, full_matrices=False)
    return directions[values > 1e-10 * scale]

"""A layer's neurons or particles, and the normal variables that belong to each of them.

Every random object of a layer is a set of rows, one number a neuron: initial input weights, gating weights, readout
weights, frozen feedback vectors, and the noise through which deferred weights reveal themselves. A population hands
out such rows. An independent population draws them iid. A matched population draws them orthonormal in
⟨a, b⟩ = a·b/S, to one another and to the constant vector, so that the first two moments of the whole set are exact:
that alone makes deep linear networks exact and the spread between seeds of the others 1.5 to 3 times smaller.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Population(abc.ABC):
    """The neurons of one hidden layer while a network is being set up; `rows` counts what must stay matched.

    `many_rows` says that so many vectors pass in a step, as in a convolution, that not all of them can be matched.
    Setting up is done by NumPy, which needs no compilation. Without a random `generator` every row is zero and has a
    shape alone, for planning a run under `jax.eval_shape`.
    """

    def __init__(self, size: int, dtype: Any, generator: np.random.Generator | None, many_rows: bool = False):
        self.size = size
        self.dtype = dtype
        self.many_rows = many_rows
        self.rows = 0
        self._generator = generator

    def draw(self, rows: int) -> Float[Array, "{rows} {self.size}"]:
        """New rows of standard-normal variables."""
        self.rows += rows
        return self._given(rows, self._draw)

    def spare(self, rows: int) -> Float[Array, "{rows} {self.size}"]:
        """Rows for throw-away use (test points, probes), which no later draw needs to be matched to."""
        return self._given(rows, self._spare)

    def loose(self, rows: int) -> Float[Array, "{rows} {self.size}"]:
        """Rows for whatever is too small to need matching, so many that they would take the room of those that do."""
        return self._given(rows, self._loose)

    def _given(self, rows: int, source: Any) -> Float[Array, "{rows} {self.size}"]:
        if self._generator is None or rows == 0:
            return jnp.zeros((rows, self.size), self.dtype)
        return jnp.asarray(source(self._generator.standard_normal((rows, self.size))), self.dtype)

    @abc.abstractmethod
    def avoid(self, rows: int, fields: Callable[[], Float[Array, "{rows} neuron"]]) -> None:
        """Make what is drawn from now on independent of these fields also in the sample, where that is possible."""

    @abc.abstractmethod
    def _draw(self, normal: np.ndarray) -> np.ndarray:
        """What `draw` makes of iid normal rows."""

    @abc.abstractmethod
    def _loose(self, normal: np.ndarray) -> np.ndarray:
        """What `loose` makes of iid normal rows."""

    @abc.abstractmethod
    def _spare(self, normal: np.ndarray) -> np.ndarray:
        """What `spare` makes of iid normal rows."""


@final
class IndependentPopulation(Population):
    """Rows that are independent and identically distributed: the neurons of a finite network."""

    def avoid(self, rows, fields):
        pass

    def _draw(self, normal):
        return normal

    def _loose(self, normal):
        return normal

    def _spare(self, normal):
        return normal


@final
class MatchedPopulation(Population):
    """Rows orthonormal to one another, to every earlier row and to the constant vector (matched noise)."""

    def __init__(self, size: int, dtype: Any, generator: np.random.Generator | None, many_rows: bool = False):
        super().__init__(size, dtype, generator, many_rows)
        self._matched: list[np.ndarray] = []
        # Where rows are many, all directions of the fields to be avoided would take the room of everything else.
        self._avoided = size // 8 if many_rows else size

    def avoid(self, rows, fields):
        """Later rows are orthogonal to the fields, exactly as their expectation is zero.

        Rows drawn for the backward pass are independent of the initial features, so ⟨r ϕ(h)⟩ = 0. Left to sampling,
        that average would be O(1/√S), enter the features as a response at the second step, and the output divided by
        γ0: an error O(1/(γ0√S)) that drowns the lazy limit.
        """
        if self._generator is None:
            self.rows += min(rows, self._avoided)
            return
        rest = self._away_from_earlier(self._away_from_earlier(np.asarray(fields(), np.float64)))
        _, values, directions = np.linalg.svd(rest, full_matrices=False)
        directions = directions[values > 1e-9 * np.sqrt(self.size)][: self._avoided]
        if len(directions):
            self._matched.append(directions * np.sqrt(self.size))
            self.rows += len(directions)

    def _draw(self, normal):
        # Once is enough: rows fill half of the room at most, so that what is left of random ones is never small.
        normal = _orthonormal(self._away_from_earlier(normal))
        self._matched.append(normal)
        return normal

    def _spare(self, normal):
        if self.rows + len(normal) <= self.size // 2:
            self.rows += len(normal)
            return self._draw(normal)
        return self._loose(normal)

    def _loose(self, normal):
        rows = self._away_from_earlier(normal)
        return rows / np.sqrt((rows**2).mean(axis=1, keepdims=True))

    def _away_from_earlier(self, rows: np.ndarray) -> np.ndarray:
        rows = rows - rows.mean(axis=1, keepdims=True)
        for earlier in self._matched:
            rows -= (rows @ earlier.T / self.size) @ earlier
        return rows


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    triangle = np.linalg.cholesky(rows @ rows.T / rows.shape[1])
    return np.linalg.inv(triangle) @ rows  # well conditioned, and solving for so many columns takes thrice the time

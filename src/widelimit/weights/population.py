"""A layer's neurons or particles, and the normal variables that belong to each of them.

Every random object of a layer is a set of rows, one number a neuron: initial input weights, gating weights, readout
weights, frozen feedback vectors, and the noise through which deferred weights reveal themselves. A population hands
out such rows. An independent population draws them iid. A matched population draws them orthonormal in
⟨a, b⟩ = a·b/S, to one another and to the constant vector, so that the first two moments of the whole set are exact:
that alone makes deep linear networks exact and the spread between seeds of the others 1.5 to 3 times smaller.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .rotation import Rotation

_STRONG = 1e-6
"""Singular values, relative to the largest, that a Gram matrix shows with some digits to spare."""


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
        return jnp.asarray(source(rows, self._generator), self.dtype)

    @abc.abstractmethod
    def avoid(self, rows: int, fields: Callable[[], Float[Array, "{rows} neuron"]]) -> None:
        """Make what is drawn from now on independent of these fields also in the sample, where that is possible."""

    @abc.abstractmethod
    def _draw(self, rows: int, generator: np.random.Generator) -> np.ndarray:
        """The rows that `draw` hands out."""

    @abc.abstractmethod
    def _loose(self, rows: int, generator: np.random.Generator) -> np.ndarray:
        """The rows that `loose` hands out."""

    @abc.abstractmethod
    def _spare(self, rows: int, generator: np.random.Generator) -> np.ndarray:
        """The rows that `spare` hands out."""


@final
class IndependentPopulation(Population):
    """Rows that are independent and identically distributed: the neurons of a finite network."""

    def avoid(self, rows, fields):
        pass

    def _draw(self, rows, generator):
        return generator.standard_normal((rows, self.size))

    def _loose(self, rows, generator):
        return self._draw(rows, generator)

    def _spare(self, rows, generator):
        return self._draw(rows, generator)


class MatchedPopulation(Population):
    """Rows orthonormal to one another, to every earlier row and to the constant vector (matched noise)."""

    def __init__(self, size: int, dtype: Any, generator: np.random.Generator | None, many_rows: bool = False):
        super().__init__(size, dtype, generator, many_rows)
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
        directions = _span(self._away(self._away(np.asarray(fields(), np.float64))))[: self._avoided]
        if len(directions):
            self._keep_away_from(directions)
            self.rows += len(directions)

    def _spare(self, rows, generator):
        if self.rows + rows <= self.size // 2:
            self.rows += rows
            return self._draw(rows, generator)
        return self._loose(rows, generator)

    def _loose(self, rows, generator):
        left = self._away(generator.standard_normal((rows, self.size)).astype(self.dtype))
        return left / np.sqrt((left**2).mean(axis=1, keepdims=True))

    @abc.abstractmethod
    def _away(self, rows: np.ndarray) -> np.ndarray:
        """What is left of some rows without their parts along the constant vector and all that is matched."""

    @abc.abstractmethod
    def _keep_away_from(self, directions: np.ndarray) -> None:
        """Match what is drawn from now on to these directions too, orthonormal and away from all that is matched."""


@final
class OrthogonalisedPopulation(MatchedPopulation):
    """Matched noise from independent rows, each set of them orthogonalised against all earlier ones."""

    def __init__(self, size: int, dtype: Any, generator: np.random.Generator | None, many_rows: bool = False):
        super().__init__(size, dtype, generator, many_rows)
        self._matched: list[np.ndarray] = []

    def _draw(self, rows, generator):
        # Once is enough: rows fill half of the room at most, so that what is left of random ones is never small.
        drawn = _orthonormal(self._away(generator.standard_normal((rows, self.size))))
        self._matched.append(drawn)
        return drawn

    def _away(self, rows):
        rows = rows - rows.mean(axis=1, keepdims=True)
        for earlier in self._matched:
            rows -= (rows @ earlier.T / self.size) @ earlier
        return rows

    def _keep_away_from(self, directions):
        self._matched.append(directions * np.sqrt(self.size))


@final
class RotatedPopulation(MatchedPopulation):
    """Matched noise from the rows of a random [`Rotation`], for so many particles that orthogonalising takes long.

    The same law as in an [`OrthogonalisedPopulation`], up to O(1/S) in moments beyond the second.
    """

    def __init__(self, size: int, dtype: Any, generator: np.random.Generator | None):
        super().__init__(size, dtype, generator)
        self._used = 0
        """How many rows of the rotation are matched: those that were handed out, and those that are kept away from."""
        if generator is not None:
            self._rotation = Rotation(size, generator, dtype)
            self._keep_away_from(np.full((1, size), size**-0.5))

    def _draw(self, rows, generator):
        self._used += rows
        return self._rotation.rows(self._used - rows, self._used) * math.sqrt(self.size)

    def _away(self, rows):
        return self._rotation.without(rows, self._used)

    def _keep_away_from(self, directions):
        self._rotation.turn(self._used, directions)
        self._used += len(directions)


def _span(rows: np.ndarray) -> np.ndarray:
    """Orthonormal directions of the rows' span, the strongest first, up to those that are rounding."""
    # By Gram matrices, which take a fifth of the time of a singular value decomposition of the rows. They show singular
    # values down to 1e-8 of the largest: what is weaker is looked at once the strong ones are taken away.
    spanned = np.zeros((0, rows.shape[1]))
    while len(spanned) < len(rows):
        left = rows
        for _ in range(2):  # the second time takes what rounding has left
            left = left - (left @ spanned.T) @ spanned
        values, mixes = np.linalg.eigh(left @ left.T)
        strong = values > max(_STRONG**2 * values[-1], 1e-18 * rows.shape[1])
        if not strong.any():
            break
        mixed = mixes[:, strong][:, ::-1].T @ left
        directions = _orthonormal(mixed / np.linalg.norm(mixed, axis=1, keepdims=True)) / np.sqrt(rows.shape[1])
        spanned = np.concatenate([spanned, directions])
    return spanned


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    triangle = np.linalg.cholesky(rows @ rows.T / rows.shape[1])
    return np.linalg.inv(triangle) @ rows  # well conditioned, and solving for so many columns takes thrice the time

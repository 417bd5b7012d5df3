"""What a weight matrix is: something to multiply by, to multiply by the transpose of, and to add outer products to.

A rule, an optimiser and the training loop are written against `Weights`, and never ask which kind they hold. A
`Width` makes the populations of neurons and the weights between them, and is the one place where finite and infinite
width differ.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from ..networks import ReceptiveField
from .population import Population
from .rows import Rows


@dataclass(frozen=True)
class Usage:
    """What passes through a weight matrix during training: decides what it has to keep.

    `forward` and `backward` rows are sent at each step in these directions; `tests` rows are evaluated at recorded
    steps, and `test_probes` of them jointly; `probes` rows are sent backward for measurement only; `initial` says that
    Wᵀ is needed as it was at the start.
    """

    forward: int
    backward: int
    tests: int = 0
    probes: int = 0
    test_probes: int = 0
    initial: bool = False


class Weights(eqx.Module):
    """The weights W between a population below and one above, in the scaling of their layer.

    Which rows below a row above looks at is their receptive field: in a convolution W is one matrix for each offset b,
    W ϕ stands for Σ_b W_b ϕ_{a+b} at each position a, and Wᵀ g for Σ_b W_bᵀ g_{a−b}.

    All products return new weights besides their value, because to use a deferred matrix is to reveal a part of it.
    Each takes the [`Rows`] of its vectors among all that are sent through the matrix in the same way at a step.
    """

    field: eqx.AbstractVar[ReceptiveField]

    @property
    @abc.abstractmethod
    def forgets(self) -> bool:
        """Whether a part of an update may be lost for want of room, which [`unlearned`] measures."""

    @abc.abstractmethod
    def forward(
        self, features: Float[Array, "row_below below"], rows: Rows
    ) -> tuple[Float[Array, "row_above above"], Array, Weights]:
        """W ϕ with the layer's scale (1/√N between hidden layers), ϕ as [`encode`] has it, and the new weights."""

    @abc.abstractmethod
    def backward(
        self, gradients: Float[Array, "row_above above"], rows: Rows, initial: bool = False
    ) -> tuple[Float[Array, "row_below below"], Weights]:
        """Wᵀ g with the layer's scale, and the new weights; with the matrix at initialisation if `initial`."""

    @abc.abstractmethod
    def test_forward(self, features: Float[Array, "test_below below"]) -> Float[Array, "test_above above"]:
        """W ϕ for points that leave no trace: each row by itself has its right distribution given all that is known."""

    @abc.abstractmethod
    def probe_forward(self, features: Float[Array, "test_below below"]) -> Float[Array, "test_above above"]:
        """The same with the points as they are jointly distributed, one with another, which takes more room."""

    @abc.abstractmethod
    def probe_backward(
        self, gradients: Float[Array, "row_above above"], rows: Rows, initial: bool = False
    ) -> tuple[Float[Array, "row_below below"], Weights]:
        """Wᵀ g for a measurement; the new weights serve further probes of the same step and are then dropped."""

    @abc.abstractmethod
    def signs(self, initial: bool = False) -> tuple[Weights, Float[Array, ""] | float, Float[Array, ""] | float]:
        """What sign(W) is made of: weights, their share, and the share of an independent random matrix beside them.

        The weights are W itself where signs cannot be read, and a matrix of their own, with nothing beside it, where
        they can.
        """

    @abc.abstractmethod
    def encode(self, features: Float[Array, "row_below below"], rows: Rows) -> tuple[Array, Weights]:
        """ϕ in the coordinates in which these weights learn, for `outer`, and the new weights."""

    @abc.abstractmethod
    def outer(self, post: Float[Array, "row_above above"], coordinates: Float[Array, "row_below n"]) -> Array:
        """Σ_μ post_μ ϕ_μᵀ with the layer's scale, in the coordinates in which these weights learn.

        The sum is over all rows that meet the same matrix: Σ_{μ,a} post_{μ,a} ϕ_{μ,a+b}ᵀ for the offset b of a filter.
        """

    @abc.abstractmethod
    def unlearned(
        self,
        post: Float[Array, "row_above above"],
        features: Float[Array, "row_below below"],
        coordinates: Float[Array, "row_below n"],
    ) -> Float[Array, 2]:
        """The power |Σ_μ post_μ r_μᵀ|² of that part of an update which no coordinate holds, and that of all of it.

        `coordinates` are those of the `features`, and r_μ is what these miss. Asked of weights that forget.
        """

    @abc.abstractmethod
    def no_change(self) -> Array:
        """Zero, in the coordinates of `outer`."""

    @abc.abstractmethod
    def move(self, change: Array, keep: Array | float) -> Weights:
        """The weights keep·W + change, with `change` in the coordinates of `outer`."""

    @abc.abstractmethod
    def initially(self) -> Weights:
        """These weights as they were at initialisation, but revealed as far as now: for evaluation only."""

    @abc.abstractmethod
    def diagnostics(self) -> dict[str, Array]:
        """Numbers that say how well the matrix is represented; empty where it is exact."""


class Width(abc.ABC):
    """How wide a network is: [`Finite`] or [`Infinite`]."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Neurons (finite width) or particles (infinite width) of one hidden layer."""

    @property
    @abc.abstractmethod
    def resamples(self) -> bool:
        """Whether a test point meets other noise as more of a matrix is revealed.

        What it would have met at initialisation must then be computed along with what it meets now: left to sampling,
        the difference of the two is divided by γ0.
        """

    @abc.abstractmethod
    def population(self, generator: np.random.Generator | None, dtype: Any, many_rows: bool) -> Population:
        """The neurons or particles of one hidden layer; see `Population`.

        `many_rows` says that each sample has so many rows, as in a convolution, that not all of them can be matched.
        """

    @abc.abstractmethod
    def weights(self, below: Population, above: Population, usage: Usage, field: ReceptiveField) -> Weights:
        """Random weights between two hidden populations, entries iid N(0, 1), scale 1/√N, ready for the forward pass.

        A network is made in three rounds, so that each is matched to those before it: forward, backward, measurements.
        """

    @abc.abstractmethod
    def with_backward(self, weights: Weights, below: Population, above: Population, usage: Usage) -> Weights:
        """The weights with what the backward pass needs."""

    @abc.abstractmethod
    def with_measurements(self, weights: Weights, below: Population, above: Population, usage: Usage) -> Weights:
        """The weights with what test points and probes need."""

    @abc.abstractmethod
    def check(self, population: Population) -> None:
        """Raise where more has been asked of the population than one of this size can give."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """What identifies the width in the configuration of a run."""

"""A weight matrix that exists: an array, hence a network of finite width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import checks
from ..networks import Pointwise, ReceptiveField
from .base import Usage, Weights, Width
from .population import IndependentPopulation, Population
from .products import correlate, multiply, multiply_back


@final
class DenseWeights(Weights):
    """An explicit matrix, stored as (below, above); with several taps or groups, as the stack of their matrices.

    `forward_scale` multiplies W ϕ; `backward_scale` multiplies Wᵀ g and the update. They are equal except in the
    readout, where f = w·ϕ/(γ0 N) but z^L = w (paper, Eqs. 1 and 2).
    """

    matrix: Float[Array, "stack above"]
    at_start: Float[Array, "stack above"] | None
    forward_scale: float = eqx.field(static=True)
    backward_scale: float = eqx.field(static=True)
    field: ReceptiveField = eqx.field(static=True)

    def __init__(
        self,
        matrix: Float[Array, "stack above"],
        forward_scale: float,
        backward_scale: float | None = None,
        keep_initial: bool = False,
        field: ReceptiveField | None = None,
    ):
        self.matrix = matrix
        self.at_start = jnp.array(matrix, copy=True) if keep_initial else None
        self.forward_scale = forward_scale
        self.backward_scale = forward_scale if backward_scale is None else backward_scale
        self.field = Pointwise() if field is None else field

    @property
    def forgets(self):
        return False

    def forward(self, features, rows):
        return self.test_forward(features), features, self

    def backward(self, gradients, rows, initial=False):
        matrix = self._start() if initial else self.matrix
        return self.field.scatter(multiply_back(self.field, gradients, matrix)) * self.backward_scale, self

    def test_forward(self, features):
        return multiply(self.field, self.field.gather(features), self.matrix) * self.forward_scale

    def probe_forward(self, features):
        return self.test_forward(features)

    def probe_backward(self, gradients, rows, initial=False):
        return self.backward(gradients, rows, initial)

    def signs(self, initial=False):
        signs = jnp.sign(self._start() if initial else self.matrix)
        return DenseWeights(signs, self.forward_scale, self.backward_scale, initial, self.field), 1.0, 0.0

    def encode(self, features, rows):
        return features, self

    def outer(self, post, coordinates):
        return self.backward_scale * correlate(self.field, self.field.gather(coordinates), post)

    def unlearned(self, post, features, coordinates):
        return jnp.zeros(2, features.dtype)

    def no_change(self):
        return jnp.zeros_like(self.matrix)

    def move(self, change, keep):
        return eqx.tree_at(lambda w: w.matrix, self, keep * self.matrix + change)

    def initially(self):
        return eqx.tree_at(lambda w: w.matrix, self, self._start())

    def diagnostics(self):
        return {}

    def _start(self) -> Float[Array, "stack above"]:
        if self.at_start is None:
            raise ValueError("these weights were made without keeping their initial value")
        return self.at_start


@final
@dataclass(frozen=True)
class Finite(Width):
    """A network of finite width: iid neurons and N×N matrices.

    **Arguments:** `neurons` N ≥ 1 in each hidden layer; channels, in a convolutional network.

    **Raises:** `ArgumentError` where that is no whole number.
    """

    neurons: int

    def __post_init__(self):
        object.__setattr__(self, "neurons", checks.integer("width.neurons", self.neurons, at_least=1))

    @property
    def size(self):
        return self.neurons

    @property
    def resamples(self):
        return False

    def population(self, generator, dtype, many_rows):
        return IndependentPopulation(self.size, dtype, generator)

    def weights(self, below: Population, above: Population, usage: Usage, field: ReceptiveField):
        matrix = above.draw(field.matrices * below.size)
        return DenseWeights(matrix, 1 / math.sqrt(below.size), keep_initial=usage.initial, field=field)

    def with_backward(self, weights, below, above, usage):
        return weights

    def with_measurements(self, weights, below, above, usage):
        return weights

    def check(self, population: Population):
        pass

    def describe(self):
        return {"width": self.size}


def readout(below: Population, outputs: int, usage: Usage, field: ReceptiveField) -> DenseWeights:
    """Weights from a hidden layer to the outputs: f = Σ_a w_a·ϕ_a/N before the factor 1/γ0, and z^L_a = w_a."""
    rows = below.draw(outputs * field.taps).reshape(outputs, -1)
    return DenseWeights(rows.T, 1 / below.size, 1.0, keep_initial=usage.initial, field=field)

"""Hyperbolic tangent."""

from __future__ import annotations

from typing import final

import jax.numpy as jnp

from .base import Nonlinearity


@final
class Tanh(Nonlinearity):
    """ϕ(h) = tanh h, ϕ'(h) = 1 − tanh² h."""

    def value(self, h):
        return jnp.tanh(h)

    def derivative(self, h):
        return 1 - jnp.tanh(h) ** 2

"""The identity: deep linear networks, which the infinite-width solver solves exactly."""

from __future__ import annotations

from typing import final

import jax.numpy as jnp
import numpy as np

from .base import Nonlinearity


@final
class Linear(Nonlinearity):
    """ϕ(h) = h."""

    def value(self, h):
        return h

    def derivative(self, h):
        return jnp.ones_like(h)

    def dual(self, variance, variance2, covariance):
        """⟨uv⟩ and 1."""
        return np.array(covariance, dtype=np.float64), np.ones_like(covariance, dtype=np.float64)

    @property
    def linear(self) -> bool:
        return True

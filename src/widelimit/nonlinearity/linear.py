"""The identity: deep linear networks, which the infinite-width solver solves exactly."""

from __future__ import annotations

from typing import final

import jax.numpy as jnp

from .base import Nonlinearity


@final
class Linear(Nonlinearity):
    """ϕ(h) = h."""

    def value(self, h):
        return h

    def derivative(self, h):
        return jnp.ones_like(h)

    @property
    def linear(self) -> bool:
        return True

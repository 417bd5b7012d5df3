"""The smooth rectifier."""

from __future__ import annotations

from typing import final

import jax

from .base import Nonlinearity


@final
class Softplus(Nonlinearity):
    """ϕ(h) = log(1 + e^h), ϕ'(h) = 1/(1 + e^{−h})."""

    def value(self, h):
        return jax.nn.softplus(h)

    def derivative(self, h):
        return jax.nn.sigmoid(h)

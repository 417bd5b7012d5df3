"""Gaussian error linear units."""

from __future__ import annotations

import math
from typing import final

import jax.numpy as jnp
from jax.scipy.special import erf

from .base import Nonlinearity


@final
class GELU(Nonlinearity):
    """ϕ(h) = h Ψ(h), ϕ'(h) = Ψ(h) + h ψ(h), with Ψ and ψ the standard normal distribution and density."""

    def value(self, h):
        return h * _normal_cdf(h)

    def derivative(self, h):
        return _normal_cdf(h) + h * jnp.exp(-0.5 * h**2) / math.sqrt(2 * math.pi)


def _normal_cdf(h):
    return 0.5 * (1 + erf(h / math.sqrt(2.0)))

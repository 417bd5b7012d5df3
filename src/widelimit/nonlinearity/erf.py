"""The error function."""

from __future__ import annotations

import math
from typing import final

import jax.numpy as jnp
from jax.scipy.special import erf

from .base import Nonlinearity


@final
class Erf(Nonlinearity):
    """ϕ(h) = erf h, ϕ'(h) = (2/√π) e^{−h²}."""

    def value(self, h):
        return erf(h)

    def derivative(self, h):
        return (2 / math.sqrt(math.pi)) * jnp.exp(-(h**2))

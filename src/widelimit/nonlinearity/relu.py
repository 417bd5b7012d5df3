"""Rectified linear units."""

from __future__ import annotations

import math
from typing import final

import equinox as eqx
import jax.numpy as jnp

from .. import checks
from .base import Nonlinearity


@final
class ReLU(Nonlinearity):
    """ϕ(h) = gain · max(h, 0). The default gain √2 preserves norms: ⟨ϕ(u)²⟩ = ⟨u²⟩ (paper, App. H)."""

    gain: float = eqx.field(default=math.sqrt(2.0), static=True)

    def __check_init__(self):
        checks.number("gain", self.gain, above=0)

    def value(self, h):
        return self.gain * jnp.maximum(h, 0)

    def derivative(self, h):
        return jnp.where(h > 0, self.gain, 0.0).astype(h.dtype)

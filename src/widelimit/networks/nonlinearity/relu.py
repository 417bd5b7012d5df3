"""Rectified linear units."""

from __future__ import annotations

import math
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ... import checks
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

    def dual(self, variance, variance2, covariance):
        """gain²/(2π) [s sin θ + (π − θ) c] and gain²/(2π) (π − θ), with s² = ⟨u²⟩⟨v²⟩ and c = s cos θ.

        (Arc-cosine kernels: Cho & Saul 2009.) The angle is θ = 2 atan(√(s − c)/√(s + c)), exact where c = ±s; the
        arccosine of c/s would lose half the digits there.
        """
        size = np.sqrt(np.outer(variance, variance2))
        below = np.maximum(size - covariance, 0)
        above = np.maximum(size + covariance, 0)
        rest = 2 * np.arctan2(np.sqrt(above), np.sqrt(below))  # π − θ
        rest[size == 0] = 0  # a field that is always zero has ϕ'(0) = 0
        scale = self.gain**2 / (2 * np.pi)
        return scale * (np.sqrt(below * above) + rest * covariance), scale * rest

"""The error function."""

from __future__ import annotations

import math
from typing import final

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

from .base import Nonlinearity


@final
class Erf(Nonlinearity):
    """ϕ(h) = erf h, ϕ'(h) = (2/√π) e^{−h²}."""

    def value(self, h):
        return erf(h)

    def derivative(self, h):
        return (2 / math.sqrt(math.pi)) * jnp.exp(-(h**2))

    def dual(self, variance, variance2, covariance):
        """(2/π) arcsin(2c/√s) and (4/π)/√(s − 4c²), with s = (1 + 2⟨u²⟩)(1 + 2⟨v²⟩) and c = ⟨uv⟩.

        (Williams 1997.) The difference is taken as 1 + 2⟨u²⟩ + 2⟨v²⟩ + 4(√(⟨u²⟩⟨v²⟩) − c)(√(⟨u²⟩⟨v²⟩) + c), and the
        arcsine as an arctangent, so that no digits are lost where fields are large and alike.
        """
        size = np.sqrt(np.outer(variance, variance2))
        apart = np.maximum((size - covariance) * (size + covariance), 0)
        width = np.sqrt(1 + 2 * variance[:, None] + 2 * variance2 + 4 * apart)
        return 2 / np.pi * np.arctan2(2 * covariance, width), 4 / np.pi / width

"""Feedback alignment with partly correlated feedback weights."""

from __future__ import annotations

import math
from typing import final

import equinox as eqx
import jax.numpy as jnp

from .. import checks
from .base import Rule


@final
class FeedbackAlignment(Rule):
    """ρ-aligned feedback: g̃^ℓ = ϕ'(h^ℓ) ⊙ [ρ W^ℓ(0) + √(1−ρ²) W̃^ℓ]ᵀ g̃^{ℓ+1}/√N, and at the top ρ w(0) + √(1−ρ²) w̃.

    W̃ and w̃ have iid N(0, 1) entries and are frozen (paper, Eq. 3; ρ = 0 is Lillicrap et al. 2016).

    **Arguments:** `correlation` ρ ∈ [−1, 1] between feedback weights and initial forward weights.
    """

    correlation: float = eqx.field(default=0.0, static=True)

    def __check_init__(self):
        checks.number("correlation", self.correlation, at_least=-1, at_most=1)

    def feedback(self, draw):
        return {layer: draw.weights(layer) for layer in draw.layers} if abs(self.correlation) < 1 else {}

    def pseudo_gradient(self, view, layer, above):
        rho, arriving = self.correlation, jnp.zeros(())
        if rho != 0:
            arriving = rho * view.weights[layer].backward(above, initial=True)
        if abs(rho) < 1:
            arriving = arriving + math.sqrt(1 - rho**2) * view.feedback[layer].backward(above)
        return view.pulled_back(layer, arriving, above)

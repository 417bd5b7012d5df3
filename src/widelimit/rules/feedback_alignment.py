"""Feedback alignment with partly correlated feedback weights."""

from __future__ import annotations

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import checks
from .base import Rule


@final
class FeedbackAlignment(Rule):
    """ρ-aligned feedback: g̃^ℓ = ϕ'(h^ℓ) ⊙ [ρ W^ℓ(0) + √(1−ρ²) W̃^ℓ]ᵀ g̃^{ℓ+1}/√N, and at the top ρ w(0) + √(1−ρ²) w̃.

    W̃ and w̃ have iid N(0, 1) entries and are frozen (paper, Eq. 3; ρ = 0 is Lillicrap et al. 2016).

    **Arguments:** `correlation` ρ ∈ [−1, 1] between feedback weights and initial forward weights.
    """

    correlation: float | Float[Array, ""]
    uses_initial: bool = eqx.field(static=True, init=False, repr=False)
    """Whether ρ ≠ 0: anything goes back through W(0)."""
    uses_random: bool = eqx.field(static=True, init=False, repr=False)
    """Whether |ρ| < 1: anything goes back through W̃."""

    def __init__(self, correlation: float = 0.0):
        checks.number("correlation", correlation, at_least=-1, at_most=1)
        self.correlation = float(correlation)
        self.uses_initial, self.uses_random = correlation != 0, abs(correlation) < 1

    def feedback(self, random):
        return {layer: random.weights(layer) for layer in random.layers} if self.uses_random else {}

    def pseudo_gradient(self, view, layer, above):
        rho, arriving = self.correlation, jnp.zeros(())
        if self.uses_initial:
            arriving = rho * view.weights[layer].backward(above, initial=True)
        if self.uses_random:
            arriving = arriving + jnp.sqrt(1 - rho**2) * view.feedback[layer].backward(above)
        return view.pulled_back(layer, arriving, above)

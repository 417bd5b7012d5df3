"""Error-modulated Hebbian learning."""

from __future__ import annotations

from typing import final

import equinox as eqx
import jax.numpy as jnp

from .. import checks
from .base import Rule


@final
class Hebbian(Rule):
    """ΔW^ℓ ∝ Σ_μ Δ_μ^p ϕ(h^{ℓ+1}_μ) ϕ(h^ℓ_μ)ᵀ: with the default p = 2, g̃^ℓ_μ = Δ_μ ϕ(h^ℓ_μ) (paper, Eq. 3).

    With C outputs each class contributes: δ_μ = Σ_c Δ_{μc}^p ϕ(h_μ). App. G of the paper discusses p = 0 (plain Hebb,
    which never stops) and p = 1 (which learns only positive targets). In deep linear and ReLU networks the rule can
    diverge in finite time; training stops there and says so.

    **Arguments:** `error_power` p, the total power of the error: 0, 1 or 2.
    """

    error_power: int = eqx.field(default=2, static=True)

    def __check_init__(self):
        checks.integer("error_power", self.error_power, at_least=0, at_most=2)

    @property
    def linear_in_error(self) -> bool:
        return self.error_power > 0

    def pseudo_gradient(self, view, layer, above):
        if self.error_power == 0:
            return view.error.shape[1] * view.features[layer]
        weight = jnp.sum(view.coefficients * view.error ** (self.error_power - 1), axis=1, keepdims=True)
        return weight * view.features[layer]

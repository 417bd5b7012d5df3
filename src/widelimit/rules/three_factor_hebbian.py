"""Hebbian learning gated by one global number."""

from __future__ import annotations

from typing import final

import jax.numpy as jnp

from .base import Rule


@final
class ThreeFactorHebbian(Rule):
    """δ^ℓ_μ = e ϕ(h^ℓ_μ) with e = (1/P) Σ_ν |Δ_ν|²: pre, post, and one error for all synapses and samples alike.

    The third factor of three-factor rules (Frémaux & Gerstner 2016) in its plainest form. [`Hebbian`] weighs each
    sample by its own error instead.
    """

    @property
    def linear_in_error(self) -> bool:
        return False

    def pseudo_gradient(self, view, layer, above):
        return jnp.mean(jnp.sum(view.error**2, axis=1)) * view.features[layer]

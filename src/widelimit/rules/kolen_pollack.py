"""Feedback weights that learn as the forward weights do."""

from __future__ import annotations

from typing import final

from .base import Rule


@final
class KolenPollack(Rule):
    """g̃^ℓ = ϕ'(h^ℓ) ⊙ B^ℓ(t)ᵀ g̃^{ℓ+1}/√N with feedback weights B^ℓ that start independent of W^ℓ and learn as it does.

        B^ℓ ← (1 − η λ) B^ℓ + η (γ0/√N) Σ_μ Δ_μ g̃^{ℓ+1}_μ ϕ(h^ℓ_μ)ᵀ

    Both matrices receive the same changes, so their difference only decays, W − B ∝ (1 − η λ)^t: with weight decay
    λ > 0 the rule becomes gradient descent in time, without any transport of weights (Kolen & Pollack 1994; Akrout et
    al. 2019). In the lazy limit it is feedback alignment with ρ = 0: K(0) = Φ^L.
    """

    def feedback(self, random):
        return {layer: random.weights(layer) for layer in random.layers}

    def pseudo_gradient(self, view, layer, above):
        arriving = view.feedback[layer].backward(above)
        view.feedback[layer].learn(view.weighted(above), view.features[layer])
        return view.pulled_back(layer, arriving, above)

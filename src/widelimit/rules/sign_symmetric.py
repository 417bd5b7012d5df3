"""Feedback that knows the signs of the forward weights."""

from __future__ import annotations

from typing import final

import equinox as eqx

from .base import Rule


@final
class SignSymmetric(Rule):
    """g̃^ℓ = ϕ'(h^ℓ) ⊙ sign(W^ℓ)ᵀ g̃^{ℓ+1}/√N, at the top ϕ'(h^L) ⊙ sign(w) (Liao, Leibo & Poggio 2016).

    At infinite width the signs of a random matrix act as √(2/π) W + √(1 − 2/π) W̃ with an independent W̃: what is left
    of sign(W) beside its correlation with W has iid entries of mean zero. Learning moves each entry of W by O(1/√N), so
    that it changes few signs, on average by √(2/π) ΔW. Frozen signs are therefore ρ-FA with ρ = √(2/π) ≈ 0.80, but for
    the readout, whose entries are seen one by one; signs that track the weights have W^ℓ(t) in the place of W^ℓ(0),
    divided by what weight decay has left of W^ℓ(0), because it makes entries smaller and not their signs. Networks
    approach that limit slowly: flipped signs leave a noise of variance O(1/√N).

    **Arguments:** `tracking`: signs of the weights as they are now, or, if false, as they were at the start.
    """

    tracking: bool = eqx.field(default=True, static=True)

    def feedback(self, random):
        return {layer: random.weights(layer) for layer in random.layers[:-1]}

    def pseudo_gradient(self, view, layer, above):
        other = view.feedback.get(layer)  # the readout is seen entry by entry at every width
        arriving = view.weights[layer].signs_backward(above, other, initial=not self.tracking)
        return view.pulled_back(layer, arriving, above)

"""Direct feedback alignment."""

from __future__ import annotations

from typing import final

from .base import Rule


@final
class DirectFeedbackAlignment(Rule):
    """g̃^ℓ = ϕ'(h^ℓ) ⊙ z̃^ℓ at every layer, z̃^ℓ ~ N(0, 1) frozen, one vector per layer and output.

    (paper, Eq. 3; Nøkland 2016)
    """

    def feedback(self, random):
        return {layer: random.vectors(layer) for layer in random.layers}

    def pseudo_gradient(self, view, layer, above):
        return view.derivatives[layer] * (view.coefficients @ view.feedback[layer])

"""Direct random target projection."""

from __future__ import annotations

from typing import final

from .base import Rule


@final
class DirectRandomTargetProjection(Rule):
    """δ^ℓ_μ = ϕ'(h^ℓ_μ) ⊙ Σ_c y_{μc} z̃^ℓ_c: targets, not errors, go to each layer, through frozen z̃^ℓ ~ N(0, 1).

    (Frenkel, Lefebvre & Bol 2021.) Hidden layers do not know when to stop: δ is as large at the end of training as at
    its beginning, and only the readout learns from the error.
    """

    @property
    def linear_in_error(self) -> bool:
        return False

    def feedback(self, random):
        return {layer: random.vectors(layer) for layer in random.layers}

    def pseudo_gradient(self, view, layer, above):
        return view.derivatives[layer] * (view.targets @ view.feedback[layer])

"""Gradient descent."""

from __future__ import annotations

from typing import final

from .base import Rule


@final
class GradientDescent(Rule):
    """Back-propagation: g̃^ℓ = ϕ'(h^ℓ) ⊙ W^ℓ(t)ᵀ g̃^{ℓ+1}/√N, at the top ϕ'(h^L) ⊙ w(t); so g̃ = g (paper, Eq. 3).

    On a gated network this is the gated linear network (GLN) of the paper.
    """

    @property
    def is_gradient(self) -> bool:
        return True

    def pseudo_gradient(self, view, layer, above):
        return view.pulled_back(layer, view.weights[layer].backward(above), above)

"""Gated linear networks: the nonlinearity is a frozen gate that multiplies a linear unit."""

from __future__ import annotations

from typing import final

import equinox as eqx

from ... import checks
from .base import Nonlinearity


@final
class Gated(Nonlinearity):
    """ϕ(h) → φ̇(m) h and ϕ'(h) → φ̇(m), with gating fields m^ℓ = M^ℓ x/√D, M_ij ~ N(0, 1), frozen through training.

    The gate is the derivative of `shape`: `Gated(ReLU())` gives φ̇(m) = √2 Θ(m), the gated linear network of the paper
    (Fiat et al. 2019). Gating is a property of the network, so every learning rule runs on it.
    """

    shape: Nonlinearity = eqx.field(static=True)

    def __check_init__(self):
        checks.instance("shape", self.shape, Nonlinearity, "widelimit.ReLU()")
        if self.shape.gated:
            raise checks.ArgumentError("shape must be a nonlinearity without a gate; got Gated(...) inside Gated(...).")

    @property
    def gated(self) -> bool:
        return True

    def gate(self, m):
        return self.shape.derivative(m)

    def value(self, h):
        raise NotImplementedError("a gated unit needs its gate; call respond(h, gate)")

    def derivative(self, h):
        raise NotImplementedError("a gated unit needs its gate; call respond(h, gate)")

"""How changes become steps: step size, momentum, weight decay."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float

from .. import checks
from ..weights import Weights


class Optimizer(eqx.Module):
    """Gradient-descent steps with momentum and weight decay, the same for every weight matrix:

        V ← β V + η γ0 × (the rule's change),    W ← (1 − η λ) W + V

    **Arguments:** `step_size` η > 0 (time = step × η; steps are exact, there is no limit η → 0); `momentum`
    β ∈ [0, 1); `weight_decay` λ ≥ 0 with η λ < 1.
    """

    step_size: float | Float[Array, ""]
    momentum: float | Float[Array, ""]
    weight_decay: float | Float[Array, ""]
    remembers: bool = eqx.field(static=True)

    def __init__(self, step_size: float, momentum: float = 0.0, weight_decay: float = 0.0):
        checks.number("step_size", step_size, above=0)
        checks.number("momentum", momentum, at_least=0, below=1)
        checks.number("weight_decay", weight_decay, at_least=0)
        checks.number("step_size × weight_decay", step_size * weight_decay, below=1)
        self.step_size, self.momentum, self.weight_decay = step_size, momentum, weight_decay
        self.remembers = momentum > 0

    def step(self, weights: Weights, change: Array, velocity: Array | None) -> tuple[Weights, Array | None]:
        """One step of one weight matrix; `change` is the rule's change over one unit of time."""
        change = self.step_size * change
        if velocity is not None:
            change = velocity = self.momentum * velocity + change
        return weights.move(change, 1 - self.step_size * self.weight_decay), velocity

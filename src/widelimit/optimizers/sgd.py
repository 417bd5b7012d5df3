"""Gradient-descent steps: step size, momentum, weight decay."""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Float

from .. import checks


@runtime_checkable
class Movable(Protocol):
    """Weights of any kind, as an optimiser sees them."""

    def move(self, change: Array, keep: Array | float) -> Any:
        """The weights keep·W + change."""
        ...


Moved = TypeVar("Moved", bound=Movable)


class SGD(eqx.Module):
    """Gradient-descent steps with momentum and weight decay, the same for every weight matrix:

        V ← β V + η γ0 × (the rule's change),    W ← (1 − η λ) W + V

    **Arguments:** `step_size` η > 0 (time = step × η; steps are exact, there is no limit η → 0), or "auto" for what
    [`suggest_step_size`] says of the network, task and rule that it is used with; `momentum` β ∈ [0, 1); `weight_decay`
    λ ≥ 0 with η λ < 1.

    **Raises:** `ArgumentError` for numbers outside these bounds.
    """

    step_size: float | Float[Array, ""] | Literal["auto"]
    momentum: float | Float[Array, ""]
    weight_decay: float | Float[Array, ""]
    remembers: bool = eqx.field(static=True, init=False)
    """Whether there is a velocity V, beside the weights."""

    def __init__(self, step_size: float | Literal["auto"], momentum: float = 0.0, weight_decay: float = 0.0):
        momentum = checks.number("momentum", momentum, at_least=0, below=1)
        weight_decay = checks.number("weight_decay", weight_decay, at_least=0)
        if isinstance(step_size, str):
            checks.known("step_size", step_size, ("auto",))
        else:
            step_size = checks.number("step_size", step_size, above=0)
            checks.number("step_size × weight_decay", step_size * weight_decay, below=1)
        self.step_size, self.momentum, self.weight_decay = step_size, momentum, weight_decay
        self.remembers = momentum > 0

    def step(self, weights: Moved, change: Array, velocity: Array | None) -> tuple[Moved, Array | None]:
        """One step of one weight matrix; `change` is the rule's change over one unit of time."""
        size = self.step_size
        assert not isinstance(size, str), "the step size must have been chosen"
        change = size * change
        if velocity is not None:
            change = velocity = self.momentum * velocity + change
        return weights.move(change, 1 - size * self.weight_decay), velocity

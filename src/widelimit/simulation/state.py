"""What a step is given, what is part of its program, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int

from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Loss
from ..rules import OutputSignal, Rule
from ..weights import Usage, Width
from .inputs import Inputs
from .network import Activity, Network

_OF_GRADIENTS = ("ntk", "gradient_kernel", "pseudo_gradient_kernel", "pseudo_gradient_covariance")


@dataclass(frozen=True)
class Measurement:
    """What is measured, as a part of the compiled step; see [`Record`], from which it comes.

    `samples` are those whose kernels are measured, all of them if None; with `fields` the fields themselves leave the
    step, for two-time kernels and for the fields at the end.
    """

    kernels: tuple[str, ...]
    samples: tuple[int, ...] | None = None
    test_kernels: bool = False
    positions: bool = False
    fields: bool = False

    @property
    def of_gradients(self) -> bool:
        """Whether g or g̃ has to be measured at all."""
        return self.fields or any(name in self.kernels for name in _OF_GRADIENTS)


class Settings(eqx.Module):
    """What a run is given, as arrays: changing a number in it compiles nothing again."""

    net: Architecture
    optimizer: SGD
    rule_numbers: Any
    """The floating-point numbers and arrays among the rule's parameters."""
    inputs: Inputs
    y: Float[Array, "sample output"]
    batches: Int[Array, "step batch_sample"] | None = None
    """The samples that each step learns from; None where it is all of them."""

    def batch(self, step: Int[Array, ""]) -> Int[Array, " batch_sample"] | None:
        """The samples that one step learns from, if not all."""
        return None if self.batches is None else self.batches[step]


@dataclass(frozen=True)
class Program:
    """The training dynamics of one rule at one width: all that is part of the compiled program.

    `rule` lacks its numbers, which are in [`Settings`]. `usage` and `feedback_usage` come from `usage.with_usage`.
    """

    rule: Rule
    is_gradient: bool
    linear_in_error: bool
    width: Width
    loss: Loss
    outputs: int
    centred: bool
    measurement: Measurement
    usage: tuple[Usage, ...] = ()
    feedback_usage: tuple[Usage, ...] = ()


class State(eqx.Module):
    """Everything that changes from one step to the next.

    `origin` and `test_origin` are the outputs at initialisation, which a centred run subtracts: known after the first
    step, and zero before it.
    """

    network: Network
    feedback: Any
    velocity: tuple[Array | None, ...]
    feedback_velocity: tuple[Array | None, ...]
    origin: Float[Array, "sample output"]
    test_origin: Float[Array, "test output"]
    initial_loss: Float[Array, ""]
    highest_loss: Float[Array, ""]
    """The largest loss of all samples so far, and its step: where each step learns from a batch, at recorded steps."""
    highest_at: Int[Array, ""]
    step: Int[Array, ""]
    diverged_at: Int[Array, ""]
    unlearned: tuple[Float[Array, 2] | None, ...]
    """For each hidden matrix: the power of what its updates so far lacked for want of room, and of all of them."""
    unrecognised: Float[Array, "2 matrix"]
    """For each matrix with a basis of what is sent backward, hidden ones first and then the rule's: the sum over the
    steps so far of |Δ|² times the share of the power sent that only passed, and that of |Δ|²."""
    rule_failed_at: Int[Array, ""]
    """The step at which the rule gave what is no finite number for fields and errors that were; −1 if it has not."""


class Snapshot(eqx.Module):
    """The fields of one step: after the forward and the backward pass, before the update.

    Three networks belong to a step, the same weights with more and more revealed of them. It begins with the state's;
    `after_forward` knows what the forward pass met, and evaluates test points, so that one that equals a training point
    has its output; `after_backward` knows what the backward pass met too, and is what the update changes.
    """

    after_forward: Network
    after_backward: Network
    feedback: Any
    activity: Activity
    output: Float[Array, "sample output"]
    error: Float[Array, "sample output"]
    output_signal: OutputSignal
    signals: tuple[Float[Array, "row neuron"], ...]
    """g̃^ℓ of ℓ = 1..L, from `output_signal`."""
    feedback_updates: tuple[list[tuple[Array, Array]], ...]
    """What the rule has asked of its own matrices, in the order of [`matrices`]."""

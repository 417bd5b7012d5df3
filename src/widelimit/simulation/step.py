"""One step of training: pure functions of a state, the same at every width."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..faults import DIVERGED
from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Loss
from ..rules import (
    Batch,
    OutputSignal,
    Rule,
    View,
    as_pathways,
    as_weights,
    matrices,
    pathways,
    sweep,
    with_matrices,
)
from ..weights import Usage, Weights, Width
from .initialization import Initialization
from .inputs import Inputs
from .measurement import Measurement, measured
from .network import Activity, Network


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
    step: Int[Array, ""]
    diverged_at: Int[Array, ""]


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


@dataclass(frozen=True)
class Dynamics:
    """The training dynamics of one rule at one width: all that is part of the compiled program.

    `rule` lacks its numbers, which are in [`Settings`]. `usage` and `feedback_usage` come from [`with_usage`].
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

    def start(self, settings: Settings, rule: Rule, seed: tuple[int, ...] | None) -> State:
        """The state at initialisation under the rule with its numbers; without a seed shapes alone, for planning."""
        initialization = Initialization(
            settings.net,
            self.width,
            settings.inputs,
            self.outputs,
            self.usage,
            self.feedback_usage.__getitem__,
            seed,
        )
        network = initialization.network()
        feedback = initialization.feedback(rule)
        learning = initialization.learning(feedback)
        network, feedback = initialization.measurements(network, feedback)
        remembers, dtype = settings.optimizer.remembers, settings.y.dtype
        return State(
            network=network,
            feedback=feedback,
            velocity=tuple(weights.no_change() if remembers else None for weights in network.layers),
            feedback_velocity=tuple(
                weights.no_change() if remembers and learns else None
                for weights, learns in zip(matrices(feedback), learning, strict=True)
            ),
            origin=jnp.zeros(settings.y.shape, dtype),
            test_origin=jnp.zeros((settings.inputs.tests, self.outputs), dtype),
            initial_loss=jnp.zeros((), dtype),
            step=jnp.zeros((), jnp.int32),
            diverged_at=jnp.full((), -1, jnp.int32),
        )

    def advance(self, settings: Settings, state: State) -> tuple[State, dict[str, Any]]:
        """Measure the state, then take one step."""
        state, snapshot, record = self._measured(settings, state)
        batch = settings.batch(state.step)
        if batch is not None:  # all samples were measured; a batch of them is learned from
            state = dataclasses.replace(state, network=snapshot.after_backward, feedback=snapshot.feedback)
            state, snapshot = self.look(settings, state, batch)
        return self.update(settings, state, snapshot), record

    def proceed(self, settings: Settings, state: State, steps: Int[Array, ""]) -> State:
        """Take a number of steps without measuring."""

        def step(_: Any, state: State) -> State:
            return self.update(settings, *self.look(settings, state, settings.batch(state.step)))

        return lax.fori_loop(0, steps, step, state)

    def measure(self, settings: Settings, state: State) -> dict[str, Any]:
        """What is measured of a state."""
        return self._measured(settings, state)[2]

    def _measured(self, settings: Settings, state: State) -> tuple[State, Snapshot, dict[str, Any]]:
        state, snapshot = self.look(settings, state)
        record = measured(self, settings, state, snapshot)
        return eqx.tree_at(lambda s: s.test_origin, state, record["test_origin"]), snapshot, record

    def look(
        self, settings: Settings, state: State, batch: Int[Array, " batch_sample"] | None = None
    ) -> tuple[State, Snapshot]:
        """The forward pass, the error and the backward pass, of all samples or of a batch."""
        net = settings.net
        activity, after_forward = state.network.forward(net, settings.inputs.train, batch)
        state, output, y = self._centred(settings, state, activity.output, batch)
        state = self._judged(state, jnp.sum(self.loss.value(output, y)), len(settings.y))
        error = self.loss.error(output, y)

        # What is sent backward reveals weights as well: pathways collect what is known of each matrix afterwards.
        sent = None if batch is None else Batch(batch, len(settings.y))
        layers, feedback = (as_pathways(tree, batch=sent) for tree in (after_forward.layers, state.feedback))
        signal = OutputSignal.for_training(error, self.linear_in_error)
        view = View(layers, feedback, activity.fields, error, y, signal, net.skips)
        signals = sweep(eqx.combine(settings.rule_numbers, self.rule), view)
        snapshot = Snapshot(
            after_forward=after_forward,
            after_backward=eqx.tree_at(lambda n: n.layers, after_forward, as_weights(layers)),
            feedback=as_weights(feedback),
            activity=activity,
            output=output,
            error=error,
            output_signal=signal,
            signals=signals,
            feedback_updates=tuple(pathway.updates for pathway in pathways(feedback)),
        )
        return state, snapshot

    def _centred(
        self, settings: Settings, state: State, output: Float[Array, "_ output"], batch: Array | None
    ) -> tuple[State, Array, Array]:
        """The outputs less their initial values, with the targets; the state knows these after its first look."""
        y, origin = settings.y, state.origin
        if batch is not None:  # every run begins with a look at all samples
            return state, output - origin[batch], y[batch]
        if self.centred:
            origin = jnp.where(state.step == 0, output, origin)
            state = eqx.tree_at(lambda s: s.origin, state, origin)
        return state, output - origin, y

    def _judged(self, state: State, loss: Float[Array, ""], samples: int) -> State:
        """The state with its initial loss, and with the step at which it has diverged, if it has."""
        initial_loss = jnp.where(state.step == 0, loss, state.initial_loss)
        # The number of samples is the scale of the loss where it starts from nothing.
        bad = ~(jnp.isfinite(loss) & (loss <= DIVERGED * (initial_loss + samples)))
        diverged_at = jnp.where(bad & (state.diverged_at < 0), state.step, state.diverged_at)
        return eqx.tree_at(lambda s: (s.initial_loss, s.diverged_at), state, (initial_loss, diverged_at))

    def update(self, settings: Settings, state: State, snapshot: Snapshot) -> State:
        """Every weight matrix learns from the samples of the snapshot."""

        def learned(
            weights: Sequence[Weights],
            updates: Sequence[Sequence[tuple[Array, Array]]],
            velocities: Sequence[Array | None],
        ) -> tuple[tuple[Weights, ...], tuple[Array | None, ...]]:
            """Weights and velocities after W += η γ0 Σ post preᵀ, over the samples and over a matrix's updates."""
            moved = [
                settings.optimizer.step(matrix, settings.net.richness * _change(matrix, changes), velocity)
                if changes
                else (matrix, velocity)
                for matrix, changes, velocity in zip(weights, updates, velocities, strict=True)
            ]
            return tuple(matrix for matrix, _ in moved), tuple(velocity for _, velocity in moved)

        # Below the readout a matrix learns from Δ g̃ of the layer above it; the readout from Δ.
        posts = [*map(snapshot.output_signal.weighed, snapshot.signals), snapshot.error]
        updates = [[(post, pre)] for post, pre in zip(posts, snapshot.activity.coordinates, strict=True)]
        layers, velocity = learned(snapshot.after_backward.layers, updates, state.velocity)
        own, own_velocity = learned(matrices(snapshot.feedback), snapshot.feedback_updates, state.feedback_velocity)
        return dataclasses.replace(
            state,
            network=eqx.tree_at(lambda n: n.layers, snapshot.after_backward, layers),
            feedback=with_matrices(snapshot.feedback, own),
            velocity=velocity,
            feedback_velocity=own_velocity,
            step=state.step + 1,
        )


def _change(weights: Weights, updates: Sequence[tuple[Array, Array]]) -> Array:
    return functools.reduce(jnp.add, [weights.outer(post, coordinates) for post, coordinates in updates])


advance = jax.jit(Dynamics.advance, static_argnums=0, donate_argnums=2)
"""[`Dynamics.advance`], compiled once for each network, rule and width; the state that is given is used up."""

proceed = jax.jit(Dynamics.proceed, static_argnums=0, donate_argnums=2)
"""[`Dynamics.proceed`], compiled likewise."""

measure = jax.jit(Dynamics.measure, static_argnums=0)
"""[`Dynamics.measure`], compiled likewise; the state that is given is kept."""

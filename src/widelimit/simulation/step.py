"""One step of training: pure functions of a state, the same at every width."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..faults import DIVERGED
from ..rules import (
    Batch,
    OutputSignal,
    Rule,
    View,
    as_pathways,
    as_weights,
    backward_pass,
    matrices,
    pathways,
    with_matrices,
)
from ..weights import Weights
from .initialization import Initialization
from .measurement import measured
from .network import Network
from .state import Program, Settings, Snapshot, State


def start(program: Program, settings: Settings, rule: Rule, seed: tuple[int, ...] | None) -> State:
    """The state at initialisation under `rule`, with its numbers; without a seed shapes alone, for planning."""
    initialization = Initialization(
        settings.net,
        program.width,
        settings.inputs,
        program.outputs,
        program.usage,
        program.feedback_usage.__getitem__,
        seed,
    )
    # In this order: it decides what each random row is matched to.
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
        test_origin=jnp.zeros((settings.inputs.tests, program.outputs), dtype),
        initial_loss=jnp.zeros((), dtype),
        highest_loss=jnp.zeros((), dtype),
        highest_at=jnp.zeros((), jnp.int32),
        step=jnp.zeros((), jnp.int32),
        diverged_at=jnp.full((), -1, jnp.int32),
        unlearned=tuple(jnp.zeros(2, dtype) if weights.forgets else None for weights in network.layers[1:-1]),
        unrecognised=jnp.zeros((2, len(_only_passed(network, feedback))), dtype),
        rule_failed_at=jnp.full((), -1, jnp.int32),
    )


def advance(program: Program, settings: Settings, state: State) -> tuple[State, dict[str, Any]]:
    """Measure the state, then take one step."""
    state, snapshot, record = _measured(program, settings, state)
    batch = settings.batch(state.step)
    if batch is not None:  # all samples were measured; a batch of them is learned from
        state = dataclasses.replace(state, network=snapshot.after_backward, feedback=snapshot.feedback)
        state, snapshot = look(program, settings, state, batch)
    return update(settings, state, snapshot), record


def proceed(program: Program, settings: Settings, state: State, steps: Int[Array, ""]) -> State:
    """Take a number of steps without measuring."""

    def step(_: Any, state: State) -> State:
        return update(settings, *look(program, settings, state, settings.batch(state.step)))

    return lax.fori_loop(0, steps, step, state)


def measure(program: Program, settings: Settings, state: State) -> dict[str, Any]:
    """What is measured of a state."""
    return _measured(program, settings, state)[2]


def _measured(program: Program, settings: Settings, state: State) -> tuple[State, Snapshot, dict[str, Any]]:
    state, snapshot = look(program, settings, state)
    record = measured(program, settings, state, snapshot)
    return eqx.tree_at(lambda s: s.test_origin, state, record["test_origin"]), snapshot, record


def look(
    program: Program, settings: Settings, state: State, batch: Int[Array, " batch_sample"] | None = None
) -> tuple[State, Snapshot]:
    """The forward pass, the error and the backward pass, of all samples or of a batch."""
    net = settings.net
    activity, after_forward = state.network.forward(net, settings.inputs.train, batch)
    state, output, y = _centred(program, settings, state, activity.output, batch)
    state = _judged(state, jnp.sum(program.loss.value(output, y)), len(settings.y), of_all=batch is None)
    error = program.loss.error(output, y)
    # The readout's own gradient needs no rule: everything below it starts from this signal.

    # What is sent backward reveals weights as well: pathways collect what is known of each matrix afterwards.
    sent = None if batch is None else Batch(batch, len(settings.y))
    layers, feedback = (as_pathways(tree, batch=sent) for tree in (after_forward.layers, state.feedback))
    signal = OutputSignal.for_training(error, program.linear_in_error)
    view = View(layers, feedback, activity.fields, error, y, signal, net.skips)
    signals = backward_pass(eqx.combine(settings.rule_numbers, program.rule), view)
    finite = functools.reduce(jnp.logical_and, [jnp.isfinite(signal).all() for signal in signals])
    failed = ~finite & (state.diverged_at < 0) & (state.rule_failed_at < 0)
    state = eqx.tree_at(lambda s: s.rule_failed_at, state, jnp.where(failed, state.step, state.rule_failed_at))
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
    program: Program, settings: Settings, state: State, output: Float[Array, "_ output"], batch: Array | None
) -> tuple[State, Array, Array]:
    """The outputs less their initial values, with the targets; the state knows these after its first look."""
    y, origin = settings.y, state.origin
    if batch is not None:  # every run begins with a look at all samples
        return state, output - origin[batch], y[batch]
    if program.centred:
        origin = jnp.where(state.step == 0, output, origin)
        state = eqx.tree_at(lambda s: s.origin, state, origin)
    return state, output - origin, y


def _judged(state: State, loss: Float[Array, ""], samples: int, of_all: bool) -> State:
    """The state with its initial and its highest loss, and with the step at which it has diverged, if it has."""
    initial_loss = jnp.where(state.step == 0, loss, state.initial_loss)
    # The number of samples is the scale of the loss where it starts from nothing.
    bad = ~(jnp.isfinite(loss) & (loss <= DIVERGED * (initial_loss + samples)))
    diverged_at = jnp.where(bad & (state.diverged_at < 0), state.step, state.diverged_at)
    state = eqx.tree_at(lambda s: (s.initial_loss, s.diverged_at), state, (initial_loss, diverged_at))
    if not of_all:
        return state
    higher = loss > state.highest_loss
    highest = jnp.where(higher, loss, state.highest_loss), jnp.where(higher, state.step, state.highest_at)
    return eqx.tree_at(lambda s: (s.highest_loss, s.highest_at), state, highest)


def update(settings: Settings, state: State, snapshot: Snapshot) -> State:
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

    # The network after both passes learns, not the state's: what it revealed on the way is part of it.
    # Below the readout a matrix learns from Δ g̃ of the layer above it; the readout from Δ.
    posts = [*map(snapshot.output_signal.weighed, snapshot.signals), snapshot.error]
    updates = [[(post, pre)] for post, pre in zip(posts, snapshot.activity.coordinates, strict=True)]
    unlearned = tuple(
        total if total is None else total + weights.unlearned(post, features, coordinates)
        for total, weights, post, features, coordinates in zip(
            state.unlearned,
            snapshot.after_backward.layers[1:-1],
            posts[1:-1],
            snapshot.activity.features[1:-1],
            snapshot.activity.coordinates[1:-1],
            strict=True,
        )
    )
    # Late steps, which learn little, count little: what is sent then may be new without consequence.
    passed, weight = _only_passed(snapshot.after_backward, snapshot.feedback), jnp.vdot(snapshot.error, snapshot.error)
    unrecognised = state.unrecognised + weight * jnp.stack([passed, jnp.ones_like(passed)])
    layers, velocity = learned(snapshot.after_backward.layers, updates, state.velocity)
    own, own_velocity = learned(matrices(snapshot.feedback), snapshot.feedback_updates, state.feedback_velocity)
    return dataclasses.replace(
        state,
        network=eqx.tree_at(lambda n: n.layers, snapshot.after_backward, layers),
        feedback=with_matrices(snapshot.feedback, own),
        velocity=velocity,
        feedback_velocity=own_velocity,
        unlearned=unlearned,
        unrecognised=unrecognised,
        step=state.step + 1,
    )


def _only_passed(network: Network, feedback: Any) -> Float[Array, " matrix"]:
    """Of the vectors that were last sent backward through each matrix with a basis, the share that no row lasts for."""
    each = [weights.diagnostics() for weights in (*network.layers[1:-1], *matrices(feedback))]
    shares = [shown["backward_dropped_fraction"] for shown in each if shown]
    return jnp.stack(shares) if shares else jnp.zeros(0)


def _change(weights: Weights, updates: Sequence[tuple[Array, Array]]) -> Array:
    # A rule may let one of its own matrices learn from several pairs of vectors; the network's have one pair each.
    return functools.reduce(jnp.add, [weights.outer(post, coordinates) for post, coordinates in updates])


compiled_advance = jax.jit(advance, static_argnums=0, donate_argnums=2)
"""[`advance`], compiled once for each network, rule and width; the state that is given is used up."""

compiled_proceed = jax.jit(proceed, static_argnums=0, donate_argnums=2)
"""[`proceed`], compiled likewise."""

compiled_measure = jax.jit(measure, static_argnums=0)
"""[`measure`], compiled likewise; the state that is given is kept."""


def stacked(states: Sequence[State]) -> State:
    """The states of several replicates as one, with an axis for them in front of every array but `step`."""
    return eqx.tree_at(
        lambda s: s.step, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), jnp.array(states[0].step)
    )


def advance_together(program: Program, settings: Settings, states: State) -> tuple[State, dict[str, Any]]:
    """[`advance`] for the states of several replicates, [`stacked`]; what is measured has the same axis in front."""
    axes = _axes(states)
    return jax.vmap(functools.partial(advance, program, settings), in_axes=(axes,), out_axes=(axes, 0))(states)


def proceed_together(program: Program, settings: Settings, states: State, steps: Int[Array, ""]) -> State:
    """[`proceed`] for the states of several replicates, [`stacked`]."""
    axes = _axes(states)
    return jax.vmap(lambda state: proceed(program, settings, state, steps), in_axes=(axes,), out_axes=axes)(states)


def _axes(states: State) -> State:
    # The step stays one number for all: a batch that each replicate looked up by a step of its own would be a gather.
    return eqx.tree_at(lambda s: s.step, jax.tree.map(lambda _: 0, states), None)


compiled_advance_together = jax.jit(advance_together, static_argnums=0, donate_argnums=2)
"""[`advance_together`], compiled once for each number of replicates."""

compiled_proceed_together = jax.jit(proceed_together, static_argnums=0, donate_argnums=2)
"""[`proceed_together`], compiled likewise."""

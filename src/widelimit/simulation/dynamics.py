"""One step of training, and what is measured in it: pure functions of the state, the same at every width."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
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
    Draw,
    Rule,
    View,
    at_each_position,
    matrices,
    sweep,
    tapped,
    taps,
    untapped,
    with_matrices,
)
from ..weights import Finite, Usage, Weights, Width, overlap
from . import kernels
from .network import Activity, Inputs, Loom, Network


class Given(eqx.Module):
    """What a run is given, as arrays: changing a number in it compiles nothing again."""

    net: Architecture
    optimizer: SGD
    inputs: Inputs
    y: Float[Array, "sample output_unit"]
    batches: Int[Array, "step row"] | None = None
    """The samples that each step learns from; None where it is all of them."""

    def batch(self, step: Int[Array, ""]) -> Int[Array, " row"] | None:
        """The samples that one step learns from, if not all."""
        return None if self.batches is None else self.batches[step]


class State(eqx.Module):
    """Everything that changes from one step to the next."""

    network: Network
    feedback: Any
    velocity: tuple[Array | None, ...]
    feedback_velocity: tuple[Array | None, ...]
    origin: Float[Array, "sample output_unit"]
    test_origin: Float[Array, "test output_unit"]
    initial_loss: Float[Array, ""]
    step: Int[Array, ""]
    diverged_at: Int[Array, ""]


class Snapshot(eqx.Module):
    """The fields of one step: after the forward and backward passes, before the update.

    `sent_forward` is the network between the passes: test points are evaluated with the weights that the training
    points met, so that a test point equal to a training point has its output.
    """

    network: Network
    feedback: Any
    activity: Activity
    output: Float[Array, "sample output_unit"]
    error: Float[Array, "sample output_unit"]
    signals: tuple[Float[Array, "row neuron"], ...]
    lessons: tuple[list[tuple[Array, Array]], ...]
    sent_forward: Network


@dataclass(frozen=True)
class Dynamics:
    """The training dynamics of one rule on one width. `usage` and `feedback_usage` come from [`survey`]."""

    rule: Rule
    width: Width
    loss: Loss
    outputs: int
    centred: bool
    fields: bool
    positions: bool
    usage: tuple[Usage, ...]
    feedback_usage: tuple[Usage, ...]

    @property
    def _unweighted(self) -> bool:
        return self.outputs == 1 and self.rule.linear_in_error

    # --- setting up

    def start(self, given: Given, seed: tuple[int, ...] | None) -> State:
        """The state at initialisation; without a seed, shapes alone, for planning."""
        loom, network, draw, feedback = self._weave(given, seed, self.feedback_usage.__getitem__)
        for population in loom.populations:
            self.width.check(population)
        learns = draw.learns(feedback)
        network, feedback = loom.furnish(network), draw.furnish(feedback)
        remembers = given.optimizer.remembers
        dtype = given.y.dtype
        return State(
            network=network,
            feedback=feedback,
            velocity=tuple(weights.no_change() if remembers else None for weights in network.layers),
            feedback_velocity=tuple(
                weights.no_change() if remembers and learning else None
                for weights, learning in zip(matrices(feedback), learns, strict=True)
            ),
            origin=jnp.zeros(given.y.shape, dtype),
            test_origin=jnp.zeros((given.inputs.tests, self.outputs), dtype),
            initial_loss=jnp.zeros((), dtype),
            step=jnp.zeros((), jnp.int32),
            diverged_at=jnp.full((), -1, jnp.int32),
        )

    def _weave(
        self, given: Given, seed: tuple[int, ...] | None, feedback_usage: Callable[[int], Usage]
    ) -> tuple[Loom, Network, Draw, Any]:
        """The network and the rule's own random objects, with what made them."""
        loom = Loom(given.net, self.width, given.inputs, self.outputs, self.usage, seed)
        network = loom.weave()
        draw = Draw(self.width, loom.populations, loom.fields, self.outputs, feedback_usage)
        return loom, network, draw, self.rule.feedback(draw)

    # --- one step

    def advance(self, given: Given, state: State) -> tuple[State, dict[str, Any]]:
        """Measure the state, then take one step."""
        state, snapshot = self._look(given, state)
        record = self._record(given, state, snapshot)
        state = eqx.tree_at(lambda s: s.test_origin, state, record["test_origin"])
        batch = given.batch(state.step)
        if batch is not None:  # all samples were measured; a batch of them is learned from
            state = dataclasses.replace(state, network=snapshot.network, feedback=snapshot.feedback)
            state, snapshot = self._look(given, state, batch)
        return self._update(given, state, snapshot), record

    def proceed(self, given: Given, state: State, steps: Int[Array, ""]) -> State:
        """Take a number of steps without measuring."""
        step = lambda _, s: self._update(given, *self._look(given, s, given.batch(s.step)))  # noqa: E731
        return lax.fori_loop(0, steps, step, state)

    def _look(self, given: Given, state: State, batch: Int[Array, " row"] | None = None) -> tuple[State, Snapshot]:
        """The forward pass, the error and the backward pass, of all samples or of a batch."""
        activity, network = state.network.forward(given.net, given.inputs.train, batch)
        first = state.step == 0
        y, origin = given.y, state.origin
        if batch is not None:
            y, origin = y[batch], origin[batch]  # measured before: every run begins with a look at all samples
        elif self.centred:
            origin = jnp.where(first, activity.output, origin)
            state = eqx.tree_at(lambda s: s.origin, state, origin)
        output = activity.output - origin
        error = self.loss.error(output, y)
        loss = jnp.sum(self.loss.value(output, y))
        initial_loss = jnp.where(first, loss, state.initial_loss)
        bad = ~(jnp.isfinite(loss) & (loss <= DIVERGED * (initial_loss + len(given.y))))
        diverged_at = jnp.where(bad & (state.diverged_at < 0), state.step, state.diverged_at)
        state = eqx.tree_at(lambda s: (s.initial_loss, s.diverged_at), state, (initial_loss, diverged_at))
        # A rule that is linear in the error sends 1 in place of a single Δ: the kernels then come with the pass.
        coefficients = jnp.ones_like(error) if self._unweighted else error
        sent = None if batch is None else (batch, len(given.y))
        layers, feedback = (tapped(tree, batch=sent) for tree in (network.layers, state.feedback))
        view = View(layers, feedback, activity, error, y, coefficients, self._unweighted, given.net.skips)
        signals = sweep(self.rule, view)
        after = eqx.tree_at(lambda n: n.layers, network, untapped(layers))
        lessons = tuple(tap.lessons for tap in taps(feedback))
        return state, Snapshot(after, untapped(feedback), activity, output, error, signals, lessons, network)

    def _update(self, given: Given, state: State, snapshot: Snapshot) -> State:
        """Every weight matrix learns from the samples of the snapshot."""
        error = at_each_position(snapshot.error, given.inputs.geometry.positions)
        posts = [*(error * g if self._unweighted else g for g in snapshot.signals), snapshot.error]

        def learn(
            weights: Weights, lessons: Sequence[tuple[Array, Array]], velocity: Array | None
        ) -> tuple[Weights, Array | None]:
            if not lessons:
                return weights, velocity
            change = functools.reduce(jnp.add, [weights.outer(post, code) for post, code in lessons])
            return given.optimizer.step(weights, given.net.richness * change, velocity)

        layers, velocity = zip(
            *(
                learn(weights, [(post, code)], velocity)
                for weights, post, code, velocity in zip(
                    snapshot.network.layers, posts, snapshot.activity.codes, state.velocity, strict=True
                )
            ),
            strict=True,
        )
        own = [
            learn(weights, lessons, velocity)
            for weights, lessons, velocity in zip(
                matrices(snapshot.feedback), snapshot.lessons, state.feedback_velocity, strict=True
            )
        ]
        return eqx.tree_at(
            lambda s: (s.network, s.feedback, s.velocity, s.feedback_velocity, s.step),
            state,
            (
                eqx.tree_at(lambda n: n.layers, snapshot.network, layers),
                with_matrices(snapshot.feedback, [weights for weights, _ in own]),
                velocity,
                tuple(velocity for _, velocity in own),
                state.step + 1,
            ),
            is_leaf=lambda leaf: leaf is None,
        )

    # --- what is measured

    def _record(self, given: Given, state: State, snapshot: Snapshot) -> dict[str, Any]:
        activity, network = snapshot.activity, snapshot.network
        test_output = snapshot.sent_forward.test_forward(given.net, given.inputs.test)
        if self.width.resamples and self.centred:
            test_origin = snapshot.sent_forward.initially().test_forward(given.net, given.inputs.test)
        else:
            test_origin = jnp.where((state.step == 0) & self.centred, test_output, state.test_origin)
        geometry = given.inputs.geometry
        z, gradients, pseudo_gradients = self._measure(given, snapshot)
        features = [overlap(phi, phi) for phi in activity.features]
        features[0] = given.inputs.train @ given.inputs.train.T / geometry.dimension
        pseudo = [kernels.blocks(g, p) for g, p in zip(gradients, pseudo_gradients, strict=True)]
        over_rows = {
            "feature_kernel": features[1:],
            "gradient_kernel": [kernels.blocks(g, g) for g in gradients],
            "pseudo_gradient_kernel": pseudo,
        }
        norms = jnp.stack([jnp.mean(p**2, axis=2) for p in pseudo_gradients])
        record = {
            "output": snapshot.output,
            "error": snapshot.error,
            "loss": jnp.sum(self.loss.value(snapshot.output, given.y)),
            "test_output": test_output - test_origin,
            "test_origin": test_origin,
            **{
                name: jnp.stack([kernels.position_mean(kernel, geometry.positions) for kernel in layers])
                for name, layers in over_rows.items()
            },
            "pseudo_gradient_norm": norms.reshape(len(norms), -1, geometry.positions, self.outputs).mean(axis=2),
            "ntk": kernels.tangent_kernel(features, pseudo, geometry.fields, self.outputs),
            "diagnostics": [weights.diagnostics() for weights in network.layers[1:-1]],
        }
        if self.positions:
            for name, layers in over_rows.items():
                by_position = [kernels.by_position(kernel, geometry.positions) for kernel in layers]
                record[f"{name}_positions"] = jnp.stack(by_position)
        if self.fields:

            def stacked(layers: Sequence[Array]) -> Array:
                """All layers as (layer, sample, [output_unit,] position, neuron)."""
                apart = [rows.reshape(-1, geometry.positions, *rows.shape[1:]) for rows in layers]
                return jnp.stack([jnp.moveaxis(rows, 1, -2) for rows in apart])

            record["fields"] = {
                "preactivation": stacked(activity.preactivations[1:]),
                "feature": stacked(activity.features[1:]),
                "pre_gradient": stacked(z),
                "gradient": stacked(gradients),
                "pseudo_gradient": stacked(pseudo_gradients),
            }
        return record

    def _measure(
        self, given: Given, snapshot: Snapshot, note: Callable[[Any], None] = lambda taps: None
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """z^ℓ, g^ℓ and g̃^ℓ for ℓ = 1..L, each (row, output, neuron), by probes that leave no trace."""
        samples, outputs = given.y.shape
        positions = given.inputs.geometry.positions
        layers, feedback = tapped(snapshot.network.layers, True), tapped(snapshot.feedback, True)
        # Every sample once for each output, with all its positions: rows (sample, output, position).
        activity, error, y = _repeated((snapshot.activity, snapshot.error, given.y), samples, outputs)
        unit = jnp.tile(jnp.eye(outputs, dtype=error.dtype), (samples, 1))
        view = View(layers, feedback, activity, error, y, unit, skips=given.net.skips)
        signals = list(snapshot.signals)
        if not self.rule.linear_in_error:
            size = jnp.sum(error**2, axis=1, keepdims=True)
            share = jnp.sum(error * unit, axis=1, keepdims=True) / jnp.where(size > 0, size, 1)
            share = at_each_position(share, positions)
            signals = [share * delta for delta in _repeated(signals, samples, outputs)]
        elif outputs > 1:
            signals = list(sweep(self.rule, view))
        z, gradients = [], []
        if self.rule.is_gradient and not self.fields:
            gradients = list(signals)
        else:
            above = unit
            for layer in range(given.net.hidden_layers, 0, -1):
                z.insert(0, layers[layer].backward(above))
                above = view.pulled_back(layer, z[0], above)
                gradients.insert(0, above)
        note((layers, feedback))

        def split(layers: list[Array]) -> list[Array]:
            apart = [rows.reshape(samples, outputs, positions, -1) for rows in layers]
            return [rows.swapaxes(1, 2).reshape(samples * positions, outputs, -1) for rows in apart]

        return split(z), split(gradients), split(signals)


def _repeated(tree: Any, samples: int, times: int) -> Any:
    """Every array with the rows of each sample repeated `times` times."""

    def repeated(rows: Array) -> Array:
        each = rows.reshape(samples, -1, rows.shape[-1])
        return jnp.repeat(each, times, axis=0).reshape(-1, rows.shape[-1])

    return tree if times == 1 else jax.tree.map(repeated, tree)


def survey(dynamics: Dynamics, given: Given) -> Dynamics:
    """The dynamics with its usage filled in, by running the rule once on shapes alone.

    The rule is asked, not told: what it sends through which matrix, and whether it wants initial weights, is read off
    its own calls, so that a rule's author declares nothing and unused parts of a matrix are never kept.
    """
    rows = len(given.inputs.train)
    everything = Usage(forward=rows, backward=rows, initial=True)
    notes: list[Usage] = []
    feedback_notes: list[Usage] = []

    def dry_run(given: Given) -> None:
        trial = dataclasses.replace(dynamics, width=Finite(2), usage=(everything,) * given.net.hidden_layers)
        loom, network, draw, feedback = trial._weave(given, None, lambda _: everything)
        activity, network = loom.furnish(network).forward(given.net, given.inputs.train)
        trained = (tapped(network.layers), tapped(feedback))
        view = View(trained[0], trained[1], activity, given.y, given.y, jnp.ones_like(given.y), skips=given.net.skips)
        signals = sweep(dynamics.rule, view)
        probed: list[Any] = []
        lessons = tuple(tap.lessons for tap in taps(trained[1]))
        snapshot = Snapshot(network, feedback, activity, given.y, given.y, signals, lessons, network)
        trial._measure(given, snapshot, probed.append)

        def note(weights: Weights, forward: bool) -> Usage:
            in_training = [tap for tap in taps(trained) if tap.origin is weights]
            in_probes = [tap for tap in taps(probed) if tap.origin is weights]
            return Usage(
                forward=rows if forward else sum(tap.taught for tap in in_training),
                backward=sum(tap.sent for tap in in_training),
                tests=len(given.inputs.test) if forward else 0,
                probes=sum(tap.sent for tap in in_probes),
                initial=any(tap.initial for tap in in_training + in_probes),
            )

        notes.extend(note(weights, forward=True) for weights in network.layers[1:])
        feedback_notes.extend(note(weights, forward=False) for weights in draw.made)

    jax.eval_shape(dry_run, given)
    return dataclasses.replace(dynamics, usage=tuple(notes), feedback_usage=tuple(feedback_notes))

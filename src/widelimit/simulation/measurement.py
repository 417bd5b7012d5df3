"""What is measured of a state at a recorded step: kernels, outputs at test points, fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..networks import rows_of
from ..rules import OutputSignal, Pathway, View, as_pathways, at_each_position, backward_pass, pathways
from ..weights import overlap
from . import kernels
from .state import Measurement, Program, Settings, Snapshot, State


class OutputRows(NamedTuple):
    """The rows of a pass in which every sample is sent once for each output: (sample, output, position)."""

    samples: int
    outputs: int
    positions: int

    def spread(self, tree: Any) -> Any:
        """Arrays over rows (sample, position), or over samples, with those of each sample once for each output."""

        def repeated(rows: Array) -> Array:
            by_sample = rows.reshape(self.samples, -1, rows.shape[-1])
            return jnp.repeat(by_sample, self.outputs, axis=0).reshape(-1, rows.shape[-1])

        return tree if self.outputs == 1 else jax.tree.map(repeated, tree)

    def gathered(self, layers: Sequence[Array]) -> list[Float[Array, "row output neuron"]]:
        """The fields of such a pass, layer by layer, with the outputs of a row (sample, position) side by side."""
        by_output = [rows.reshape(self.samples, self.outputs, self.positions, -1) for rows in layers]
        return [rows.swapaxes(1, 2).reshape(self.samples * self.positions, self.outputs, -1) for rows in by_output]


class Gradients(NamedTuple):
    """z^ℓ, g^ℓ and g̃^ℓ of ℓ = 1..L, each (row, output, neuron), and the pathways that measured them.

    z is empty where g was had without it.
    """

    pre_gradients: list[Array]
    gradients: list[Array]
    pseudo_gradients: list[Array]
    used: list[Pathway]


def measured(program: Program, settings: Settings, state: State, snapshot: Snapshot) -> dict[str, Any]:
    """The record of a state, by the names of the result's variables (see the registry)."""
    measurement, geometry = program.measurement, settings.inputs.geometry
    test_output, test_origin = _test_outputs(program, settings, state, snapshot)
    record = {
        "output": snapshot.output,
        "error": snapshot.error,
        "loss": jnp.sum(program.loss.value(snapshot.output, settings.y)),
        "test_output": test_output - test_origin,
        "test_origin": test_origin,
        "diagnostics": [
            weights.diagnostics() | ({} if unlearned is None else {"unlearned_fraction": _share(unlearned)})
            for weights, unlearned in zip(snapshot.after_backward.layers[1:-1], state.unlearned, strict=True)
        ],
    }
    if state.unrecognised.shape[1]:
        record["unrecognised_fraction"] = jnp.max(jax.vmap(_share, in_axes=1)(state.unrecognised))
    # Kernels of chosen samples alone: rows are taken before any product, so that nothing of size P² is formed.
    recorded = _recorded_rows(settings, measurement)
    features = _chosen(snapshot.activity.features, recorded)
    phi = [overlap(rows, rows) for rows in features]
    # Inputs are no neurons: Φ^0 is divided by D, not by the number of coordinates in which they are held.
    phi[0] = features[0] @ features[0].T / geometry.dimension
    over_rows: dict[str, list[Array]] = {"feature_kernel": phi[1:]}
    if measurement.of_gradients:
        measured_gradients = gradients(program, settings, snapshot)
        z, g, pseudo, _ = measured_gradients
        mixed = [kernels.blocks(left, right) for left, right in zip(g, pseudo, strict=True)]
        over_rows |= {
            "gradient_kernel": [kernels.blocks(rows, rows) for rows in g],
            "pseudo_gradient_kernel": mixed,
            "pseudo_gradient_covariance": [kernels.blocks(rows, rows) for rows in pseudo],
        }
        # ⟨g̃ g̃⟩ of a sample with itself is small, and gradient alignment needs it wherever g is measured.
        norms = jnp.stack([jnp.mean(rows**2, axis=2) for rows in pseudo])
        by_position = norms.reshape(len(norms), -1, geometry.positions, program.outputs)
        record["pseudo_gradient_norm"] = by_position.mean(axis=2)
        if "ntk" in measurement.kernels:
            record["ntk"] = kernels.tangent_kernel(phi, mixed, geometry.fields, program.outputs)
        if measurement.fields:
            record["fields"] = {
                "preactivation": _stacked(_chosen(snapshot.activity.preactivations, recorded)[1:], geometry.positions),
                "feature": _stacked(features[1:], geometry.positions),
                "pre_gradient": _stacked(z, geometry.positions),
                "gradient": _stacked(g, geometry.positions),
                "pseudo_gradient": _stacked(pseudo, geometry.positions),
            }
    for name in (name for name in over_rows if name in measurement.kernels):
        record[name] = jnp.stack([kernels.position_mean(kernel, geometry.positions) for kernel in over_rows[name]])
        if measurement.positions and name != "pseudo_gradient_covariance":
            record[f"{name}_positions"] = jnp.stack(
                [kernels.by_position(kernel, geometry.positions) for kernel in over_rows[name]]
            )
    if "mean_feature" in measurement.kernels:
        means = jnp.stack([jnp.mean(rows, axis=1) for rows in features[1:]])
        record["mean_feature"] = means.reshape(len(means), -1, geometry.positions).mean(axis=2)
    if measurement.test_kernels:
        record |= _test_kernels(settings, measurement, snapshot, features)
    return record


def _test_outputs(
    program: Program, settings: Settings, state: State, snapshot: Snapshot
) -> tuple[Float[Array, "test output"], Float[Array, "test output"]]:
    """The outputs at test points, and what they were at initialisation."""
    test_output = snapshot.after_forward.test_outputs(settings.net, settings.inputs.test)
    if program.width.resamples and program.centred:
        # Other noise is met as more is revealed: what it would have given at the start is computed along with it.
        return test_output, snapshot.after_forward.initially().test_outputs(settings.net, settings.inputs.test)
    return test_output, jnp.where((state.step == 0) & program.centred, test_output, state.test_origin)


def _test_kernels(
    settings: Settings, measurement: Measurement, snapshot: Snapshot, features: Sequence[Array]
) -> dict[str, Any]:
    """Φ^ℓ between test points, and between test points and the recorded training points."""
    positions = settings.inputs.geometry.positions
    # With the weights that the training points met, so that what both share is the same noise.
    layers = snapshot.after_forward.test_fields(settings.net, settings.inputs.test)
    pairs = {
        "test_feature_kernel": [overlap(phi, phi) for _, phi in layers],
        "test_train_feature_kernel": [overlap(phi, rows) for (_, phi), rows in zip(layers, features[1:], strict=True)],
    }
    found: dict[str, Any] = {
        name: jnp.stack([kernels.position_mean(kernel, positions) for kernel in of_layers])
        for name, of_layers in pairs.items()
    }
    if measurement.fields:
        found["test_fields"] = {"test_preactivation": _stacked([h for h, _ in layers], positions)}
    return found


def gradients(program: Program, settings: Settings, snapshot: Snapshot) -> Gradients:
    """z^ℓ, g^ℓ and g̃^ℓ of the recorded samples, by probes that leave no trace in the weights."""
    net, outputs = settings.net, program.outputs
    recorded = _recorded_rows(settings, program.measurement)
    positions = settings.inputs.geometry.positions
    activity, signals = snapshot.activity, list(_chosen(snapshot.signals, recorded))
    error, y = _chosen((snapshot.error, settings.y), _recorded_samples(program.measurement))
    samples = len(error)

    # One pass for all outputs together: the same rows again, each time with another unit vector at the top.
    each = OutputRows(samples, outputs, positions)
    fields, error, y = each.spread((tuple(_chosen(layers, recorded) for layers in activity.fields), error, y))
    start = OutputSignal.of_each_output(samples, outputs, error.dtype)
    layers, feedback = (as_pathways(tree, True) for tree in (snapshot.after_backward.layers, snapshot.feedback))
    view = View(layers, feedback, fields, error, y, start, net.skips)

    if not program.linear_in_error:
        # The smallest vectors with Σ_c Δ_c g̃_c = δ, the whole signal: g̃_c = δ Δ_c/|Δ|².
        size = jnp.sum(error**2, axis=1, keepdims=True)
        share = jnp.sum(error * start.values, axis=1, keepdims=True) / jnp.where(size > 0, size, 1)
        share = at_each_position(share, positions)
        signals = [share * delta for delta in each.spread(signals)]
    elif outputs > 1:
        signals = list(backward_pass(eqx.combine(settings.rule_numbers, program.rule), view))
    # With one output the training pass has started from 1, and what it gave is g̃ itself.

    # z is had by sending the unit vectors through the true weights; where g̃ = g and nobody asks for z, it is skipped.
    pre_gradients: list[Array] = []
    if program.is_gradient and not program.measurement.fields:
        true_gradients = list(signals)
    else:
        true_gradients, above = [], start.values
        for layer in range(net.hidden_layers, 0, -1):
            pre_gradients.insert(0, layers[layer].backward(above))
            above = view.pulled_back(layer, pre_gradients[0], above)
            true_gradients.insert(0, above)
    return Gradients(
        each.gathered(pre_gradients),
        each.gathered(true_gradients),
        each.gathered(signals),
        pathways((layers, feedback)),
    )


def _share(power: Float[Array, 2]) -> Float[Array, ""]:
    return power[0] / jnp.where(power[1] > 0, power[1], 1)


def _recorded_samples(measurement: Measurement) -> Array | None:
    return None if measurement.samples is None else jnp.asarray(measurement.samples)


def _recorded_rows(settings: Settings, measurement: Measurement) -> Array | None:
    """The rows of the samples whose kernels are recorded; None for all of them."""
    samples = _recorded_samples(measurement)
    return None if samples is None else rows_of(samples, settings.inputs.geometry.positions)


def _chosen(layers: Sequence[Array], rows: Array | None) -> Sequence[Array]:
    return layers if rows is None else [array[rows] for array in layers]


def _stacked(layers: Sequence[Array], positions: int) -> Array:
    """All layers as (layer, sample, [output,] position, neuron), from rows (sample, position)."""
    by_position = [rows.reshape(-1, positions, *rows.shape[1:]) for rows in layers]
    return jnp.stack([jnp.moveaxis(rows, 1, -2) for rows in by_position])

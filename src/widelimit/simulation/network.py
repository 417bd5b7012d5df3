"""The network that an architecture describes at one width: layers, gates and the forward pass."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..networks import Architecture, Geometry, Pointwise, ReceptiveField, rows_of
from ..problem import Task
from ..weights import DenseWeights, Population, Rows, Usage, Weights, Width, readout, scatters


class Inputs(eqx.Module):
    """A task's inputs, as the rows of a network's first layer, in coordinates chosen for it.

    Only inner products of rows matter, because W^0 is isotropic and learns within their span. With more columns
    than rows, they are expressed in an orthonormal basis of the training rows followed by one of what test rows have
    outside it; `trained` counts the first kind.
    """

    train: Float[Array, "row coordinate"]
    test: Float[Array, "test coordinate"]
    trained: int = eqx.field(static=True)
    geometry: Geometry = eqx.field(static=True)

    @classmethod
    def of(cls, net: Architecture, task: Task, dtype: Any) -> Inputs:
        """The inputs of a task to a network."""
        train, test = (net.rows(x) for x in (task.inputs, task.test_inputs))
        trained = train.shape[1]
        if trained > len(train):
            scale = float(max(np.linalg.norm(train), np.linalg.norm(test)))
            basis = _row_space(train, scale)
            outside = _row_space(test - test @ basis.T @ basis, scale)
            basis, trained = np.concatenate([basis, outside]), len(basis)
            train, test = train @ basis.T, test @ basis.T
        return cls(jnp.asarray(train, dtype), jnp.asarray(test, dtype), trained, net.geometry(task.shape))

    @property
    def samples(self) -> int:
        """P, the number of training samples."""
        return len(self.train) // self.geometry.positions

    @property
    def tests(self) -> int:
        """The number of test points."""
        return len(self.test) // self.geometry.positions


def _row_space(rows: np.ndarray, scale: float) -> np.ndarray:
    """An orthonormal basis of the rows' span, up to directions that are rounding beside `scale`."""
    if not rows.size:
        return np.zeros((0, rows.shape[1]))
    _, values, directions = np.linalg.svd(rows, full_matrices=False)
    return directions[values > 1e-10 * scale]


class Activity(eqx.Module):
    """The fields of one forward pass, indexed by layer ℓ = 0..L; layer 0 is the input, h = ϕ(h) = x."""

    preactivations: tuple[Float[Array, "row neuron"], ...]
    features: tuple[Float[Array, "row neuron"], ...]
    derivatives: tuple[Float[Array, "row neuron"], ...]
    codes: tuple[Array, ...]
    output: Float[Array, "sample output_unit"]


class Network(eqx.Module):
    """A network at one width: weights ℓ = 0..L (W^0, the hidden W^ℓ, the readout) and its frozen gates, if any."""

    layers: tuple[Weights, ...]
    gates: tuple[Float[Array, "row neuron"] | None, ...]
    test_gates: tuple[Float[Array, "test neuron"] | None, ...]

    def forward(
        self, net: Architecture, x: Float[Array, "row dimension"], batch: Int[Array, " sample"] | None = None
    ) -> tuple[Activity, Network]:
        """The forward pass on the training inputs, and the network with what the pass revealed of its weights.

        With a `batch`, on those samples alone.
        """
        gates, rows = self.gates, Rows.all()
        if batch is not None:
            places = rows_of(batch, self.layers[-1].field.below)
            rows = Rows(places=places)
            x, gates = x[places], tuple(None if gate is None else gate[places] for gate in gates)
        preactivations, features, derivatives, codes, layers = _hidden_pass(net, self.layers[:-1], gates, x, rows)
        output, code, readout = self.layers[-1].forward(features[-1], rows)
        activity = Activity(
            tuple(preactivations), tuple(features), tuple(derivatives), (*codes, code), output / net.richness
        )
        return activity, eqx.tree_at(lambda n: n.layers, self, (*layers, readout))

    def test_forward(self, net: Architecture, x: Float[Array, "row dimension"]) -> Float[Array, "test output_unit"]:
        """The outputs at test points, which leave no trace in the weights."""
        h, phi = None, x
        for weights, gate in zip(self.layers[:-1], self.test_gates, strict=True):
            h = _above(net, weights.test_forward(phi), h)
            phi, _ = net.nonlinearity.respond(h, gate)
        return self.layers[-1].test_forward(phi) / net.richness

    def initially(self) -> Network:
        """The network before any training, with all that has been revealed of its weights since."""
        return eqx.tree_at(lambda n: n.layers, self, tuple(weights.initially() for weights in self.layers))


def populations(
    net: Architecture, width: Width, seed: tuple[int, ...] | None, dtype: Any, many_rows: bool
) -> tuple[Population, ...]:
    """The populations of the hidden layers ℓ = 1..L; without a seed, shapes alone.

    Where layers add to one another neuron by neuron, a neuron's fields at all layers are one joint process: all layers
    are then one population.
    """

    def make(layer: int) -> Population:
        generator = None if seed is None else np.random.default_rng([*seed, layer])
        return width.population(generator, dtype, many_rows)

    if net.skips:
        return (make(0),) * net.hidden_layers
    return tuple(make(layer) for layer in range(net.hidden_layers))


class Loom:
    """What makes a network at one width, in rounds: each draws random rows matched to those of the rounds before.

    Forward first; then, kept away from the initial features, everything that meets them in the backward pass; then, by
    [`furnish`], what measurements need.
    """

    def __init__(
        self,
        net: Architecture,
        width: Width,
        inputs: Inputs,
        outputs: int,
        usage: tuple[Usage, ...],
        seed: tuple[int, ...] | None,
    ):
        self.net = net
        self.width = width
        self.inputs = inputs
        self.outputs = outputs
        self.usage = usage
        many_rows = any(scatters(field) for field in inputs.geometry.fields[:-1])
        self.populations = populations(net, width, seed, inputs.train.dtype, many_rows)
        self._gating: list[Array] = []

    def weave(self) -> Network:
        """A network at initialisation; `usage[ℓ − 1]` says what passes through the weights above layer ℓ = 1..L."""
        trained = self.inputs.trained
        first = self._first(self.populations[0].draw(trained))
        hidden = tuple(
            self.width.weights(*between, field)
            for between, field in zip(self._between(), self.fields[:-1], strict=True)
        )
        if self.net.nonlinearity.gated:
            self._gating = [population.draw(trained) for population in self.populations]
        x = self.inputs.train[:, :trained]
        gates = self._gates(x)
        # One pass serves all layers, and none is made where no population needs it.
        features = functools.cache(lambda: _first_features(self.net, (first, *hidden), gates, x, Rows.all()))
        for layer, population in enumerate(self.populations, start=1):
            population.avoid(lambda layer=layer: features()[layer])
        hidden = tuple(
            self.width.with_backward(weights, *between)
            for weights, between in zip(hidden, self._between(), strict=True)
        )
        keep = self.width.resamples or self.usage[-1].initial
        usage = dataclasses.replace(self.usage[-1], initial=keep)
        last = readout(self.populations[-1], self.outputs, usage, self.fields[-1])
        return Network((first, *hidden, last), gates, (None,) * len(gates))

    def furnish(self, network: Network) -> Network:
        """The network with what its measurements need."""
        unseen = self.inputs.train.shape[1] - self.inputs.trained
        first, *hidden, last = network.layers
        assert isinstance(first, DenseWeights)
        matrix = jnp.concatenate([first.matrix, self.populations[0].spare(unseen)])
        self._gating = [
            jnp.concatenate([field, population.spare(unseen)])
            for field, population in zip(self._gating, self.populations, strict=False)
        ]
        hidden = tuple(
            self.width.with_measurements(weights, *between)
            for weights, between in zip(hidden, self._between(), strict=True)
        )
        layers = (self._first(matrix), *hidden, last)
        return Network(layers, network.gates, self._gates(self.inputs.test))

    def _first(self, matrix: Float[Array, "coordinate neuron"]) -> DenseWeights:
        field = Pointwise(self.inputs.geometry.positions)
        return DenseWeights(matrix, self._scale, keep_initial=self.width.resamples, field=field)

    @property
    def fields(self) -> tuple[ReceptiveField, ...]:
        """The receptive fields of the weights above the layers ℓ = 1..L."""
        return self.inputs.geometry.fields

    @property
    def _scale(self) -> float:
        return 1 / math.sqrt(self.inputs.geometry.dimension)

    def _between(self) -> list[tuple[Population, Population, Usage]]:
        return list(zip(self.populations, self.populations[1:], self.usage[:-1], strict=False))

    def _gates(self, x: Array) -> tuple[Array | None, ...]:
        if not self.net.nonlinearity.gated:
            return (None,) * len(self.populations)
        return tuple(self.net.nonlinearity.gate(x @ field * self._scale) for field in self._gating)


def _hidden_pass(
    net: Architecture,
    weights: tuple[Weights, ...],
    gates: tuple[Array | None, ...],
    x: Array,
    rows: Rows,
) -> tuple[list[Array], list[Array], list[Array], list[Array], list[Weights]]:
    """The forward pass up to the last hidden layer: h, ϕ and ϕ' of layers 0..L, codes, and the revealed weights."""
    preactivations, features, derivatives, codes, revealed = [x], [x], [jnp.ones_like(x)], [], []
    for one, gate in zip(weights, gates, strict=True):
        arriving, code, one = one.forward(features[-1], rows)
        h = _above(net, arriving, preactivations[-1] if revealed else None)
        phi, dphi = net.nonlinearity.respond(h, gate)
        preactivations.append(h)
        features.append(phi)
        derivatives.append(dphi)
        codes.append(code)
        revealed.append(one)
    return preactivations, features, derivatives, codes, revealed


def _above(net: Architecture, arriving: Array, below: Array | None) -> Array:
    """h^{ℓ+1} from what its weights bring, and h^ℓ (None at the first layer, which has no hidden layer below)."""
    return arriving + below if net.skips and below is not None else arriving


_first_features = jax.jit(lambda *pass_of: _hidden_pass(*pass_of)[1])

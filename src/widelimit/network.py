"""Architecture as data, and the network it describes at one width: layers, gates and the forward pass."""

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

from . import checks
from .nonlinearity import Nonlinearity
from .task import Task
from .weights import DenseWeights, Fabric, Population, Traffic, Weights


class MLP(eqx.Module):
    """A fully connected network with L hidden layers, described without its width.

        h^1_μ = W^0 x_μ/√D,   h^{ℓ+1}_μ = W^ℓ ϕ(h^ℓ_μ)/√N,   f_μ = w·ϕ(h^L_μ)/(γ0 N)

    (paper, Eq. 1; all initial weights iid N(0, 1)). The paper's "depth" is L + 1.

    **Arguments:** `hidden_layers` L ≥ 1; `nonlinearity` ϕ; `richness` γ0 > 0: γ0 → 0 is the lazy limit of static
    kernels, γ0 = O(1) learns features.
    """

    hidden_layers: int = eqx.field(static=True)
    nonlinearity: Nonlinearity = eqx.field(static=True)
    richness: float | Float[Array, ""] = 1.0

    def __check_init__(self):
        checks.integer("hidden_layers", self.hidden_layers, at_least=1)
        checks.instance("nonlinearity", self.nonlinearity, Nonlinearity, "widelimit.Tanh()")
        checks.number("richness", self.richness, above=0)
        self.nonlinearity.check()


class Inputs(eqx.Module):
    """A task's inputs in coordinates chosen for the first layer.

    Only inner products of inputs matter, because W^0 is isotropic and learns within their span. With more columns
    than samples, the rows are expressed in an orthonormal basis of the training inputs followed by one of what test
    inputs have outside it; `trained` counts the first kind. `dimension` is D, the number of columns of x.
    """

    train: Float[Array, "sample coordinate"]
    test: Float[Array, "test coordinate"]
    trained: int = eqx.field(static=True)
    dimension: int = eqx.field(static=True)

    @classmethod
    def of(cls, task: Task, dtype: Any) -> Inputs:
        """The inputs of a task."""
        samples, dimension = task.x.shape
        train, test, trained = task.x, task.x_test, dimension
        if dimension > samples:
            scale = float(max(np.linalg.norm(task.x), np.linalg.norm(task.x_test)))
            basis = _row_space(task.x, scale)
            outside = _row_space(task.x_test - task.x_test @ basis.T @ basis, scale)
            basis, trained = np.concatenate([basis, outside]), len(basis)
            train, test = task.x @ basis.T, task.x_test @ basis.T
        return cls(jnp.asarray(train, dtype), jnp.asarray(test, dtype), trained, dimension)


def _row_space(rows: np.ndarray, scale: float) -> np.ndarray:
    """An orthonormal basis of the rows' span, up to directions that are rounding beside `scale`."""
    if not rows.size:
        return np.zeros((0, rows.shape[1]))
    _, values, directions = np.linalg.svd(rows, full_matrices=False)
    return directions[values > 1e-10 * scale]


class Activity(eqx.Module):
    """The fields of one forward pass, indexed by layer ℓ = 0..L; layer 0 is the input, h = ϕ(h) = x."""

    preactivations: tuple[Float[Array, "sample neuron"], ...]
    features: tuple[Float[Array, "sample neuron"], ...]
    derivatives: tuple[Float[Array, "sample neuron"], ...]
    codes: tuple[Array, ...]
    output: Float[Array, "sample unit"]


class Network(eqx.Module):
    """A network at one width: weights ℓ = 0..L (W^0, the hidden W^ℓ, the readout) and its frozen gates, if any."""

    layers: tuple[Weights, ...]
    gates: tuple[Float[Array, "sample neuron"] | None, ...]
    test_gates: tuple[Float[Array, "test neuron"] | None, ...]

    def forward(
        self, net: MLP, x: Float[Array, "sample dimension"], batch: Int[Array, " row"] | None = None
    ) -> tuple[Activity, Network]:
        """The forward pass on the training inputs, and the network with what the pass revealed of its weights.

        With a `batch`, on those samples alone.
        """
        gates = self.gates
        if batch is not None:
            x, gates = x[batch], tuple(None if gate is None else gate[batch] for gate in gates)
        preactivations, features, derivatives, codes, layers = _hidden_pass(net, self.layers[:-1], gates, x, batch)
        output, code, readout = self.layers[-1].forward(features[-1], batch)
        activity = Activity(
            tuple(preactivations), tuple(features), tuple(derivatives), (*codes, code), output / net.richness
        )
        return activity, eqx.tree_at(lambda n: n.layers, self, (*layers, readout))

    def test_forward(self, net: MLP, x: Float[Array, "test dimension"]) -> Float[Array, "test unit"]:
        """The outputs at test points, which leave no trace in the weights."""
        phi = x
        for weights, gate in zip(self.layers[:-1], self.test_gates, strict=True):
            phi, _ = net.nonlinearity.respond(weights.test_forward(phi), gate)
        return self.layers[-1].test_forward(phi) / net.richness

    def initially(self) -> Network:
        """The network before any training, with all that has been revealed of its weights since."""
        return eqx.tree_at(lambda n: n.layers, self, tuple(weights.initially() for weights in self.layers))


def populations(net: MLP, fabric: Fabric, seed: tuple[int, ...] | None) -> tuple[Population, ...]:
    """The populations of the hidden layers ℓ = 1..L; without a seed, shapes alone."""
    return tuple(
        fabric.population(None if seed is None else np.random.default_rng([*seed, layer]))
        for layer in range(net.hidden_layers)
    )


def readout(below: Population, outputs: int, traffic: Traffic) -> DenseWeights:
    """Weights from the last hidden layer to the outputs: f = w·ϕ/N before the factor 1/γ0, and z^L = w."""
    return DenseWeights(below.draw(outputs).T, 1 / below.size, 1.0, keep_initial=traffic.initial)


class Loom:
    """What makes a network at one width, in rounds: each draws random rows matched to those of the rounds before.

    Forward first; then, kept away from the initial features, everything that meets them in the backward pass; then, by
    [`furnish`], what measurements need.
    """

    def __init__(
        self,
        net: MLP,
        fabric: Fabric,
        inputs: Inputs,
        outputs: int,
        traffic: tuple[Traffic, ...],
        seed: tuple[int, ...] | None,
    ):
        self.net = net
        self.fabric = fabric
        self.inputs = inputs
        self.outputs = outputs
        self.traffic = traffic
        self.populations = populations(net, fabric, seed)
        self._gating: list[Array] = []

    def weave(self) -> Network:
        """A network at initialisation; `traffic[ℓ − 1]` says what passes through the weights above layer ℓ = 1..L."""
        trained = self.inputs.trained
        first = self._first(self.populations[0].draw(trained))
        hidden = tuple(self.fabric.weights(below, above, traffic) for below, above, traffic in self._between())
        if self.net.nonlinearity.gated:
            self._gating = [population.draw(trained) for population in self.populations]
        x = self.inputs.train[:, :trained]
        gates = self._gates(x)
        # One pass serves all layers, and none is made where no population needs it.
        features = functools.cache(lambda: _first_features(self.net, (first, *hidden), gates, x))
        for layer, population in enumerate(self.populations, start=1):
            population.avoid(lambda layer=layer: features()[layer])
        hidden = tuple(
            self.fabric.with_backward(weights, *between)
            for weights, between in zip(hidden, self._between(), strict=True)
        )
        keep = self.fabric.resamples or self.traffic[-1].initial
        last = readout(self.populations[-1], self.outputs, dataclasses.replace(self.traffic[-1], initial=keep))
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
            self.fabric.with_measurements(weights, *between)
            for weights, between in zip(hidden, self._between(), strict=True)
        )
        layers = (self._first(matrix), *hidden, last)
        return Network(layers, network.gates, self._gates(self.inputs.test))

    def _first(self, matrix: Float[Array, "coordinate neuron"]) -> DenseWeights:
        return DenseWeights(matrix, self._scale, keep_initial=self.fabric.resamples)

    @property
    def _scale(self) -> float:
        return 1 / math.sqrt(self.inputs.dimension)

    def _between(self) -> list[tuple[Population, Population, Traffic]]:
        return list(zip(self.populations, self.populations[1:], self.traffic[:-1], strict=False))

    def _gates(self, x: Array) -> tuple[Array | None, ...]:
        if not self.net.nonlinearity.gated:
            return (None,) * len(self.populations)
        return tuple(self.net.nonlinearity.gate(x @ field * self._scale) for field in self._gating)


def _hidden_pass(
    net: MLP, weights: tuple[Weights, ...], gates: tuple[Array | None, ...], x: Array, places: Array | None = None
) -> tuple[list[Array], list[Array], list[Array], list[Array], list[Weights]]:
    """The forward pass up to the last hidden layer: h, ϕ and ϕ' of layers 0..L, codes, and the revealed weights."""
    preactivations, features, derivatives, codes, revealed = [x], [x], [jnp.ones_like(x)], [], []
    for one, gate in zip(weights, gates, strict=True):
        h, code, one = one.forward(features[-1], places)
        phi, dphi = net.nonlinearity.respond(h, gate)
        preactivations.append(h)
        features.append(phi)
        derivatives.append(dphi)
        codes.append(code)
        revealed.append(one)
    return preactivations, features, derivatives, codes, revealed


_first_features = jax.jit(lambda *pass_of: _hidden_pass(*pass_of)[1])

"""Architecture as data, and the network it describes at one width: layers, gates and the forward pass."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
            basis = _row_space(task.x)
            outside = _row_space(task.x_test - task.x_test @ basis.T @ basis)
            basis, trained = np.concatenate([basis, outside]), len(basis)
            train, test = task.x @ basis.T, task.x_test @ basis.T
        return cls(jnp.asarray(train, dtype), jnp.asarray(test, dtype), trained, dimension)


def _row_space(rows: np.ndarray) -> np.ndarray:
    if not rows.size:
        return np.zeros((0, rows.shape[1]))
    _, values, directions = np.linalg.svd(rows, full_matrices=False)
    return directions[values > 1e-10 * max(values[0], 1e-300)] if values[0] > 1e-10 else directions[:0]


class Activity(eqx.Module):
    """The fields of one forward pass, indexed by layer ℓ = 0..L; layer 0 is the input and has no preactivation."""

    preactivations: tuple[Float[Array, "sample neuron"] | None, ...]
    features: tuple[Float[Array, "sample neuron"], ...]
    derivatives: tuple[Float[Array, "sample neuron"] | None, ...]
    codes: tuple[Array, ...]
    output: Float[Array, "sample unit"]


class Network(eqx.Module):
    """A network at one width: weights ℓ = 0..L (W^0, the hidden W^ℓ, the readout) and its frozen gates, if any."""

    layers: tuple[Weights, ...]
    gates: tuple[Float[Array, "sample neuron"] | None, ...]
    test_gates: tuple[Float[Array, "test neuron"] | None, ...]

    def forward(self, net: MLP, x: Float[Array, "sample dimension"]) -> tuple[Activity, Network]:
        """The forward pass on the training inputs, and the network with what the pass revealed of its weights."""
        preactivations, features, derivatives, codes, layers = [None], [x], [None], [], []
        for weights, gate in zip(self.layers[:-1], self.gates, strict=True):
            h, code, weights = weights.forward(features[-1])
            phi, dphi = net.nonlinearity.respond(h, gate)
            preactivations.append(h)
            features.append(phi)
            derivatives.append(dphi)
            codes.append(code)
            layers.append(weights)
        output, code, readout = self.layers[-1].forward(features[-1])
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


def populations(net: MLP, fabric: Fabric, seed: tuple[int, ...] | None) -> tuple[Population, ...]:
    """The populations of the hidden layers ℓ = 1..L; without a seed, shapes alone."""
    return tuple(
        fabric.population(None if seed is None else np.random.default_rng([*seed, layer]))
        for layer in range(net.hidden_layers)
    )


def readout(below: Population, outputs: int, traffic: Traffic) -> DenseWeights:
    """Weights from the last hidden layer to the outputs: f = w·ϕ/N before the factor 1/γ0, and z^L = w."""
    return DenseWeights(below.draw(outputs).T, 1 / below.size, 1.0, keep_initial=traffic.initial)


def weave(
    net: MLP,
    fabric: Fabric,
    layers: tuple[Population, ...],
    inputs: Inputs,
    outputs: int,
    traffic: tuple[Traffic, ...],
) -> Network:
    """A network at initialisation; `traffic[ℓ]` says what passes through the weights above layer ℓ = 1..L.

    What training needs is drawn first and matched as a whole; `provide` adds what measurements need.
    """
    first = layers[0].draw(inputs.trained)
    hidden = [
        fabric.weights(below, above, t) for below, above, t in zip(layers, layers[1:], traffic[:-1], strict=False)
    ]
    last = readout(layers[-1], outputs, traffic[-1])
    gating = [layer.draw(inputs.trained) if net.nonlinearity.gated else None for layer in layers]
    unseen = inputs.train.shape[1] - inputs.trained
    first = jnp.concatenate([first, layers[0].spare(unseen)])
    gating = [
        None if field is None else jnp.concatenate([field, layer.spare(unseen)])
        for field, layer in zip(gating, layers, strict=True)
    ]
    scale = 1 / math.sqrt(inputs.dimension)

    def gates(x: Array) -> tuple[Array | None, ...]:
        return tuple(None if field is None else net.nonlinearity.gate(x @ field * scale) for field in gating)

    return Network((DenseWeights(first, scale), *hidden, last), gates(inputs.train), gates(inputs.test))


def provide(network: Network, layers: tuple[Population, ...], traffic: tuple[Traffic, ...]) -> Network:
    """The network with what its measurements will need."""
    hidden = tuple(
        weights.provide(below, above, t)
        for weights, below, above, t in zip(network.layers[1:-1], layers, layers[1:], traffic[:-1], strict=False)
    )
    return eqx.tree_at(lambda n: n.layers, network, (network.layers[0], *hidden, network.layers[-1]))

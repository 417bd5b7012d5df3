"""How a network and a rule's random objects come about at one width, draw by draw."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..checks import ArgumentError
from ..networks import Architecture, Pointwise
from ..rules import PositionVectors, RandomObjects, Rule, matrices
from ..weights import DenseWeights, Population, Rows, Usage, Weights, Width, readout, scatters
from .inputs import Inputs
from .network import Network, hidden_pass


class Initialization(RandomObjects):
    """Makes a network, and what its rule asks for, from the populations of the hidden layers ℓ = 1..L.

    Every population has random numbers of its own, from the seed, the replicate and ℓ − 1. The order in which rows are
    drawn from it is a contract: it decides which network a seed stands for, and at infinite width each draw is matched
    to those before it.

    1. `forward`: W^0 from population 1; then for ℓ = 1..L−1 what W^ℓ needs to send features up, from population ℓ + 1
       (at finite width the matrix itself); then, in a gated network, one set of gating weights from each population.
    2. `backward`: populations are kept away from the initial features, with which everything that is drawn from now on
       is uncorrelated; for ℓ = 1..L−1 what W^ℓ needs to send gradients down, from population ℓ; the readout from
       population L.
    3. `weights` and `vectors`, as the rule calls them: a feedback matrix above layer ℓ takes from population ℓ + 1 what
       it needs to learn, then from population ℓ what it needs to send down; vectors are drawn from population ℓ.
    4. `measurements`: what test points have outside the span of the training points, of W^0 and then of the gates; for
       ℓ = 1..L−1 rows for test points (population ℓ + 1) and for probes (population ℓ); rows for probes of the rule's
       matrices, in the order in which these stand in its container.
    """

    def __init__(
        self,
        net: Architecture,
        width: Width,
        inputs: Inputs,
        outputs: int,
        usage: tuple[Usage, ...],
        feedback_usage: Callable[[int], Usage],
        seed: tuple[int, ...] | None,
    ):
        """`usage[ℓ − 1]` says what passes through the weights above layer ℓ = 1..L, `feedback_usage(i)` what passes
        through the i-th matrix that the rule asks for. Without a `seed`, shapes alone, for planning.
        """
        self.net = net
        self.width = width
        self.inputs = inputs
        self.outputs = outputs
        self.usage = usage
        self.receptive_fields = inputs.geometry.fields
        self.populations = self._populations(seed)
        self.handed_out: list[tuple[Weights, int]] = []
        """The matrices that the rule asked for, in order, each with the layer below it."""
        self._feedback_usage = feedback_usage
        self._gating: list[Array] = []

    def _populations(self, seed: tuple[int, ...] | None) -> tuple[Population, ...]:
        many_rows = scatters(self.net.nonlinearity.linear, self.receptive_fields[:-1])

        def make(layer: int) -> Population:
            generator = None if seed is None else np.random.default_rng([*seed, layer])
            return self.width.population(generator, self.inputs.train.dtype, many_rows)

        if self.net.skips:
            # Layers add to one another neuron by neuron, so that a neuron's fields at all layers are one joint process.
            return (make(0),) * self.net.hidden_layers
        return tuple(make(layer) for layer in range(self.net.hidden_layers))

    # --- the network

    def network(self) -> Network:
        """The network at initialisation, by the stages `forward` and `backward`."""
        trained = self.inputs.train[:, : self.inputs.trained]
        first, hidden = self.forward()
        gates = self._gates(trained)
        hidden, last = self.backward(lambda: _initial_features(self.net, (first, *hidden), gates, trained), hidden)
        return Network((first, *hidden, last), gates, (None,) * len(gates))

    def forward(self) -> tuple[DenseWeights, tuple[Weights, ...]]:
        """W^0 and the hidden matrices, ready for a forward pass."""
        first = self._first(self.populations[0].draw(self.inputs.trained))
        hidden = tuple(
            self.width.weights(below, above, usage, field)
            for (below, above, usage), field in zip(self._between(), self.receptive_fields[:-1], strict=True)
        )
        if self.net.nonlinearity.gated:
            self._gating = [population.draw(self.inputs.trained) for population in self.populations]
        return first, hidden

    def backward(
        self, initial_features: Callable[[], tuple[Array, ...]], hidden: tuple[Weights, ...]
    ) -> tuple[tuple[Weights, ...], DenseWeights]:
        """The hidden matrices ready for a backward pass too, and the readout; `initial_features()` are ϕ(h^0..L)."""
        features = functools.cache(initial_features)  # one pass serves all, and none is made where no population asks
        for layer, population in enumerate(self.populations, start=1):
            population.avoid(len(self.inputs.train), lambda layer=layer: features()[layer])
        hidden = tuple(
            self.width.with_backward(weights, *between)
            for weights, between in zip(hidden, self._between(), strict=True)
        )
        # Test points that meet other noise as more is revealed are compared with what they would have met at the start.
        usage = dataclasses.replace(self.usage[-1], initial=self.width.resamples or self.usage[-1].initial)
        return hidden, readout(self.populations[-1], self.outputs, usage, self.receptive_fields[-1])

    # --- the rule's random objects

    def feedback(self, rule: Rule) -> Any:
        """What the rule asks for, checked to fit into the populations."""
        made = rule.feedback(self)
        for population in self.populations:
            self.width.check(population)
        if self.width.resamples:
            self._refuse_matrices(rule, made)
        return made

    def _refuse_matrices(self, rule: Rule, made: Any) -> None:
        """Raise where a rule has drawn a matrix between neurons by itself, which at infinite width there is none of."""
        leaves = jax.tree.leaves(made, is_leaf=lambda leaf: isinstance(leaf, Weights))
        for leaf in leaves:
            if not isinstance(leaf, Weights) and list(np.shape(leaf)).count(self.width.size) > 1:
                raise ArgumentError(
                    f"rule: {type(rule).__name__}.feedback has drawn a matrix of shape {np.shape(leaf)} by itself; at "
                    "infinite width neurons have no matrices. Ask for them by random.weights(layer)."
                )

    @property
    def layers(self):
        return range(1, len(self.populations) + 1)

    def weights(self, layer):
        usage = self._feedback_usage(len(self.handed_out))
        below, above = self._around(layer)
        if above is None:
            made: Weights = readout(below, self.outputs, usage, self.receptive_fields[-1])
        else:
            made = self.width.weights(below, above, usage, self.receptive_fields[layer - 1])
            made = self.width.with_backward(made, below, above, usage)
        self.handed_out.append((made, layer))
        return made

    def vectors(self, layer):
        population, field = self.populations[layer - 1], self.receptive_fields[-1]
        if field.below == 1:
            return population.draw(self.outputs)
        spread = readout(population, self.outputs, Usage(0, 0), field)
        vectors, _ = spread.backward(jnp.eye(self.outputs, dtype=population.dtype), Rows.all())
        return PositionVectors(vectors.reshape(self.outputs, field.below, -1))

    def learning(self, feedback: Any) -> list[bool]:
        """Whether each weight matrix in the container that a rule made learns."""
        usages = {id(weights): self._feedback_usage(index) for index, (weights, _) in enumerate(self.handed_out)}
        return [id(weights) in usages and usages[id(weights)].forward > 0 for weights in matrices(feedback)]

    # --- measurements

    def measurements(self, network: Network, feedback: Any) -> tuple[Network, Any]:
        """The network, and the container that the rule made, with what measurements need."""
        unseen = self.inputs.train.shape[1] - self.inputs.trained
        first, *hidden, last = network.layers
        assert isinstance(first, DenseWeights)
        matrix = jnp.concatenate([first.matrix, self.populations[0].spare(unseen)])
        self._gating = [
            jnp.concatenate([gating, population.spare(unseen)])
            for gating, population in zip(self._gating, self.populations, strict=False)
        ]
        hidden = tuple(
            self.width.with_measurements(weights, *between)
            for weights, between in zip(hidden, self._between(), strict=True)
        )
        network = Network((self._first(matrix), *hidden, last), network.gates, self._gates(self.inputs.test))
        return network, jax.tree.map(self._measurable, feedback, is_leaf=lambda leaf: isinstance(leaf, Weights))

    def _measurable(self, leaf: Any) -> Any:
        """One leaf of the rule's container; a matrix of its own gets what probes need."""
        for index, (weights, layer) in enumerate(self.handed_out):
            below, above = self._around(layer)
            if weights is leaf and above is not None:
                return self.width.with_measurements(weights, below, above, self._feedback_usage(index))
        return leaf

    # --- parts

    def _first(self, matrix: Float[Array, "coordinate neuron"]) -> DenseWeights:
        field = Pointwise(self.inputs.geometry.positions)
        return DenseWeights(matrix, self._input_scale, keep_initial=self.width.resamples, field=field)

    @property
    def _input_scale(self) -> float:
        return 1 / math.sqrt(self.inputs.geometry.dimension)

    def _between(self) -> list[tuple[Population, Population, Usage]]:
        """The populations below and above each hidden matrix, and what passes through it."""
        return list(zip(self.populations, self.populations[1:], self.usage[:-1], strict=False))

    def _around(self, layer: int) -> tuple[Population, Population | None]:
        """The populations below and above the weights above a layer; there is none above the readout."""
        top = layer == len(self.populations)
        return self.populations[layer - 1], None if top else self.populations[layer]

    def _gates(self, x: Array) -> tuple[Array | None, ...]:
        if not self.net.nonlinearity.gated:
            return (None,) * len(self.populations)
        return tuple(self.net.nonlinearity.gate(x @ gating * self._input_scale) for gating in self._gating)


def matched_rows(
    net: Architecture,
    width: Width,
    inputs: Inputs,
    outputs: int,
    usage: tuple[Usage, ...],
    feedback_usage: tuple[Usage, ...],
    rule: Rule,
) -> list[int]:
    """How many rows of each hidden layer a network and its rule take that must be matched; nothing is drawn."""
    made: list[Initialization] = []

    def dry_run(inputs: Inputs) -> None:
        made.append(Initialization(net, width, inputs, outputs, usage, feedback_usage.__getitem__, None))
        made[0].network()
        rule.feedback(made[0])

    jax.eval_shape(dry_run, inputs)
    return [population.rows for population in made[0].populations]


@jax.jit
def _initial_features(
    net: Architecture, weights: tuple[Weights, ...], gates: tuple[Array | None, ...], x: Array
) -> tuple[Array, ...]:
    """ϕ(h^ℓ) of layers 0..L at initialisation."""
    activity, _ = hidden_pass(net, weights, gates, x, Rows.all())
    return activity.features

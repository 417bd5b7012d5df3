"""A network at one width: its weights, and the forward pass through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..networks import Architecture, rows_of
from ..weights import Rows, Weights


class HiddenActivity(eqx.Module):
    """The fields of a forward pass up to the last hidden layer, by layer ℓ = 0..L; layer 0 is the input, h = ϕ(h) = x.

    `coordinates[ℓ]` are those of the features ϕ(h^ℓ) in what the weights above them know, ℓ = 0..L−1: see
    [`Weights.outer`].
    """

    preactivations: tuple[Float[Array, "row _"], ...]
    features: tuple[Float[Array, "row _"], ...]
    derivatives: tuple[Float[Array, "row _"], ...]
    coordinates: tuple[Array, ...]

    @property
    def fields(self) -> tuple[tuple[Array, ...], tuple[Array, ...], tuple[Array, ...]]:
        """h, ϕ(h) and ϕ'(h), as a rule sees them."""
        return self.preactivations, self.features, self.derivatives


class Activity(HiddenActivity):
    """The fields of a whole forward pass; `coordinates` reach up to ℓ = L, those of the last layer in the readout."""

    output: Float[Array, "sample output"]


class Network(eqx.Module):
    """A network at one width: weights ℓ = 0..L (W^0, the hidden W^ℓ, the readout) and its frozen gates, if any."""

    layers: tuple[Weights, ...]
    gates: tuple[Float[Array, "row neuron"] | None, ...]
    test_gates: tuple[Float[Array, "test_row neuron"] | None, ...]

    def forward(
        self, net: Architecture, x: Float[Array, "row coordinate"], batch: Int[Array, " sample"] | None = None
    ) -> tuple[Activity, Network]:
        """The forward pass on the training inputs, and the network with what the pass revealed of its weights.

        With a `batch`, on those samples alone, each of which meets the noise that it has in a pass of all samples.
        """
        gates, hidden_rows, readout_rows = self.gates, Rows.all(), Rows.all()
        if batch is not None:
            places = rows_of(batch, self.layers[-1].field.below)
            hidden_rows, readout_rows = Rows(0, places), Rows(0, batch)
            x, gates = x[places], tuple(None if gate is None else gate[places] for gate in gates)
        hidden, layers = hidden_pass(net, self.layers[:-1], gates, x, hidden_rows)
        output, coordinates, readout = self.layers[-1].forward(hidden.features[-1], readout_rows)
        activity = Activity(
            hidden.preactivations,
            hidden.features,
            hidden.derivatives,
            (*hidden.coordinates, coordinates),
            output / net.richness,
        )
        return activity, eqx.tree_at(lambda n: n.layers, self, (*layers, readout))

    def test_outputs(self, net: Architecture, x: Float[Array, "test_row coordinate"]) -> Float[Array, "test output"]:
        """The outputs at test points, which leave no trace in the weights.

        Each has its right distribution by itself, given the training points; what two test points share beyond what is
        known of the weights is left out, which outputs do not see.
        """
        layers = self._test_layers(net, x, lambda weights, features: weights.test_forward(features))
        return self.layers[-1].test_forward(layers[-1][1]) / net.richness

    def test_fields(
        self, net: Architecture, x: Float[Array, "test_row coordinate"]
    ) -> list[tuple[Float[Array, "test_row neuron"], Float[Array, "test_row neuron"]]]:
        """h^ℓ and ϕ(h^ℓ) at test points, ℓ = 1..L, jointly with one another; they leave no trace either."""
        return self._test_layers(net, x, lambda weights, features: weights.probe_forward(features))

    def _test_layers(
        self, net: Architecture, x: Array, through: Callable[[Weights, Array], Array]
    ) -> list[tuple[Array, Array]]:
        layers: list[tuple[Array, Array]] = []
        below, features = None, x
        for weights, gate in zip(self.layers[:-1], self.test_gates, strict=True):
            below = _with_skip(net, through(weights, features), below)
            features, _ = net.nonlinearity.respond(below, gate)
            layers.append((below, features))
        return layers

    def initially(self) -> Network:
        """The network before any training, with all that has been revealed of its weights since."""
        return eqx.tree_at(lambda n: n.layers, self, tuple(weights.initially() for weights in self.layers))


def hidden_pass(
    net: Architecture,
    weights: Sequence[Weights],
    gates: Sequence[Array | None],
    x: Float[Array, "row coordinate"],
    rows: Rows,
) -> tuple[HiddenActivity, list[Weights]]:
    """The forward pass up to the last of these layers, and the weights with what it revealed of them."""
    preactivations, features, derivatives, coordinates = [x], [x], [], []
    revealed: list[Weights] = []
    for matrix, gate in zip(weights, gates, strict=True):
        arriving, sent, matrix = matrix.forward(features[-1], rows)
        # The input is no hidden layer: what the first layer adds to is nothing.
        h = _with_skip(net, arriving, preactivations[-1] if revealed else None)
        phi, dphi = net.nonlinearity.respond(h, gate)
        preactivations.append(h)
        features.append(phi)
        derivatives.append(dphi)
        coordinates.append(sent)
        revealed.append(matrix)
    # ϕ' of the input is asked for by nobody; ones keep the numbering of layers.
    derivatives.insert(0, jnp.ones_like(x))
    activity = HiddenActivity(tuple(preactivations), tuple(features), tuple(derivatives), tuple(coordinates))
    return activity, revealed


def _with_skip(net: Architecture, arriving: Array, below: Array | None) -> Array:
    """h^{ℓ+1} from what its weights bring, and h^ℓ (None at the first layer, which has no hidden layer below)."""
    return arriving + below if net.skips and below is not None else arriving

"""What a learning rule is: the pseudo-gradient g̃^ℓ of each layer, and the random objects of the rule's own.

Every weight matrix learns by W^ℓ += η (γ0/√N) Σ_μ Δ_μ g̃^{ℓ+1}_μ ϕ(h^ℓ_μ)ᵀ, the readout always by its true gradient
(paper, Eq. 2). A rule is the formula for g̃, top layer first.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..network import Activity, readout
from ..weights import Fabric, Population, Traffic, Weights


class Tap:
    """A weight matrix as a rule sees it: something to send vectors backward through.

    It holds the weights that result, and notes what was asked of them.
    """

    def __init__(self, weights: Weights, probing: bool = False, batch: tuple[Array, int] | None = None):
        self.origin = weights
        self.weights = weights
        self.probing = probing
        self.batch = batch
        self.sent = 0
        self.initial = False

    def backward(self, vectors: Float[Array, "row above"], initial: bool = False) -> Float[Array, "row below"]:
        """Wᵀ g/√N of each row g (for the readout wᵀ Δ, unscaled); with W as it was at the start if `initial`."""
        if self.probing:
            value, self.weights = self.weights.probe_backward(vectors, initial, self.sent)
        else:
            value, self.weights = self.weights.backward(vectors, initial, self.sent, self._places(len(vectors)))
        self.sent += len(vectors)
        self.initial = self.initial or initial
        return value

    def _places(self, count: int) -> Array | None:
        """The rows that these vectors would take if all samples were sent: each time the batch comes, P further on."""
        if self.batch is None:
            return None
        rows, samples = self.batch
        if count % len(rows):
            raise ValueError(f"a rule sends one vector a sample, or several; got {count} for {len(rows)} samples")
        times = range(self.sent // len(rows), (self.sent + count) // len(rows))
        return jnp.concatenate([rows + samples * time for time in times])


class View:
    """What a rule may look at in one step. Layers are counted ℓ = 1..L; every array has one row a vector sent.

    * `weights[ℓ]`: the matrix above layer ℓ, as a [`Tap`]; `weights[L]` is the readout.
    * `feedback`: what the rule's own `feedback` returned, its weight matrices as taps too.
    * `preactivations[ℓ]`, `features[ℓ]`, `derivatives[ℓ]`: h, ϕ(h), ϕ'(h), each (row, neuron); `features[0]` is x.
    * `error`, `targets`: Δ and y, each (row, output).
    * `coefficients` (row, output): what enters at the top. A rule that is linear in the error sends these numbers
      where it would send Δ.
    """

    def __init__(
        self,
        weights: Sequence[Tap],
        feedback: Any,
        activity: Activity,
        error: Float[Array, "row unit"],
        targets: Float[Array, "row unit"],
        coefficients: Float[Array, "row unit"],
    ):
        self.weights = weights
        self.feedback = feedback
        self.preactivations = activity.preactivations
        self.features = activity.features
        self.derivatives = activity.derivatives
        self.error = error
        self.targets = targets
        self.coefficients = coefficients

    @property
    def hidden_layers(self) -> int:
        """L."""
        return len(self.features) - 1


class Draw:
    """Where a rule gets random objects of its own when a network is set up, at any width."""

    def __init__(
        self, fabric: Fabric, populations: tuple[Population, ...], outputs: int, traffic: Callable[[int], Traffic]
    ):
        self._fabric = fabric
        self._populations = populations
        self._traffic = traffic
        self._made: list[tuple[Weights, int]] = []
        self.outputs = outputs

    @property
    def layers(self) -> range:
        """ℓ = 1..L."""
        return range(1, len(self._populations) + 1)

    @property
    def made(self) -> list[Weights]:
        """The weights handed out, in order."""
        return [weights for weights, _ in self._made]

    def weights(self, layer: int) -> Weights:
        """A random matrix shaped like W^ℓ (ℓ = L: like the readout), independent of it, for backward use."""
        traffic = self._traffic(len(self._made))
        below, above = self._between(layer)
        if above is None:
            made: Weights = readout(below, self.outputs, traffic)
        else:
            made = self._fabric.weights(below, above, traffic)
            made = self._fabric.with_backward(made, below, above, traffic)
        self._made.append((made, layer))
        return made

    def vectors(self, layer: int) -> Float[Array, "unit neuron"]:
        """Frozen vectors z̃^ℓ with N(0, 1) entries, one for each output."""
        return self._populations[layer - 1].draw(self.outputs)

    def furnish(self, feedback: Any) -> Any:
        """The container that a rule made of these objects, with what measurements of its weights need."""

        def furnished(leaf: Any) -> Any:
            for index, (weights, layer) in enumerate(self._made):
                below, above = self._between(layer)
                if weights is leaf and above is not None:
                    return self._fabric.with_measurements(weights, below, above, self._traffic(index))
            return leaf

        return jax.tree.map(furnished, feedback, is_leaf=_is_weights)

    def _between(self, layer: int) -> tuple[Population, Population | None]:
        top = layer == len(self._populations)
        return self._populations[layer - 1], None if top else self._populations[layer]


class Rule(eqx.Module):
    """A learning rule. A subclass gives `pseudo_gradient`, and `feedback` if it has random objects of its own."""

    @property
    def is_gradient(self) -> bool:
        """Whether g̃ is the true gradient g, so that measuring g takes no extra work."""
        return False

    @property
    def linear_in_error(self) -> bool:
        """Whether the update is Σ_c Δ_c g̃_c with g̃ free of how the output's error is weighed.

        If not, what `pseudo_gradient` returns is the whole hidden-layer signal δ_μ that the update uses, and the
        recorded g̃_c is δ Δ_c/|Δ|², the smallest set of vectors with Σ_c Δ_c g̃_c = δ.
        """
        return True

    def feedback(self, draw: Draw) -> Any:
        """The random objects of the rule's own, made once at initialisation: any container of arrays and weights."""
        return None

    @abc.abstractmethod
    def pseudo_gradient(self, view: View, layer: int, above: Float[Array, "row neuron"]) -> Float[Array, "row neuron"]:
        """g̃^ℓ, given `above` = g̃^{ℓ+1} (at ℓ = L: `view.coefficients`)."""


def sweep(rule: Rule, view: View) -> tuple[Float[Array, "row neuron"], ...]:
    """The backward pass: g̃^ℓ for ℓ = 1..L."""
    signals: list[Array] = []
    above = view.coefficients
    for layer in range(view.hidden_layers, 0, -1):
        above = rule.pseudo_gradient(view, layer, above)
        signals.insert(0, above)
    return tuple(signals)


def tapped(tree: Any, probing: bool = False, batch: tuple[Array, int] | None = None) -> Any:
    """The container with every weight matrix in it wrapped as a tap; `batch` has the samples that are sent, of P."""
    wrap = lambda leaf: Tap(leaf, probing, batch) if _is_weights(leaf) else leaf  # noqa: E731
    return jax.tree.map(wrap, tree, is_leaf=_is_weights)


def untapped(tree: Any) -> Any:
    """The container with every tap replaced by the weights it now holds."""
    return jax.tree.map(lambda leaf: leaf.weights if isinstance(leaf, Tap) else leaf, tree, is_leaf=_is_tap)


def taps(tree: Any) -> list[Tap]:
    """The taps in a container."""
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_tap) if isinstance(leaf, Tap)]


def _is_weights(leaf: Any) -> bool:
    return isinstance(leaf, Weights)


def _is_tap(leaf: Any) -> bool:
    return isinstance(leaf, Tap)

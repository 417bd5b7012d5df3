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

from ..networks import ReceptiveField, rows_of
from ..weights import Population, Rows, Usage, Weights, Width, readout


class Pathway:
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
        self.lessons: list[tuple[Array, Array]] = []
        self.taught = 0

    def backward(self, vectors: Float[Array, "row above"], initial: bool = False) -> Float[Array, "row below"]:
        """Wᵀ g/√N of each row g (for the readout wᵀ Δ, unscaled); with W as it was at the start if `initial`."""
        value, self.weights = self._send(self.weights, vectors, initial)
        return value

    def signs_backward(
        self, vectors: Float[Array, "row above"], other: Pathway | None, initial: bool = False
    ) -> Float[Array, "row below"]:
        """sign(W)ᵀ g/√N of each row g, with W as it was at the start if `initial`.

        At infinite width sign(W) acts as √(2/π) W + √(1 − 2/π) W̃ with an independent frozen W̃, which is `other`; the
        readout needs none, because its entries exist at every width.
        """
        source, share, rest = self.weights.signs(initial)
        value, after = self._send(source, vectors, initial)
        if source is self.weights:
            self.weights = after
        if other is None:
            return value
        if not rest:
            other.sent += len(vectors)  # where the signs cannot be read, the rest goes through there
            return share * value
        return share * value + rest * other.backward(vectors)

    def _send(self, source: Weights, vectors: Array, initial: bool) -> tuple[Array, Weights]:
        if self.probing:
            found = source.probe_backward(vectors, Rows(self.sent), initial)
        else:
            rows = self._rows(len(vectors), self.sent, source.field.above)
            found = source.backward(vectors, rows, initial)
        self.sent += len(vectors)
        self.initial = self.initial or initial
        return found

    def learn(self, post: Float[Array, "row above"], pre: Float[Array, "row below"]) -> None:
        """Let the matrix learn at this step, W += η (γ0/√N) Σ_μ post_μ pre_μᵀ, with the optimiser's momentum and decay.

        It is for matrices of the rule's own: those of the network learn by the pseudo-gradient.
        """
        if self.probing:
            return
        rows = self._rows(len(pre), self.taught, self.weights.field.below)
        code, self.weights = self.weights.encode(pre, rows)
        self.lessons.append((post, code))
        self.taught += len(pre)

    def _rows(self, count: int, before: int, positions: int) -> Rows:
        """The rows that these vectors would take if all samples were sent, each time the batch comes further on."""
        if self.batch is None:
            return Rows(before)
        rows, everything = rows_of(self.batch[0], positions), self.batch[1] * positions
        if count % len(rows):
            raise ValueError(f"a rule sends one vector a row, or several; got {count} for {len(rows)} rows")
        times = range(before // len(rows), (before + count) // len(rows))
        return Rows(before, jnp.concatenate([rows + everything * time for time in times]))


class View:
    """What a rule may look at in one step. Layers are counted ℓ = 1..L.

    Every array has one row a vector sent: a sample, or, in a convolutional network, a sample at one position.

    * `weights[ℓ]`: the matrix above layer ℓ, as a [`Pathway`]; `weights[L]` is the readout.
    * `feedback`: what the rule's own `feedback` returned, its weight matrices as taps too.
    * `preactivations[ℓ]`, `features[ℓ]`, `derivatives[ℓ]`: h, ϕ(h), ϕ'(h), each (row, neuron); `features[0]` is x.
    * `error`, `targets`: Δ and y of the row's sample, each (row, output).
    * `coefficients` (row, output): a rule that is linear in the error sends these numbers where it would send Δ.
    * `top` (sample, output): the coefficients with one row a sample, as they enter the readout.
    * `pulled_back(ℓ, arriving, above)`: ϕ'(h^ℓ) ⊙ arriving, and what passes along a residual connection.
    * `weighted(signal)`: a signal that was made from the coefficients, as the update weighs it: Σ_c Δ_c g̃_c.
    """

    def __init__(
        self,
        weights: Sequence[Pathway],
        feedback: Any,
        activity: Any,
        error: Float[Array, "sample output_unit"],
        targets: Float[Array, "sample output_unit"],
        coefficients: Float[Array, "sample output_unit"],
        unweighted: bool = False,
        skips: bool = False,
    ):
        each = len(activity.features[-1]) // len(error)
        self.weights = weights
        self.feedback = feedback
        self.preactivations = activity.preactivations
        self.features = activity.features
        self.derivatives = activity.derivatives
        self.error, self.targets, self.coefficients = (
            at_each_position(array, each) for array in (error, targets, coefficients)
        )
        self.top = coefficients
        self._error = error
        self._unweighted = unweighted
        self._skips = skips

    def pulled_back(
        self, layer: int, arriving: Float[Array, "row neuron"], above: Float[Array, "row above"]
    ) -> Float[Array, "row neuron"]:
        """ϕ'(h^ℓ) ⊙ arriving, plus `above` = g̃^{ℓ+1} where layer ℓ + 1 adds to layer ℓ along a residual connection."""
        branch = self.derivatives[layer] * arriving
        return branch + above if self._skips and layer < self.hidden_layers else branch

    def weighted(self, signal: Float[Array, "row neuron"]) -> Float[Array, "row neuron"]:
        """What the update makes of a signal: times the error where coefficients stood for it."""
        if not self._unweighted:
            return signal
        return (self._error if len(signal) == len(self._error) else self.error) * signal

    @property
    def hidden_layers(self) -> int:
        """L."""
        return len(self.features) - 1


class Draw:
    """Where a rule gets random objects of its own when a network is set up, at any width."""

    def __init__(
        self,
        width: Width,
        populations: tuple[Population, ...],
        fields: tuple[ReceptiveField, ...],
        outputs: int,
        usage: Callable[[int], Usage],
    ):
        self._width = width
        self._populations = populations
        self._fields = fields
        self._traffic = usage
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
        """A random matrix shaped like W^ℓ (ℓ = L: like the readout), independent of it: to send back through, and,
        with [`Pathway.learn`], to learn.
        """
        usage = self._traffic(len(self._made))
        below, above = self._between(layer)
        if above is None:
            made: Weights = readout(below, self.outputs, usage, self._fields[-1])
        else:
            made = self._width.weights(below, above, usage, self._fields[layer - 1])
            made = self._width.with_backward(made, below, above, usage)
        self._made.append((made, layer))
        return made

    def vectors(self, layer: int) -> Float[Array, "output_unit neuron"] | PositionVectors:
        """Frozen vectors z̃^ℓ with N(0, 1) entries, one for each output; `coefficients @ vectors` is (row, neuron).

        In a convolutional network they reach its positions as the readout does: each position has vectors of its own,
        or, where the readout averages over a window, its positions share one, divided by their number.
        """
        population, field = self._populations[layer - 1], self._fields[-1]
        if field.below == 1:
            return population.draw(self.outputs)
        spread = readout(population, self.outputs, Usage(0, 0), field)
        vectors, _ = spread.backward(jnp.eye(self.outputs, dtype=population.dtype), Rows.all())
        return PositionVectors(vectors.reshape(self.outputs, field.below, -1))

    def learns(self, feedback: Any) -> list[bool]:
        """Whether each weight matrix in the container that a rule made learns."""
        learning = {id(weights): self._traffic(index).forward > 0 for index, (weights, _) in enumerate(self._made)}
        return [learning.get(id(weights), False) for weights in matrices(feedback)]

    def furnish(self, feedback: Any) -> Any:
        """The container that a rule made of these objects, with what measurements of its weights need."""

        def furnished(leaf: Any) -> Any:
            for index, (weights, layer) in enumerate(self._made):
                below, above = self._between(layer)
                if weights is leaf and above is not None:
                    return self._width.with_measurements(weights, below, above, self._traffic(index))
            return leaf

        return jax.tree.map(furnished, feedback, is_leaf=_is_weights)

    def _between(self, layer: int) -> tuple[Population, Population | None]:
        top = layer == len(self._populations)
        return self._populations[layer - 1], None if top else self._populations[layer]


class PositionVectors(eqx.Module):
    """Frozen vectors, one for each output and position: `coefficients @ vectors` takes those of each row's position."""

    values: Float[Array, "output_unit position neuron"]

    def __rmatmul__(self, coefficients: Float[Array, "row output_unit"]) -> Float[Array, "row neuron"]:
        outputs, positions, size = self.values.shape
        each = coefficients.reshape(-1, positions, outputs)
        return jnp.einsum("pac,can->pan", each, self.values).reshape(-1, size)


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
        """g̃^ℓ, given `above` = g̃^{ℓ+1} (at ℓ = L: `view.top`)."""


def sweep(rule: Rule, view: View) -> tuple[Float[Array, "row neuron"], ...]:
    """The backward pass: g̃^ℓ for ℓ = 1..L."""
    signals: list[Array] = []
    above = view.top
    for layer in range(view.hidden_layers, 0, -1):
        above = rule.pseudo_gradient(view, layer, above)
        signals.insert(0, above)
    return tuple(signals)


def at_each_position(rows: Float[Array, "sample n"], positions: int) -> Float[Array, "row n"]:
    """One row for each position of every sample."""
    return rows if positions == 1 else jnp.repeat(rows, positions, axis=0)


def tapped(tree: Any, probing: bool = False, batch: tuple[Array, int] | None = None) -> Any:
    """The container with every weight matrix in it wrapped as a tap; `batch` has the samples that are sent, of P."""
    wrap = lambda leaf: Pathway(leaf, probing, batch) if _is_weights(leaf) else leaf  # noqa: E731
    return jax.tree.map(wrap, tree, is_leaf=_is_weights)


def untapped(tree: Any) -> Any:
    """The container with every tap replaced by the weights it now holds."""
    return jax.tree.map(lambda leaf: leaf.weights if isinstance(leaf, Pathway) else leaf, tree, is_leaf=_is_tap)


def taps(tree: Any) -> list[Pathway]:
    """The taps in a container."""
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_tap) if isinstance(leaf, Pathway)]


def matrices(tree: Any) -> list[Weights]:
    """The weight matrices in a container."""
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_weights) if isinstance(leaf, Weights)]


def with_matrices(tree: Any, new: Sequence[Weights]) -> Any:
    """The container with its weight matrices replaced, in the order of [`matrices`]."""
    left = iter(new)
    return jax.tree.map(lambda leaf: next(left) if _is_weights(leaf) else leaf, tree, is_leaf=_is_weights)


def _is_weights(leaf: Any) -> bool:
    return isinstance(leaf, Weights)


def _is_tap(leaf: Any) -> bool:
    return isinstance(leaf, Pathway)

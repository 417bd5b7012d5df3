"""A weight matrix as a rule sees it: something to send vectors backward through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..checks import ArgumentError
from ..networks import rows_of
from ..weights import Rows, Weights


class Batch(eqx.Module):
    """The samples of a minibatch, among all `total`."""

    samples: Int[Array, " sample"]
    total: int = eqx.field(static=True)


class RowCounter:
    """Which rows of noise the vectors of each call take, so that a vector meets the same noise at every step.

    A matrix has one row of noise for each vector that passes through it in a step. A rule may send several sets of
    vectors through one matrix: the first call takes the first rows, the next call those that follow, and so on. That
    is safe because a rule is traced: it makes the same calls in the same order at every step. In a minibatch each
    sample takes the rows that it would have if all samples were sent, so that its noise does not depend on the batch.
    """

    def __init__(self, batch: Batch | None):
        self._batch = batch
        self.used = 0
        """The rows taken so far: after a step of all samples, the rows that the matrix needs."""

    def take(self, vectors: int, positions: int) -> Rows:
        """The rows of the next call, which sends so many vectors from a layer with so many positions.

        **Raises:** `ArgumentError` where these are not one vector, or several, for each row of a minibatch.
        """
        first, self.used = self.used, self.used + vectors
        if self._batch is None:
            return Rows(first)
        # Each set of vectors, one for each row of all samples, has a block of rows; the batch takes its own in each.
        rows, all_rows = rows_of(self._batch.samples, positions), self._batch.total * positions
        if vectors % len(rows):
            raise ArgumentError(
                f"rule: with minibatches a rule sends one vector, or several, for each of {len(rows)} rows (samples × "
                f"positions); got {vectors}."
            )
        sets = range(first // len(rows), self.used // len(rows))
        return Rows(first, jnp.concatenate([rows + all_rows * earlier_sets for earlier_sets in sets]))


class Pathway:
    """A weight matrix as a rule sees it, in one backward pass.

    `weights` is what results of the products: to send a vector through a deferred matrix is to reveal a part of it.
    `updates` are the changes that the rule has asked for, as pairs of post-synaptic vectors and the coordinates of
    pre-synaptic ones. With `probing`, what is sent is for measurement alone and leaves no trace in training.
    """

    def __init__(self, weights: Weights, probing: bool = False, batch: Batch | None = None):
        self.origin = weights
        self.weights = weights
        self.probing = probing
        self.sent, self.taught = RowCounter(batch), RowCounter(batch)
        self.initial = False
        self.updates: list[tuple[Array, Array]] = []

    def backward(self, vectors: Float[Array, "row_above above"], initial: bool = False) -> Float[Array, "row below"]:
        """Wᵀ g/√N of each row g (for the readout wᵀ Δ, unscaled); with W as it was at the start if `initial`."""
        value, self.weights = self._send(self.weights, vectors, initial)
        return value

    def signs_backward(
        self, vectors: Float[Array, "row_above above"], other: Pathway | None, initial: bool = False
    ) -> Float[Array, "row below"]:
        """sign(W)ᵀ g/√N of each row g, with W as it was at the start if `initial`.

        At infinite width sign(W) acts as √(2/π) W/s + √(1 − 2/π) W̃ with an independent frozen W̃, which is `other`, and
        s the factor by which weight decay has shrunk W(0); the readout needs none, because its entries exist at every
        width.
        """
        # `source` is W itself where signs cannot be read, and then remembers what was sent; else a matrix of its own.
        source, share, rest = self.weights.signs(initial)
        apart = source is not self.weights
        value, after = self._send(source, vectors, initial)
        if not apart:
            self.weights = after
        if other is None:
            return value
        if apart:  # W̃ exists but nothing goes through it; its rows are counted alike at both widths
            other.sent.take(len(vectors), other.weights.field.above)
            return share * value
        return share * value + rest * other.backward(vectors)

    def learn(self, post: Float[Array, "row_above above"], pre: Float[Array, "row below"]) -> None:
        """Let the matrix learn at this step, W += η (γ0/√N) Σ_μ post_μ pre_μᵀ, with the optimiser's momentum and decay.

        It is for matrices of the rule's own: those of the network learn by the pseudo-gradient.
        """
        if self.probing:
            return
        rows = self.taught.take(len(pre), self.weights.field.below)
        coordinates, self.weights = self.weights.encode(pre, rows)
        self.updates.append((post, coordinates))

    def _send(self, source: Weights, vectors: Array, initial: bool) -> tuple[Array, Weights]:
        rows = self.sent.take(len(vectors), source.field.above)
        self.initial = self.initial or initial
        send = source.probe_backward if self.probing else source.backward
        return send(vectors, rows, initial)


def as_pathways(tree: Any, probing: bool = False, batch: Batch | None = None) -> Any:
    """The container with every weight matrix in it as a [`Pathway`]."""
    wrap = lambda leaf: Pathway(leaf, probing, batch) if _is_weights(leaf) else leaf  # noqa: E731
    return jax.tree.map(wrap, tree, is_leaf=_is_weights)


def as_weights(tree: Any) -> Any:
    """The container with every pathway replaced by the weights that it now holds."""
    return jax.tree.map(lambda leaf: leaf.weights if isinstance(leaf, Pathway) else leaf, tree, is_leaf=_is_pathway)


def pathways(tree: Any) -> list[Pathway]:
    """The pathways in a container."""
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_pathway) if isinstance(leaf, Pathway)]


def matrices(tree: Any) -> list[Weights]:
    """The weight matrices in a container."""
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_weights) if isinstance(leaf, Weights)]


def with_matrices(tree: Any, new: Sequence[Weights]) -> Any:
    """The container with its weight matrices replaced, in the order of [`matrices`]."""
    left = iter(new)
    return jax.tree.map(lambda leaf: next(left) if _is_weights(leaf) else leaf, tree, is_leaf=_is_weights)


def _is_weights(leaf: Any) -> bool:
    return isinstance(leaf, Weights)


def _is_pathway(leaf: Any) -> bool:
    return isinstance(leaf, Pathway)

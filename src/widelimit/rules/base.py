"""What a learning rule is: the pseudo-gradient g̃^ℓ of each layer, and the random objects of the rule's own.

Every weight matrix learns by W^ℓ += η (γ0/√N) Σ_μ Δ_μ g̃^{ℓ+1}_μ ϕ(h^ℓ_μ)ᵀ, the readout always by its true gradient
(paper, Eq. 2). A rule is the formula for g̃, top layer first.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..checks import ArgumentError
from ..weights import Weights
from .view import View


class RandomObjects(abc.ABC):
    """Where a rule gets random objects of its own when a network is set up, at any width."""

    outputs: int
    """C, the number of outputs."""

    @property
    @abc.abstractmethod
    def layers(self) -> range:
        """ℓ = 1..L."""

    @abc.abstractmethod
    def weights(self, layer: int) -> Weights:
        """A random matrix shaped like W^ℓ (ℓ = L: like the readout), independent of it: to send back through, and,
        with [`Pathway.learn`], to learn.
        """

    @abc.abstractmethod
    def vectors(self, layer: int) -> Float[Array, "output neuron"] | PositionVectors:
        """Frozen vectors z̃^ℓ with N(0, 1) entries, one for each output; `coefficients @ vectors` is (row, neuron).

        In a convolutional network they reach its positions as the readout does: each position has vectors of its own,
        or, where the readout averages over a window, its positions share one, divided by their number.
        """


class PositionVectors(eqx.Module):
    """Frozen vectors, one for each output and position: `coefficients @ vectors` takes those of each row's position."""

    values: Float[Array, "output position neuron"]

    def __rmatmul__(self, coefficients: Float[Array, "row output"]) -> Float[Array, "row neuron"]:
        outputs, positions, size = self.values.shape
        # Rows run through positions fastest, so that each row of a sample meets the vectors of its own position.
        by_position = coefficients.reshape(-1, positions, outputs)
        return jnp.einsum("pac,can->pan", by_position, self.values).reshape(-1, size)


class Rule(eqx.Module):
    """A learning rule. A subclass gives `pseudo_gradient`, and `feedback` if it has random objects of its own.

    Its fields are its parameters. Floating-point numbers and arrays are arguments of the compiled step, so that another
    value compiles nothing again; what decides which calls the rule makes (whole numbers, booleans, strings) is part of
    the program. A number that does must be declared so, `eqx.field(static=True)`.
    """

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

    def feedback(self, random: RandomObjects) -> Any:
        """The random objects of the rule's own, made once at initialisation: any container of arrays and weights."""
        return None

    @abc.abstractmethod
    def pseudo_gradient(
        self, view: View, layer: int, above: Float[Array, "row_above above"]
    ) -> Float[Array, "row neuron"]:
        """g̃^ℓ, given `above` = g̃^{ℓ+1} (at ℓ = L: `view.top`)."""


def backward_pass(rule: Rule, view: View) -> tuple[Float[Array, "row neuron"], ...]:
    """The backward pass: g̃^ℓ for ℓ = 1..L."""
    signals: list[Array] = []
    above = view.top  # what enters the readout from above, so that the top layer needs no case of its own
    for layer in range(view.hidden_layers, 0, -1):
        above = _signal(rule, view, layer, above)
        signals.insert(0, above)
    if any(weights.updates for weights in view.weights):
        raise ArgumentError(
            f"rule: {type(rule).__name__} calls learn on a matrix of view.weights, which learns by the pseudo-gradient "
            "alone; learn is for the matrices that the rule's feedback returned."
        )
    return tuple(signals)


def _signal(rule: Rule, view: View, layer: int, above: Array) -> Array:
    """g̃^ℓ, checked: what goes wrong in a rule is said of the rule and its layer."""
    method = f"rule: {type(rule).__name__}.pseudo_gradient of layer {layer}"
    try:
        signal = rule.pseudo_gradient(view, layer, above)
    except (ArgumentError, jax.errors.JAXTypeError):
        raise
    except Exception as error:
        raise ArgumentError(f"{method} raised {type(error).__name__}: {error}") from error
    like = view.features[layer]
    if getattr(signal, "shape", None) != like.shape or not jnp.issubdtype(signal.dtype, jnp.floating):
        what = f"{signal.dtype}{list(signal.shape)}" if hasattr(signal, "shape") else type(signal).__name__
        raise ArgumentError(
            f"{method} must return real numbers of the shape (row, neuron) of view.features[{layer}], "
            f"{list(like.shape)} here; it returned {what}."
        )
    return signal


def numbers_of(rule: Rule) -> tuple[Any, Rule]:
    """A rule's floating-point numbers and arrays, and the rule without them, which is part of the program.

    `eqx.combine` makes the rule of both again. **Raises:** `ArgumentError` where the rest cannot be compared.
    """
    # What is left has to be hashed: it is the key by which jax finds the compiled step again.
    numbers, structure = eqx.partition(_with_floats(rule), _is_number)
    try:
        hash(structure)
    except TypeError:
        raise ArgumentError(
            f"rule: the fields of {type(rule).__name__} must be numbers, arrays, strings or tuples of them, so that "
            "rules can be compared."
        ) from None
    return jax.tree.map(np.asarray, numbers), structure


def _with_floats(rule: Rule) -> Rule:
    """The rule with floating-point numbers where whole ones stand in fields that are annotated `float`."""
    fields = [field for field in dataclasses.fields(rule) if not field.metadata.get("static")]
    fields = [field for field in fields if field.type in (float, "float")]
    names = [field.name for field in fields if type(getattr(rule, field.name)) is int]
    if not names:
        return rule
    held = [float(getattr(rule, name)) for name in names]
    return eqx.tree_at(lambda rule: [getattr(rule, name) for name in names], rule, held)


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, (float, np.floating, np.ndarray, jax.Array))

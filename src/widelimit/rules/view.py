"""What a rule may look at in one step, and what its backward pass starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .pathway import Pathway


class OutputSignal(eqx.Module):
    """What a backward pass starts from at the outputs: numbers s_μc, one for each sample and output.

    A rule that is linear in the error computes Σ_c s_c g̃_c for any s. Training starts from the errors, s = Δ, and gets
    the hidden-layer signals δ = Σ_c Δ_c g̃_c. With a single output it starts from s = 1 and the update multiplies by Δ
    afterwards: the pass then gives g̃ itself, so that kernels are measured without another pass. With several outputs
    g̃_c is measured from unit vectors, s = e_c.
    """

    values: Float[Array, "sample output"]
    factor: Float[Array, "sample 1"] | None = None
    """What the update has still to multiply signals by: Δ where the pass started from 1."""

    @classmethod
    def for_training(cls, error: Float[Array, "sample output"], linear_in_error: bool) -> OutputSignal:
        """Δ, or 1 where that will do."""
        if linear_in_error and error.shape[1] == 1:
            return cls(jnp.ones_like(error), error)
        return cls(error)

    @classmethod
    def of_each_output(cls, samples: int, outputs: int, dtype: Any) -> OutputSignal:
        """The unit vectors of all outputs, one after the other for each sample: rows (sample, output)."""
        return cls(jnp.tile(jnp.eye(outputs, dtype=dtype), (samples, 1)))

    def weighed(self, signal: Float[Array, "row neuron"]) -> Float[Array, "row neuron"]:
        """A signal of the pass, at the rows of all positions or of the outputs, as the update needs it: times Δ."""
        if self.factor is None:
            return signal
        # Signals of hidden layers have a row for each position, that of the readout one for each sample.
        return at_each_position(self.factor, len(signal) // len(self.factor)) * signal


class View:
    """What a rule may look at in one step. Layers are counted ℓ = 1..L.

    Every array has one row a vector sent: a sample, or, in a convolutional network, a sample at one position.

    * `weights[ℓ]`: the matrix above layer ℓ, as a [`Pathway`]; `weights[L]` is the readout.
    * `feedback`: what the rule's own `feedback` returned, its weight matrices as pathways too.
    * `preactivations[ℓ]`, `features[ℓ]`, `derivatives[ℓ]`: h, ϕ(h), ϕ'(h), each (row, neuron); `features[0]` is x.
    * `error`, `targets`: Δ and y of the row's sample, each (row, output).
    * `coefficients` (row, output): a rule that is linear in the error sends these numbers where it would send Δ. They
      are Δ, or 1, or unit vectors, see [`OutputSignal`].
    * `top` (sample, output): the coefficients with one row a sample, as they enter the readout.
    * `pulled_back(ℓ, arriving, above)`: ϕ'(h^ℓ) ⊙ arriving, and what passes along a residual connection.
    * `weighted(signal)`: a signal that was made from the coefficients, as the update weighs it: Σ_c Δ_c g̃_c.
    """

    def __init__(
        self,
        weights: Sequence[Pathway],
        feedback: Any,
        fields: tuple[Sequence[Array], Sequence[Array], Sequence[Array]],
        error: Float[Array, "sample output"],
        targets: Float[Array, "sample output"],
        signal: OutputSignal,
        skips: bool = False,
    ):
        """`fields` are h, ϕ(h) and ϕ'(h) of the layers ℓ = 0..L, each (row, neuron); `skips`: residual connections."""
        self.preactivations, self.features, self.derivatives = fields
        positions = len(self.features[-1]) // len(error)
        self.weights = weights
        self.feedback = feedback
        self.top = signal.values
        self.error, self.targets, self.coefficients = (
            at_each_position(array, positions) for array in (error, targets, signal.values)
        )
        self.weighted = signal.weighed
        self._skips = skips

    def pulled_back(
        self, layer: int, arriving: Float[Array, "row neuron"], above: Float[Array, "row_above above"]
    ) -> Float[Array, "row neuron"]:
        """ϕ'(h^ℓ) ⊙ arriving, plus `above` = g̃^{ℓ+1} where layer ℓ + 1 adds to layer ℓ along a residual connection."""
        branch = self.derivatives[layer] * arriving
        return branch + above if self._skips and layer < self.hidden_layers else branch

    @property
    def hidden_layers(self) -> int:
        """L."""
        return len(self.features) - 1


def at_each_position(rows: Float[Array, "sample n"], positions: int) -> Float[Array, "row n"]:
    """One row for each position of every sample."""
    return rows if positions == 1 else jnp.repeat(rows, positions, axis=0)

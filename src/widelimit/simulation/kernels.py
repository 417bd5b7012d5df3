"""Equal-time kernels from the fields of one step."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..networks import ReceptiveField
from ..weights import overlap


def blocks(
    a: Float[Array, "sample output_unit neuron"], b: Float[Array, "other output_unit2 neuron"]
) -> Float[Array, "sample other output_unit output_unit2"]:
    """⟨a_{μc} b_{νc'}⟩, with one C×C block for each pair of samples."""
    flat = overlap(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]))
    return flat.reshape(*a.shape[:2], *b.shape[:2]).transpose(0, 2, 1, 3)


def position_mean(kernel: Array, positions: int) -> Array:
    """(1/A) Σ_a of a kernel over rows (sample, position): the kernel of all positions' neurons together."""
    if positions == 1:
        return kernel
    return jnp.einsum("paqa...->pq...", by_position(kernel, positions)) / positions


def by_position(kernel: Array, positions: int) -> Array:
    """A kernel over rows, (row, row2, …), as (sample, position, sample2, position2, …)."""
    samples, others = kernel.shape[0] // positions, kernel.shape[1] // positions
    return kernel.reshape(samples, positions, others, positions, *kernel.shape[2:])


def tangent_kernel(
    features: list[Float[Array, "row row2"]],
    pseudo_gradients: list[Float[Array, "row row2 output_unit output_unit2"]],
    fields: tuple[ReceptiveField, ...],
    outputs: int,
) -> Float[Array, "sample sample2 output_unit output_unit2"]:
    """The eNTK K = Σ_{ℓ=0..L} G̃^{ℓ+1} ⊙ Φ^ℓ with G̃^{L+1} = 1 (paper, Eq. 4), from Φ^0..Φ^L and G̃^1..G̃^L.

    Between two positions stands what their receptive fields share, Σ_b Φ^ℓ_{a+b,a'+b} in a convolution, and K sums over
    both. Φ^0 is that of the first layer's patches; `fields` are those of the weights above the layers 1..L.
    """
    last = fields[-1].patch_kernel(features[-1])[..., None, None] * jnp.eye(outputs, dtype=features[-1].dtype)
    seen = [features[0], *(field.patch_kernel(phi) for field, phi in zip(fields[:-1], features[1:-1], strict=True))]
    positions = fields[-1].below

    def summed(backward: Array, forward: Array) -> Array:
        terms = backward * forward[..., None, None]
        return terms if positions == 1 else by_position(terms, positions).sum(axis=(1, 3))

    return last + sum(summed(backward, forward) for backward, forward in zip(pseudo_gradients, seen, strict=True))

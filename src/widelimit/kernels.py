"""Equal-time kernels from the fields of one step."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def overlap(a: Float[Array, "row neuron"], b: Float[Array, "other neuron"]) -> Float[Array, "row other"]:
    """⟨a_μ b_ν⟩, the average over neurons (finite width) or particles (infinite width)."""
    return a @ b.T / a.shape[1]


def blocks(
    a: Float[Array, "sample unit neuron"], b: Float[Array, "other unit2 neuron"]
) -> Float[Array, "sample other unit unit2"]:
    """⟨a_{μc} b_{νc'}⟩, with one C×C block for each pair of samples."""
    flat = overlap(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]))
    return flat.reshape(*a.shape[:2], *b.shape[:2]).transpose(0, 2, 1, 3)


def tangent_kernel(
    features: list[Float[Array, "sample sample2"]],
    pseudo_gradients: list[Float[Array, "sample sample2 unit unit2"]],
    outputs: int,
) -> Float[Array, "sample sample2 unit unit2"]:
    """The eNTK K = Σ_{ℓ=0..L} G̃^{ℓ+1} ⊙ Φ^ℓ with G̃^{L+1} = 1 (paper, Eq. 4), from Φ^0..Φ^L and G̃^1..G̃^L."""
    last = features[-1][..., None, None] * jnp.eye(outputs, dtype=features[-1].dtype)
    hidden = zip(pseudo_gradients, features[:-1], strict=True)
    return last + sum(backward * forward[..., None, None] for backward, forward in hidden)

"""The one product that the CPU is slow at as it is usually written."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float


def inner(few: Float[Array, "row n"], many: Float[Array, "other n"]) -> Float[Array, "row other"]:
    """The inner products of each of a few rows with each of many: few manyᵀ.

    Computed as many fewᵀ, and kept so by a barrier: the compiler would turn it round, and pack the transpose of `many`
    anew at each call, which takes up to 1.6 times as long where rows are long, and five times in large square matrices.
    """
    return jax.lax.optimization_barrier(many @ few.T).T


def overlap(a: Float[Array, "row neuron"], b: Float[Array, "other neuron"]) -> Float[Array, "row other"]:
    """⟨a_μ b_ν⟩, the average over neurons (finite width) or particles (infinite width)."""
    return inner(a, b) / a.shape[1]

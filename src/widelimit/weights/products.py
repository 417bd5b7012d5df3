"""Products of many rows: averages over neurons, and patches by stacks of matrices, one for each tap of a field."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..networks import ReceptiveField


def inner(few: Float[Array, "row n"], many: Float[Array, "other n"]) -> Float[Array, "row other"]:
    """The inner products of each of a few rows with each of many: few manyᵀ.

    Computed as many fewᵀ, and kept so by a barrier: the compiler would turn it round, and pack the transpose of `many`
    anew at each call, which takes up to 1.6 times as long where rows are long, and five times in large square matrices.
    """
    return jax.lax.optimization_barrier(many @ few.T).T


def overlap(a: Float[Array, "row neuron"], b: Float[Array, "other neuron"]) -> Float[Array, "row other"]:
    """⟨a_μ b_ν⟩, the average over neurons (finite width) or particles (infinite width)."""
    return inner(a, b) / a.shape[1]


def multiply(
    field: ReceptiveField, patches: Float[Array, "above patch"], stack: Float[Array, "{field.groups}*patch m"]
) -> Float[Array, "above m"]:
    """Each patch times the stack of matrices (below, above) that it meets."""
    if field.groups == 1:
        return patches @ stack
    return _rows(jnp.einsum("pgk,gkm->pgm", _grouped(field, patches), _each(field, stack)))


def multiply_back(
    field: ReceptiveField, values: Float[Array, "above m"], stack: Float[Array, "stack m"]
) -> Float[Array, "above stack//{field.groups}"]:
    """The transpose of [`multiply`]: from rows above to patches."""
    if field.groups == 1:
        return inner(values, stack)
    return _rows(jnp.einsum("pgm,gkm->pgk", _grouped(field, values), _each(field, stack)))


def correlate(
    field: ReceptiveField, patches: Float[Array, "above patch"], values: Float[Array, "above m"]
) -> Float[Array, "{field.groups}*patch m"]:
    """Σ patchᵀ value over all rows above that meet the same matrices."""
    if field.groups == 1:
        return patches.T @ values
    return _rows(jnp.einsum("pgk,pgm->gkm", _grouped(field, patches), _grouped(field, values)))


def _grouped(field: ReceptiveField, rows: Array) -> Array:
    return rows.reshape(len(rows) // field.groups, field.groups, rows.shape[1])


def _each(field: ReceptiveField, stack: Array) -> Array:
    return stack.reshape(field.groups, len(stack) // field.groups, stack.shape[1])


def _rows(array: Array) -> Array:
    return array.reshape(array.shape[0] * array.shape[1], array.shape[2])

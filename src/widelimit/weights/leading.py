"""Leading directions of many vectors, without the Gram matrix of all of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_EXTRA, _ROUNDS = 8, 2  # directions beyond those wanted, and rounds of iteration: accurate to a few per cent in power


def leading(rest: Float[Array, "row n"], count: int) -> tuple[Float[Array, " count"], Float[Array, "count n"]]:
    """The power, descending, of the `count` leading principal directions of `rest`, and these directions.

    Directions are orthonormal in ⟨a, b⟩ = a·b/n; the power of d is Σ ⟨row, d⟩² over all rows. By subspace iteration
    from a fixed random start (Halko, Martinsson & Tropp 2011), which costs O(row · n · count).
    """
    rows, n = rest.shape
    tried = min(count + _EXTRA, rows)
    mix = jax.random.normal(jax.random.key(0), (rows, tried), rest.dtype)
    for _ in range(_ROUNDS):
        found = _orthonormal(mix.T @ rest)
        mix = rest @ found.T / n
    found = _orthonormal(mix.T @ rest)
    coordinates = rest @ found.T / n
    power, turn = jnp.linalg.eigh(coordinates.T @ coordinates)
    return power[::-1][:count], (turn[:, ::-1].T @ found)[:count]


def _orthonormal(rows: Float[Array, "row n"]) -> Float[Array, "row n"]:
    return jnp.linalg.qr(rows.T)[0].T * jnp.sqrt(rows.shape[1])

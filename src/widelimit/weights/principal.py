"""Principal directions of a set of long vectors, and how they become rows of an orthonormal basis.

Inner products are averages, ⟨a, b⟩ = a·b/n, and the power of a direction d among vectors r_μ is Σ_μ ⟨r_μ, d⟩². For a
few vectors all directions come from their Gram matrix; for many, the leading ones from an iteration without it.
"""

from __future__ import annotations

import abc
import functools
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .products import overlap

_EXTRA, _ROUNDS = 8, 2  # directions beyond those wanted, and rounds of iteration: accurate to a few per cent in power


class Directions(eqx.Module):
    """Principal directions of the residual of some vectors, the strongest first."""

    power: eqx.AbstractVar[Float[Array, " direction"]]

    @abc.abstractmethod
    def join(
        self,
        lasting: Float[Array, "capacity n"],
        filled: Int[Array, ""],
        new: Int[Array, ""],
        x: Float[Array, "row n"],
        coordinates: Float[Array, "row capacity"],
    ) -> tuple[Float[Array, "capacity n"], Float[Array, "row capacity"]]:
        """The basis with the strongest `new` directions as rows from `filled` on, and the coordinates of `x` in it.

        `coordinates` are those of the vectors `x` in the basis as it was.
        """


@final
class AllDirections(Directions):
    """All principal directions of a few vectors r_μ: d_i = Σ_μ axes_μi r_μ / √power_i.

    The power of those below a floor is zero: they count as absent.
    """

    power: Float[Array, " row"]
    axes: Float[Array, "row row"]
    residual: Float[Array, "row n"]
    growth: int = eqx.field(static=True)

    @classmethod
    def of(cls, residual: Float[Array, "row n"], floor: Float[Array, ""], exact: bool, growth: int) -> AllDirections:
        """The directions of `residual`, without those of a power up to `floor`.

        Forming the Gram matrix loses what is below 1e-8 of the largest direction; where that counts, and `exact` is
        set, singular values are taken instead. Most calls of [`join`] are to ask for no more than `growth` of them.
        """
        if exact:
            triangle = _triangle(residual)
            # Spectra that fall from 1 to 1e-30, as those of rows that are equal up to rounding, give NaN in LAPACK.
            noise = np.random.default_rng(0).standard_normal(triangle.shape)
            rows = jnp.where(residual @ _generic(residual) < 0, -1, 1)
            columns = rows[: triangle.shape[1]] * jnp.where(jnp.diagonal(triangle) < 0, -1, 1)
            noise = rows[:, None] * noise * columns  # a vector of the other sign has the other noise
            triangle = triangle + jnp.finfo(residual.dtype).eps * jnp.max(jnp.abs(triangle)) * noise
            axes, values, _ = jnp.linalg.svd(triangle)
            power = values**2 / residual.shape[1]
        else:
            power, axes = jnp.linalg.eigh(overlap(residual, residual))
            power, axes = power[::-1], axes[:, ::-1]
        # Either decomposition leaves the signs of directions open, and a row of noise makes them matter. They are
        # chosen by the vectors themselves, so that permuting samples permutes the run, and moving them a little does
        # not turn a direction round.
        axes = axes * jnp.where(axes.T @ (residual @ _generic(residual)) < 0, -1, 1)
        return cls(jnp.where(power > floor, power, 0), axes, residual, growth)

    def join(self, lasting, filled, new, x, coordinates):
        def append(most: int, lasting: Array) -> Array:
            if most == 0:
                return lasting
            power, axes = self.power[:most], self.axes[:, :most]
            rows = jnp.where(power > 0, power, 1)[:, None] ** -0.5 * (axes.T @ self.residual)
            # Dividing by a small √power has enlarged what rounding left of the lasting rows in the residual.
            rows = rows - overlap(rows, lasting) @ lasting
            absent = (power <= 0)[:, None]  # not appended, but computed with the rest: no division by zero
            rows = rows / jnp.sqrt(jnp.mean(rows**2, axis=1, keepdims=True) + absent)
            return _placed(rows, lasting, filled, new)

        # Shapes are fixed when a program is compiled, and rows are long: one program for `most` rows would make them
        # all at every step, though most steps find few directions or none. The smallest case that suffices is taken.
        cases = sorted({0, min(self.growth, len(self.power)), len(self.power)})
        appending = [functools.partial(append, most) for most in cases]
        lasting = lax.switch(jnp.searchsorted(jnp.asarray(cases), new), appending, lasting)
        # The decomposition r_μ = Σ_i axes_μi √power_i d_i holds the coordinates in the new rows.
        column = jnp.arange(coordinates.shape[1]) - filled
        joined = jnp.take(self.axes * jnp.sqrt(self.power), column, axis=1, mode="clip")
        return lasting, jnp.where((column >= 0) & (column < new), joined, coordinates)

    def symmetric_root(
        self, new: Int[Array, ""] | int
    ) -> tuple[Float[Array, "row row"], Float[Array, "row n"], Float[Array, ""]]:
        """M and orthonormal rows B with M B the residual without its strongest `new` directions, and its power.

        M is the symmetric root of Σ_i power_i v_i v_iᵀ, with v_i the axes. It depends neither on the order and signs
        of directions nor on how equal ones are told apart, and assigns a row of B to each vector.
        """
        power = jnp.where(jnp.arange(len(self.power)) < new, 0, self.power)
        root = (self.axes * jnp.sqrt(power)) @ self.axes.T
        inverse = (self.axes * jnp.where(power > 0, jnp.where(power > 0, power, 1) ** -0.5, 0)) @ self.axes.T
        return root, inverse @ self.residual, jnp.sum(power)


@final
class LeadingDirections(Directions):
    """The leading principal directions of many vectors, as orthonormal rows beside a basis."""

    power: Float[Array, " direction"]
    rows: Float[Array, "direction n"]

    @classmethod
    def of(
        cls, x: Float[Array, "row n"], lasting: Float[Array, "capacity n"], count: int, room: int
    ) -> LeadingDirections:
        """The `count` leading directions of what `lasting` misses of `x`, followed by empty ones up to `room`."""
        if count == 0:
            return cls(jnp.zeros(room, x.dtype), jnp.zeros((room, x.shape[1]), x.dtype))
        power, rows = leading(x - overlap(x, lasting) @ lasting, count)
        # Weak directions have collected what rounding left of the lasting rows in the residual.
        rows = rows - overlap(rows, lasting) @ lasting
        rows = rows / jnp.sqrt(jnp.mean(rows**2, axis=1, keepdims=True))
        return cls(jnp.pad(power, (0, room - count)), jnp.pad(rows, ((0, room - count), (0, 0))))

    def join(self, lasting, filled, new, x, coordinates):
        lasting = _placed(self.rows, lasting, filled, new)
        return lasting, overlap(x, lasting)  # the iteration tells the coordinates of no single vector


def leading(residual: Float[Array, "row n"], count: int) -> tuple[Float[Array, " {count}"], Float[Array, "{count} n"]]:
    """The power, descending, of the `count` leading principal directions of `residual`, and these directions.

    Directions are orthonormal. By subspace iteration from a fixed random start (Halko, Martinsson & Tropp 2011), which
    costs O(row · n · count), where the Gram matrix of all vectors and its eigenvectors cost O(row² · n + row³).
    """
    rows, n = residual.shape
    tried = min(count + _EXTRA, rows)
    mix = jax.random.normal(jax.random.key(0), (rows, tried), residual.dtype)
    for _ in range(_ROUNDS):
        span = _orthonormal(mix.T @ residual)
        mix = residual @ span.T / n
    span = _orthonormal(mix.T @ residual)
    coordinates = residual @ span.T / n
    power, turn = jnp.linalg.eigh(coordinates.T @ coordinates)
    return power[::-1][:count], (turn[:, ::-1].T @ span)[:count]


def _placed(
    rows: Float[Array, "direction n"], basis: Float[Array, "capacity n"], filled: Int[Array, ""], new: Int[Array, ""]
) -> Float[Array, "capacity n"]:
    """The basis with the first `new` of these rows from `filled` on.

    One by one, in place: their number is known only when the program runs.
    """
    place = lambda i, basis: lax.dynamic_update_index_in_dim(basis, rows[i], filled + i, axis=0)  # noqa: E731
    return lax.fori_loop(0, new, place, basis)


def _orthonormal(rows: Float[Array, "row n"]) -> Float[Array, "row n"]:
    return jnp.linalg.qr(rows.T)[0].T * jnp.sqrt(rows.shape[1])


def _triangle(rows: Float[Array, "row n"]) -> Float[Array, "row k"]:
    """L of rows = L Q with orthonormal rows Q, lower triangular.

    From the triangles of pieces of the rows, so that devices that hold a piece each exchange triangles alone. The
    pieces are chosen by the shape and not by the devices, of which the result then does not depend.
    """
    count, n = rows.shape
    pieces = max(pieces for pieces in (1, 2, 4, 8, 16) if n % pieces == 0 and (pieces == 1 or n >= 2 * pieces * count))
    if pieces > 1:
        rows = jnp.linalg.qr(rows.T.reshape(pieces, n // pieces, count), mode="r").reshape(-1, count).T
    return jnp.linalg.qr(rows.T, mode="r").T


def _generic(rows: Float[Array, "row n"]) -> Float[Array, " n"]:
    """A vector that nothing is orthogonal to by its own symmetry."""
    return jnp.cos(jnp.arange(rows.shape[1], dtype=rows.dtype))

"""What has been revealed of a random matrix in one direction: the vectors sent, and the noise that came back.

A matrix Ω with iid N(0, 1) entries that is only ever multiplied by vectors x need not exist. Keep an orthonormal basis
Q of the vectors sent so far (in ⟨a, b⟩ = a·b/S) and one row of fresh normal noise E per basis row: then
Ω x/√N = Σ_i ⟨Q_i, x⟩ E_i has the right joint law over all x. This file is that bookkeeping. Where Ω is a stack of
independent matrices (the offsets of a filter), all share Q, and each has noise of its own. `Revealed` has

* **lasting** rows, up to a fixed capacity, that hold the leading directions of all that was sent; and
* **passing** rows, as many as vectors are sent in a step, rewritten at each step to span what the lasting rows miss.

Together they span the vectors of the current step completely, so that second moments at equal times are exact
whatever the capacity; a direction that only passes has a later correlation that is not its own. The passing rows keep
the same noise throughout, and enter through the symmetric root of the residual's Gram matrix, so that what passes
changes smoothly in time instead of flickering.

A convolution sends many vectors (one for each sample and position) through many matrices (one for each offset), and
that noise would outnumber the particles. There the rest is **scattered**: what the lasting rows miss of a vector
becomes noise of the same variance, one row for each vector that comes back, which knows nothing of any other vector.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..networks import ReceptiveField
from .leading import leading
from .population import Population
from .products import multiply, multiply_back, overlap


@dataclass(frozen=True)
class Truncation:
    """How much of a deferred matrix is kept.

    `capacity` lasting rows per direction; a residual direction gets one if its rms exceeds `tolerance` times the rms
    of the vectors sent, at most `growth` per step after the first. The rest passes, or is scattered where `scatter`.
    """

    capacity: int
    tolerance: float
    growth: int
    scatter: bool = False

    @property
    def exact(self) -> bool:
        """Whether directions far below any sampling error are to be kept."""
        return self.tolerance < 1e-4

    def floor(self, dtype: Any) -> float:
        """The rms, relative to the vectors sent, below which a residual direction counts as zero.

        A direction of relative size δ is orthogonal to the basis within rounding/δ.
        """
        return max(1e4 * float(jnp.finfo(dtype).eps), 2e-11 if self.exact else 1e-5)


class Code(eqx.Module):
    """A set of vectors in the coordinates of a `Revealed` basis."""

    lasting: Float[Array, "row capacity"]
    passing: Float[Array, "row passing"]
    scattered: Float[Array, "answer sink"] | None = None
    """The noise that comes back in place of what is not in these coordinates."""


class Revealed(eqx.Module):
    """An orthonormal basis of the vectors sent through random matrices, with the noise that stands for them.

    The receptive `field` leads from the side that sends to the side that answers; noise is stacked as its matrices are.
    """

    basis: Float[Array, "capacity source"]
    noise: Float[Array, "matrices_capacity sink"]
    passing_basis: Float[Array, "passing source"]
    passing_noise: Float[Array, "matrices_passing sink"]
    scattered_noise: Float[Array, "answer sink"]
    filled: Int[Array, ""]
    dropped: Float[Array, ""]
    truncation: Truncation = eqx.field(static=True)
    field: ReceptiveField = eqx.field(static=True)

    @classmethod
    def nothing(
        cls, source: Population, sink: Population, load: int, truncation: Truncation, field: ReceptiveField
    ) -> Self:
        """Nothing revealed yet, with room for `truncation.capacity` rows that last and `load` vectors in a step."""
        passing, scattered = (0, load) if truncation.scatter else (load, 0)
        return cls(
            basis=jnp.zeros((truncation.capacity, source.size), source.dtype),
            noise=sink.draw(field.matrices * truncation.capacity),
            passing_basis=jnp.zeros((passing, source.size), source.dtype),
            passing_noise=sink.draw(field.matrices * passing),
            scattered_noise=sink.loose(scattered),
            filled=jnp.zeros((), jnp.int32),
            dropped=jnp.zeros((), source.dtype),
            truncation=truncation,
            field=field,
        )

    def coordinates(self, x: Float[Array, "row source"]) -> Code:
        """The inner products of `x` with the basis as it stands."""
        return Code(overlap(x, self.basis), overlap(x, self.passing_basis))

    def compose(self, code: Code) -> Float[Array, "row source"]:
        """The vectors with these coordinates."""
        return code.lasting @ self.basis + code.passing @ self.passing_basis

    def noise_of(self, code: Code) -> Float[Array, "row sink"]:
        """The noise that comes back when the vectors with these coordinates are sent."""
        return self.send(code.lasting, self.noise) + self.passing_noise_of(code)

    def passing_noise_of(self, code: Code) -> Float[Array, "answer sink"]:
        """That part of the noise which is not of the lasting rows."""
        passing = self.send(code.passing, self.passing_noise)
        return passing if code.scattered is None else passing + code.scattered

    def answers(self, y: Float[Array, "answer sink"]) -> Code:
        """The inner products of `y`, on the other side, with the noise: the coordinates of Ωᵀ y in the basis."""
        return Code(self.back(y, self.noise), self.back(y, self.passing_noise))

    def send(self, coordinates: Float[Array, "row n"], stack: Float[Array, "matrices_n sink"]) -> Array:
        """What rows of `stack` make of vectors with these coordinates: (answer, sink)."""
        return multiply(self.field, self.field.gather(coordinates), stack)

    def back(self, y: Float[Array, "answer sink"], stack: Float[Array, "matrices_n sink"]) -> Array:
        """The transpose of [`send`] in ⟨a, b⟩ = a·b/S: (row, n)."""
        return self.field.scatter(multiply_back(self.field, y, stack)) / y.shape[1]

    def extend(
        self, x: Float[Array, "row source"], offset: int = 0, places: Int[Array, " row"] | None = None
    ) -> tuple[Code, Self]:
        """Send the vectors `x`: keep what lasts, let the rest pass or scatter it. Returns their code.

        `offset` vectors have been sent before in the same step: what passed of them is still known. Each vector passes
        in a row of its own, so that it meets the same noise at every step: in the rows after `offset`, or, where not
        all vectors are sent at each step, in those that `places` names.
        """
        limits = self.truncation
        if limits.scatter:
            return self._extend_scattering(x, offset, places)
        code = overlap(x, self.basis)
        rest = x - code @ self.basis
        earlier = self.passing_basis[: offset if places is None else len(self.passing_basis) * (offset > 0)]
        known = overlap(rest, earlier)
        rest = rest - known @ earlier
        if limits.exact:  # a second pass: what rounding left of the first is not small beside a tiny residual
            again = overlap(rest, self.basis)
            code, rest = code + again, rest - again @ self.basis
        scale = jnp.vdot(x, x) / x.size
        power, directions = _principal(rest, limits.floor(x.dtype) ** 2 * scale, limits.exact)

        allowed = jnp.where(self.filled == 0, len(x), limits.growth)
        room = jnp.minimum(allowed, limits.capacity - self.filled)
        wanted = jnp.sum(power > limits.tolerance**2 * scale)
        new = jnp.minimum(wanted, room).astype(jnp.int32)

        def grow(most: int, basis: Array, code: Array) -> tuple[Array, Array]:
            if most == 0:
                return basis, code
            strength, axes = power[:most], directions[:, :most]
            rows = jnp.where(strength > 0, strength, 1)[:, None] ** -0.5 * (axes.T @ rest)
            rows = rows - overlap(rows, basis) @ basis
            rows = rows / jnp.sqrt(jnp.mean(rows**2, axis=1, keepdims=True) + (strength <= 0)[:, None])
            columns = axes * jnp.sqrt(strength)

            def place(i, arrays):
                basis, code = arrays
                at = self.filled + i
                basis = lax.dynamic_update_index_in_dim(basis, rows[i], at, axis=0)
                code = lax.dynamic_update_index_in_dim(code, columns[:, i], at, axis=1)
                return basis, code

            return lax.fori_loop(0, new, place, (basis, code))

        # Most steps find few directions or none: each case makes only as many as it may need.
        cases = sorted({0, min(limits.growth, len(x)), len(x)})
        growing = [functools.partial(grow, most) for most in cases]
        basis, code = lax.switch(jnp.searchsorted(jnp.asarray(cases), new), growing, self.basis, code)
        passes = jnp.where(jnp.arange(len(power)) < new, 0, power)
        root, rows = _root(passes, directions, rest)
        if places is None:
            later = self.passing_basis[offset + len(x) :]
            passing_basis = jnp.concatenate([earlier, rows, later])
            passing = jnp.concatenate([known, root, jnp.zeros((len(x), len(later)), x.dtype)], axis=1)
        else:  # rows of vectors that are not sent at this step are empty
            room = len(self.passing_basis) - len(earlier)
            passing_basis = jnp.pad(earlier, ((0, room), (0, 0))).at[places].set(rows)
            passing = jnp.pad(known, ((0, 0), (0, room))).at[:, places].set(root)
        extended = eqx.tree_at(
            lambda r: (r.basis, r.passing_basis, r.filled, r.dropped),
            self,
            (basis, passing_basis, self.filled + new, jnp.sum(passes) / (jnp.where(scale > 0, scale, 1) * len(x))),
        )
        return Code(code, passing), extended

    def _extend_scattering(
        self, x: Float[Array, "row source"], offset: int, places: Int[Array, " row"] | None
    ) -> tuple[Code, Self]:
        limits, total = self.truncation, jnp.mean(x * x)
        # The first step finds more directions than there is room for: half of it is left to those that training opens.
        count = min(len(x), limits.capacity - limits.capacity // 2)

        def grow(basis: Array, filled: Array, many: int) -> tuple[Array, Array]:
            rest = x - overlap(x, basis) @ basis
            power, rows = leading(rest, many)
            rows = rows - overlap(rows, basis) @ basis
            rows = rows / jnp.sqrt(jnp.mean(rows**2, axis=1, keepdims=True))
            new = jnp.minimum(jnp.sum(power > limits.tolerance**2 * total), limits.capacity - filled).astype(jnp.int32)
            place = lambda i, basis: lax.dynamic_update_index_in_dim(basis, rows[i], filled + i, axis=0)  # noqa: E731
            return lax.fori_loop(0, new, place, basis), filled + new

        basis, filled = lax.cond(
            self.filled == 0,
            lambda basis, filled: grow(basis, filled, count),
            lambda basis, filled: grow(basis, filled, min(limits.growth, len(x))),
            self.basis,
            self.filled,
        )
        code = Code(overlap(x, basis), jnp.zeros((len(x), 0), x.dtype))
        extended = eqx.tree_at(lambda r: (r.basis, r.filled), self, (basis, filled))
        missing = extended.missing_power(x, code)
        extended = eqx.tree_at(lambda r: r.dropped, extended, jnp.mean(missing) / jnp.where(total > 0, total, 1))
        noise = self.scattered_noise[offset : offset + len(x)] if places is None else self.scattered_noise[places]
        return eqx.tree_at(lambda c: c.scattered, code, extended.scatter(missing, noise), is_leaf=_nothing), extended

    def scatter(self, missing: Float[Array, " row"], noise: Float[Array, "answer sink"]) -> Float[Array, "answer sink"]:
        """Noise in the place of what is missing of the vectors sent: what the taps of a row miss adds up in power."""
        power = self.field.scale * self.field.gather(missing[:, None])
        return jnp.sqrt(power.sum(axis=1, keepdims=True)) * noise

    def append(self, x: Float[Array, "row source"], spare: Float[Array, "matrices_row sink"]) -> tuple[Code, Self]:
        """Send the vectors `x` for one measurement: what is not in the basis gets the rows `spare`, appended."""
        known = self.coordinates(x)
        rest = x - self.compose(known)
        floor = self.truncation.floor(x.dtype) ** 2 * jnp.sum(x * x) / x.size
        power, directions = _principal(rest, floor, self.truncation.exact)
        root, rows = _root(power, directions, rest)
        extended = eqx.tree_at(
            lambda r: (r.passing_basis, r.passing_noise),
            self,
            (jnp.concatenate([self.passing_basis, rows]), self._stacked(self.passing_noise, spare)),
        )
        return Code(known.lasting, jnp.concatenate([known.passing, root], axis=1)), extended

    def _stacked(self, first: Float[Array, "matrices_n sink"], then: Float[Array, "matrices_m sink"]) -> Array:
        """Further rows of each matrix behind those that it has."""
        each = lambda stack: stack.reshape(self.field.matrices, -1, stack.shape[-1])  # noqa: E731
        return jnp.concatenate([each(first), each(then)], axis=1).reshape(-1, first.shape[-1])

    def missing_power(self, x: Float[Array, "row source"], code: Code) -> Float[Array, " row"]:
        """Mean square of what each vector has outside the basis."""
        inside = jnp.sum(code.lasting**2, axis=1) + jnp.sum(code.passing**2, axis=1)
        return jnp.maximum(jnp.mean(x * x, axis=1) - inside, 0)


def _nothing(leaf: Any) -> bool:
    return leaf is None


def _principal(
    rest: Float[Array, "row n"], floor: Float[Array, ""], exact: bool
) -> tuple[Float[Array, " row"], Float[Array, "row row"]]:
    """Eigenvalues (descending, those below `floor` set to 0) and eigenvectors of the Gram matrix of `rest`.

    Signs are fixed by the vectors themselves, so that permuting rows permutes the answer. Forming the Gram matrix
    loses what is below 1e-8 of the largest direction; where that counts, singular values are taken instead.
    """
    if exact:
        triangle = jnp.linalg.qr(rest.T, mode="r").T
        # Spectra that fall from 1 to 1e-30, as those of rows that are equal up to rounding, give NaN in LAPACK.
        noise = np.random.default_rng(0).standard_normal(triangle.shape)
        rows = jnp.where(rest @ _generic(rest) < 0, -1, 1)
        columns = rows[: triangle.shape[1]] * jnp.where(jnp.diagonal(triangle) < 0, -1, 1)
        noise = rows[:, None] * noise * columns  # a vector of the other sign has the other noise
        triangle = triangle + jnp.finfo(rest.dtype).eps * jnp.max(jnp.abs(triangle)) * noise
        directions, values, _ = jnp.linalg.svd(triangle)
        power = values**2 / rest.shape[1]
    else:
        power, directions = jnp.linalg.eigh(overlap(rest, rest))
        power, directions = power[::-1], directions[:, ::-1]
    directions = directions * jnp.where(directions.T @ (rest @ _generic(rest)) < 0, -1, 1)
    return jnp.where(power > floor, power, 0), directions


def _generic(rest: Float[Array, "row n"]) -> Float[Array, " n"]:
    """A vector that nothing is orthogonal to by its own symmetry."""
    return jnp.cos(jnp.arange(rest.shape[1], dtype=rest.dtype))


def _root(
    power: Float[Array, " row"], directions: Float[Array, "row row"], rest: Float[Array, "row n"]
) -> tuple[Float[Array, "row row"], Float[Array, "row n"]]:
    """The symmetric root of Σ_i power_i v_i v_iᵀ, and orthonormal rows B with root @ B that part of `rest`."""
    root = (directions * jnp.sqrt(power)) @ directions.T
    inverse = (directions * jnp.where(power > 0, jnp.where(power > 0, power, 1) ** -0.5, 0)) @ directions.T
    return root, inverse @ rest

"""What is known of a random matrix in one direction: the vectors sent, and the noise that came back.

A matrix Ω with iid N(0, 1) entries that is only ever multiplied by vectors x need not exist. Keep an orthonormal basis
Q of the vectors sent so far (in ⟨a, b⟩ = a·b/S) and one row of fresh normal noise E per basis row: then
Ω x/√N = Σ_i ⟨Q_i, x⟩ E_i has the right joint law over all x. This file is that bookkeeping. Where Ω is a stack of
independent matrices (the offsets of a filter), all share Q, and each has noise of its own.

A basis has **lasting** rows, up to a fixed capacity, that hold the leading directions of all that was sent. What they
miss of the vectors of a step is their **remainder**, and there are two ways with it:

* It **passes**: each vector has a further row of its own, rewritten at each step to span what the lasting rows miss.
  Together they span the vectors of the step completely, so that second moments at equal times are exact whatever the
  capacity; a direction that only passes has a later correlation that is not its own. Vectors that fade, as errors do,
  leave their rows as they are once they are small: see `_FADED`.
* It is **scattered**. A convolution sends many vectors (one for each sample and position) through many matrices (one
  for each offset), and noise for all of them would outnumber the particles. There what the lasting rows miss of a
  vector becomes noise of the same variance, which knows nothing of any other vector.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar, final

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..networks import ReceptiveField
from .population import Population
from .principal import AllDirections, Directions, LeadingDirections
from .products import multiply, multiply_back, overlap
from .rows import Rows

Found = TypeVar("Found", bound=Directions)

_FADED = 0.1
"""Beside their largest mean square, that below which vectors count as faded.

What has been learned answers through the rows that pass, W x including Σ_i b_i ⟨r_i x⟩ for rows b with noise r. Rows
that turn with the direction of an error, however small it has become, turn that answer with them, and features drift
for as long as training goes on. What faded vectors have outside of all rows is left without an answer instead: it is
small beside what was learned.
"""


@dataclass(frozen=True)
class Truncation:
    """How much of a deferred matrix is kept.

    `capacity` lasting rows per direction; a residual direction gets one if its rms exceeds `tolerance` times the rms
    of the vectors sent, at most `growth` per step after the first.
    """

    capacity: int
    tolerance: float
    growth: int

    @property
    def exact(self) -> bool:
        """Whether directions far below any sampling error are to be kept."""
        return self.tolerance < 1e-4

    def floor(self, size: Float[Array, "*vectors"]) -> Float[Array, "*vectors"]:
        """The power below which a residual direction of vectors of mean square `size` counts as zero.

        A direction of relative rms δ is orthogonal to the basis within rounding/δ: below the floor it is made of
        rounding, and as a row it would spoil the basis.
        """
        relative = max(1e4 * float(jnp.finfo(size.dtype).eps), 2e-11 if self.exact else 1e-5)
        return relative**2 * size


class Coordinates(eqx.Module):
    """A set of vectors in the coordinates of a basis."""

    lasting: Float[Array, "row capacity"]
    passing: Float[Array, "row passing"]
    scattered: Float[Array, "answer sink"] | None = None
    """The noise that comes back in place of what is not in these coordinates."""

    def missing(self, x: Float[Array, "row source"]) -> Float[Array, " row"]:
        """Mean square of what each of the vectors `x`, whose coordinates these are, has outside the basis."""
        inside = jnp.sum(self.lasting**2, axis=1) + jnp.sum(self.passing**2, axis=1)
        return jnp.maximum(jnp.mean(x * x, axis=1) - inside, 0)  # rounding can make it negative


class Held(NamedTuple):
    """The rows in which faded vectors pass, as they were before these faded; zero where they have not."""

    faded: Bool[Array, ""]
    rows: Float[Array, "row source"]
    coordinates: Float[Array, "row row"]


class Remainder(eqx.Module, Generic[Found]):
    """What becomes of the part of the vectors that gets no lasting row."""

    @abc.abstractmethod
    def directions(self, basis: Basis, x: Float[Array, "row source"], residual: Float[Array, "row source"]) -> Found:
        """The principal directions of `residual`, what the basis misses of the vectors `x`: as many as it may add."""

    @abc.abstractmethod
    def receive(
        self,
        basis: Basis,
        x: Float[Array, "row source"],
        coordinates: Coordinates,
        directions: Found,
        new: Int[Array, ""],
        rows: Rows,
        held: Held | None,
    ) -> tuple[Coordinates, Float[Array, "passing source"], Float[Array, ""]]:
        """What becomes of the vectors `x` beyond the lasting rows, which now hold their strongest `new` directions.

        `coordinates` are those in the lasting rows and in what passed earlier in the step; `directions` are of what
        `held` rows, if there are such, do not hold. Returns the coordinates complete, the passing rows as they are now,
        and the mean square of what has no lasting row.
        """


@final
class Passing(Remainder[AllDirections]):
    """The rest passes, each vector through a row of its own that has the same noise at every step."""

    def directions(self, basis, x, residual):
        limits = basis.truncation
        return AllDirections.of(residual, limits.floor(_mean_square(x)), limits.exact, limits.growth)

    def receive(self, basis, x, coordinates, directions, new, rows, held):
        # The rows keep their noise, so that they must not turn into one another from step to step, as eigenvectors do
        # where eigenvalues cross: what comes back would flicker. The symmetric root moves as smoothly as the vectors.
        root, span, left = directions.symmetric_root(new)
        if held is not None:
            span, root = jnp.where(held.faded, held.rows, span), jnp.where(held.faded, held.coordinates, root)
            left = left + jnp.sum(held.coordinates**2)
        passing, before = basis.passing, rows.before(len(basis.passing))
        room = len(passing) - before
        if rows.places is not None:  # rows of vectors that are not sent at this step are empty
            passing = jnp.pad(passing[:before], ((0, room), (0, 0)))
        known = jnp.pad(coordinates.passing, ((0, 0), (0, room)))
        coordinates = Coordinates(coordinates.lasting, rows.put(known, root, axis=1))
        return coordinates, rows.put(passing, span), left / len(x)


@final
class Scattered(Remainder[LeadingDirections]):
    """The rest is replaced by noise of the same variance, a row of it for each vector that comes back."""

    noise: Float[Array, "answer sink"]

    def directions(self, basis, x, residual):
        capacity, growth = basis.truncation.capacity, basis.truncation.growth
        # The first step finds more directions than there is room for: half of it is left to those that training opens.
        first, later = min(len(x), capacity - capacity // 2), min(growth, len(x))
        room = max(first, later)
        # Vectors are many, and a full basis looks for nothing: even the residual is formed within the search alone.
        search = [functools.partial(LeadingDirections.of, count=count, room=room) for count in (first, later, 0)]
        case = jnp.where(basis.filled == 0, 0, jnp.where(basis.filled < capacity, 1, 2))
        return lax.switch(case, search, x, basis.lasting)

    def receive(self, basis, x, coordinates, directions, new, rows, held):
        missing = coordinates.missing(x)
        noise = scattered(basis.field, missing, rows.take(self.noise, len(x)))
        coordinates = Coordinates(coordinates.lasting, coordinates.passing, noise)
        return coordinates, basis.passing, jnp.mean(missing)


class Basis(eqx.Module):
    """An orthonormal basis of the vectors sent through random matrices, with the noise that stands for them.

    The receptive `field` leads from the side that sends to the side that answers; noise is stacked as its matrices are.
    `filled` lasting rows are in use, the others are zero. `dropped` is the share of the power of the last vectors sent
    that has no lasting row, `largest` the largest mean square of all vectors so far: if they may be `fading`, as what
    errors send backward is, what is weak beside that is of no consequence. There are `passing` rows where the
    `remainder` passes, and where probes are measured.
    """

    lasting: Float[Array, "capacity source"]
    lasting_noise: Float[Array, "{field.matrices}*capacity sink"]
    passing: Float[Array, "passing source"]
    passing_noise: Float[Array, "{field.matrices}*passing sink"]
    remainder: Remainder
    filled: Int[Array, ""]
    dropped: Float[Array, ""]
    largest: Float[Array, ""]
    truncation: Truncation = eqx.field(static=True)
    fading: bool = eqx.field(static=True)
    field: ReceptiveField = eqx.field(static=True)

    @classmethod
    def empty(
        cls,
        source: Population,
        sink: Population,
        load: int,
        truncation: Truncation,
        field: ReceptiveField,
        fading: bool = False,
    ) -> Basis:
        """Nothing known yet, with room for `truncation.capacity` rows that last and `load` vectors in a step.

        All noise is drawn here, so that a step has no random numbers, and matched to the rest of its population, so
        that second moments are those of the normal law in every sample and not on average alone.
        """
        passing = 0 if sink.many_rows else load
        return cls(
            lasting=jnp.zeros((truncation.capacity, source.size), source.dtype),
            lasting_noise=sink.draw(field.matrices * truncation.capacity),
            passing=jnp.zeros((passing, source.size), source.dtype),
            passing_noise=sink.draw(field.matrices * passing),
            remainder=Scattered(sink.loose(load)) if sink.many_rows else Passing(),
            filled=jnp.zeros((), jnp.int32),
            dropped=jnp.zeros((), source.dtype),
            largest=jnp.zeros((), source.dtype),
            truncation=truncation,
            fading=fading and not truncation.exact,
            field=field,
        )

    def coordinates(self, x: Float[Array, "row source"]) -> Coordinates:
        """The coordinates of `x` in the basis as it stands.

        Those in rows that pass are of what the lasting ones miss: rows of vectors that all but last are made of
        rounding, and need not be orthogonal to them.
        """
        lasting = overlap(x, self.lasting)
        return Coordinates(lasting, overlap(x - lasting @ self.lasting, self.passing))

    def missing(self, x: Float[Array, "row source"], coordinates: Coordinates) -> Float[Array, " row"]:
        """Mean square of what the vectors `x`, with these coordinates, have outside the basis.

        Of the vectors themselves: |x|² − |coordinates|² leaves √ε of a vector that lies within. What is below the floor
        is none, as it is for vectors that are sent in training, of which each direction that would pass may have lost
        so much.
        """
        outside = x - self.compose(coordinates)
        missing = jnp.mean(outside * outside, axis=1)
        lost = max(len(self.passing), 1) * self.truncation.floor(jnp.mean(x * x, axis=1))
        return jnp.where(missing > lost, missing, 0)

    def compose(self, coordinates: Coordinates) -> Float[Array, "row source"]:
        """The vectors with these coordinates."""
        return coordinates.lasting @ self.lasting + coordinates.passing @ self.passing

    def noise_of(self, coordinates: Coordinates) -> Float[Array, "answer sink"]:
        """The noise that comes back when the vectors with these coordinates are sent."""
        return self.send(coordinates.lasting, self.lasting_noise) + self.remaining_noise_of(coordinates)

    def remaining_noise_of(self, coordinates: Coordinates) -> Float[Array, "answer sink"]:
        """That part of the noise which is not of the lasting rows."""
        passing = self.send(coordinates.passing, self.passing_noise)
        return passing if coordinates.scattered is None else passing + coordinates.scattered

    def answers(self, y: Float[Array, "answer sink"]) -> Coordinates:
        """The inner products of `y`, on the other side, with the noise: the coordinates of Ωᵀ y in the basis."""
        return Coordinates(self.back(y, self.lasting_noise), self.back(y, self.passing_noise))

    def send(
        self, coordinates: Float[Array, "row n"], stack: Float[Array, "{self.field.matrices}*n sink"]
    ) -> Float[Array, "answer sink"]:
        """What rows of `stack` make of vectors with these coordinates."""
        return multiply(self.field, self.field.gather(coordinates), stack)

    def back(
        self, y: Float[Array, "answer sink"], stack: Float[Array, "stack sink"]
    ) -> Float[Array, "row stack//{self.field.matrices}"]:
        """The transpose of [`send`] in ⟨a, b⟩ = a·b/S."""
        return self.field.scatter(multiply_back(self.field, y, stack)) / y.shape[1]

    def extend(self, x: Float[Array, "row source"], rows: Rows) -> tuple[Coordinates, Basis]:
        """Send the vectors `x`, which take these `rows`: keep what lasts, and let the rest pass or scatter it."""
        limits = self.truncation

        # 1. What is known of the vectors: their coordinates in the lasting rows, and, of what these miss, in the rows
        #    that passed earlier in this step. Those after them still hold what passed at the step before.
        lasting = overlap(x, self.lasting)
        residual = x - lasting @ self.lasting
        earlier = self.passing[: rows.before(len(self.passing))]
        passing = overlap(residual, earlier)
        residual = residual - passing @ earlier
        if limits.exact:
            # What rounding left of the lasting rows is not small beside a tiny residual: a second pass removes it.
            again = overlap(residual, self.lasting)
            lasting, residual = lasting + again, residual - again @ self.lasting
        size = _mean_square(x)
        held, residual = self._held(size, residual, rows)

        # 2. What is not known, in its principal directions: the fewest rows for the most of it.
        directions = self.remainder.directions(self, x, residual)

        # 3. A direction is worth a row if it is not small beside the vectors: weaker ones would fill the basis with
        #    sampling noise. After the first step, where all is new, few are added at a time; others wait as remainder.
        largest = jnp.maximum(self.largest, size)
        wanted = jnp.sum(directions.power > limits.tolerance**2 * (largest if self.fading else size))
        allowed = jnp.where(self.filled == 0, len(directions.power), limits.growth)
        new = jnp.minimum(wanted, jnp.minimum(allowed, limits.capacity - self.filled)).astype(jnp.int32)

        # 4. They become the next rows. The noise of these was drawn at the start but has answered nothing yet, so that
        #    it is independent of all that was sent.
        lasting_rows, lasting = directions.join(self.lasting, self.filled, new, x, lasting)

        # 5. The rest is answered in this step, with the right variance, but not recognised at a later one.
        known = Coordinates(lasting, passing)
        coordinates, passing_rows, left = self.remainder.receive(self, x, known, directions, new, rows, held)

        # 6. Its share of the power is what a result reports as dropped.
        dropped = left / jnp.where(size > 0, size, 1)
        extended = eqx.tree_at(
            lambda basis: (basis.lasting, basis.passing, basis.filled, basis.dropped, basis.largest),
            self,
            (lasting_rows, passing_rows, self.filled + new, dropped, largest),
        )
        return coordinates, extended

    def _held(
        self, size: Float[Array, ""], residual: Float[Array, "row source"], rows: Rows
    ) -> tuple[Held | None, Float[Array, "row source"]]:
        """The rows that vectors of this mean square keep to if they have faded, and what these miss of the residual.

        They are the vectors' own; a minibatch, whose rows are empty by now, has none.
        """
        if not self.fading or not len(self.passing):
            return None, residual
        faded, count = size < _FADED * self.largest, len(residual)
        if rows.places is not None:
            return Held(faded, jnp.zeros_like(residual), jnp.zeros((count, count), residual.dtype)), residual
        own = jnp.where(faded, rows.take(self.passing, count), 0)
        coordinates = overlap(residual, own)
        return Held(faded, own, coordinates), residual - coordinates @ own

    def append(
        self, x: Float[Array, "row source"], spare: Float[Array, "{self.field.matrices}*row sink"]
    ) -> tuple[Coordinates, Basis]:
        """Send the vectors `x` for one measurement: what is not in the basis gets the rows `spare`, appended."""
        known = self.coordinates(x)
        residual = x - self.compose(known)
        directions = Passing().directions(self, x, residual)
        root, span, _ = directions.symmetric_root(0)
        extended = eqx.tree_at(
            lambda basis: (basis.passing, basis.passing_noise),
            self,
            (jnp.concatenate([self.passing, span]), self._stacked(self.passing_noise, spare)),
        )
        return Coordinates(known.lasting, jnp.concatenate([known.passing, root], axis=1)), extended

    def _stacked(
        self, first: Float[Array, "first sink"], then: Float[Array, "then sink"]
    ) -> Float[Array, "first+then sink"]:
        """Further rows of each matrix behind those that it has."""
        each = lambda stack: stack.reshape(self.field.matrices, -1, stack.shape[-1])  # noqa: E731
        return jnp.concatenate([each(first), each(then)], axis=1).reshape(-1, first.shape[-1])


def scatters(linear: bool, fields: Iterable[ReceptiveField]) -> bool:
    """Whether vectors are too many for each to pass in a row of its own: where matrices have several taps.

    In a linear network every direction is kept, which makes it exact: what passes is rounding.
    """
    return not linear and any(field.matrices > 1 for field in fields)


def scattered(
    field: ReceptiveField, missing: Float[Array, " row"], noise: Float[Array, "answer sink"]
) -> Float[Array, "answer sink"]:
    """Noise in the place of what is missing of the vectors sent: what the taps of a row miss adds up in power."""
    power = field.scale * field.gather(missing[:, None])
    return jnp.sqrt(power.sum(axis=1, keepdims=True)) * noise


def _mean_square(x: Float[Array, "row n"]) -> Float[Array, ""]:
    # As a product of both axes: flattened, rows that are spread over devices would be gathered.
    return jnp.einsum("rn,rn->", x, x) / x.size

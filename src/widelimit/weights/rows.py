"""Which rows of noise the vectors of one send meet."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Rows(eqx.Module):
    """The rows that the vectors of one send take, among those of all vectors sent through a matrix in a step.

    A vector is a sample, at one position, in one call. A matrix that is not stored keeps a row of noise for each, and
    each meets the same row at every step of the run: with other noise at each step, what comes back would flicker.

    * `offset`: how many vectors were sent through this matrix earlier in the same step.
    * `places`: the row that each vector takes, where a minibatch is sent; it is the one that it would take if all
      samples were sent. Without, the vectors take the rows from `offset` on, in order.
    """

    offset: int = eqx.field(default=0, static=True)
    places: Int[Array, " row"] | None = None

    @classmethod
    def all(cls) -> Rows:
        """Every vector of a step, in order, with nothing sent before."""
        return cls()

    def before(self, total: int) -> int:
        """How many rows, of `total` and from the first on, hold all that was sent earlier in the step."""
        if self.places is None:
            return self.offset
        return total if self.offset else 0  # those of a minibatch may lie anywhere

    def take(self, array: Float[Array, "total n"], count: int) -> Float[Array, "{count} n"]:
        """The rows of `array` that these `count` vectors take."""
        return array[self.offset : self.offset + count] if self.places is None else array[self.places]

    def put(self, array: Float[Array, "*all"], values: Float[Array, "*these"], axis: int = 0) -> Float[Array, "*all"]:
        """`array` with these values in the rows that these vectors take, along one axis."""
        if self.places is None:
            earlier, _, later = jnp.split(array, (self.offset, self.offset + values.shape[axis]), axis)
            return jnp.concatenate([earlier, values, later], axis)
        return array.at[(slice(None),) * axis + (self.places,)].set(values)

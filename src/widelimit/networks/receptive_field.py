"""Which rows below a row above looks at: all that tells a convolution from a fully connected layer.

Activities are arrays (row, neuron). In a fully connected network a row is a sample; in a convolutional one it is a
sample at one position of its grid, positions running fastest. Weights connect neurons with neurons, and a receptive
field says between which rows: an offset b of a filter has a matrix of its own, and

    h_{μ,a} = Σ_b W_b ϕ_{μ,a+b}.

A field turns that into one product: it *gathers* the rows ϕ_{a+b} of all its taps b side by side into a patch, and what
is multiplied is a patch by a stack of matrices (`weights/products.py`). It knows nothing of weights or neurons.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import itertools
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class ReceptiveField(abc.ABC):
    """The rows below that each row above looks at, `taps` of them, all multiplied by `scale`.

    `below` and `above` count the positions of one sample on either side. There are `matrices` independent matrices: one
    for each tap, or, where positions above do not share weights (`groups` of them), for each tap of each group.
    """

    scale: float

    @property
    @abc.abstractmethod
    def below(self) -> int:
        """Positions of a sample below."""

    @property
    @abc.abstractmethod
    def above(self) -> int:
        """Positions of a sample above."""

    @property
    @abc.abstractmethod
    def taps(self) -> int:
        """How many rows below a row above looks at."""

    @property
    def groups(self) -> int:
        """How many positions above have weights of their own: 1, or all of them."""
        return 1

    @property
    def matrices(self) -> int:
        """How many independent matrices there are."""
        return self.groups * self.taps

    @abc.abstractmethod
    def gather(self, x: Float[Array, "below n"]) -> Float[Array, "above taps_n"]:
        """The patch of each row above: scale × the rows of its taps, side by side; outside the grid zeros."""

    @abc.abstractmethod
    def scatter(self, patches: Float[Array, "above taps_n"]) -> Float[Array, "below n"]:
        """The transpose of [`gather`]: the sum of what all patches hold of each row below."""

    @property
    @abc.abstractmethod
    def reversed(self) -> ReceptiveField:
        """The field as it is seen from above: which rows above look at a row below, tap by tap."""

    @abc.abstractmethod
    def patch_kernel(self, kernel: Float[Array, "below below2"]) -> Float[Array, "above above2"]:
        """⟨patch · patch⟩ from ⟨x x⟩ where two rows meet the same matrices, and zero where they do not.

        One step of all matrices changes the output by Σ G̃ ⊙ patch_kernel(Φ), summed over positions above.
        """

    def _scaled(self, x: Array, power: int = 1) -> Array:
        return x if self.scale == 1 else self.scale**power * x


@dataclass(frozen=True)
class Pointwise(ReceptiveField):
    """Each row above looks at the row below in its own place: a fully connected layer, or a 1×1 filter."""

    positions: int = 1
    scale: float = 1.0

    @property
    def below(self):
        return self.positions

    @property
    def above(self):
        return self.positions

    @property
    def taps(self):
        return 1

    def gather(self, x):
        return self._scaled(x)

    def scatter(self, patches):
        return self._scaled(patches)

    @property
    def reversed(self):
        return self

    def patch_kernel(self, kernel):
        return self._scaled(kernel, 2)


@dataclass(frozen=True)
class Filter(ReceptiveField):
    """A filter that slides over a grid: the row at position a looks at a + b, offsets b within ±(size − 1)/2.

    `grid` and `size` have one number for each dimension. At the border the grid goes on with zeros or, if `circular`,
    from its other side. Where weights are not `shared`, each position has a filter of its own. `direction` is −1 in the
    field seen from above, which looks at a − b.
    """

    grid: tuple[int, ...]
    size: tuple[int, ...]
    circular: bool = False
    shared: bool = True
    scale: float = 1.0
    direction: int = 1

    @property
    def below(self):
        return math.prod(self.grid)

    @property
    def above(self):
        return math.prod(self.grid)

    @property
    def taps(self):
        return math.prod(self.size)

    @property
    def groups(self):
        return 1 if self.shared else self.above

    def gather(self, x):
        rows, n = x.shape
        patches = _take(x.reshape(rows // self.below, self.below, n), places_of(self), axis=1)
        return self._scaled(patches.reshape(rows, self.taps * n))  # from sample, position, tap, n

    def scatter(self, patches):
        rows, n = len(patches), patches.shape[1] // self.taps
        places = places_of(self.reversed)
        # What tap b holds of a row below lies in the patch at a − b.
        index = np.where(places >= 0, places * self.taps + np.arange(self.taps), -1)
        found = _take(patches.reshape(rows // self.above, self.above * self.taps, n), index, axis=1)
        return self._scaled(found.sum(axis=2).reshape(rows, n))

    @property
    def reversed(self):
        return dataclasses.replace(self, direction=-self.direction)

    def patch_kernel(self, kernel):
        rows, columns = (size // self.below for size in kernel.shape)
        kernel = kernel.reshape(rows, self.below, columns, self.below)
        found = jnp.zeros_like(kernel)
        for place in places_of(self).T:
            found = found + _take(_take(kernel, place, axis=1), place, axis=3)
        if not self.shared:
            found = found * jnp.eye(self.above, dtype=found.dtype)[:, None, :]
        return self._scaled(found.reshape(rows * self.above, columns * self.above), 2)


@dataclass(frozen=True)
class Readout(ReceptiveField):
    """One row a sample that looks at all positions, each with weights of its own, after averages over windows.

    `window` divides `grid`; windows of size 1 average nothing, one as large as the grid leaves one position.
    """

    grid: tuple[int, ...] = ()
    window: tuple[int, ...] = ()
    scale: float = 1.0

    @property
    def below(self):
        return math.prod(self.grid)

    @property
    def above(self):
        return 1

    @property
    def taps(self):
        return self.below // math.prod(self.window)

    def gather(self, x):
        pooled = x.reshape(-1, self.below, x.shape[-1])
        if self.taps < self.below:
            pooled = jnp.einsum("ba,pan->pbn", self._means(x.dtype), pooled)
        return self._scaled(pooled.reshape(-1, self.taps * x.shape[-1]))

    def scatter(self, patches):
        n = patches.shape[-1] // self.taps
        spread = patches.reshape(-1, self.taps, n)
        if self.taps < self.below:
            spread = jnp.einsum("ba,pbn->pan", self._means(patches.dtype), spread)
        return self._scaled(spread.reshape(-1, n))

    @property
    def reversed(self):
        raise NotImplementedError("outputs are few, and look at every position: nothing is sent up to a readout")

    def patch_kernel(self, kernel):
        rows, columns = (size // self.below for size in kernel.shape)
        means = self._means(kernel.dtype)
        return self._scaled(
            jnp.einsum("ba,paqc,bc->pq", means, kernel.reshape(rows, self.below, columns, self.below), means), 2
        )

    def _means(self, dtype: np.dtype) -> Array:
        return jnp.asarray(_window_means(self.grid, self.window), dtype)


def _take(x: Array | np.ndarray, places: np.ndarray, axis: int) -> Array:
    """`x` at these places along one axis, zero where the place is −1."""
    if (places >= 0).all():
        return jnp.take(x, places, axis=axis)
    return jnp.take(x, np.where(places < 0, x.shape[axis], places), axis=axis, mode="fill", fill_value=0)


@functools.lru_cache(maxsize=256)
def places_of(field: Filter) -> np.ndarray:
    """The position that each tap looks at, (position, tap); −1 outside the grid."""
    offsets = itertools.product(*(range(-(size // 2), size // 2 + 1) for size in field.size))
    positions = np.stack(np.unravel_index(np.arange(field.below), field.grid), axis=-1)
    seen = positions[:, None] + field.direction * np.array(list(offsets))
    inside = ((seen >= 0) & (seen < field.grid)).all(axis=-1)
    places = np.asarray(np.ravel_multi_index(tuple(np.moveaxis(seen, -1, 0)), field.grid, mode="wrap"))
    return places if field.circular else np.where(inside, places, -1)


@functools.lru_cache(maxsize=256)
def _window_means(grid: tuple[int, ...], window: tuple[int, ...]) -> np.ndarray:
    """The average over each window, (window, position)."""
    found = np.ones((1, 1))
    for size, width in zip(grid, window, strict=True):
        found = np.kron(found, np.kron(np.eye(size // width), np.full((1, width), 1 / width)))
    return found


def rows_of(samples: Int[Array, " sample"], positions: int) -> Int[Array, " row"]:
    """The rows of these samples in a layer with so many positions."""
    return (samples[:, None] * positions + jnp.arange(positions)).reshape(-1)

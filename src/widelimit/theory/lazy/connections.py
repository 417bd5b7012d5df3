"""How kernels pass from layer to layer: through one matrix, through the taps of a filter, or beside a skip connection.

Kernels are arrays over rows, (row, row2), a row being a sample or a sample at one position; what belongs to single rows
(the diagonal of a kernel between all of them) is an array (row,). Both are passed on by the same names.
"""

from __future__ import annotations

import abc
import functools
import itertools
import math

import numpy as np

from ...networks import CNN, MLP, Architecture
from ...problem import Task


class Connections(abc.ABC):
    """The weights between the layers of a network, as they act on kernels: φ or g in, covariances of h or z out."""

    position_count: int
    taps: int
    skips: bool

    @abc.abstractmethod
    def inputs(self, x: np.ndarray) -> np.ndarray:
        """Inputs (sample, …) as rows with ⟨h^1 h^1⟩ = row · row."""

    @abc.abstractmethod
    def up(self, kernel: np.ndarray) -> np.ndarray:
        """⟨Wϕ Wϕ⟩ from ⟨ϕϕ⟩, without what a skip connection adds."""

    @abc.abstractmethod
    def down(self, kernel: np.ndarray) -> np.ndarray:
        """⟨Wᵀg Wᵀg⟩ from ⟨gg⟩, the transpose of [`up`]."""

    @abc.abstractmethod
    def top(self, like: np.ndarray) -> np.ndarray:
        """⟨z^L z^L⟩, what the readout sends back to pairs of rows, in the shape of `like`."""

    def total(self, kernel: np.ndarray) -> np.ndarray:
        """The sum over all positions, of a kernel (row, row2)."""
        return kernel if self.position_count == 1 else self._apart(kernel).sum(axis=(1, 3))

    def mean(self, kernel: np.ndarray) -> np.ndarray:
        """The average over positions, each with itself, of a kernel or of what belongs to single rows."""
        if self.position_count == 1:
            return kernel
        apart = self._apart(kernel)
        return apart.mean(axis=1) if kernel.ndim == 1 else np.einsum("paqa->pq", apart) / self.position_count

    def _apart(self, kernel: np.ndarray) -> np.ndarray:
        """Rows as (sample, position)."""
        return kernel.reshape(
            *(size for rows in kernel.shape for size in (rows // self.position_count, self.position_count))
        )


class Matrices(Connections):
    """A fully connected network: each hidden matrix multiplies kernels by β², and skip connections pass them on."""

    position_count = taps = 1

    def __init__(self, net: MLP):
        self.skips = net.residual
        self._power = net.branch_scale**2

    def inputs(self, x):
        return x.reshape(len(x), math.prod(x.shape[1:])) / math.sqrt(math.prod(x.shape[1:]))

    def up(self, kernel):
        return kernel if self._power == 1 else self._power * kernel

    def down(self, kernel):
        return self.up(kernel)

    def top(self, like):
        return np.ones_like(like)


class Filters(Connections):
    """A convolutional network: σ² Σ_b of kernels at positions moved by the offset b of each tap."""

    skips = False

    def __init__(self, net: CNN, shape: tuple[int, ...]):
        *grid, self._channels = shape
        by_axis = lambda value: value if isinstance(value, tuple) else (value,) * len(grid)  # noqa: E731
        self.position_count = math.prod(grid)
        self._net = net
        self._power = net.filter_scale**2
        offsets = list(itertools.product(*(range(-(size // 2), size // 2 + 1) for size in by_axis(net.filter_size))))
        self.taps = len(offsets)
        self._seen = [self._moved(tuple(grid), offset) for offset in offsets]
        self._seeing = [self._moved(tuple(grid), tuple(-step for step in offset)) for offset in offsets]
        window = tuple(grid) if net.pool == "all" else by_axis(net.pool)
        blocks = np.zeros(tuple(grid), int)
        for axis, (size, width) in enumerate(zip(grid, window, strict=True)):
            place = np.arange(size) // width
            blocks = blocks * size + place.reshape([-1 if other == axis else 1 for other in range(len(grid))])
        self._same_window = (blocks.ravel()[:, None] == blocks.ravel()) / math.prod(window) ** 2

    def _moved(self, grid: tuple[int, ...], offset: tuple[int, ...]) -> np.ndarray:
        """The position that lies `offset` from each position; one past the last where that is outside the grid."""
        places = np.arange(self.position_count).reshape(grid)
        for axis, step in enumerate(offset):
            places = np.roll(places, -step, axis)
            if self._net.padding == "zero":
                index = np.arange(grid[axis]) + step
                outside = (index < 0) | (index >= grid[axis])
                places[(slice(None),) * axis + (outside,)] = self.position_count
        return places.ravel()

    def inputs(self, x):
        rows = np.pad(x.reshape(len(x), self.position_count, self._channels), ((0, 0), (0, 1), (0, 0)))
        patches = np.concatenate([rows[:, places] for places in self._seen], axis=2)
        patches = patches * (self._net.filter_scale / math.sqrt(self._channels))
        if self._net.shared:
            return patches.reshape(len(x) * self.position_count, patches.shape[2])
        apart = np.einsum("pak,ab->pabk", patches, np.eye(self.position_count))
        return apart.reshape(len(x) * self.position_count, self.position_count * patches.shape[2])

    def up(self, kernel):
        return self._summed(kernel, self._seen)

    def down(self, kernel):
        return self._summed(kernel, self._seeing)

    def _summed(self, kernel: np.ndarray, moves: list[np.ndarray]) -> np.ndarray:
        apart = self._apart(kernel)
        edge = np.pad(apart, [(0, axis % 2) for axis in range(apart.ndim)])  # zeros in the place past the last
        if kernel.ndim == 1:
            return self._power * np.sum([edge[:, places] for places in moves], axis=0).reshape(kernel.shape)
        total = np.zeros_like(apart)
        for places in moves:
            total += edge[:, places][:, :, :, places]
        if not self._net.shared:  # the filters of two positions are independent
            total *= np.eye(self.position_count)[:, None, :]
        return self._power * total.reshape(kernel.shape)

    def top(self, like):
        if like.ndim == 1:
            return np.resize(np.diag(self._same_window), like.shape)
        return np.tile(self._same_window, [rows // self.position_count for rows in like.shape])


@functools.singledispatch
def connections_of(net: Architecture, task: Task) -> Connections:
    """The connections of a network on inputs like those of a task."""
    raise NotImplementedError(type(net).__name__)


connections_of.register(MLP, lambda net, task: Matrices(net))
connections_of.register(CNN, lambda net, task: Filters(net, task.shape))

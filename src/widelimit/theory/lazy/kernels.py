"""Kernels of the lazy limit, Φ^ℓ = ⟨ϕ(h)ϕ(h)⟩ and ⟨ϕ'(h)ϕ'(h)⟩ with Gaussian h, layer by layer and tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import equinox as eqx
import numpy as np
from tqdm.auto import tqdm

from ...networks import Architecture, Gated, Nonlinearity
from ...problem import Task
from .connections import Connections, connections_of

KERNELS = ("feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk_term", "ntk", "test_ntk")
"""The kernels that a lazy result can hold; none of them changes in time."""

TILE = 1000  # rows on a side

_SAME = 64 * np.finfo(float).eps  # fields whose correlation is ±1 up to rounding are the same field


@dataclass(frozen=True)
class Layers:
    """Kernels between two sets of rows, layer by layer, or of each row with itself.

    `features` are Φ^0..Φ^L, with ⟨h^1h^1⟩ for Φ^0; `fields` are ⟨h^ℓh^ℓ⟩ and `slopes` ⟨ϕ'(h)ϕ'(h)⟩ (in a gated network
    ⟨φ̇(m)φ̇(m)⟩) of the layers 1..L.
    """

    connections: Connections
    features: list[np.ndarray]
    fields: list[np.ndarray]
    slopes: list[np.ndarray]

    @property
    def gradients(self) -> list[np.ndarray]:
        """G^1..G^{L+1}, with G^ℓ = ⟨ϕ'(h)ϕ'(h)⟩ ⊙ ⟨z^ℓz^ℓ⟩; G^{L+1} is what the readout sends back."""
        return self.pseudo_gradients(1.0)

    def pseudo_gradients(self, correlation: float) -> list[np.ndarray]:
        """G̃^1..G̃^{L+1}: each matrix that an error passes on its way down brings a factor ρ, a skip connection none."""
        found = [self.connections.top(self.features[0])]
        for slope in reversed(self.slopes):
            at_top = len(found) == 1
            below = correlation * slope * (found[0] if at_top else self.connections.down(found[0]))
            found.insert(0, below + found[0] if self.connections.skips and not at_top else below)
        return found

    def tangent_terms(self, correlation: float) -> list[np.ndarray]:
        """What training W^ℓ contributes to K, for ℓ = 0..L (paper, Table 2): G̃^{ℓ+1} ⊙ Φ^ℓ where rows are samples."""
        up, total = self.connections.up, self.connections.total
        seen = [self.features[0], *map(up, self.features[1:-1]), self.features[-1]]
        pairs = zip(self.pseudo_gradients(correlation), seen, strict=True)
        return [total(pseudo_gradient * feature) for pseudo_gradient, feature in pairs]

    def tangent(self, correlation: float) -> np.ndarray:
        """The eNTK, the sum of the terms, from the bottom up.

        K^ℓ = Φ^ℓ + ρ ⟨ϕ'ϕ'⟩ ⊙ K^{ℓ−1}, passed through W^ℓ as kernels are, and along skip connections as it is.
        """
        found = self.features[0]
        for layer, (slope, feature) in enumerate(zip(self.slopes, self.features[1:], strict=True), start=1):
            inner = feature + (correlation * slope * found if correlation else 0)
            if layer < len(self.slopes):
                passed = self.connections.up(inner)
                found = passed + found if self.connections.skips else passed
            else:
                found = inner
        return self.connections.total(self.connections.top(found) * found)


class _Gate(Nonlinearity):
    """A gate as if it were the derivative of an activation function."""

    owner: Nonlinearity = eqx.field(static=True)

    def value(self, h):
        return self.owner.gate(h)

    def derivative(self, h):
        return self.owner.gate(h)


def layers_between(
    net: Architecture, connections: Connections, variances: Layers, variances2: Layers, covariance: np.ndarray
) -> Layers:
    """The kernels of all layers from ⟨h^1h^1⟩ between two sets of rows, and the kernels of each row with itself."""
    field = _snapped(covariance, variances.fields[0], variances2.fields[0])
    features, fields, slopes = [field], [], []
    for own, own2 in zip(variances.fields, variances2.fields, strict=True):
        if fields:
            field = _next(connections, features[-1], field)
            field = _snapped(field, own, own2)
        if net.nonlinearity.gated:
            slope = slopes[0] if slopes else _gate_moment(net.nonlinearity, own, own2, field)
            feature = slope * field
        else:
            feature, slope = net.nonlinearity.dual(own, own2, field)
        features.append(feature)
        fields.append(field)
        slopes.append(slope)
    features[-1] = _snapped(features[-1], variances.features[-1], variances2.features[-1])
    return Layers(connections, features, fields, slopes)


def _next(connections: Connections, feature: np.ndarray, field: np.ndarray) -> np.ndarray:
    """⟨h^{ℓ+1}h^{ℓ+1}⟩ from Φ^ℓ and ⟨h^ℓh^ℓ⟩."""
    passed = connections.up(feature)
    return passed + field if connections.skips else passed


def variances_of(net: Architecture, connections: Connections, first: np.ndarray) -> Layers:
    """All kernels of each row with itself, (row,) each, from ⟨h^1h^1⟩."""
    features, fields, slopes = [first], [], []
    for layer in range(net.hidden_layers):
        own = _next(connections, features[-1], fields[-1]) if layer else first
        pieces = [own[rows] for rows in _ranges(len(own), TILE // 4)] or [own]
        # Unrelated pairs take the least work; the diagonal is what is wanted.
        if net.nonlinearity.gated:
            if not slopes:
                moments = [np.diag(_gate_moment(net.nonlinearity, v, v, np.diag(v))) for v in pieces]
                slopes.append(np.concatenate(moments))
            else:
                slopes.append(slopes[0])
            features.append(slopes[-1] * own)
        else:
            duals = [tuple(map(np.diag, net.nonlinearity.dual(v, v, np.diag(v)))) for v in pieces]
            feature, slope = map(np.concatenate, zip(*duals, strict=True))
            features.append(feature)
            slopes.append(slope)
        fields.append(own)
    return Layers(connections, features, fields, slopes)


def _gate_moment(nonlinearity: Nonlinearity, *arguments: np.ndarray) -> np.ndarray:
    """⟨φ̇(m)φ̇(m)⟩; the gating fields have the covariance of the inputs at every layer."""
    shape = nonlinearity.shape if isinstance(nonlinearity, Gated) else _Gate(nonlinearity)
    return shape.dual(*arguments)[1]


def _snapped(covariance: np.ndarray, variance: np.ndarray, variance2: np.ndarray) -> np.ndarray:
    """The covariance with pairs that are parallel but for rounding made exactly so.

    ⟨ϕ'ϕ'⟩ of a rectifier falls as the angle, the square root of how far a correlation is from 1: rounding would cost
    half the digits for samples that occur twice.
    """
    size = np.sqrt(np.outer(variance, variance2))
    same = size - np.abs(covariance) <= _SAME * size
    return np.where(same, np.copysign(size, covariance), covariance)


# --- all samples of a task


class TaskKernels:
    """K between all training samples and between them and the test points, and the kernels that are to be kept.

    Kernels that are kept are averages over positions, each with itself; K sums over all pairs of them.
    """

    def __init__(
        self, net: Architecture, task: Task, correlation: float, record: tuple[str, ...], tile: int | None = None
    ):
        self.net = net
        self.task = task
        self.correlation = correlation
        self.connections = connections_of(net, task)
        self.tile = max(TILE // self.connections.positions, 1) if tile is None else tile
        self.x, self.x_test = (self.connections.inputs(x) for x in (task.inputs, task.test_inputs))
        self.own, self.test = (
            variances_of(net, self.connections, np.einsum("md,md->m", x, x)) for x in (self.x, self.x_test)
        )
        samples, tests, layers = task.samples, len(task.x_test), net.hidden_layers
        self.tangent = np.empty((samples, samples))
        self.test_tangent = np.empty((tests, samples))
        leading = {"ntk": (), "test_ntk": (), "ntk_term": (layers + 1,)}
        units = (task.outputs, task.outputs)
        self.kept: dict[str, np.ndarray] = {}
        for name in record:
            rows = tests if name == "test_ntk" else samples
            shape = (*leading.get(name, (layers,)), rows, samples)
            self.kept[name] = np.zeros(shape if name == "feature_kernel" else (*shape, *units))

    def compute(self, bar: tqdm) -> None:
        """Fill the kernels in; `bar` counts pairs of samples."""
        for rows, columns in self._tiles(self.task.samples):
            layers = self._between(self.x, self.own, rows, columns)
            self._store(layers, rows, columns)
            bar.update((rows.stop - rows.start) * (columns.stop - columns.start))
        for rows in _ranges(len(self.task.x_test), self.tile):
            for columns in _ranges(self.task.samples, self.tile):
                layers = self._between(self.x_test, self.test, rows, columns)
                found = layers.tangent(self.correlation)
                self.test_tangent[rows, columns] = found
                if "test_ntk" in self.kept:
                    self._fill(self.kept["test_ntk"], found, rows, columns)
                bar.update((rows.stop - rows.start) * (columns.stop - columns.start))

    @property
    def pairs(self) -> int:
        """How many pairs `compute` goes through."""
        return (
            sum(
                (rows.stop - rows.start) * (columns.stop - columns.start)
                for rows, columns in self._tiles(self.task.samples)
            )
            + self.test_tangent.size
        )

    def _tiles(self, samples: int) -> Iterator[tuple[slice, slice]]:
        """The tiles on and below the diagonal; K and all that it is made of are symmetric."""
        ranges = list(_ranges(samples, self.tile))
        return ((rows, columns) for index, rows in enumerate(ranges) for columns in ranges[: index + 1])

    def _between(self, x: np.ndarray, variances: Layers, rows: slice, columns: slice) -> Layers:
        """The kernels between some samples and some training samples."""
        first, second = (
            slice(part.start * self.connections.positions, part.stop * self.connections.positions)
            for part in (rows, columns)
        )
        covariance = x[first] @ self.x[second].T
        if x is self.x and rows == columns:
            np.fill_diagonal(covariance, variances.features[0][first])
        return layers_between(self.net, self.connections, _part(variances, first), _part(self.own, second), covariance)

    def _store(self, layers: Layers, rows: slice, columns: slice) -> None:
        self.tangent[rows, columns] = found = layers.tangent(self.correlation)
        self.tangent[columns, rows] = found.T
        mean = self.connections.mean
        made: Mapping[str, Callable[[], list[np.ndarray]]] = {
            "feature_kernel": lambda: list(map(mean, layers.features[1:])),
            "gradient_kernel": lambda: list(map(mean, layers.gradients[:-1])),
            "pseudo_gradient_kernel": lambda: list(map(mean, layers.pseudo_gradients(self.correlation)[:-1])),
            "ntk_term": lambda: layers.tangent_terms(self.correlation),
        }
        for name, array in self.kept.items():
            if name in made:
                for index, kernel in enumerate(made[name]()):
                    self._fill(array[index], kernel, rows, columns)
                    self._fill(array[index], kernel.T, columns, rows)
            elif name == "ntk":
                self._fill(array, found, rows, columns)
                self._fill(array, found.T, columns, rows)

    def _fill(self, array: np.ndarray, kernel: np.ndarray, rows: slice, columns: slice) -> None:
        """Write a tile; where there are units, the same kernel for each and nothing between two."""
        if array.ndim == 2:
            array[rows, columns] = kernel
            return
        for unit in range(array.shape[-1]):
            array[rows, columns, unit, unit] = kernel


def _part(variances: Layers, rows: slice) -> Layers:
    """Those of some rows."""
    features, fields, slopes = (
        [array[rows] for array in arrays] for arrays in (variances.features, variances.fields, variances.slopes)
    )
    return Layers(variances.connections, features, fields, slopes)


def _ranges(count: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, count)) for first in range(0, count, size))

"""Kernels of the lazy limit, Φ^ℓ = ⟨ϕ(h)ϕ(h)⟩ and ⟨ϕ'(h)ϕ'(h)⟩ with Gaussian h, layer by layer and tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
class LayerKernels:
    """Kernels between two sets of rows, layer by layer, or of each row with itself.

    `features` are Φ^0..Φ^L, with ⟨h^1h^1⟩ for Φ^0; `preactivations` are ⟨h^ℓh^ℓ⟩ and `slopes` ⟨ϕ'(h)ϕ'(h)⟩ (in a gated
    network ⟨φ̇(m)φ̇(m)⟩) of the layers 1..L.
    """

    connections: Connections
    features: list[np.ndarray]
    preactivations: list[np.ndarray]
    slopes: list[np.ndarray]

    @property
    def gradients(self) -> list[np.ndarray]:
        """G^1..G^{L+1}, with G^ℓ = ⟨ϕ'(h)ϕ'(h)⟩ ⊙ ⟨z^ℓz^ℓ⟩; G^{L+1} is what the readout sends back."""
        return self.pseudo_gradients(1.0)

    def pseudo_gradients(self, correlation: float) -> list[np.ndarray]:
        """G̃^1..G̃^{L+1}: each matrix that an error passes on its way down brings a factor ρ, a skip connection none."""
        kernels = [self.connections.top(self.features[0])]
        for slope in reversed(self.slopes):
            at_top = len(kernels) == 1
            passed = correlation * slope * (kernels[0] if at_top else self.connections.down(kernels[0]))
            kernels.insert(0, passed + kernels[0] if self.connections.skips and not at_top else passed)
        return kernels

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
        tangent = self.features[0]
        for layer, (slope, feature) in enumerate(zip(self.slopes, self.features[1:], strict=True), start=1):
            inner = feature + (correlation * slope * tangent if correlation else 0)
            if layer < len(self.slopes):
                passed = self.connections.up(inner)
                tangent = passed + tangent if self.connections.skips else passed
            else:
                tangent = inner
        return self.connections.total(self.connections.top(tangent) * tangent)


class _Gate(Nonlinearity):
    """A gate as if it were the derivative of an activation function."""

    owner: Nonlinearity = eqx.field(static=True)

    def value(self, h):
        return self.owner.gate(h)

    def derivative(self, h):
        return self.owner.gate(h)


def layers_between(
    net: Architecture,
    connections: Connections,
    variances: LayerKernels,
    variances2: LayerKernels,
    covariance: np.ndarray,
) -> LayerKernels:
    """The kernels of all layers from ⟨h^1h^1⟩ between two sets of rows, and the kernels of each row with itself."""
    h = _snapped(covariance, variances.preactivations[0], variances2.preactivations[0])
    features, preactivations, slopes = [h], [], []
    for own, own2 in zip(variances.preactivations, variances2.preactivations, strict=True):
        if preactivations:
            h = _snapped(_next(connections, features[-1], h), own, own2)
        if net.nonlinearity.gated:
            slope = slopes[0] if slopes else _gate_moment(net.nonlinearity, own, own2, h)
            feature = slope * h
        else:
            feature, slope = net.nonlinearity.dual(own, own2, h)
        features.append(feature)
        preactivations.append(h)
        slopes.append(slope)
    features[-1] = _snapped(features[-1], variances.features[-1], variances2.features[-1])
    return LayerKernels(connections, features, preactivations, slopes)


def _next(connections: Connections, feature: np.ndarray, preactivation: np.ndarray) -> np.ndarray:
    """⟨h^{ℓ+1}h^{ℓ+1}⟩ from Φ^ℓ and ⟨h^ℓh^ℓ⟩."""
    passed = connections.up(feature)
    return passed + preactivation if connections.skips else passed


def variances_of(net: Architecture, connections: Connections, first: np.ndarray) -> LayerKernels:
    """All kernels of each row with itself, (row,) each, from ⟨h^1h^1⟩."""
    features, preactivations, slopes = [first], [], []
    for layer in range(net.hidden_layers):
        own = _next(connections, features[-1], preactivations[-1]) if layer else first
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
        preactivations.append(own)
    return LayerKernels(connections, features, preactivations, slopes)


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

    Kernels that are kept are averages over positions, each with itself; K sums over all pairs of them. With several
    outputs each has these kernels, and between two there is nothing: K ⊗ 1 is kept as K.
    """

    def __init__(
        self, net: Architecture, task: Task, correlation: float, names: Sequence[str], tile: int | None = None
    ):
        self.net = net
        self.task = task
        self.correlation = correlation
        self.connections = connections_of(net, task)
        self.tile = max(TILE // self.connections.position_count, 1) if tile is None else tile
        self.x, self.x_test = (self.connections.inputs(x) for x in (task.inputs, task.test_inputs))
        self.own, self.test = (
            variances_of(net, self.connections, np.einsum("md,md->m", x, x)) for x in (self.x, self.x_test)
        )
        samples, tests, layers = task.samples, len(task.x_test), net.hidden_layers
        self.tangent = np.empty((samples, samples))
        self.test_tangent = np.empty((tests, samples))
        leading = {"ntk": (), "test_ntk": (), "ntk_term": (layers + 1,)}
        self.kept: dict[str, np.ndarray] = {}
        for name in names:
            rows = tests if name == "test_ntk" else samples
            self.kept[name] = np.empty((*leading.get(name, (layers,)), rows, samples))

    def compute(self, bar: tqdm) -> None:
        """Fill the kernels in; `bar` counts pairs of samples."""
        for rows, columns in self._tiles(self.task.samples):
            self._store(self._between(self.x, self.own, rows, columns), rows, columns)
            bar.update((rows.stop - rows.start) * (columns.stop - columns.start))
        for rows in _ranges(len(self.task.x_test), self.tile):
            for columns in _ranges(self.task.samples, self.tile):
                layers = self._between(self.x_test, self.test, rows, columns)
                self.test_tangent[rows, columns] = layers.tangent(self.correlation)
                bar.update((rows.stop - rows.start) * (columns.stop - columns.start))
        for name, kernel in (("ntk", self.tangent), ("test_ntk", self.test_tangent)):
            if name in self.kept:
                self.kept[name][:] = kernel  # a copy: the eigendecomposition overwrites K

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

    def _between(self, x: np.ndarray, variances: LayerKernels, rows: slice, columns: slice) -> LayerKernels:
        """The kernels between some samples and some training samples."""
        first, second = (
            slice(part.start * self.connections.position_count, part.stop * self.connections.position_count)
            for part in (rows, columns)
        )
        covariance = x[first] @ self.x[second].T
        if x is self.x and rows == columns:
            np.fill_diagonal(covariance, variances.features[0][first])
        return layers_between(self.net, self.connections, _part(variances, first), _part(self.own, second), covariance)

    def _store(self, layers: LayerKernels, rows: slice, columns: slice) -> None:
        """Write a tile, and its mirror image, into K and into the kernels that are kept."""
        self.tangent[rows, columns] = tangent = layers.tangent(self.correlation)
        self.tangent[columns, rows] = tangent.T
        mean = self.connections.mean
        by_layer: Mapping[str, Callable[[], Iterable[np.ndarray]]] = {
            "feature_kernel": lambda: map(mean, layers.features[1:]),
            "gradient_kernel": lambda: map(mean, layers.gradients[:-1]),
            "pseudo_gradient_kernel": lambda: map(mean, layers.pseudo_gradients(self.correlation)[:-1]),
            "ntk_term": lambda: layers.tangent_terms(self.correlation),
        }
        for name in self.kept.keys() & by_layer.keys():
            for array, kernel in zip(self.kept[name], by_layer[name](), strict=True):
                array[rows, columns] = kernel
                array[columns, rows] = kernel.T


def _part(variances: LayerKernels, rows: slice) -> LayerKernels:
    """Those of some rows."""
    features, preactivations, slopes = (
        [array[rows] for array in arrays] for arrays in (variances.features, variances.preactivations, variances.slopes)
    )
    return LayerKernels(variances.connections, features, preactivations, slopes)


def _ranges(count: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, count)) for first in range(0, count, size))

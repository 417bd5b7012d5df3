"""Kernels of the lazy limit, Φ^ℓ = ⟨ϕ(u)ϕ(u)⟩ and ⟨ϕ'(u)ϕ'(u)⟩ with u ~ N(0, Φ^{ℓ−1}), tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import equinox as eqx
import numpy as np
from tqdm.auto import tqdm

from ...architecture import MLP
from ...nonlinearity import Gated, Nonlinearity
from ...task import Task

KERNELS = ("feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk_term", "ntk", "test_ntk")
"""The kernels that a lazy result can hold; none of them changes in time."""

TILE = 1000  # samples on a side

_SAME = 64 * np.finfo(float).eps  # fields whose correlation is ±1 up to rounding are the same field


@dataclass(frozen=True)
class Layers:
    """Kernels between two sets of samples, layer by layer.

    `features` are Φ^0..Φ^L; `slopes` are ⟨ϕ'(u)ϕ'(u)⟩ (in a gated network ⟨φ̇(m)φ̇(m)⟩) of the layers 1..L.
    """

    features: list[np.ndarray]
    slopes: list[np.ndarray]

    @property
    def gradients(self) -> list[np.ndarray]:
        """G^1..G^{L+1}, with G^ℓ = G^{ℓ+1} ⊙ ⟨ϕ'(u)ϕ'(u)⟩ and G^{L+1} = 1."""
        found = [np.ones_like(self.features[0])]
        for slope in reversed(self.slopes):
            found.insert(0, found[0] * slope)
        return found

    def pseudo_gradients(self, correlation: float) -> list[np.ndarray]:
        """G̃^1..G̃^{L+1}: each layer that an error passes on its way down brings a factor ρ, G̃^ℓ = ρ^{L+1−ℓ} G^ℓ."""
        gradients = self.gradients
        return [correlation ** (len(self.slopes) - index) * kernel for index, kernel in enumerate(gradients)]

    def tangent_terms(self, correlation: float) -> list[np.ndarray]:
        """G̃^{ℓ+1} ⊙ Φ^ℓ for ℓ = 0..L (paper, Table 2)."""
        pairs = zip(self.pseudo_gradients(correlation), self.features, strict=True)
        return [pseudo_gradient * feature for pseudo_gradient, feature in pairs]

    def tangent(self, correlation: float) -> np.ndarray:
        """The eNTK, the sum of the terms, from the bottom up: K^ℓ = Φ^ℓ + ρ ⟨ϕ'ϕ'⟩ ⊙ K^{ℓ−1}."""
        found = self.features[0]
        for slope, feature in zip(self.slopes, self.features[1:], strict=True):
            found = feature + (correlation * slope * found if correlation else 0)
        return found


class _Gate(Nonlinearity):
    """A gate as if it were the derivative of an activation function."""

    owner: Nonlinearity = eqx.field(static=True)

    def value(self, h):
        return self.owner.gate(h)

    def derivative(self, h):
        return self.owner.gate(h)


def layers_between(
    net: MLP, variances: list[np.ndarray], variances2: list[np.ndarray], covariance: np.ndarray
) -> Layers:
    """The kernels of all layers from Φ^0 between two sets of samples, and Φ^ℓ of each sample with itself."""
    features, slopes = [_snapped(covariance, variances[0], variances2[0])], []
    for layer in range(net.hidden_layers):
        if net.nonlinearity.gated:
            slope = slopes[0] if slopes else _gate_moment(net.nonlinearity, variances[0], variances2[0], features[0])
            feature = slope * features[-1]
        else:
            feature, slope = net.nonlinearity.dual(variances[layer], variances2[layer], features[-1])
            feature = _snapped(feature, variances[layer + 1], variances2[layer + 1])
        features.append(feature)
        slopes.append(slope)
    return Layers(features, slopes)


def variances_of(net: MLP, first: np.ndarray) -> Layers:
    """Φ^0..Φ^L and ⟨ϕ'ϕ'⟩ of each sample with itself, (sample,) each, from Φ^0."""
    parts = [_variances_of(net, first[rows]) for rows in _ranges(len(first), TILE // 4)] or [_variances_of(net, first)]
    joined = (map(np.concatenate, zip(*arrays, strict=True)) for arrays in zip(*parts, strict=True))
    return Layers(*(list(arrays) for arrays in joined))


def _variances_of(net: MLP, first: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    features, slopes = [first], []
    for _ in range(net.hidden_layers):
        own = features[-1]
        # Unrelated pairs take the least work; the diagonal is what is wanted.
        if net.nonlinearity.gated:
            slopes.append(slopes[0] if slopes else np.diag(_gate_moment(net.nonlinearity, own, own, np.diag(own))))
            features.append(slopes[-1] * own)
        else:
            feature, slope = net.nonlinearity.dual(own, own, np.diag(own))
            slopes.append(np.diag(slope))
            features.append(np.diag(feature))
    return features, slopes


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
    """K between all training samples and between them and the test points, and the kernels that are to be kept."""

    def __init__(self, net: MLP, task: Task, correlation: float, record: tuple[str, ...], tile: int = TILE):
        self.net = net
        self.task = task
        self.correlation = correlation
        self.tile = tile
        dimension = task.x.shape[1]
        self.own, self.test = (
            variances_of(net, np.einsum("md,md->m", x, x) / dimension) for x in (task.x, task.x_test)
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
            layers = self._between(self.task.x, self.own, rows, columns)
            self._store(layers, rows, columns)
            bar.update((rows.stop - rows.start) * (columns.stop - columns.start))
        for rows in _ranges(len(self.task.x_test), self.tile):
            for columns in _ranges(self.task.samples, self.tile):
                layers = self._between(self.task.x_test, self.test, rows, columns)
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
        covariance = x[rows] @ self.task.x[columns].T / self.task.x.shape[1]
        if x is self.task.x and rows == columns:
            np.fill_diagonal(covariance, variances.features[0][rows])
        first, second = ([v[part] for v in of.features] for of, part in ((variances, rows), (self.own, columns)))
        return layers_between(self.net, first, second, covariance)

    def _store(self, layers: Layers, rows: slice, columns: slice) -> None:
        self.tangent[rows, columns] = found = layers.tangent(self.correlation)
        self.tangent[columns, rows] = found.T
        made: Mapping[str, Callable[[], list[np.ndarray]]] = {
            "feature_kernel": lambda: layers.features[1:],
            "gradient_kernel": lambda: layers.gradients[:-1],
            "pseudo_gradient_kernel": lambda: layers.pseudo_gradients(self.correlation)[:-1],
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


def _ranges(count: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, count)) for first in range(0, count, size))

"""Architecture as data: which layers a network has and which rows each of them looks at, without its width."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Literal, final

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from .. import checks
from ..checks import ArgumentError
from .nonlinearity import Nonlinearity
from .receptive_field import Filter, Pointwise, Readout, ReceptiveField, places_of


@dataclass(frozen=True)
class Geometry:
    """The rows of a network on inputs of one shape.

    A sample has `positions` rows in every hidden layer; the first layer meets inputs of `coordinates` numbers a row,
    and divides by √`dimension`. `fields[ℓ − 1]` is the receptive field of the weights above layer ℓ = 1..L.
    """

    positions: int
    coordinates: int
    dimension: int
    fields: tuple[ReceptiveField, ...]


class Architecture(eqx.Module):
    """What a network is, whatever its width: layers, nonlinearity, richness, and its geometry on a task's inputs."""

    hidden_layers: eqx.AbstractVar[int]
    nonlinearity: eqx.AbstractVar[Nonlinearity]
    richness: eqx.AbstractVar[float | Float[Array, ""]]

    @property
    @abc.abstractmethod
    def skips(self) -> bool:
        """Whether each hidden layer adds to the one below: h^{ℓ+1} = h^ℓ + …, neuron by neuron."""

    @abc.abstractmethod
    def geometry(self, shape: tuple[int, ...]) -> Geometry:
        """The geometry on inputs of this shape (positions…, channels); raises where there is none."""

    @abc.abstractmethod
    def rows(self, x: Float[np.ndarray, "sample ..."]) -> Float[np.ndarray, "row coordinate"]:
        """Inputs (sample, positions…, channels) as the rows that the first layer multiplies."""


def _check(net: Architecture) -> None:
    """Raise unless what all architectures have can serve."""
    checks.integer("hidden_layers", net.hidden_layers, at_least=1)
    checks.instance("nonlinearity", net.nonlinearity, Nonlinearity, "widelimit.Tanh()")
    checks.number("richness", net.richness, above=0)
    net.nonlinearity.check()


@final
class MLP(Architecture):
    """A fully connected network with L hidden layers, described without its width.

        h^1_μ = W^0 x_μ/√D,   h^{ℓ+1}_μ = W^ℓ ϕ(h^ℓ_μ)/√N,   f_μ = w·ϕ(h^L_μ)/(γ0 N)

    (paper, Eq. 1; all initial weights iid N(0, 1)). The paper's "depth" is L + 1. With residual connections

        h^{ℓ+1}_μ = h^ℓ_μ + β W^ℓ ϕ(h^ℓ_μ)/√N,   g^ℓ = g^{ℓ+1} + β ϕ'(h^ℓ) ⊙ W^ℓᵀ g^{ℓ+1}/√N.

    Inputs that have positions are taken as one vector of D numbers.

    **Arguments:** `hidden_layers` L ≥ 1, their number; `nonlinearity` ϕ; `richness` γ0 > 0: γ0 → 0 is the lazy limit of
    static kernels, γ0 = O(1) learns features; `residual`: whether hidden layers add to the one below; `branch_scale`
    β > 0 of what they add, 1/√L for a limit of large depth (Bordelon et al. 2024; Yang et al. 2024).
    """

    hidden_layers: int = eqx.field(static=True)
    nonlinearity: Nonlinearity = eqx.field(static=True)
    richness: float | Float[Array, ""] = 1.0
    residual: bool = eqx.field(default=False, static=True)
    branch_scale: float = eqx.field(default=1.0, static=True)

    def __check_init__(self):
        _check(self)
        checks.boolean("residual", self.residual)
        checks.number("branch_scale", self.branch_scale, above=0)
        if self.branch_scale != 1 and not self.residual:
            raise ArgumentError(
                f"branch_scale is the factor of residual branches; got {self.branch_scale} without residual=True."
            )

    @property
    def skips(self):
        return self.residual

    def geometry(self, shape):
        dimension = math.prod(shape)
        hidden = (Pointwise(scale=float(self.branch_scale)),) * (self.hidden_layers - 1)
        return Geometry(1, dimension, dimension, (*hidden, Readout()))

    def rows(self, x):
        return x.reshape(len(x), math.prod(x.shape[1:]))


@final
class CNN(Architecture):
    """A convolutional network with L hidden layers on a grid of one or two dimensions; N counts its channels.

        h^1_{μ,a} = σ Σ_b W^0_b x_{μ,a+b}/√D,   h^{ℓ+1}_{μ,a} = σ Σ_b W^ℓ_b ϕ(h^ℓ_{μ,a+b})/√N,
        f_μ = Σ_a w_a·ϕ(h^L_{μ,a})/(γ0 N)

    with positions a, offsets b within a filter, D the channels of the input, and one readout vector for each position
    (paper, App. C.2, where σ = 1; all initial weights iid N(0, 1)). Filters move in steps of one, so that every layer
    has the positions of the input. With pooling, ϕ(h^L) is averaged over windows before the readout:
    f_μ = w·(1/A) Σ_a ϕ(h^L_{μ,a})/(γ0 N) for a window that holds all A positions. In a gated network a gate looks at
    what the first layer looks at, m^ℓ_{μ,a} = σ Σ_b M^ℓ_b x_{μ,a+b}/√D.

    **Arguments:**

    - `hidden_layers`, `nonlinearity` and `richness` as for [`MLP`];
    - `filter_size`: odd, one number or one for each dimension;
    - `padding`: what is outside the grid: "zero", or "circular", where the grid goes on from its other side;
    - `filter_scale` σ: 1 as in the paper, or 1/√(taps) to keep preactivations at the variance of one tap;
    - `pool`: the size of windows that are averaged before the readout, which must divide the grid, or "all" for one
      window of all positions;
    - `shared`: whether all positions share one filter; if not, each has its own (a locally connected network).
    """

    hidden_layers: int = eqx.field(static=True)
    nonlinearity: Nonlinearity = eqx.field(static=True)
    richness: float | Float[Array, ""] = 1.0
    filter_size: int | tuple[int, ...] = eqx.field(default=3, static=True)
    padding: Literal["zero", "circular"] = eqx.field(default="zero", static=True)
    filter_scale: float = eqx.field(default=1.0, static=True)
    pool: int | tuple[int, ...] | Literal["all"] = eqx.field(default=1, static=True)
    shared: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        _check(self)
        checks.known("padding", self.padding, ("zero", "circular"))
        checks.number("filter_scale", self.filter_scale, above=0)
        checks.boolean("shared", self.shared)
        for size in self.filter_size if isinstance(self.filter_size, tuple) else (self.filter_size,):
            checks.integer("filter_size", size, at_least=1)
            if size % 2 == 0:
                raise ArgumentError(f"filter_size must be odd, so that a filter has a middle; got {size}.")
        if isinstance(self.pool, str):
            checks.known("pool", self.pool, ("all",))
        else:
            for size in self.pool if isinstance(self.pool, tuple) else (self.pool,):
                checks.integer("pool", size, at_least=1)

    @property
    def skips(self):
        return False

    def geometry(self, shape):
        filters = self._filter(shape)
        window = filters.grid if self.pool == "all" else _each("pool", self.pool, filters.grid)
        if any(size % width for size, width in zip(filters.grid, window, strict=True)):
            raise ArgumentError(
                f"pool: windows of {_spelled(window)} do not divide the grid of {_spelled(filters.grid)} positions; "
                'choose a divisor, or "all".'
            )
        coordinates = filters.matrices * shape[-1]
        hidden = (filters,) * (self.hidden_layers - 1)
        return Geometry(filters.below, coordinates, shape[-1], (*hidden, Readout(filters.grid, window)))

    def rows(self, x):
        filters = self._filter(x.shape[1:])
        outside = np.zeros((len(x), 1, x.shape[-1]))  # in place −1
        on_grid = np.concatenate([x.reshape(len(x), filters.below, x.shape[-1]), outside], axis=1)
        patches = filters.scale * on_grid[:, places_of(filters)]  # sample, position, tap, channel
        patches = patches.reshape(len(x), filters.above, filters.taps * x.shape[-1])
        if self.shared:
            return patches.reshape(len(x) * filters.above, patches.shape[-1])
        # The filter of each position has coordinates of its own.
        own = np.zeros((len(x), filters.above, *patches.shape[1:]))
        every = np.arange(filters.above)
        own[:, every, every] = patches
        return own.reshape(len(x) * filters.above, filters.matrices * x.shape[-1])

    def _filter(self, shape: tuple[int, ...]) -> Filter:
        """The receptive field of the filters on inputs (positions…, channels)."""
        if len(shape) not in (2, 3):
            raise ArgumentError(
                "x must have shape (samples, positions, channels) or (samples, rows, columns, channels) for a CNN; a "
                f"sample has shape {shape}. Reshape it, for example x.reshape(-1, 8, 8, 1) for images of 8×8 pixels."
            )
        grid = tuple(shape[:-1])
        size = _each("filter_size", self.filter_size, grid)
        return Filter(grid, size, self.padding == "circular", bool(self.shared), float(self.filter_scale))


def _each(name: str, value: int | tuple[int, ...] | str, grid: tuple[int, ...]) -> tuple[int, ...]:
    """One number for each dimension of the grid."""
    if not isinstance(value, tuple):
        return (int(value),) * len(grid)
    if len(value) != len(grid):
        raise ArgumentError(f"{name} must be one number or {len(grid)}, one for each dimension of x; got {value}.")
    return tuple(int(size) for size in value)


def _spelled(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))

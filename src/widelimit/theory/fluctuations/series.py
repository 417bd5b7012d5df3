"""Power series to second order in a small change, of arrays, along many directions of change at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Series:
    """x + ε x' + ε² x'': the value (...), the same for all directions, and two coefficients of each."""

    __array_ufunc__ = None  # an array on the left leaves the product to this class

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def constant(cls, value: np.ndarray, directions: int) -> Series:
        """What does not change."""
        nothing = np.zeros((directions, *np.shape(value)))
        return cls(np.asarray(value, dtype=float), nothing, nothing)

    def __add__(self, other: Series) -> Series:
        return Series(self.value + other.value, self.first + other.first, self.second + other.second)

    def __sub__(self, other: Series) -> Series:
        return self + -1.0 * other

    def __rmul__(self, factor: float | np.ndarray) -> Series:
        """Times a number, or an array of the shape of the value, which does not change."""
        return Series(factor * self.value, factor * self.first, factor * self.second)

    def __getitem__(self, part: tuple[slice, ...] | slice) -> Series:
        """A part of the value, along its axes."""
        part = part if isinstance(part, tuple) else (part,)
        return Series(self.value[part], self.first[(slice(None), *part)], self.second[(slice(None), *part)])

    def of_one_layer(self) -> Series:
        """With an axis of length one in front of the value's."""
        return Series(self.value[None], self.first[:, None], self.second[:, None])

    def power(self, exponent: int) -> Series:
        """Elementwise, for a whole exponent."""
        result = Series.constant(np.ones_like(self.value), len(self.first))
        for _ in range(exponent):
            result = product("...,...->...", result, self)
        return result

    def mapped(self, subscripts: str, *arrays: np.ndarray) -> Series:
        """`einsum` with arrays that do not change; this one comes first."""
        inputs, output = subscripts.split("->")
        along = f"d{inputs}->d{output}"
        return Series(
            np.einsum(subscripts, self.value, *arrays),
            np.einsum(along, self.first, *arrays),
            np.einsum(along, self.second, *arrays),
        )

    def shift(self, variances: np.ndarray) -> np.ndarray:
        """The mean of the second-order change over independent changes of these variances along the directions."""
        return np.tensordot(variances, self.second, axes=1)

    def variance(self, variances: np.ndarray) -> np.ndarray:
        """The variance of the first-order change, of each entry."""
        return np.tensordot(variances, self.first**2, axes=1)


def product(subscripts: str, a: Series, b: Series) -> Series:
    """`einsum` of two series; no index may be called d."""
    inputs, output = subscripts.split("->")
    left, right = inputs.split(",")
    both = f"d{left},d{right}->d{output}"
    first = np.einsum(f"d{left},{right}->d{output}", a.first, b.value, optimize=True)
    first = first + np.einsum(f"{left},d{right}->d{output}", a.value, b.first, optimize=True)
    second = np.einsum(f"d{left},{right}->d{output}", a.second, b.value, optimize=True)
    second = second + np.einsum(f"{left},d{right}->d{output}", a.value, b.second, optimize=True)
    second = second + np.einsum(both, a.first, b.first, optimize=True)
    return Series(np.einsum(subscripts, a.value, b.value), first, second)

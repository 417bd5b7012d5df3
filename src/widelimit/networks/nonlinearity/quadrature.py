"""Gaussian expectations of a nonlinearity, by quadrature in one dimension and a series for the other.

For u = σ z and v = σ' z' with standard normal z, z' of correlation r (Mehler 1866),

    ⟨ϕ(u) ϕ(v)⟩ = Σ_n a_n(σ) a_n(σ') rⁿ,   a_n(σ) = ⟨ϕ(σz) p_n(z)⟩,   p_n = He_n/√n!

and the same with ϕ'. The a_n take one integral for each sample and the series a few operations for each pair, where a
quadrature in two dimensions would take thousands. Integrals are Gauss–Legendre sums over short panels with a border at
zero; panels in which ϕ or ϕ' jumps are split there.

For smooth ϕ the series ends where rounding is left of ⟨ϕ²⟩ = Σ_n a_n²: tanh needs about 120 σ² terms. Jumps and kinks
make a_n² fall as n^{−3/2} and n^{−5/2} only. At most `CAP` terms are taken; of the rest, jumps have a closed form, and
for kinks the amount is known at r = ±1 and the fall from there follows from the power law.

Errors as measured, relative to √(⟨ϕ(u)²⟩⟨ϕ(v)²⟩), are at rounding for |r| < 0.98. Beyond that, between fields that are
all but parallel, they are below 1e-12 for smooth ϕ up to σ = 3; for tanh 1e-10 at σ = 5, 1e-5 at σ = 10 and 2e-3 at
σ = 20, which warns. Jumps cost nothing, kinks at zero 2e-10, and kinks elsewhere 1e-8 between fields of equal σ = 1,
1e-6 between others and up to 1e-4 at σ = 10. The diagonal is exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import scipy  # which imports scipy.special on first use

from ...precision import at_precision
from .hermite import CAP, Function, Series, slices
from .jumps import Jumps

if TYPE_CHECKING:
    from .base import Nonlinearity

_ROUNDING = 4e-16  # what may be left of ⟨ϕ²⟩, relative to it
_EDGES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1.0)  # pairs are sorted by |r| into these classes
_ENTRIES = 2**15  # pairs at a time, so that they stay in the processor's cache
_GATHERED = 2**21  # coefficients at a time, where pairs are picked out one by one


class AccuracyWarning(UserWarning):
    """Gaussian averages could not be computed to the accuracy that they usually have."""


def dual(
    nonlinearity: Nonlinearity, variance: np.ndarray, variance2: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """⟨ϕ(u)ϕ(v)⟩ and ⟨ϕ'(u)ϕ'(v)⟩ for Gaussian u, v: see [`Nonlinearity`]."""
    if not np.size(covariance):
        return np.zeros_like(covariance), np.zeros_like(covariance)
    spread, row = _distinct(np.sqrt(variance))
    spread2, column = _distinct(np.sqrt(variance2))
    size = np.sqrt(np.outer(variance, variance2))
    r = np.divide(covariance, size, out=np.zeros_like(size), where=size > 0)
    np.clip(r, -1, 1, out=r)
    largest = max(spread.max(initial=0), spread2.max(initial=0))
    functions = [_in_numpy(nonlinearity.value), _in_numpy(nonlinearity.derivative)]
    jumps = [Jumps.of(function, largest) for function in functions]
    cuts = np.union1d(jumps[0].places, jumps[1].places)
    results = []
    for function, own in zip(functions, jumps, strict=True):
        terms = _terms_needed(function, np.union1d(spread, spread2), cuts)
        left, right = (Series.of(function, values, cuts, terms) for values in (spread, spread2))
        found = _summed(left, right, row, column, r)
        if terms == CAP:
            i, j = np.nonzero(np.abs(r) ** CAP > 1e-16)
            rest, unresolved = _left_over(own, left, right, spread, spread2, row[i], column[j], r[i, j])
            found[i, j] += rest
            if unresolved and np.any(np.abs(r[i, j]) < 1 - 1e-12):
                warnings.warn(
                    f"{type(nonlinearity).__name__} is too steep for fields of standard deviation {largest:.0f}: "
                    "Gaussian averages of pairs correlated by more than 0.98 may be off by "
                    f"{unresolved:.0e} of their size. Scale the inputs to |x|² = D, or thereabouts.",
                    AccuracyWarning,
                    stacklevel=4,
                )
        results.append(found)
    return results[0], results[1]


def _in_numpy(function: Callable) -> Function:
    """A function of the nonlinearity (in jax) as one of arrays in NumPy and float64."""

    def evaluated(h: np.ndarray) -> np.ndarray:
        flat = np.ravel(h)
        found = np.empty(flat.size)
        piece = np.zeros(_ENTRIES)  # of one size, because jax compiles anew for each
        with at_precision("float64"):
            for some in slices(flat.size, _ENTRIES):
                count = some.stop - some.start
                piece[:count] = flat[some]
                found[some] = np.asarray(function(jnp.asarray(piece)))[:count]
        return found.reshape(np.shape(h))

    return evaluated


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that differ by more than rounding, ascending, and which of them each one is."""
    order = np.argsort(values)
    ascending = values[order]
    new = np.diff(ascending, prepend=-1) > 1e-15 * ascending
    which = np.empty(len(values), int)
    which[order] = np.cumsum(new) - 1
    return ascending[new], which


def _terms_needed(function: Function, spread: np.ndarray, cuts: np.ndarray) -> int:
    """How many terms leave only rounding of ⟨ϕ²⟩, by the smallest, the median and the largest σ; at most `CAP`."""
    probe = Series.of(function, np.unique(spread[[0, len(spread) // 2, -1]]), cuts, CAP)
    above = np.cumsum(probe.coefficients[::-1] ** 2, axis=0)[::-1] + sum(probe.left())
    enough = np.all(above <= _ROUNDING * probe.power, axis=1)
    return max(int(np.argmax(enough)), 1) if enough.any() else CAP


# --- the series over pairs


def _summed(left: Series, right: Series, row: np.ndarray, column: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Σ_n a_n(σ_i) a_n(σ'_j) rⁿ over the terms there are, for all pairs of samples; σ_i = spread[row[i]]."""
    a, b = left.coefficients, right.coefficients
    scale = np.sqrt(left.power.max(initial=0) * right.power.max(initial=0))
    bound = np.maximum((a**2).max(axis=1, initial=0), (b**2).max(axis=1, initial=0))
    present = [parity for parity in (0, 1) if np.any(bound[parity::2] > 1e-32 * scale)]
    total = np.zeros_like(r)
    if not present or not total.size:
        return total
    first, step = (present[0], 2) if len(present) == 1 else (0, 1)  # odd functions have odd terms only
    above = np.append(np.cumsum(bound[::-1])[::-1], 0)
    needed = [int(np.argmax(above * edge ** np.arange(len(above)) <= 1e-16 * scale)) for edge in _EDGES]
    strength = np.abs(r)
    # Most pairs share the terms that they need; the few with larger |r| get theirs one by one.
    bulk = int(np.searchsorted(_EDGES[:-1], np.quantile(strength[:: max(1, len(row) // 64)], 0.8)))
    terms = range(first, needed[bulk], step)
    for rows in slices(len(row), max(1, _ENTRIES // len(column))):
        here, there = a[_of(terms)], b[_of(terms)]
        if not a.shape[1] == b.shape[1] == 1:
            here, there = here[:, row[rows], None], there[:, None, column]
        _horner(total[rows], r[rows], here, there, terms)
    where = np.flatnonzero(strength > _EDGES[bulk])
    for lower, upper in zip(range(bulk, len(_EDGES) - 1), needed[bulk + 1 :], strict=True):
        where = where[strength.flat[where] > _EDGES[lower]]
        i, j = np.divmod(where, len(column))
        terms = range(first + step * -(-(needed[lower] - first) // step), upper, step)
        total.flat[where] += _over_pairs(a, b, row[i], column[j], r.flat[where], terms)
    return total


def _over_pairs(a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray, r: np.ndarray, terms: range) -> np.ndarray:
    """Σ_n a_{n,i} b_{n,j} rⁿ over `terms`, for pairs (pair,)."""
    total = np.zeros_like(r)
    a, b = a[_of(terms)], b[_of(terms)]
    for some in slices(len(r) if terms else 0, max(1, _GATHERED // max(len(terms), 1))):
        here, there = (a, b) if a.shape[1] == b.shape[1] == 1 else (a[:, i[some]], b[:, j[some]])
        _horner(total[some], r[some], here, there, terms)
    return total


def _of(terms: range) -> slice:
    return slice(terms.start, terms.stop, terms.step)


def _horner(total: np.ndarray, r: np.ndarray, a: np.ndarray, b: np.ndarray, terms: range) -> None:
    """Add Σ_n a_n b_n rⁿ over `terms`, which the first axes of a and b count; the others broadcast to that of r."""
    if not terms:
        return
    base = r if terms.step == 1 else r**2
    part, product = np.zeros_like(r), np.empty_like(r)
    for a_n, b_n in zip(a[::-1], b[::-1], strict=True):
        part *= base
        part += a_n * b_n if a_n.size == b_n.size == 1 else np.multiply(a_n, b_n, out=product)
    total += part * r**terms.start


# --- what the terms leave


def _left_over(
    jumps: Jumps,
    left: Series,
    right: Series,
    spread: np.ndarray,
    spread2: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    r: np.ndarray,
) -> tuple[np.ndarray, float]:
    """What the first `CAP` terms leave of the series, for pairs (pair,), and how much of it was no more than guessed.

    Jumps have a closed form, of which the same terms are taken away. The rest is taken to come from kinks: for even and
    odd terms apart √(R R') C g(|r|), with R what is left of Σ_n a_n², C the correlation between the two σ's of the last
    half of the coefficients, and g(r) = Σ_{n>N} n^{−5/2} rⁿ/Σ_{n>N} n^{−5/2}.
    """
    steps, steps2 = (jumps.coefficients(values, CAP) for values in (spread, spread2))
    total = jumps.product(spread[i], spread2[j], r) - _over_pairs(steps, steps2, i, j, r, range(CAP))
    x = -CAP * np.log(np.abs(r))
    fall = np.exp(-x) - 2 * x * (np.exp(-x) - np.sqrt(np.pi * x) * scipy.special.erfc(np.sqrt(x)))
    rests = _kinks(jumps, left, spread, steps), _kinks(jumps, right, spread2, steps2)
    for parity, (rest, rest2) in enumerate(zip(*rests, strict=True)):
        last = slice(CAP // 2 + parity, None, 2)
        a, b = left.coefficients[last] - steps[last], right.coefficients[last] - steps2[last]
        norm = np.sqrt(np.outer(np.sum(a**2, axis=0), np.sum(b**2, axis=0)))
        alike = np.divide(a.T @ b, norm, out=np.zeros_like(norm), where=norm > 0)
        sign = np.where(r < 0, -1, 1) if parity else 1
        total += sign * fall * (np.sqrt(np.outer(rest, rest2)) * alike)[i, j]
    return total, max(_unresolved(left, rests[0], steps), _unresolved(right, rests[1], steps2))


def _unresolved(series: Series, rests: list[np.ndarray], steps: np.ndarray) -> float:
    """The largest part of ⟨ϕ²⟩ that the terms leave without falling as for kinks, which gives 1.83 for the ratio."""
    rest = rests[0] + rests[1]
    last = np.sum((series.coefficients - steps)[CAP // 2 :] ** 2, axis=0)
    guessed = (rest > 1e-4 * series.power) & ((last < rest) | (last > 3 * rest))
    return float(np.max(rest[guessed] / series.power[guessed], initial=0))


def _kinks(jumps: Jumps, series: Series, spread: np.ndarray, steps: np.ndarray) -> list[np.ndarray]:
    """What the terms leave of the sums over even and over odd n of a_n², without what jumps account for."""
    same, opposite = (jumps.product(spread, spread, np.full(len(spread), sign)) for sign in (1.0, -1.0))
    whole = 0.5 * (same + opposite), 0.5 * (same - opposite)
    found = []
    for parity, rest in enumerate(series.left()):
        known = whole[parity] - np.sum(steps[parity::2] ** 2, axis=0)
        kinks = rest - np.where(rest > 0, known, 0)
        found.append(np.where(kinks > 1e-14 * series.power, kinks, 0))
    return found

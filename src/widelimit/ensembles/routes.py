"""A way to the limit: levels of runs, an estimate from their means, its errors, and what is still to be done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from .levels import GROUPS, Level

CONFIDENCE = 0.95
"""The probability with which the error of an estimate is to be within the accuracy."""


_MANY = 64
"""Replicates after which a quantity that cannot be told from zero is taken for it."""


@dataclass(frozen=True)
class Accuracy:
    """How far one quantity of an estimate is known; all but `directions` relative to its root mean square."""

    error: float
    """What the error is below with the probability `CONFIDENCE`, statistical error and bias both."""
    standard_error: float
    """The root mean square of the statistical error."""
    bias: float
    """The bias as it was measured, free of its own statistical error on average; NaN where it was not."""
    bias_error: float
    """The statistical error of that."""
    counted_bias: float
    """What of it is in `error`: none where it cannot be told from chance."""
    directions: float
    freedom: float

    def as_numbers(self) -> dict[str, float]:
        """What a result says of it."""
        return {
            "achieved": self.error,
            "standard_error": self.standard_error,
            "bias": self.bias,
            "bias_error": self.bias_error,
        }


def quantile(directions: float, freedom: float) -> float:
    """How far above its expectation |error|² is with the probability 1 − `CONFIDENCE`.

    For an error with a Gaussian covariance C of (tr C)²/tr C² directions, |error|²/tr C is about χ²/directions, and
    where tr C is itself estimated, by so many degrees of freedom, the F distribution.
    """
    if math.isinf(freedom):
        return float(scipy.stats.chi2.ppf(CONFIDENCE, directions)) / directions
    return float(scipy.stats.f.ppf(CONFIDENCE, directions, max(freedom, 1e-3)))


@dataclass
class Combination:
    """A weighted sum of the means of levels, Σ w_i q_i."""

    terms: Sequence[tuple[Level, float]]

    def mean(self, name: str) -> np.ndarray:
        """Its value for a quantity, over all entries."""
        return sum((weight * level.spreads[name].mean for level, weight in self.terms), np.zeros(()))

    def variance(self, name: str) -> float:
        """The variance summed over entries, Σ w_i² tr C_i/n_i."""
        return sum(part for _, part in self._parts(name))

    def directions(self, name: str) -> float:
        """In how many directions it scatters."""
        parts = self._parts(name)
        total = sum(part for _, part in parts)
        if not 0 < total < math.inf:
            return 1.0
        return sum(level.spreads[name].directions * part for level, part in parts) / total

    def freedom(self, name: str) -> float:
        """The degrees of freedom of the variance (Welch and Satterthwaite)."""
        parts, directions = self._parts(name), self.directions(name)
        total = sum(part for _, part in parts)
        if not 0 < total < math.inf:
            return math.inf if total == 0 else 1.0
        return total**2 / sum(part**2 / (directions * (level.count - 1)) for level, part in parts if part)

    def _parts(self, name: str) -> list[tuple[Level, float]]:
        return [(level, weight**2 * level.spreads[name].variance / level.count) for level, weight in self.terms]


@dataclass
class Route:
    """An estimate of the limit from levels, and what its bias is seen by."""

    kind: str
    """"deferred" or "networks"."""
    estimate: Combination
    bias: Combination | None
    """Its expectation is the leading part of the bias of the estimate; None where it is not measured."""

    @property
    def levels(self) -> list[Level]:
        """Those of the estimate."""
        return [level for level, _ in self.estimate.terms]

    @property
    def failed(self) -> str:
        """Why the route cannot serve; empty where it can."""
        return next((level.failed for level in self.levels if level.failed), "")

    def accuracy(self, name: str) -> Accuracy:
        """How far a quantity is known."""
        size = float(np.linalg.norm(self.estimate.mean(name)))
        if size == 0:
            return Accuracy(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, math.inf)
        variance, directions = self.estimate.variance(name), self.estimate.directions(name)
        freedom = self.estimate.freedom(name)
        bias, noise, counted = math.nan, math.nan, 0.0
        if self.bias is not None and all(level.count > 1 for level, _ in self.bias.terms):
            squared, noise = float(np.sum(self.bias.mean(name) ** 2)), self.bias.variance(name)
            bias = math.sqrt(max(squared - noise, 0.0))
            if squared > noise * quantile(self.bias.directions(name), self.bias.freedom(name)):
                counted = bias
            noise = math.sqrt(noise)
        # Rounding is no bias and no error: of exact results it is all there is.
        error = math.sqrt(variance * quantile(directions, freedom) + counted**2)
        return Accuracy(
            error / size,
            math.sqrt(variance) / size,
            bias / size,
            noise / size,
            counted / size,
            directions,
            freedom,
        )

    def is_nothing(self, name: str) -> bool:
        """Whether many runs have told nothing of a quantity but their scatter: it is zero, or all but zero."""
        fewest, size = min(level.count for level in self.levels), float(np.sum(self.estimate.mean(name) ** 2))
        return fewest >= _MANY and 0 < size < 2 * self.estimate.variance(name)

    def error(self, names: Sequence[str]) -> float:
        """The largest error of some quantities."""
        return max(self.accuracy(name).error for name in names)

    def needed(self, accuracy: float, names: Sequence[str]) -> dict[int, float]:
        """How many replicates each level of the estimate has to have, by its place: the cheapest for the accuracy.

        With c the seconds a replicate and σ² its variance, n_i is proportional to |w_i| σ_i/√c_i.
        """
        most = dict.fromkeys(range(len(self.levels)), 0.0)
        for name in names:
            size, known = float(np.linalg.norm(self.estimate.mean(name))), self.accuracy(name)
            room = (accuracy**2 - min(known.counted_bias, 0.9 * accuracy) ** 2) * size**2
            scale = [abs(weight) * math.sqrt(level.spreads[name].variance) for level, weight in self.estimate.terms]
            costs = [math.sqrt(max(level.pace, 1e-9)) for level in self.levels]
            whole = sum(spread * cost for spread, cost in zip(scale, costs, strict=True))
            if not 0 < whole < math.inf or room <= 0:
                continue
            # The quantile falls as replicates are added: iterated, as it depends on how many there will be.
            counts = [float(level.count) for level in self.levels]
            for _ in range(8):
                parts = [(s**2 / n, n) for s, n in zip(scale, counts, strict=True)]
                total = sum(part for part, _ in parts)
                freedom = total**2 / sum(part**2 / (known.directions * max(n - 1, 0.5)) for part, n in parts if part)
                factor = quantile(known.directions, freedom)
                counts = [max(s / c * whole * factor / room, 2.0) for s, c in zip(scale, costs, strict=True)]
            for place, count in enumerate(counts):
                most[place] = max(most[place], count)
        return most

    def seconds_for(self, accuracy: float, names: Sequence[str]) -> float:
        """About the seconds that are left to the accuracy."""
        needed = self.needed(accuracy, names)
        return sum(max(needed[place] - level.count, 0.0) * level.pace for place, level in enumerate(self.levels))

    def groups(self) -> int:
        """Of how many independent estimates the result is made: a power of two."""
        fewest = min(level.count for level in self.levels)
        return min(GROUPS, 2 ** int(math.log2(max(fewest, 1))))

    def estimates(self) -> dict[str, np.ndarray]:
        """The estimate of every variable from each group of replicates: (group, ...).

        Where groups are not of as many replicates, they are moved so that their mean is that of all.
        """
        groups = self.groups()
        terms: list[tuple[Mapping[str, np.ndarray], float]] = [
            (level.means(groups), weight) for level, weight in self.estimate.terms
        ]
        whole = [(level.means(1), weight) for level, weight in self.estimate.terms]
        first, _ = terms[0]
        estimates: dict[str, np.ndarray] = {}
        for name in first:
            each = sum((weight * means[name] for means, weight in terms), np.zeros(()))
            of_all = sum((weight * means[name] for means, weight in whole), np.zeros(()))
            estimates[name] = each + (of_all - each.mean(axis=0))
        return estimates

    def described(self) -> str:
        """The route in words."""
        sizes = sorted(level.size for level in self.levels)
        if self.kind == "deferred":
            return f"deferred weights, {sizes[-1]} particles"
        if len(sizes) == 1:
            return f"networks of {sizes[0]} neurons, not extrapolated"
        return f"networks of {' and '.join(map(str, sizes))} neurons, extrapolated in 1/N"


def single(level: Level, beside: Level | None = None) -> Route:
    """Runs at one width, whose bias a/N is seen beside runs at another one."""
    kind = "deferred" if level.width.resamples else "networks"
    bias = None
    if beside is not None:
        # q_M − q_N = a (1/M − 1/N), and the bias at N is a/N.
        factor = 1 / (level.size / beside.size - 1)
        bias = Combination([(beside, factor), (level, -factor)])
    return Route(kind, Combination([(level, 1.0)]), bias)


def extrapolated(narrow: Level, wide: Level, narrower: Level | None = None) -> Route:
    """Networks of widths N and M, (M q_M − N q_N)/(M − N), which is free of a/N.

    What is left of b/N², −b/(N M), is seen beside the same from widths N' and N: the difference of the two is
    b/N (1/N' − 1/M).
    """
    n, m = narrow.size, wide.size
    weights = {id(wide): m / (m - n), id(narrow): -n / (m - n)}
    bias = None
    if narrower is not None:
        k = narrower.size
        factor = -(1 / m) / (1 / k - 1 / m)  # (E_NM − E_KN) × factor = −b/(N M)
        bias = Combination(
            [
                (wide, factor * weights[id(wide)]),
                (narrow, factor * (weights[id(narrow)] - n / (n - k))),
                (narrower, factor * k / (n - k)),
            ]
        )
    return Route("networks", Combination([(narrow, weights[id(narrow)]), (wide, weights[id(wide)])]), bias)


def disagreement(a: Route, b: Route, name: str) -> tuple[float, float]:
    """How far two estimates of a quantity lie apart, and what their errors allow, relative to the first."""
    first, second = a.estimate.mean(name), b.estimate.mean(name)
    size = float(np.linalg.norm(first))
    if first.shape != second.shape or size == 0:
        return 0.0, math.inf
    distance = float(np.linalg.norm(first - second)) / size
    known, other = a.accuracy(name), b.accuracy(name)
    scale = float(np.linalg.norm(second)) / size
    # Errors add in quadrature; a bias may lie in any direction.
    chance = math.hypot(known.error, other.error * scale)
    return distance, chance + known.counted_bias + other.counted_bias * scale + 1e-9

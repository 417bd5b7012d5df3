"""A claim of a caption, what was measured of it, and whether it holds."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..results import observables
from .estimates import Estimate, difference

HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"

SIGMAS = 3.0
"""A claim is decided at this many standard errors. With some seventy claims, one in five hundred would be wrong by
chance at 3 and one in twenty at 2."""


@dataclass(frozen=True)
class Claim:
    """One statement with its number.

    `measured` ± `error` (a standard error, zero for what is exact, NaN where the number is itself one of standard
    errors) is to be as `expected` says; `note` has what else a reader should know. `finding` explains a claim that is
    known not to hold, and is empty otherwise.
    """

    statement: str
    measured: float
    error: float
    expected: str
    verdict: str
    note: str = ""
    finding: str = ""

    def known_to_fail(self, finding: str) -> Claim:
        """The same claim with the reason why it does not hold; a test tells if that ceases to be so."""
        return dataclasses.replace(self, finding=finding)

    def described(self) -> dict[str, Any]:
        """The claim as plain data for JSON, which knows no NaN."""
        told = dataclasses.asdict(self)
        return {
            key: (None if isinstance(value, float) and not math.isfinite(value) else value)
            for key, value in told.items()
        }


def equals(statement: str, found: Estimate, expected: float, *, within: float = 0.0, note: str = "") -> Claim:
    """That a number has a value: to within `SIGMAS` standard errors, and `within`, a stated systematic error."""
    off = abs(found.value - expected)
    holds = off <= SIGMAS * found.error + within
    told = f"= {expected:.6g}" + (f" ± {within:g}" if within else "")
    return Claim(statement, found.value, found.error, told, HOLDS if holds else FAILS, note)


def above(statement: str, found: Estimate, bound: float = 0.0, *, note: str = "") -> Claim:
    """That a number lies above a bound; undecided where the bound is within `SIGMAS` standard errors."""
    return Claim(statement, found.value, found.error, f"> {bound:g}", _side(found.value - bound, found.error), note)


def below(statement: str, found: Estimate, bound: float = 0.0, *, note: str = "") -> Claim:
    """That a number lies below a bound."""
    return Claim(statement, found.value, found.error, f"< {bound:g}", _side(bound - found.value, found.error), note)


def all_equal(
    statement: str, found: Mapping[str, Estimate], expected: float, *, within: float = 0.0, note: str = ""
) -> Claim:
    """That several named numbers all have one value, each as in [`equals`]; measured is the worst of them."""

    def excess(one: Estimate) -> float:
        off = abs(one.value - expected) - within
        return off / one.error if one.error else math.copysign(np.inf, off)

    worst = max(found, key=lambda name: excess(found[name]))
    claim = equals(f"{statement}; the worst of {len(found)}", found[worst], expected, within=within)
    told = ", ".join(f"{name}: {one.value:.3g} ± {one.error:.1g}" for name, one in found.items())
    return dataclasses.replace(claim, note=f"{told}. {note}".strip())


def ascending(
    statement: str, found: Sequence[Estimate], *, steps: Sequence[Estimate] | None = None, note: str = ""
) -> Claim:
    """That numbers grow from each to the next; measured is the step that is least certain.

    Numbers that are not independent (of the same networks) come with their `steps`, the differences from each to the
    next with errors of their own.
    """
    if steps is None:
        steps = [difference(after, before) for before, after in itertools.pairwise(found)]
    least = min(steps, key=lambda step: step.value / step.error if step.error else math.copysign(np.inf, step.value))
    told = ", ".join(f"{one.value:.3g}" for one in found)
    return Claim(
        statement,
        least.value,
        least.error,
        "each step > 0",
        _side(least.value, least.error),
        f"{told}. {note}".strip(),
    )


def descending(
    statement: str, found: Sequence[Estimate], *, steps: Sequence[Estimate] | None = None, note: str = ""
) -> Claim:
    """That numbers fall from each to the next; measured is the step that is least certain."""
    if steps is not None:
        steps = [Estimate(-step.value, step.error) for step in steps]
    claim = ascending(statement, [Estimate(-one.value, one.error) for one in found], steps=steps)
    told = ", ".join(f"{one.value:.3g}" for one in found)
    return dataclasses.replace(
        claim, measured=-claim.measured, expected="each step < 0", note=f"{told}. {note}".strip()
    )


def at_most(statement: str, found: Estimate, bound: float = 0.0, *, note: str = "") -> Claim:
    """That a number is not above a bound, as far as can be told: it holds unless it is above by `SIGMAS` errors."""
    verdict = HOLDS if found.value - bound <= SIGMAS * found.error else FAILS  # NaN does not hold
    return Claim(statement, found.value, found.error, f"≤ {bound:g}", verdict, note)


def agrees(
    statement: str,
    pairs: Mapping[str, tuple[xr.DataArray, xr.DataArray]],
    over: str | Sequence[str],
    *,
    note: str = "",
) -> Claim:
    """That two ways to the same numbers differ by no more than chance: [`observables.discrepancy`] at most `SIGMAS`.

    Measured is the worst of the named pairs; the note has the relative distance of each, and what chance alone makes.
    """
    over = [over] if isinstance(over, str) else list(over)
    apart, told = [], []
    for name, (a, b) in pairs.items():
        apart.append(float(observables.discrepancy(a, b, over)))
        difference = float(((observables.mean(a) - observables.mean(b)) ** 2).sum(over)) ** 0.5
        off = difference / float((observables.mean(b) ** 2).sum(over)) ** 0.5
        told.append(f"{name}: {100 * off:.2g} % apart, {100 * off / apart[-1]:.2g} % by chance" if off else name)
    worst = float(np.max(apart))  # NaN where one is
    return Claim(
        statement,
        worst,
        math.nan,
        f"≤ {SIGMAS:g} standard errors",
        HOLDS if worst <= SIGMAS else FAILS,
        f"{'; '.join(told)}. {note}".strip(),
    )


def _side(margin: float, error: float) -> str:
    if margin > SIGMAS * error:
        return HOLDS
    return FAILS if margin < -SIGMAS * error or error == 0 else OPEN

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

from widelimit import observables

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
        return {
            name: (None if isinstance(value, float) and not math.isfinite(value) else value)
            for name, value in dataclasses.asdict(self).items()
        }


def equals(statement: str, measured: Estimate, expected: float, *, within: float = 0.0, note: str = "") -> Claim:
    """That a number has a value: to within `SIGMAS` standard errors, and `within`, a stated systematic error."""
    off = abs(measured.value - expected)
    holds = off <= SIGMAS * measured.error + within
    bounds = f"= {expected:.6g}" + (f" ± {within:g}" if within else "")
    return Claim(statement, *measured, bounds, HOLDS if holds else FAILS, note)


def above(statement: str, measured: Estimate, bound: float = 0.0, *, note: str = "") -> Claim:
    """That a number lies above a bound; undecided where the bound is within `SIGMAS` standard errors."""
    return Claim(statement, *measured, f"> {bound:g}", _side(measured.value - bound, measured.error), note)


def below(statement: str, measured: Estimate, bound: float = 0.0, *, note: str = "") -> Claim:
    """That a number lies below a bound."""
    return Claim(statement, *measured, f"< {bound:g}", _side(bound - measured.value, measured.error), note)


def all_equal(
    statement: str, estimates: Mapping[str, Estimate], expected: float, *, within: float = 0.0, note: str = ""
) -> Claim:
    """That several named numbers all have one value, each as in [`equals`]; measured is the worst of them."""

    def excess(estimate: Estimate) -> float:
        off = abs(estimate.value - expected) - within
        return off / estimate.error if estimate.error else math.copysign(np.inf, off)

    worst = max(estimates, key=lambda name: excess(estimates[name]))
    claim = equals(f"{statement}; the worst of {len(estimates)}", estimates[worst], expected, within=within)
    each = ", ".join(f"{name}: {estimate.value:.3g} ± {estimate.error:.1g}" for name, estimate in estimates.items())
    return dataclasses.replace(claim, note=f"{each}. {note}".strip())


def ascending(
    statement: str, estimates: Sequence[Estimate], *, steps: Sequence[Estimate] | None = None, note: str = ""
) -> Claim:
    """That numbers grow from each to the next; measured is the step that is least certain.

    Numbers that are not independent (of the same networks) come with their `steps`, the differences from each to the
    next with errors of their own.
    """
    if steps is None:
        steps = [difference(after, before) for before, after in itertools.pairwise(estimates)]
    least = min(steps, key=lambda step: step.value / step.error if step.error else math.copysign(np.inf, step.value))
    each = ", ".join(f"{estimate.value:.3g}" for estimate in estimates)
    return Claim(statement, *least, "each step > 0", _side(*least), f"{each}. {note}".strip())


def descending(
    statement: str, estimates: Sequence[Estimate], *, steps: Sequence[Estimate] | None = None, note: str = ""
) -> Claim:
    """That numbers fall from each to the next; measured is the step that is least certain."""
    if steps is not None:
        steps = [Estimate(-step.value, step.error) for step in steps]
    claim = ascending(statement, [Estimate(-estimate.value, estimate.error) for estimate in estimates], steps=steps)
    each = ", ".join(f"{estimate.value:.3g}" for estimate in estimates)
    return dataclasses.replace(
        claim, measured=-claim.measured, expected="each step < 0", note=f"{each}. {note}".strip()
    )


def at_most(statement: str, measured: Estimate, bound: float = 0.0, *, note: str = "") -> Claim:
    """That a number is not above a bound, as far as can be told: it holds unless it is above by `SIGMAS` errors."""
    verdict = HOLDS if measured.value - bound <= SIGMAS * measured.error else FAILS  # NaN does not hold
    return Claim(statement, *measured, f"≤ {bound:g}", verdict, note)


def tends_to(statement: str, values: Sequence[float] | np.ndarray, expected: float) -> Claim:
    """That a sequence tends to a value, measured by its last number.

    Where changes at least halve from one number to the next, what is left of them is at most the last change: the
    systematic error that the claim allows for. Where the last change is more than half of the one before, the sequence
    has not settled, and the claim does not hold.
    """
    before, change = np.abs(np.diff(np.asarray(values, dtype=float)[-3:]))
    within = float(change) if change <= before / 2 else float("nan")
    note = ", ".join(f"{value:.5g}" for value in values)
    return equals(statement, Estimate(float(values[-1])), expected, within=within, note=note)


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
    apart, each = [], []
    for name, (a, b) in pairs.items():
        apart.append(float(observables.discrepancy(a, b, over)))
        difference = float(((observables.mean(a) - observables.mean(b)) ** 2).sum(over)) ** 0.5
        off = difference / float((observables.mean(b) ** 2).sum(over)) ** 0.5
        each.append(f"{name}: {100 * off:.2g} % apart, {100 * off / apart[-1]:.2g} % by chance" if off else name)
    worst = float(np.max(apart))  # NaN where any is
    return Claim(
        statement,
        worst,
        math.nan,
        f"≤ {SIGMAS:g} standard errors",
        HOLDS if worst <= SIGMAS else FAILS,
        f"{'; '.join(each)}. {note}".strip(),
    )


def _side(margin: float, error: float) -> str:
    if margin > SIGMAS * error:
        return HOLDS
    return FAILS if margin < -SIGMAS * error or error == 0 else OPEN

"""The damped fixed-point iteration of Algorithm 1: sweep after sweep until the order parameters stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .fields import Overflow
from .orders import OrderParameters
from .sweeps import Sweeper

_PATIENCE = 10  # sweeps without progress before the update speed is halved


@dataclass
class Outcome:
    """Where the iteration of one replicate ended."""

    orders: OrderParameters
    residuals: list[float] = field(default_factory=list)
    converged: bool = False
    diverged_at: int = -1
    interrupted: bool = False
    speed: float = 1.0


def iterate(
    sweeper: Sweeper,
    steps: int,
    speed: float,
    tolerance: float,
    max_sweeps: int,
    tell: Callable[[float], None],
) -> Outcome:
    """Sweep until the residual is below `tolerance`.

    The equations are causal, and so are the roots the particles are drawn with: what happens at a step cannot reach
    earlier ones. A sweep that overflows at some step is therefore repeated for the steps before it alone; once these
    have converged, more are tried. Where the very next step overflows again, the dynamics itself diverges there. An
    iteration that finds no smaller residual for several sweeps (with kinks in ϕ' it can fall into a cycle) is damped
    more.
    """
    outcome = Outcome(sweeper.extend(sweeper.start(), steps), speed=speed)
    settled: OrderParameters | None = None
    best, since = float("inf"), 0
    try:
        while len(outcome.residuals) < max_sweeps:
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    outcome.orders, residual = sweeper.sweep(outcome.orders, outcome.speed)
            except Overflow as overflow:
                outcome.residuals.append(float("inf"))
                if settled is not None and overflow.step <= settled.steps < outcome.orders.steps <= settled.steps + 1:
                    outcome.orders, outcome.converged, outcome.diverged_at = settled, True, settled.steps
                    break
                outcome.orders = outcome.orders.resized(max(overflow.step, 1))
                best, since = float("inf"), 0
                continue
            outcome.residuals.append(residual)
            tell(residual)
            if residual <= tolerance:
                if outcome.orders.steps == steps:
                    outcome.converged = True
                    break
                settled = outcome.orders
                outcome.orders = sweeper.extend(settled, settled.steps + 1)
                best, since = float("inf"), 0
                continue
            since = 0 if residual < best else since + 1
            best = min(best, residual)
            if since >= _PATIENCE:
                outcome.speed, since = outcome.speed / 2, 0
    except KeyboardInterrupt:
        outcome.interrupted = True
    return outcome

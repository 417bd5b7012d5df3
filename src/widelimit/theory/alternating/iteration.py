"""The damped fixed-point iteration of Algorithm 1: sweep after sweep until the order parameters stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .fields import Overflow
from .orders import Orders
from .sweeps import Sweeper

_PATIENCE = 10  # sweeps without progress before the update speed is halved


@dataclass
class Outcome:
    """Where the iteration of one replicate ended."""

    orders: Orders
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
    found = Outcome(sweeper.extend(sweeper.start(), steps), speed=speed)
    settled: Orders | None = None
    best, since = float("inf"), 0
    try:
        while len(found.residuals) < max_sweeps:
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    found.orders, residual = sweeper.sweep(found.orders, found.speed)
            except Overflow as overflow:
                found.residuals.append(float("inf"))
                if settled is not None and overflow.step <= settled.steps < found.orders.steps <= settled.steps + 1:
                    found.orders, found.converged, found.diverged_at = settled, True, settled.steps
                    break
                found.orders = found.orders.resized(max(overflow.step, 1))
                best, since = float("inf"), 0
                continue
            found.residuals.append(residual)
            tell(residual)
            if residual <= tolerance:
                if found.orders.steps == steps:
                    found.converged = True
                    break
                settled = found.orders
                found.orders = sweeper.extend(settled, settled.steps + 1)
                best, since = float("inf"), 0
                continue
            since = 0 if residual < best else since + 1
            best = min(best, residual)
            if since >= _PATIENCE:
                found.speed, since = found.speed / 2, 0
    except KeyboardInterrupt:
        found.interrupted = True
    return found

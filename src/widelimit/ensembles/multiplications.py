"""What the ways to the limit take, by their multiplications: how they are compared before either has been tried."""

from __future__ import annotations

import math

from ..networks import Architecture
from ..problem import Task
from ..weights import Finite, Infinite, Width

_PRIOR = 2.25
"""Of one neuron's share of the variance to one particle's, measured (see "What it costs"): until it is known."""


def multiplications(net: Architecture, task: Task, width: Width) -> float:
    """About how many a step takes."""
    rows = task.samples * task.outputs
    each = 11 * width.size * (width.capacity or 0) if isinstance(width, Infinite) else 3 * width.size**2
    return ((net.hidden_layers - 1) * each + width.size * rows) * rows


def networks_over_deferred(net: Architecture, task: Task, widths: tuple[Finite, Finite], limit: Width) -> float:
    """What networks of two widths N and 2N take for the same scatter, relative to deferred weights."""
    narrow, wide = widths
    # Of seconds c and variances σ² of the terms w q, the cheapest shares take (Σ |w| σ √c)² for a variance of one.
    shares = [
        weight * math.sqrt(_PRIOR * multiplications(net, task, width) / width.size)
        for weight, width in ((1, narrow), (2, wide))
    ]
    return sum(shares) ** 2 * limit.size / multiplications(net, task, limit)

"""How many replicates are stepped together, in one program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from ..memory import available_memory
from ..rules import Rule
from . import step
from .planning import bytes_of
from .state import Program, Settings

_LARGEST = 64
"""Of a group, so that its records, which come to the host at once, stay few beside those of the run."""

_NEURONS, _ACTIVITIES = 200, 4000
"""On CPUs, where it was measured: up to this width, and this many neurons × rows, a group takes less time."""


def replicates_together(
    program: Program, settings: Settings, rule: Rule, replicates: int, devices: Sequence[Any]
) -> int:
    """How many of so many replicates are stepped together: what is fastest where that was measured, and fits in memory.

    Each is the same however they are grouped, up to rounding. On CPUs small networks are, where the calls of a program
    take as long as its work; a larger one has all cores busy by itself, and at infinite width every replicate would do
    the work that the busiest one has (see "What it costs"). On accelerators as many are as memory has room for. Of
    several devices, each has a network of its own at least; at infinite width they share the particles of one.
    """
    device, infinite = devices[0], program.width.resamples
    rows = len(settings.inputs.train)
    small = program.width.size <= _NEURONS and program.width.size * rows <= _ACTIVITIES
    least = 1 if infinite else min(replicates, len(devices))
    if replicates == 1 or (device.platform == "cpu" and (infinite or not small)):
        return least
    fitting = int(len(devices) * _free(device) / 2 / _taken(program, settings, rule))
    return max(least, min(replicates, fitting, _LARGEST))


def _taken(program: Program, settings: Settings, rule: Rule) -> float:
    """Bytes that one replicate takes, at most: its state before and after a step, and what passes in between."""
    held = bytes_of(jax.eval_shape(lambda settings: step.start(program, settings, rule, None), settings))
    # h, ϕ, ϕ', z, g, g̃ of each output, what their inner products are taken from, and their test points.
    rows = len(settings.inputs.train) * program.outputs + len(settings.inputs.test)
    passing = 16 * settings.net.hidden_layers * rows * program.width.size * settings.y.dtype.itemsize
    return 3 * held + passing


def _free(device: Any) -> float:
    """Bytes that may still be taken where a device computes."""
    if device.platform == "cpu":
        return available_memory()
    statistics = device.memory_stats() or {}
    return float(statistics.get("bytes_limit", 0)) - float(statistics.get("bytes_in_use", 0))

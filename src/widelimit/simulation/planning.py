"""What a run will be, before it starts: what its width leaves open, what is recorded, and the memory that it takes."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np

from ..checks import ArgumentError
from ..memory import available_memory, require_memory
from ..networks import Architecture, Geometry
from ..problem import Task
from ..problem.scaling import size_of_targets
from ..results import Record
from ..results.record import KERNELS
from ..rules import Rule
from ..weights import Finite, Infinite, Width, scatters
from . import step
from .state import Program, Settings


def planned_width(width: Width | float, net: Architecture, task: Task, steps: int) -> Width:
    """The width of a run, with what it leaves open chosen for the task.

    A number is that of neurons, `math.inf` the limit. **Raises:** `ArgumentError` for anything else.
    """
    if not isinstance(width, Width):
        is_number = isinstance(width, (int, float, np.integer, np.floating)) and not isinstance(width, bool)
        if not is_number or not (width == math.inf or (width >= 1 and width == int(width))):
            raise ArgumentError(
                "width must be a whole number of neurons, at least 1, or math.inf, or widelimit.Finite(neurons) or "
                f"widelimit.Infinite(particles, ...); got {width!r}."
            )
        width = Infinite() if math.isinf(width) else Finite(int(width))
    if not isinstance(width, Infinite):
        return width
    geometry = net.geometry(task.shape)
    rows = task.samples * geometry.positions
    scatter = scatters(net.nonlinearity.linear, geometry.fields[:-1])
    fits = _fits(net, geometry, task, width.size, scatter)
    return width.planned(net.nonlinearity.linear, rows, steps, scatter, fits)


def rounding_of_outputs(net: Architecture, task: Task, precision: str) -> float:
    """What rounding makes of outputs, relative to the targets: ε/γ0, measured at every width and both precisions.

    An output is a difference from its initial value divided by γ0, and weights and features move by γ0: of both, what
    is below ε of their own size is lost.

    **Raises:** `ArgumentError` where next to nothing is left.
    """
    lost = float(np.finfo(precision).eps) / (float(net.richness) * (size_of_targets(task) or 1.0))
    if lost > 0.3:
        raise ArgumentError(
            f"richness: with γ0 = {float(net.richness):.3g} outputs in {precision} are wrong by {lost:.2g} of the "
            f"targets, because rounding takes what is below {np.finfo(precision).eps:.1g} of a weight. Take a γ0 above "
            f"{float(net.richness) * lost / 1e-3:.1g}, or {rounding_remedy(precision)}."
        )
    return lost


def rounding_remedy(precision: str) -> str:
    """What to take where rounding at this precision shows."""
    return 'precision="float64"' if precision == "float32" else "theory.lazy, the limit γ0 → 0"


def _fits(net: Architecture, geometry: Geometry, task: Task, particles: int, scatter: bool) -> int:
    """The capacity up to which a population has room for all its bases."""
    stacks, taken = _room_taken(net, geometry, task, scatter)
    least = 1 if scatter else task.samples * geometry.positions
    return max((particles // 2 - taken - (particles // 8 if scatter else 0)) // stacks, least)


def particles_for(capacity: int, net: Architecture, task: Task) -> int:
    """The particles that have room for bases of so many directions, in a network whose vectors pass."""
    stacks, taken = _room_taken(net, net.geometry(task.shape), task, scatter=False)
    return 1000 * math.ceil(2 * (stacks * capacity + taken) / 1000)


def _room_taken(net: Architecture, geometry: Geometry, task: Task, scatter: bool) -> tuple[int, int]:
    """The bases for which a population holds noise, and the rows that it holds besides their lasting ones."""
    rows = task.samples * geometry.positions
    hidden, layers = geometry.fields[:-1], net.hidden_layers if net.skips else 1
    # Up to three bases send their noise into one layer, each for all its matrices: backward and feedback, and forward
    # where there is a hidden matrix below too. Where layers add to one another, those of all layers share the room.
    stacks = max((field.matrices for field in hidden), default=1)
    stacks *= 3 * max(len(hidden), 1) if net.skips else 3 - (len(hidden) == 1)
    frozen = min(rows, geometry.coordinates) + task.outputs * geometry.fields[-1].taps
    passing = 0 if scatter else (4 + layers + stacks) * rows  # rows pass in each basis too
    return stacks, (1 + layers) * frozen + passing


def recorded_kernels(
    record: Record, net: Architecture, task: Task, width: Width, steps: int, replicates: int, item: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kernels that a run records, and those of the default ones that it leaves out for want of memory.

    What a user names is recorded. By default as many are, in the order of `KERNELS`, as a quarter of the free memory
    has room for: those kept over the run, and the gradients of every output that some of them are measured from. `item`
    is the size of a number in bytes.
    """
    if record.kernels is not None:
        return record.kernels, ()
    geometry = net.geometry(task.shape)
    samples = task.samples if record.samples is None else len(record.samples)
    outputs, layers = task.outputs**2, net.hidden_layers
    blocks = samples**2 * (1 + geometry.positions**2 * record.positions)
    numbers = {
        "feature_kernel": layers * blocks,
        "ntk": samples**2 * outputs,
        "pseudo_gradient_kernel": layers * blocks * outputs,
        "gradient_kernel": layers * blocks * outputs,
    }
    # h, ϕ, ϕ', z, g, g̃ of each output, and what their inner products are taken from.
    measuring = 8 * layers * samples * geometry.positions * task.outputs * width.size
    left = available_memory() / 4 / item
    kept: list[str] = []
    for name in KERNELS:
        takes = numbers[name] * (steps // record.every + 1) * replicates
        if name != "feature_kernel" and kept in ([], ["feature_kernel"]):
            takes += measuring
        if takes <= left:
            left -= takes
            kept.append(name)
    return tuple(kept), tuple(name for name in KERNELS if name not in kept)


def check_memory(
    program: Program, settings: Settings, rule: Rule, recorded: int, replicates: int, two_time: bool
) -> None:
    """Raise if the run needs more memory than there is, by [`memory_parts`]."""
    parts = memory_parts(program, settings, rule, recorded, replicates, two_time)
    require_memory(
        sum(parts.values()),
        parts=parts,
        remedy="Lower width or particles, raise record.every, record fewer kernels or samples, or lower replicates.",
    )


def memory_parts(
    program: Program, settings: Settings, rule: Rule, recorded: int, replicates: int, two_time: bool
) -> dict[str, float]:
    """The bytes that a run needs, by what they are for; shapes alone are traced, nothing is allocated.

    The network counts twice, because a step makes the next state beside the last one.
    """
    state = jax.eval_shape(lambda settings: step.start(program, settings, rule, None), settings)
    _, record = jax.eval_shape(functools.partial(step.advance, program), settings, state)
    fields = record.pop("fields", {})
    kept = _bytes(record) * recorded * replicates
    passing = 4 * _bytes(fields) + (_bytes(fields) + 2 * _bytes(record) * recorded * two_time) * recorded * two_time
    return {"the network": 2 * _bytes(state), "what is recorded": kept, "fields and two-time kernels": passing}


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

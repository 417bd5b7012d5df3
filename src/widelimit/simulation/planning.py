"""What a run will be, before it starts: what its width leaves open, what is recorded, and the memory that it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..checks import ArgumentError
from ..memory import available_memory, require_memory
from ..networks import Architecture
from ..problem import Batches, Task
from ..problem.scaling import size_of_targets
from ..results import Record
from ..results.record import KERNELS
from ..rules import Rule
from ..weights import PARTICLES, Finite, Infinite, Width, default_truncation, scatters
from . import step
from .initialization import matched_rows
from .state import Program, Settings, State

_MANY = 10**9  # particles or directions, for which there is always room

_FEW_ROWS = 64
"""Samples × positions up to which convolutions, whose steps are cheap then, take twice the particles if need be."""


def as_width(width: Width | float) -> Width:
    """The width that is meant: a number is that of neurons, `math.inf` the limit.

    **Raises:** `ArgumentError` for anything else.
    """
    if isinstance(width, Width):
        return width
    is_number = isinstance(width, (int, float, np.integer, np.floating)) and not isinstance(width, bool)
    if not is_number or not (width == math.inf or (width >= 1 and width == int(width))):
        raise ArgumentError(
            "width must be a whole number of neurons, at least 1, or math.inf, or widelimit.Finite(neurons) or "
            f"widelimit.Infinite(particles, ...); got {width!r}."
        )
    return Infinite() if math.isinf(width) else Finite(int(width))


def planned_width(
    width: Infinite, room: Room, net: Architecture, task: Task, steps: int, batches: Batches | None = None
) -> Infinite:
    """Infinite width with what it leaves open chosen for the task.

    **Raises:** `ArgumentError` where the particles that a user names have no room for what has to be kept.
    """
    geometry, linear = net.geometry(task.shape), net.nonlinearity.linear
    rows = task.samples * geometry.positions
    scatter = scatters(linear, geometry.fields[:-1])
    sent = rows * (steps + 1)
    if batches is not None and not linear:  # all samples are met at recorded steps, but learned from in batches
        sent = rows + batches.size * geometry.positions * (steps + 1)
    wanted = default_truncation(linear, rows, sent, task.outputs, scatter, width.capacity)
    particles = width.particles
    if particles is None:
        particles = max(PARTICLES, room.particles(wanted.capacity))
        if scatter:  # a capacity for all rows of images would take too many
            particles = min(particles, 2 * PARTICLES if rows <= _FEW_ROWS else PARTICLES)
    fits = room.capacity(particles, beside=particles // 8 if scatter else 0)
    least = 1 if scatter else min(rows if linear else 2 * rows, sent)
    if width.capacity is None and fits < least and width.particles is None:
        raise ArgumentError(
            f"width: at infinite width {task.samples} samples of {geometry.positions} positions take "
            f"{room.particles(least)} particles to keep one direction in each basis, and far more to learn well. Train "
            "networks of two widths in its place, as 200 and 400 neurons, and extrapolate in 1/N."
        )
    if width.capacity is None and fits < least:
        raise ArgumentError(
            f"width.particles: {particles} particles have room for {max(fits, 0)} directions in each basis, and "
            f"{task.samples} samples need {least} at least, {wanted.capacity} by default. Pass "
            f"Infinite(particles={room.particles(wanted.capacity)}), or leave the number of particles out."
            + networks_instead(task.samples)
        )
    kept = default_truncation(linear, rows, min(sent, max(fits, 1)), task.outputs, scatter, width.capacity)
    return Infinite(
        particles,
        kept.capacity,
        kept.tolerance if width.tolerance is None else width.tolerance,
        kept.growth if width.growth is None else width.growth,
    )


def networks_instead(samples: int) -> str:
    """A sentence where so many samples are learned that networks are the cheaper way to the same limit.

    Their kernels are off by 9/N at 400 samples, less at fewer, before they are extrapolated.
    """
    if samples < 100:
        return ""
    width = max(500, 100 * math.ceil(samples / 100))
    return (
        f" With so many samples a few networks of {width} and {2 * width} neurons, extrapolated in 1/N, are the "
        "cheaper way to the same limit."
    )


@dataclass(frozen=True)
class Room:
    """The rows of matched noise in the hidden layers, of which particles hold half as many as they are.

    For each layer, those that are there in any case, and those for each direction of a basis' capacity.
    """

    layers: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, program: Program, settings: Settings, rule: Rule) -> Room:
        """What a run at infinite width asks for, counted and not drawn; `program` knows its usage."""
        one, two = (
            matched_rows(
                settings.net,
                Infinite(_MANY, capacity, 0.0, 1),
                settings.inputs,
                program.outputs,
                program.usage,
                program.feedback_usage,
                rule,
            )
            for capacity in (1, 2)
        )
        return cls(tuple((2 * first - second, second - first) for first, second in zip(one, two, strict=True)))

    def capacity(self, particles: int, beside: int = 0) -> int:
        """The capacity for which so many particles have room, `beside` some further rows."""
        each = [(particles // 2 - beside - always) // growing for always, growing in self.layers if growing]
        return min(each, default=_MANY)

    def particles(self, capacity: int) -> int:
        """The particles, in thousands, that have room for so large a capacity."""
        return 1000 * math.ceil(self.fewest(capacity) / 1000)

    def fewest(self, capacity: int) -> int:
        """The fewest particles that have room for so large a capacity."""
        return 2 * max(always + growing * capacity for always, growing in self.layers)


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
    remedy = "Lower width or particles, raise record.every, record fewer kernels or samples, or lower replicates."
    if program.width.resamples:
        remedy += " Networks of two widths, extrapolated in 1/N, take less and have the same limit."
    require_memory(sum(parts.values()), parts=parts, remedy=remedy)


def memory_parts(
    program: Program, settings: Settings, rule: Rule, recorded: int, replicates: int, two_time: bool
) -> dict[str, float]:
    """The bytes that a run needs, by what they are for; shapes alone are traced, nothing is allocated.

    The network counts twice, because a step makes the next state beside the last one.
    """
    state, record = shapes(program, settings, rule)
    fields = record.pop("fields", {})
    kept = bytes_of(record) * recorded * replicates
    once = bytes_of(fields)
    passing = 4 * once + (once + 2 * bytes_of(record) * recorded * two_time) * recorded * two_time
    return {"the network": 2 * bytes_of(state), "what is recorded": kept, "fields and two-time kernels": passing}


def shapes(program: Program, settings: Settings, rule: Rule) -> tuple[State, dict[str, Any]]:
    """The shapes and types of a state and of what is measured of it; nothing is drawn or allocated."""
    state = jax.eval_shape(lambda settings: step.start(program, settings, rule, None), settings)
    _, record = step.compiled_advance.eval_shape(program, settings, state)  # traced once, for the run too
    return state, record


def bytes_of(tree: Any) -> int:
    """What all arrays of a tree take, or would take where there are shapes alone."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

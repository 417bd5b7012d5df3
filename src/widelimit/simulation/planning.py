"""What a run will be, before it starts: what its width leaves open, and the memory that it will take."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..checks import ArgumentError
from ..memory import available_memory
from ..networks import Architecture, Geometry
from ..optimizers import SGD
from ..problem import Task
from ..rules import Rule
from ..weights import Finite, Infinite, Width, scatters
from .dynamics import Dynamics, Given, survey
from .network import Inputs


def planned_width(width: Width | float, net: Architecture, task: Task, steps: int) -> Width:
    """The width of a run, with what it leaves open chosen for the task.

    A number is that of neurons, `math.inf` the limit. **Raises:** `ArgumentError` for anything else.
    """
    if not isinstance(width, Width):
        whole = isinstance(width, (int, float, np.integer, np.floating)) and not isinstance(width, bool)
        if not whole or not (width == math.inf or (width >= 1 and width == int(width))):
            raise ArgumentError(
                "width must be a whole number of neurons, at least 1, or math.inf, or widelimit.Finite(neurons) or "
                f"widelimit.Infinite(particles, ...); got {width!r}."
            )
        width = Infinite() if math.isinf(width) else Finite(int(width))
    if not isinstance(width, Infinite):
        return width
    geometry = net.geometry(task.shape)
    rows = task.samples * geometry.positions
    scatter = any(scatters(field) for field in geometry.fields[:-1])
    fits = _fits(net, geometry, task, width.size, scatter)
    return width.planned(net.nonlinearity.linear, rows, steps, scatter, fits)


def _fits(net: Architecture, geometry: Geometry, task: Task, particles: int, scatter: bool) -> int:
    """The capacity up to which a population has room for all its bases."""
    rows = task.samples * geometry.positions
    hidden, layers = geometry.fields[:-1], net.hidden_layers if net.skips else 1
    # Up to three bases send their noise into one layer, each for all its matrices: backward and feedback, and forward
    # where there is a hidden matrix below too. Where layers add to one another, those of all layers share the room.
    stacks = max((field.matrices for field in hidden), default=1)
    stacks *= 3 * max(len(hidden), 1) if net.skips else 3 - (len(hidden) == 1)
    frozen = min(rows, geometry.coordinates) + task.outputs * geometry.fields[-1].taps
    room = particles // 2 - (1 + layers) * frozen
    if scatter and not net.nonlinearity.linear:
        return max((room - particles // 8) // stacks, 1)
    return max((room - (4 + layers) * rows) // stacks - rows, rows)  # rows pass in each basis too


def prepare(
    net: Architecture,
    task: Task,
    rule: Rule,
    optimizer: SGD,
    width: Width,
    precision: str,
    centred: bool = True,
    fields: bool = False,
    batches: np.ndarray | None = None,
    positions: bool = False,
) -> tuple[Dynamics, Given]:
    """The dynamics of a run and what it is given, to be called (and used) within [`at_precision`].

    Numbers of the descriptions become arrays, so that the compiled step takes them as arguments.
    """
    as_arrays = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), tree)  # noqa: E731
    given = Given(
        as_arrays(net),
        as_arrays(optimizer),
        Inputs.of(net, task, precision),
        jnp.asarray(task.y, precision),
        None if batches is None else jnp.asarray(batches),
    )
    return survey(Dynamics(rule, width, task.loss, task.outputs, centred, fields, positions, (), ()), given), given


def check_memory(dynamics: Dynamics, given: Given, recorded: int, replicates: int, two_time: bool) -> None:
    """Raise if the run needs more memory than there is; shapes alone are traced, nothing is allocated."""
    state = jax.eval_shape(lambda given: dynamics.start(given, None), given)
    _, record = jax.eval_shape(dynamics.advance, given, state)
    fields = record.pop("fields", {})
    kept = _bytes(record) * recorded * replicates
    passing = 4 * _bytes(fields) + (_bytes(fields) + 2 * _bytes(record) * recorded * two_time) * recorded * two_time
    needed = 2 * _bytes(state) + kept + passing
    available = available_memory()
    if needed > available:
        raise ArgumentError(
            f"This run needs about {needed / 2**30:.1f} GiB of memory and {available / 2**30:.1f} GiB are free: "
            f"{2 * _bytes(state) / 2**30:.1f} for the network, {kept / 2**30:.1f} for what is recorded, "
            f"{passing / 2**30:.1f} for fields and two-time kernels. Lower width or particles, raise record_every, or "
            "lower replicates."
        )


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

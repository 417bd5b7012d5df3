"""What a run will be, before it starts: the fabric that its arguments ask for, and the memory that it will take."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import checks
from ..checks import ArgumentError
from ..memory import available_memory
from ..networks import Architecture, Geometry
from ..optimizers import Optimizer
from ..problem import Task
from ..rules import Rule
from ..weights import DeferredFabric, DenseFabric, Fabric, default_truncation
from .dynamics import Dynamics, Given, survey
from .network import Inputs


def plan_fabric(
    net: Architecture,
    task: Task,
    width: float,
    particles: int,
    capacity: int | None,
    tolerance: float | None,
    growth: int | None,
    steps: int,
    precision: str,
) -> Fabric:
    """The fabric that the arguments of `train` ask for; raises `ArgumentError` where they cannot serve."""
    checks.integer("particles", particles, at_least=2)
    if growth is not None:
        checks.integer("growth", growth, at_least=1)
    if tolerance is not None:
        checks.number("tolerance", tolerance, at_least=0, below=1)
    if capacity is not None:
        checks.integer("capacity", capacity, at_least=1)
    if (
        isinstance(width, bool)
        or not isinstance(width, (int, float, np.integer))
        or not (width == math.inf or (width >= 1 and width == int(width)))
    ):
        raise ArgumentError(f"width must be a whole number of neurons, at least 1, or math.inf; got {width!r}.")
    if not math.isinf(width):
        return DenseFabric(int(width), precision)
    geometry = net.geometry(task.shape)
    rows = task.samples * geometry.positions
    hidden = geometry.fields[:-1]
    scatter = max((field.matrices for field in hidden), default=1) > 1
    fits = _fits(net, geometry, task, particles, scatter)
    truncation = default_truncation(net.nonlinearity.linear, rows, steps, fits, scatter, capacity)
    asked = {"tolerance": tolerance, "growth": growth}
    asked = {name: value for name, value in asked.items() if value is not None}
    return DeferredFabric(particles, precision, dataclasses.replace(truncation, **asked))


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
    optimizer: Optimizer,
    fabric: Fabric,
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
    return survey(Dynamics(rule, fabric, task.loss, task.outputs, centred, fields, positions, (), ()), given), given


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

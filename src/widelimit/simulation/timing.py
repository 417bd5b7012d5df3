"""How long the steps of a run take, from a few of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from ..precision import at_precision
from ..progress import progress_bar
from ..threads import lapack_in_one_thread
from ..weights.basis import Basis
from . import step
from .simulation import Simulation
from .state import State

Value = TypeVar("Value")

LONG = 60.0
"""The seconds from which on a run is long enough to say what would make it shorter."""

_BUDGET = 1.5  # seconds for each kind of step, beyond those that have to be taken
_PIECE = 0.3  # seconds: long beside the clock and the start of a program, short beside the budget


@dataclass(frozen=True)
class Timing:
    """Seconds: to compile, to draw one replicate, and of a step that is not recorded and one that is.

    NaN where nothing was timed. `step` is NaN too where all steps are recorded, unless the run is long.
    """

    compile: float = math.nan
    start: float = math.nan
    step: float = math.nan
    recorded: float = math.nan


def timed(simulation: Simulation, replicates: int, progress: bool | None = None) -> Timing:
    """The times of a run of so many replicates, from some of its first steps and some with full bases."""
    every, steps = simulation.record.every, simulation.steps
    recorded = steps // every + 1
    bar = progress_bar(progress, total=4, unit="part")
    with at_precision(simulation.precision), lapack_in_one_thread(), bar:
        bar.set_description("drawing weights")
        first, state = _clocked(simulation.start)
        start = first
        if replicates > 1 and first < 10:  # the first start traces and compiles what the others do not
            start = min(_clocked(simulation.start)[0], first)
        _passed(bar, "recorded steps")
        clock = _Clock(simulation, state)
        compiling = first - start + clock.compile(clock.record)
        paces = {"recorded": clock.pace(clock.record)}
        _passed(bar, "other steps")
        if every > 1 and recorded > 1:
            compiling += clock.compile(clock.proceed)
            paces["step"] = clock.pace(clock.proceed)
        elif every == 1 and replicates * recorded * paces["recorded"] > LONG:
            clock.compile(clock.proceed)
            paces["step"] = clock.pace(clock.proceed)
        _passed(bar, "steps with full bases")
        share = clock.share_with_full_bases(steps)
        if share > 0 and max(paces.values()) < _BUDGET:
            clock.fill()
            clock.last = 0.0
            take = {"recorded": clock.record, "step": clock.proceed}
            paces = {name: (1 - share) * pace + share * clock.pace(take[name]) for name, pace in paces.items()}
        bar.update(1)
    return Timing(compile=compiling, start=start, **paces)


def _passed(bar: tqdm, following: str) -> None:
    """Show that a part is timed, and what is timed next."""
    bar.set_description(following, refresh=False)
    bar.update(1)


class _Clock:
    """A replicate whose steps are timed."""

    def __init__(self, simulation: Simulation, state: State):
        self.simulation = simulation
        self.settings, self.state = simulation.spread(state)
        self.filled: list[tuple[int, float]] = []
        """How full the bases were after so many steps."""
        self.last = 0.0
        """The seconds that the second step took of the kind that was compiled last."""

    def record(self, count: int) -> None:
        """Take steps that are recorded."""
        for _ in range(count):
            self.state, record = step.compiled_advance(self.simulation.program, self.settings, self.state)
            jax.tree.map(np.asarray, record)

    def proceed(self, count: int) -> None:
        """Take steps that are not."""
        self.state = step.compiled_proceed(self.simulation.program, self.settings, self.state, count)

    def compile(self, take: Callable[[int], None]) -> float:
        """The seconds by which the first step of a kind takes longer than the second."""
        first, self.last = self._seconds(take, 1), self._seconds(take, 1)
        return max(first - self.last, 0.0)

    def pace(self, take: Callable[[int], None]) -> float:
        """Seconds of a step of a kind, after it was compiled."""
        if self.last > _BUDGET:
            return self.last
        count, left = 1, _BUDGET
        paces: list[float] = []
        while not paces or left > 0:
            took = self._seconds(take, count)
            left -= took
            if took < _PIECE / 2:  # mostly the start of a program
                count *= 2
                paces.clear()
            else:
                paces.append(took / count)
        return median(paces)

    def fill(self) -> None:
        """Let all bases be full, of rows that are zero: what a step then costs does not depend on their values."""

        def full(leaf: Any) -> Any:
            if not isinstance(leaf, Basis):
                return leaf
            capacity = jnp.full((), leaf.truncation.capacity, leaf.filled.dtype)
            return eqx.tree_at(lambda basis: basis.filled, leaf, capacity)

        self.state = jax.tree.map(full, self.state, is_leaf=lambda leaf: isinstance(leaf, Basis))

    def share_with_full_bases(self, steps: int) -> float:
        """The share of a run's steps that find full bases, if these go on to fill as they did lately."""
        full_at = next((taken for taken, fullness in self.filled if fullness >= 1), None)
        if full_at is None:
            (before, less), (now, more) = self.filled[len(self.filled) // 2], self.filled[-1]
            if more <= less or now <= before:
                return 0.0
            full_at = now + (1 - more) * (now - before) / (more - less)
        return max(1 - full_at / max(steps, 1), 0.0)

    def _seconds(self, take: Callable[[int], None], count: int) -> float:
        took, _ = _clocked(lambda: (take(count), jax.block_until_ready(self.state)))
        self.filled.append((int(self.state.step), self._fullness()))
        return took

    def _fullness(self) -> float:
        leaves = jax.tree.leaves(self.state, is_leaf=lambda leaf: isinstance(leaf, Basis))
        bases = [leaf for leaf in leaves if isinstance(leaf, Basis) and leaf.truncation.capacity]
        shares = [int(basis.filled) / basis.truncation.capacity for basis in bases]
        return sum(shares) / len(shares) if shares else 0.0


def _clocked(action: Callable[[], Value]) -> tuple[float, Value]:
    began = time.perf_counter()
    value = action()
    return time.perf_counter() - began, value

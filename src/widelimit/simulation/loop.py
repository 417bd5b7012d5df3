"""The training loop: replicates in groups, each group in one program, from where a run stands to its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from ..interrupts import Watch
from ..threads import lapack_in_one_thread
from . import step
from .devices import on_host
from .recording import Recording
from .simulation import Simulation
from .state import State

_PIECE = 0.5  # seconds, about, between two looks at signals and the progress bar


@dataclass
class Course:
    """How far a run has come.

    The replicates of a group are stepped together; `recordings` are those of all replicates that have begun, in order,
    and `states` those of the groups that have. A group of several has its states [`stacked`]. Of a group that has
    ended the state is on the host, or None where nobody keeps it.
    """

    groups: tuple[range, ...]
    recordings: list[Recording] = field(default_factory=list)
    states: list[State | None] = field(default_factory=list)

    @classmethod
    def of(cls, replicates: int, together: int) -> Course:
        """A run that has not begun, of groups as equal as can be with at most `together` replicates."""
        size = -(-replicates // -(-replicates // together))
        return cls(tuple(range(first, min(first + size, replicates)) for first in range(0, replicates, size)))

    def members(self, index: int) -> list[Recording]:
        """The recordings of one group."""
        return self.recordings[self.groups[index].start : self.groups[index].stop]

    @property
    def taken(self) -> int:
        """The steps that have been taken in all replicates together."""
        pairs = zip(self.groups, self.states, strict=False)
        return sum(len(group) * int(state.step) for group, state in pairs if state is not None)


class Keeper(Protocol):
    """Who keeps a course in a file; see `checkpoint`."""

    def due(self) -> bool:
        """Whether it is time to."""
        ...

    def keep(self, course: Course) -> None:
        """Keep the course as it stands."""
        ...


def run(
    simulation: Simulation, course: Course, recorded: range, bar: tqdm, watch: Watch, keeper: Keeper | None = None
) -> None:
    """Take a run from where it stands to its last recorded step; the course is changed as it goes.

    **Raises:** `Interrupted` when a signal has come, with the course kept before.
    """
    for index, group in enumerate(course.groups):
        if index == len(course.states):
            states = [simulation.start(replicate) for replicate in group]
            course.states.append(states[0] if len(group) == 1 else step.stacked(states))
            course.recordings += [Recording(recorded, simulation.record) for _ in group]
            del states
        with lapack_in_one_thread():
            _run_group(simulation, course, index, bar, watch, keeper)
        course.states[index] = None if keeper is None else on_host(course.states[index])
    if keeper is not None:
        keeper.keep(course)


def _run_group(
    simulation: Simulation, course: Course, index: int, bar: tqdm, watch: Watch, keeper: Keeper | None
) -> None:
    """The replicates of one group, to the last recorded step or to where all have diverged."""
    program, recordings = simulation.program, course.members(index)
    alone = len(recordings) == 1
    advance = step.compiled_advance if alone else step.compiled_advance_together
    proceed = step.compiled_proceed if alone else step.compiled_proceed_together
    recorded = recordings[0].steps
    state = course.states[index]
    assert state is not None
    done, piece = int(state.step), 1
    if done > recorded[-1]:
        return
    state = jax.tree.map(lambda leaf: jnp.array(leaf) if isinstance(leaf, np.ndarray) else leaf, state)
    settings, state = simulation.spread(state, len(recordings))
    # A step uses up the state that it is given, so that the course holds the newest at any time.
    while done <= recorded[-1] and any(recording.diverged_at < 0 for recording in recordings):
        course.states[index] = state
        if keeper is not None and (watch.number is not None or keeper.due()):
            keeper.keep(course)
        watch.check()
        if done % recorded.step == 0:
            state, record = advance(program, settings, state)
            done += 1
            course.states[index] = state
            members = _members(record, state, len(recordings))
            for recording, (of_member, its_state) in zip(recordings, members, strict=True):
                if recording.diverged_at < 0:
                    recording.add(of_member, its_state)
            bar.update(len(recordings) if done <= recorded[-1] else 0)
            continue
        taken, began = min(recorded.step - done % recorded.step, piece), time.perf_counter()
        state = proceed(program, settings, state, taken)
        state.step.block_until_ready()
        done += taken
        bar.update(taken * len(recordings))
        took = time.perf_counter() - began
        if took > _PIECE:
            piece = max(piece // 2, 1)
        elif took < _PIECE / 2 and taken == piece:
            piece *= 2
    course.states[index] = state


def _members(record: dict[str, Any], state: State, count: int) -> list[tuple[dict[str, Any], State]]:
    """The record and the state of each replicate of a group; of the state, what it says of the whole run alone."""
    if count == 1:
        return [(record, state)]
    record, verdict = on_host(record), on_host(_verdict(state))
    return [
        (
            jax.tree.map(lambda leaf, member=member: leaf[member], record),
            eqx.tree_at(_verdict, state, [array[member] for array in verdict]),
        )
        for member in range(count)
    ]


def _verdict(state: State) -> list[Any]:
    return [state.diverged_at, state.rule_failed_at, state.highest_loss, state.highest_at]

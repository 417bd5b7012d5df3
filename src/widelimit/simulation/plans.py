"""What a run will take, said before it: memory by its parts, time from a short timing, and what would make it fit."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .. import checks, formatting
from ..memory import available_memory
from ..networks import Architecture
from ..optimizers import SGD
from ..problem import Batches, Task
from ..problem.scaling import warn_of_scale
from ..programs import make_room
from ..results import Record, summary
from ..rules import Rule
from ..weights import Infinite, Width
from .advice import memory_of, remedies
from .timing import LONG, Timing, timed
from .training import initialize


@dataclass(frozen=True)
class Plan:
    """What a run will be, and what it takes: what [`plan`] returns. `print(plan)` shows it as a table.

    Memory is in bytes, times are in seconds; a time that was not measured is NaN.
    """

    width: Width
    """With what was left open chosen for the task: particles, capacity, tolerance and growth at infinite width."""
    steps: int
    every: int
    """Steps 0, `every`, 2 `every`, … are recorded."""
    replicates: int
    kernels: tuple[str, ...]
    """The kernels that are recorded."""
    left_out: tuple[str, ...]
    """Those of the default ones that are not, for want of memory."""
    memory: Mapping[str, float]
    """The bytes that the run needs, by what they are for, as `train` counts them before it starts."""
    available: float
    """The bytes that this process may still take."""
    setup_seconds: float
    """To check the arguments, to choose what was left open, a step size of "auto" among it."""
    compile_seconds: float
    start_seconds: float
    """To draw the initial weights of one replicate."""
    step_seconds: float
    """Of a step that is not recorded: the mean over the run."""
    recorded_step_seconds: float
    """Of a step that is recorded: the mean over the run."""
    advice: tuple[str, ...]
    """Changes that make the run fit, each by itself and each checked; and one that makes a long run shorter."""

    @property
    def recorded(self) -> int:
        """How many steps of a replicate are recorded."""
        return self.steps // self.every + 1

    @property
    def needed(self) -> float:
        """The bytes that the run needs in all."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        """Whether there is memory enough."""
        return self.needed <= self.available

    @property
    def seconds(self) -> float:
        """Those of the whole run; NaN where it does not fit, and nothing was timed."""
        plain = (self.recorded - 1) * (self.every - 1)
        one = self.start_seconds + self.recorded * self.recorded_step_seconds
        one += plain * self.step_seconds if plain else 0.0
        return self.setup_seconds + self.compile_seconds + self.replicates * one

    def __str__(self) -> str:
        width = self.width.describe()
        size = f"infinite, {width['particles']} particles" if isinstance(self.width, Infinite) else f"{width['width']}"
        rows = [("width", size)]
        if isinstance(self.width, Infinite):
            rows.append(
                ("kept", f"capacity {width['capacity']}, tolerance {width['tolerance']:g}, growth {width['growth']}")
            )
        rows += [
            ("steps", f"{self.steps}, of which {self.recorded} are recorded; replicates: {self.replicates}"),
            ("kernels", ", ".join(self.kernels) or "none"),
        ]
        if self.left_out:
            rows.append(("left out", f"{', '.join(self.left_out)}, for want of memory"))
        parts = (f"{formatting.memory(size)} for {purpose}" for purpose, size in self.memory.items() if size)
        verdict = "it fits" if self.fits else "it does not fit"
        rows += [
            (
                "memory",
                f"{formatting.memory(self.needed)} of {formatting.memory(self.available)} that are free: {verdict}",
            ),
            ("", ", ".join(parts)),
            (
                "time",
                "not measured, as the run does not fit"
                if math.isnan(self.seconds)
                else f"about {formatting.duration(self.seconds)}",
            ),
        ]
        if not math.isnan(self.seconds):
            once = f"once {formatting.duration(self.setup_seconds)} to set up and "
            rows.append(("", f"{once}{formatting.duration(self.compile_seconds)} to compile"))
            each = [f"{_short(self.start_seconds)} to start", f"{_short(self.recorded_step_seconds)} a recorded step"]
            each += [f"{_short(self.step_seconds)} any other"] if self.every > 1 else []
            rows.append(("", f"a replicate {', '.join(each)}"))
        rows += [("advice" if index == 0 else "", sentence) for index, sentence in enumerate(self.advice)]
        return "\n".join(summary.aligned(rows))


def plan(
    net: Architecture,
    task: Task,
    rule: Rule | None = None,
    *,
    width: Width | float = math.inf,
    optimizer: SGD | Literal["auto"],
    steps: int,
    batches: Batches | None = None,
    record: Record | None = None,
    replicates: int = 4,
    seed: int = 0,
    centred: bool = True,
    precision: str = "float64",
    devices: int | None = None,
    progress: bool | None = None,
) -> Plan:
    """What `train` with these arguments will take, without training: its memory, its time, and what would make it fit.

    Memory is counted as `train` counts it before it starts, from shapes alone. Time is measured: the programs of the
    run are compiled, which a later `train` in this process does not do again, and some steps are taken, for a few
    seconds in all, or minutes where weights and single steps take that. At infinite width steps cost less once the
    bases are full; both are timed, and weighed by when the bases will be full if they go on to fill as they began. What
    else uses the machine is in these times, and saving the result is not.

    **Arguments:** as for [`train`].

    **Returns:** a [`Plan`]. That a run does not fit is no error: `fits` says so, and `advice` what would make it fit;
    nothing is timed then.

    **Raises:** `ArgumentError` if an argument cannot serve.
    """
    replicates = checks.integer("replicates", replicates, at_least=1)
    if isinstance(task, Task):
        warn_of_scale(task, stacklevel=3)
    make_room()
    began, available = time.perf_counter(), available_memory()
    arguments = {
        "net": net,
        "task": task,
        "rule": rule,
        "width": width,
        "optimizer": optimizer,
        "steps": steps,
        "batches": batches,
        "record": record,
        "seed": seed,
        "centred": centred,
        "precision": precision,
        "replicates": replicates,
        "devices": devices,
    }
    simulation = initialize(**arguments, progress=progress)
    every = simulation.record.every
    memory = memory_of(simulation, simulation.steps // every + 1, replicates)
    setup = time.perf_counter() - began
    fits = sum(memory.values()) <= available
    timing = timed(simulation, replicates, progress) if fits else Timing()
    result = Plan(
        width=simulation.width,
        steps=simulation.steps,
        every=every,
        replicates=replicates,
        kernels=simulation.program.measurement.kernels,
        left_out=simulation.left_out,
        memory=memory,
        available=available,
        setup_seconds=setup,
        compile_seconds=timing.compile,
        start_seconds=timing.start,
        step_seconds=timing.step,
        recorded_step_seconds=timing.recorded,
        advice=() if fits else remedies(arguments | {"optimizer": simulation.optimizer}, available),
    )
    return dataclasses.replace(result, advice=(*result.advice, *_shorter(result)))


def _shorter(plan: Plan) -> tuple[str, ...]:
    """What makes a long run shorter that spends its time on what it records."""
    if not plan.seconds > LONG or math.isnan(plan.step_seconds):
        return ()
    rarer = [leading * 10**exponent for exponent in range(6) for leading in (1, 2, 5)]
    rarer = [every for every in rarer if plan.every < every <= plan.steps // 10]
    # The first at which recording takes a small part of the time, or else the last.
    small = [every for every in rarer if every * plan.step_seconds >= 5 * plan.recorded_step_seconds]
    for every in small[:1] or rarer[-1:]:
        seconds = dataclasses.replace(plan, every=every).seconds
        if seconds < 0.7 * plan.seconds:
            times = f"{formatting.duration(seconds)} in place of {formatting.duration(plan.seconds)}"
            return (f"record.every={every} takes about {times}.",)
    return ()


def _short(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else formatting.duration(seconds)

"""What is left of a sweep will take: from plans of a few of its points."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import formatting
from ..checks import ArgumentError
from ..progress import progress_bar
from ..simulation import Plan, plan, train
from .cluster import Means, required
from .grid import named
from .points import Job

_MOST = 6  # points that are planned


@dataclass(frozen=True)
class Estimate:
    """What the points that are left will take, from a plan of one point of each program, or of some of them.

    Points of one program are taken to be alike, and to be compiled once; the measured times are those of this process
    with all of its threads, and the division by workers assumes that each is as fast with its share of the cores.
    """

    left: int
    programs: int
    planned: tuple[tuple[str, Plan], ...]
    """The points that were planned, by name."""
    refused: tuple[tuple[str, str], ...]
    """Points that would fail, with the reason."""
    seconds: float
    """Of all that is left, on all workers; NaN where it is not known."""
    memory: float
    """The bytes that the largest of the planned points needs; NaN where it is not known."""
    workers: int

    def lines(self) -> list[str]:
        """The estimate in words."""
        if not self.left:
            return ["nothing is left to do"]
        lines = [f"{self.left} to do, with {self.programs} programs to compile"]
        if not self.planned and not self.refused:
            return [*lines, "time and memory are not known: only points of train can be planned"]
        if self.planned:
            many = "s" if self.workers != 1 else ""
            lines.append(
                f"about {formatting.duration(self.seconds)} on {self.workers} worker{many} and "
                f"{formatting.memory(self.memory)} of memory in each, from plans of {len(self.planned)} of the points"
            )
            lines += [f"{name} does not fit in memory" for name, each in self.planned if not each.fits]
        return lines + [f"{name} would fail: {reason}" for name, reason in self.refused]


def estimated(left: Sequence[Job], means: Means, progress: bool | None = None) -> Estimate:
    """The estimate for the points that are left."""
    groups: dict[str, list[Job]] = {}
    for job in left:
        groups.setdefault(job.program, []).append(job)
    workers = 1 if means.workers == 0 else means.workers or _workers(means, len(left))
    planned: list[tuple[str, Plan]] = []
    refused: list[tuple[str, str]] = []
    seconds: list[tuple[int, float, float]] = []
    chosen = list(groups.values())
    stride = max(1, -(-len(chosen) // _MOST))
    known = inspect.signature(plan).parameters
    if left and left[0].function is train:
        with progress_bar(progress, total=len(chosen[::stride]), desc="planning", unit="point") as bar:
            for jobs in chosen[::stride]:
                arguments: dict[str, Any] = {name: each for name, each in jobs[0].arguments.items() if name in known}
                try:
                    each = plan(**arguments, progress=False)
                except ArgumentError as error:
                    refused.append((named(jobs[0].at), str(error)))
                else:
                    planned.append((named(jobs[0].at), each))
                    if not math.isnan(each.seconds):
                        seconds.append((len(jobs), each.seconds - each.compile_seconds, each.compile_seconds))
                bar.update(1)
    total, longest = math.nan, 0.0
    if seconds:
        covered = sum(count for count, _, _ in seconds)
        once = sum(compiling for _, _, compiling in seconds) / len(seconds) * len(groups)
        total = sum(count * each for count, each, _ in seconds) / covered * len(left) + once
        longest = max(each + compiling for _, each, compiling in seconds)
        total = max(total / min(workers, len(left)), longest)
    memory = max((each.needed for _, each in planned), default=math.nan)
    return Estimate(len(left), len(groups), tuple(planned), tuple(refused), total, memory, workers)


def _workers(means: Means, points: int) -> int:
    required()
    if means.scheduler is not None:
        from distributed import Client

        with Client(means.scheduler, timeout=20, set_as_default=False) as client:
            return max(len(list(client.nthreads())), 1)  # type: ignore[arg-type]
    return means.sized(max(points, 1))[0]

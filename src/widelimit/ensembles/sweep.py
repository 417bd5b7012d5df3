"""`sweep`: one call for a whole grid, point by point in files, on as many processes as there are."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from .. import checks, formatting
from ..checks import ArgumentError
from ..faults import SweepWarning
from ..interrupts import Interrupted, so_far
from ..progress import progress_bar
from ..results import summary
from . import cluster, grid, index, points
from .estimates import Estimate, estimated
from .grid import Grid, Label
from .identity import bound, checked_function
from .opened import open_sweep
from .points import Job, Outcome

if TYPE_CHECKING:
    from xarray import DataTree

_NAMED = 4  # points that a warning names


@dataclass(frozen=True)
class SweptPoint:
    """One point of a [`Sweep`]."""

    at: Mapping[str, Label]
    """Its labels, by dimension."""
    file: Path
    """Where its result is, or would be."""
    outcome: Outcome

    @property
    def name(self) -> str:
        """The point in words."""
        return grid.named(self.at)

    @property
    def status(self) -> str:
        """ "done", "diverged", "failed" or "to do"."""
        return self.outcome.status


@dataclass(frozen=True)
class Sweep:
    """How a sweep stands: what [`sweep`] returns. `print(sweep)` shows it as a table."""

    folder: Path
    dims: Mapping[str, tuple[Label, ...]]
    """The swept settings with their labels."""
    points: tuple[SweptPoint, ...]
    estimate: Estimate | None = None
    """What is left will take, where that was asked for by `dry_run`."""

    def open(self) -> xr.Dataset | DataTree:
        """The results, as [`open_sweep`] has them: all that are in the folder."""
        return open_sweep(self.folder)

    def having(self, *status: str) -> tuple[SweptPoint, ...]:
        """The points that are "done", "diverged", "failed" or "to do"."""
        return tuple(point for point in self.points if point.status in status)

    @property
    def warnings(self) -> dict[str, list[tuple[SweptPoint, str]]]:
        """What the library warned of, by the qualified name of the warning: the points, each with its sentence."""
        kinds: dict[str, list[tuple[SweptPoint, str]]] = {}
        for point in self.points:
            for kind, sentence in dict(point.outcome.warnings).items():
                kinds.setdefault(kind, []).append((point, sentence))
        return kinds

    def __str__(self) -> str:
        return "\n".join([*self.head(), *(f"  {line}" for line in self.rows())])

    def head(self) -> list[str]:
        """The sweep in a few lines."""
        sizes = " × ".join(f"{dim} ({len(labels)})" for dim, labels in self.dims.items())
        counts = [(status, len(self.having(status))) for status in ("done", "diverged", "failed", "to do")]
        states = ", ".join(f"{count} {status}" for status, count in counts if count)
        lines = [f"{len(self.points)} points, {sizes}: {states}", f"in {self.folder}"]
        return lines if self.estimate is None else [*lines, *self.estimate.lines()]

    def rows(self) -> list[str]:
        """A line for each point."""
        rows = []
        for point in self.points:
            took = f" in {formatting.duration(point.outcome.seconds)}" if point.outcome.seconds else ""
            why = f": {point.outcome.reason}" if point.outcome.reason else ""
            rows.append((point.name, f"{point.status}{took}{why}"))
        return summary.aligned(rows)


def sweep(
    function: Callable[..., xr.Dataset],
    *,
    out: str | os.PathLike[str],
    points: Sequence[Mapping[str, Any]] | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    memory: float | str | None = None,
    retry: bool = False,
    dry_run: bool = False,
    progress: bool | None = None,
    **arguments: Any,
) -> Sweep:
    """Call a function at every point of a grid, and keep every result in a file of its own.

        wl.sweep(wl.train, out="folder", net=[wl.MLP(2, wl.Tanh(), richness=g) for g in (0.3, 1, 3)],
                 rule=[wl.GradientDescent(), wl.Hebbian()], task=task, optimizer=wl.SGD(0.02), steps=50)

    An argument that is a list is swept, and the grid is the product of all lists; everything else is passed on as it
    is. Dimensions are called by what the listed things differ in: numbers and words by the argument (`seed`), objects
    of one class by the field that differs (`richness`; several fields, of which all combinations are listed, are
    several dimensions), objects of several classes by the argument, labelled by their classes (`rule`). A dictionary
    in the place of a list gives labels of your own. See "Sweeps".

    A point whose file is there and whole is not computed again, whichever sweep has written it: the file is named by
    all arguments and the versions, of which code of your own is known by its name alone. A killed sweep therefore goes
    on when it is called again.

    **Arguments:**

    - `function`: [`train`], a solver of `theory`, or a function of your own that is defined at the top of a module and
      returns such a result.
    - `out`: the folder, made if need be. Several sweeps may go there if they are parts of one grid.
    - `points`: in the place of lists, dictionaries of the arguments that each point sets.
    - `scheduler`: the address of a dask cluster, "tcp://…", whose workers share the folder; a cluster of processes on
      this machine unless given.
    - `workers`: how many processes, as many as there are cores and memory for unless given; 0 computes in this one.
    - `memory`: the bytes that each may take, or a text such as "4 GiB": a point that needs more fails.
    - `retry`: try again what has failed; failed points are otherwise left as they are.
    - `dry_run`: compute nothing and write nothing, and say what is left to do and about how long it will take.
    - `progress`: show a progress bar; by default on a terminal only.

    **Returns:** a [`Sweep`]: how each point went. `.open()` or [`open_sweep`] gives the results.

    **Raises:** `ArgumentError` before any work for what cannot be swept, or if the folder holds another sweep.
    A point that fails or diverges stops no other: it is recorded, and `SweepWarning` says so at the end. What points
    warn of is said at the end, once for each kind. `KeyboardInterrupt` on Ctrl-C; finished points are kept.
    """
    function = checked_function(function)
    made = grid.product(arguments) if points is None else grid.listed(points, arguments)
    means = means_of(workers, memory, scheduler)
    checks.boolean("dry_run", dry_run)
    if not isinstance(out, (str, os.PathLike)):
        raise ArgumentError(f"out must name a folder by a string or a path; got {checks.shortened(out)}.")
    return swept(function, made, Path(out), means, retry=retry, dry_run=dry_run, progress=progress)


def swept(
    function: Callable[..., xr.Dataset],
    made: Grid,
    folder: Path,
    means: cluster.Means,
    *,
    retry: bool = False,
    dry_run: bool = False,
    progress: bool | None = None,
    stacklevel: int = 3,
) -> Sweep:
    """[`sweep`] of points that are made. **Raises:** as there."""
    checks.boolean("retry", retry)
    if progress is not None:
        checks.boolean("progress", progress)
    jobs, planned = _planned(function, made)
    if means.workers != 0 and not dry_run:
        cluster.required()
    _check_folder(folder, dry_run)
    before = index.read(folder) if folder.is_dir() else None
    if before is not None:
        before.merged(folder, planned)  # which raises if it cannot be
    outcomes = {job.digest: points.found(folder, job.digest) for job in jobs}
    undone = ("to do", "failed") if retry else ("to do",)
    left = [job for job in jobs if outcomes[job.digest].status in undone]

    def standing(estimate: Estimate | None = None) -> Sweep:
        each = [SweptPoint(job.at, points.result_path(folder, job.digest), outcomes[job.digest]) for job in jobs]
        return Sweep(folder, made.dims, tuple(each), estimate)

    if dry_run:
        return standing(estimated(left, means, progress))
    index.write(folder, planned)
    complete(left, outcomes, folder, means, f"sweep of {function.__name__}", progress)
    result = standing()
    _warn(result, stacklevel + 1)
    return result


def complete(
    left: Sequence[Job],
    outcomes: dict[str, Outcome],
    folder: Path,
    means: cluster.Means,
    description: str,
    progress: bool | None,
) -> None:
    """Compute the points that are `left` of those in `outcomes`, by their digests, and put there how each went.

    **Raises:** `KeyboardInterrupt` on Ctrl-C, which says how many points are in the folder.
    """
    total = len(outcomes)

    def kept() -> str:
        count = sum(outcome.status in ("done", "diverged") for outcome in outcomes.values())
        return f"{count} of {total} points are in {folder}, and the same command goes on." if count else ""

    so_far(kept())
    try:
        with progress_bar(progress, total=total, initial=total - len(left), desc=description, unit="point") as bar:
            for job, outcome in cluster.computed(left, folder, means) if left else ():
                outcomes[job.digest] = outcome
                so_far(kept())
                bar.update(1)
    except KeyboardInterrupt as interruption:
        raise Interrupted(getattr(interruption, "code", 130) - 128, kept()) from interruption


def completed(
    jobs: Sequence[Job],
    folder: Path,
    means: cluster.Means,
    description: str,
    progress: bool | None,
    *,
    anew: bool = False,
    stacklevel: int = 3,
) -> list[Outcome]:
    """How each of some points went that are all needed: what the folder lacks is computed, and what failed once more.

    **Arguments:** `description`, the points in words; `anew`: compute also what is there.

    **Raises:** `ArgumentError` if one cannot be computed, after all others are; `KeyboardInterrupt` as [`complete`].
    Warns of what the points that were computed warn of.
    """
    outcomes = {job.digest: points.found(folder, job.digest) for job in jobs}
    left = [job for job in jobs if anew or outcomes[job.digest].status not in ("done", "diverged")]
    complete(left, outcomes, folder, means, description, progress)
    went = [outcomes[job.digest] for job in left]
    for kind, sentence in dict(pair for outcome in went for pair in outcome.warnings).items():
        warnings.warn(sentence, points.category(kind), stacklevel=stacklevel)
    failed = [outcome for outcome in went if outcome.status == "failed"]
    if failed:
        raise ArgumentError(f"{len(failed)} of {len(left)} {description} could not be computed: {failed[0].reason}")
    return [outcomes[job.digest] for job in jobs]


def means_of(workers: Any, memory: Any, scheduler: Any) -> cluster.Means:
    """In which processes points are computed, by the arguments of [`sweep`]. **Raises:** `ArgumentError`."""
    return cluster.Means(_workers(workers), memory_size(memory), _address(scheduler, workers))


def memory_size(given: Any) -> float | None:
    """Bytes from a number or a text such as "4 GiB"."""
    if given is None:
        return None
    if not isinstance(given, str):
        return checks.number("memory", given, above=0)
    matched = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?)(i?)b?\s*", given, re.I)
    if matched is None or not float(matched[1]):
        raise ArgumentError(f'memory must be a number of bytes, or a text such as "4 GiB"; got {given!r}.')
    power = " kmgt".index(matched[2].lower() or " ")
    return float(matched[1]) * (1024 if matched[3] else 1000) ** power


def _planned(function: Callable[..., xr.Dataset], made: Grid) -> tuple[list[Job], index.Index]:
    """The points as they are handed to workers, and the index of their folder."""
    jobs, named = [], {}
    for point in made.points:
        arguments = bound(function, point.arguments)
        if arguments.get("checkpoint") is not None:
            raise ArgumentError("checkpoint: the points of a sweep cannot keep themselves in one file; leave it out.")
        job = points.job(function, point.arguments, point.at)
        if job.digest in named:
            raise ArgumentError(f"Two points are the same call: {named[job.digest]} and {point.name}.")
        named[job.digest] = point.name
        jobs.append(job)
    return jobs, index.Index.of(made, {job.digest: job.configuration for job in jobs})


def _check_folder(folder: Path, dry_run: bool) -> None:
    """Make the folder unless it is there, or see that it could be made."""
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"out: {folder} is a file; name a folder.")
    if not folder.exists():
        if not folder.absolute().parent.is_dir():
            raise FileNotFoundError(f"The folder {folder.absolute().parent} does not exist; create it first.")
        if not dry_run:
            folder.mkdir(exist_ok=True)
    if folder.exists() and not os.access(folder, os.W_OK) and not dry_run:
        raise ArgumentError(f"The folder {folder} cannot be written to; choose another.")


def _workers(workers: Any) -> int | None:
    return None if workers is None else checks.integer("workers", workers, at_least=0)


def _address(scheduler: Any, workers: Any) -> str | None:
    if scheduler is None:
        return None
    if not isinstance(scheduler, str) or not re.fullmatch(r"\w+://[^\s]+", scheduler):
        raise ArgumentError(f"scheduler must be an address such as 'tcp://10.0.0.1:8786'; got {scheduler!r}.")
    if workers is not None:
        raise ArgumentError("workers: a cluster that exists has its own; leave out workers or scheduler.")
    return scheduler


def _warn(result: Sweep, stacklevel: int) -> None:
    """What points warned of, once for each kind, and how many failed."""
    total = len(result.points)
    for kind, each in result.warnings.items():
        of = _which([point for point, _ in each], total)
        of_first = "" if len({sentence for _, sentence in each}) == 1 else " Of the first:"
        warnings.warn(f"{of}:{of_first} {each[0][1]}", points.category(kind), stacklevel=stacklevel)
    failed = result.having("failed")
    if failed:
        sentence = (
            f"{_which(failed, total)} failed. The first: {failed[0].outcome.reason} Pass retry=True to try again."
        )
        warnings.warn(sentence, SweepWarning, stacklevel=stacklevel)


def _which(having: Sequence[SweptPoint], total: int) -> str:
    names = "; ".join(point.name for point in having[:_NAMED])
    more = f"; and {len(having) - _NAMED} more" if len(having) > _NAMED else ""
    return f"{len(having)} of {total} points ({names}{more})"


__all__ = ["Sweep", "SweptPoint", "sweep", "swept"]

"""`widelimit sweep`: a run at every point of a grid, from a configuration file with one more table."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from .. import checks
from ..checks import ArgumentError
from ..ensembles import grid
from ..ensembles.grid import Grid, Label, Point
from ..ensembles.sweep import means_of, swept
from ..simulation import train as run_of
from . import compiled, config
from .config import TABLES, Configuration
from .messages import DIVERGED, FAULT, say, warnings_said
from .train import BUILT, on_top_of

TABLE = "sweep"
"""The table of the grid; its keys are dotted names of options, and its values are lists."""

POINTS = "points"
"""The key of that table for a list of points, which are no grid."""

_CALLED = {
    "rule.name": "rule",
    "width.kind": "width",
    "width.neurons": "width",
    "task.data": "task",
    "task.samples": "samples",
    "task.loss": "loss_function",
    "run.seed": "seed",
}
"""Options whose dimension is not called as they are."""


@dataclass(frozen=True)
class Sweep(Configuration):
    """Train at every point of a grid of settings, on as many processes as there are, and save each point.

    The grid file is a configuration file of `widelimit train` with one more table, [sweep], whose keys are dotted names
    of options and whose values are lists: "network.richness" = [0.3, 1.0]. Flags win over the file as they do there.
    Every point has a file of its own in the folder; what is there is not computed again, so that the same command goes
    on after it was stopped. Exit codes: 0 done; 1 points failed; 2 a mistake in the options; 3 points diverged, and the
    steps before are saved; 129, 130 and 143 interrupted, and finished points are saved.
    """

    grid: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="GRID.TOML")] = None
    """A TOML file with the tables of a run, and [sweep]."""
    out: Path = Path("sweep")
    """The folder of the points; what lies in it has to be of the same sweep, or of a part of the same grid."""
    scheduler: str | None = None
    """The address of a dask cluster, tcp://…, whose workers share the folder; one on this machine unless given."""
    workers: int | None = None
    """How many processes: as many as there are cores and memory for, unless given; 0 computes in this one."""
    memory: str | None = None
    """What each process may take, as 4GiB; a point that needs more fails."""
    retry: bool = False
    """Try again what has failed."""
    dry_run: bool = False
    """Print the points, what is left to do, and about how long it will take; compute and write nothing."""


def run(arguments: Sequence[str]) -> int:
    """Compute what is left of the grid and say how each point went; returns the exit code."""
    options = tyro.cli(Sweep, prog="widelimit sweep", args=arguments)
    if options.grid is None:
        raise ArgumentError("Name a grid file, for example: widelimit sweep grid.toml --out folder")
    document = config.document(options.grid)
    table = document.pop(TABLE, None)
    file = config.configured(options.grid, document)
    told = on_top_of(file, options, "widelimit sweep", arguments)
    made = gridded(options.grid, file, told, table)
    means = means_of(options.workers, options.memory, options.scheduler)
    means = dataclasses.replace(means, surroundings=compiled.kept)
    with warnings_said():
        result = swept(run_of, made, options.out, means, retry=options.retry, dry_run=options.dry_run)
    print(result)
    if options.dry_run:
        return 0
    done = result.having("done", "diverged")
    if done:
        print(f"`widelimit report {options.out}` shows them; in Python, widelimit.open_sweep({str(options.out)!r}).")
    if result.having("failed"):
        say("Points failed; --retry tries them again.")
        return FAULT
    return DIVERGED if result.having("diverged") else 0


def gridded(path: Path, file: Any, told: Any, table: Any) -> Grid:
    """The grid of the table [sweep] of the file at `path`, on top of the options `told`.

    **Raises:** `ArgumentError`, naming the file and what it holds, for what is no grid, unknown options, values of
    another type, options that flags and the grid both set, and points that cannot be.
    """
    if not isinstance(table, dict) or not table:
        raise ArgumentError(f'{path} has no table [{TABLE}]; it lists what is swept: "network.richness" = [0.3, 1.0].')
    listed = table.pop(POINTS, None)
    combinations = _combinations(path, table) if listed is None else _points(path, listed, table)
    fitted = [{name: _fitted(path, name, value) for name, value in each.items()} for each in combinations]
    names = list(dict.fromkeys(name for each in fitted for name in each))
    _check_flags(path, names, file, told)
    build = functools.cache(lambda table, options: options.build())
    points: list[Point] = []
    labels: list[dict[str, Label]] = []
    for each in fitted:
        try:
            options = _with(told, each)
            arguments = {argument: build(name, getattr(options, name)) for argument, name in BUILT.items()}
        except ArgumentError as error:
            where = ", ".join(f"{name}={value}" for name, value in each.items())
            raise ArgumentError(f"{path}, at {where}: {error}") from None
        labels.append({called(name): _label(value) for name, value in each.items()})
        points.append(Point({}, {**arguments, **vars(options.run)}))
    return _labelled(path, names, points, labels, listed is not None)


def _combinations(path: Path, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All combinations of what a table lists."""
    lists = dict(_dotted(path, table))
    for name, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ArgumentError(f"{path}: {TABLE}.{name} must be a list with a value or more; got {values!r}.")
    return [dict(zip(lists, each, strict=True)) for each in itertools.product(*lists.values())]


def _points(path: Path, listed: Any, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of a list."""
    if table:
        raise ArgumentError(f"{path}: [{TABLE}] has {POINTS}, and {next(iter(table))} beside them; give one or other.")
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise ArgumentError(f'{path}: {TABLE}.{POINTS} must be a list of tables, [{{"run.seed" = 1}}, ...].')
    return [dict(_dotted(path, each)) for each in listed]


def called(name: str) -> str:
    """What the dimension of an option is called."""
    table, key = name.split(".")
    return _CALLED.get(name, f"{table}_{key}" if key in grid.VAGUE else key)


def _labelled(
    path: Path, names: Sequence[str], points: Sequence[Point], labels: Sequence[Mapping[str, Label]], listed: bool
) -> Grid:
    if listed:
        along = {dim: tuple(each.get(dim, "") for each in labels) for dim in dict.fromkeys(map(called, names))}
        numbered = [dataclasses.replace(point, at={grid.POINT: place}) for place, point in enumerate(points)]
        return Grid({grid.POINT: tuple(range(len(points)))}, tuple(numbered), grid.check_dims(along))
    dims: dict[str, tuple[Label, ...]] = {}
    for name in names:
        if called(name) in dims:
            raise ArgumentError(f"{path}: {name} and another option would both be called {called(name)}.")
        each = [label[called(name)] for label in labels]
        dims[called(name)] = tuple(dict.fromkeys(each))
    if len({tuple(label.values()) for label in labels}) < len(labels):
        raise ArgumentError(f"{path}: [{TABLE}] lists one value twice.")
    at = [dataclasses.replace(point, at=label) for point, label in zip(points, labels, strict=True)]
    return Grid(grid.check_dims(dims), tuple(at))


def _dotted(path: Path, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The options of a table by dotted names, whether they are quoted or tables of their own."""
    for key, value in table.items():
        if isinstance(value, dict):
            twice = next((f"{key}.{inner}" for inner in value if f"{key}.{inner}" in table), None)
            if twice is not None:
                raise ArgumentError(f"{path}: {twice} is given twice, by its dotted name and in a table.")
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        else:
            yield key, value


def _fitted(path: Path, name: str, value: Any) -> Any:
    table, _, key = name.partition(".")
    if not key:
        dotted = next(
            (f"{table}.{name}" for table, names in config.OPTIONS.items() if name in names), "network.richness"
        )
        raise ArgumentError(
            f'{path}: {TABLE}.{name} must be the dotted name of an option, as "{dotted}" in quotation marks.'
        )
    checks.known(f"{path}, table in [{TABLE}]", table, TABLES)
    return config.option(path, table, key, value)


def _check_flags(path: Path, names: Sequence[str], file: Any, told: Any) -> None:
    """Raise where a flag sets what the grid does."""
    for name in names:
        table, key = name.split(".")
        if getattr(getattr(told, table), key) != getattr(getattr(file, table), key):
            raise ArgumentError(f"--{name.replace('_', '-')}: {path} sweeps {name}; leave out the flag, or the list.")


def _with(options: Any, changes: Mapping[str, Any]) -> Any:
    """Options with others in their place; where that is another choice, without what belonged to the one before."""
    tables: dict[str, Any] = {}
    for name in sorted(changes, key=lambda name: not _is_choice(name)):
        table, key = name.split(".")
        before = tables.get(table, getattr(options, table))
        if _is_choice(name):
            checks.known(name, changes[name], before.makers)
            tables[table] = before.for_choice(changes[name])
        else:
            tables[table] = dataclasses.replace(before, **{key: changes[name]})
    return dataclasses.replace(options, **tables)


def _is_choice(name: str) -> bool:
    table, key = name.split(".")
    return getattr(TABLES[table], "choice", None) == key


def _label(value: Any) -> Label:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

"""`widelimit train`: one run from a configuration file and flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
import xarray as xr

from .. import simulation
from ..interrupts import hold
from ..results import summary
from ..simulation import training
from ..simulation.checkpoint import Place
from . import compiled, config, destinations
from .config import Configuration, read
from .destinations import Output
from .messages import DIVERGED, MISTAKE, diverged, say, warnings_said


@dataclass(frozen=True)
class Train(Configuration, Output):
    """Train a network and save what it went through.

    Every option can stand in a TOML file, in the tables [task], [network], [rule], [width], [optimizer], [batches],
    [record] and [run], and on the command line, which wins. Ctrl-C saves what was recorded. With --plan nothing is
    trained or written. Exit codes: 0 done; 2 a mistake in the options, or a plan that does not fit in memory; 3 the run
    diverged, and the steps before are saved; 4 saved elsewhere, because the file that was named could not be written;
    129, 130 and 143 interrupted.
    """

    plan: bool = False
    """Print what the run will take (memory by its parts, time from a few steps) and what would make it fit, and end."""
    config: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[CONFIG.TOML]")] = None
    """A TOML file with any of these tables."""


def run(arguments: Sequence[str]) -> int:
    """Train, save and summarise; returns the exit code."""
    options = parsed(arguments)
    return planned(options) if options.plan else trained(options, options, inputs=[options.config])


def planned(options: Any) -> int:
    """Say what a configuration will take; returns the exit code."""
    run = {name: value for name, value in vars(options.run).items() if name != "checkpoint"}
    with warnings_said(), compiled.kept():
        plan = simulation.plan(**built(options), **run)
    print(plan)
    return 0 if plan.fits else MISTAKE


def trained(options: Any, output: Output, *, inputs: Sequence[Path | None] = ()) -> int:
    """Train as a configuration says, save and summarise; returns the exit code.

    **Arguments:** `inputs`, files that the command reads.
    """
    run = vars(options.run)
    if run["checkpoint"] is not None:
        place = Path(run["checkpoint"])
        destinations.check(place, True, inputs=inputs)
        inputs = [*inputs, place]
        command = {"tables": config.tables(options), "out": str(output.out.absolute())}
        run = run | {"checkpoint": Place(place, command)}
    destinations.check(output.out, output.overwrite, inputs=inputs)
    arguments, code = built(options), 0
    with warnings_said() as caught, compiled.kept():
        hold(pieces=1)
        try:
            result = training.train(**arguments, **run)
        except training.TrainingInterrupted as interruption:
            result, code = interruption.result, interruption.code
        hold()
    if diverged(caught) and not code:
        code = DIVERGED
    return keep(result, output, code, run["checkpoint"])


BUILT = {"net": "network"} | {name: name for name in ("task", "rule", "width", "optimizer", "batches", "record")}
"""The arguments of [`training.train`] that tables are built into, each with its table."""


def built(options: Any) -> dict[str, Any]:
    """What is trained, and how: the arguments of the tables but for [run]."""
    return {argument: getattr(options, table).build() for argument, table in BUILT.items()}


def parsed(arguments: Sequence[str], command: type[Any] = Train, prog: str = "widelimit train") -> Any:
    """The options that the arguments give, on top of those of the file that they name. **Raises:** as [`read`]."""
    options = tyro.cli(command, prog=prog, args=arguments)
    return options if options.config is None else on_top_of(read(options.config), options, prog, arguments)


def on_top_of(file: Any, options: Any, prog: str, arguments: Sequence[str]) -> Any:
    """The options that the arguments of a command give, on top of the configuration of a file."""
    # What the file says is the default that flags override, so the flags are read once more on top of it; and once
    # more where they make another choice, of rule or width or data: what the file says of its own choice is not for it.
    for_file = vars(file)
    given = tyro.cli(type(options), prog=prog, args=arguments, default=dataclasses.replace(options, **for_file))
    for_choice = {
        name: table.for_choice(getattr(getattr(given, name), table.choice)) if table.choice else table
        for name, table in for_file.items()
    }
    if for_choice == for_file:
        return given
    return tyro.cli(type(options), prog=prog, args=arguments, default=dataclasses.replace(options, **for_choice))


def keep(result: xr.Dataset, output: Output, code: int, checkpoint: Place | None = None) -> int:
    """Save what a run went through, and say what it was and came to; returns the exit code."""
    if code > 128 and checkpoint is not None and checkpoint.path.exists():
        say(f"`widelimit resume {checkpoint.path}` goes on from where the run was interrupted.")
    if "loss" not in result or not result.sizes.get("step"):
        say("The run ended before anything was recorded; nothing was saved.")
        return code
    path, rescued = destinations.keep(result, output.out, output.overwrite)
    if code > 128:
        say(f"Interrupted; what had been recorded is in {path}.")
    print("\n".join(summary.lines(result)))
    print(f"Saved in {path}; `widelimit show {path}` draws it.")
    for name, text in summary.cautions(result):
        print(f"{name}: {text}.")
    return code or rescued

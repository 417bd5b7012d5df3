"""`widelimit train`: one run from a configuration file and flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
import xarray as xr

from ..interrupts import hold
from ..results import summary
from ..simulation import training
from . import destinations
from .config import Configuration, read
from .destinations import Output
from .messages import DIVERGED, diverged, say, warnings_said


@dataclass(frozen=True)
class Train(Configuration, Output):
    """Train a network and save what it went through.

    Every option can stand in a TOML file, in the tables [task], [network], [rule], [width], [optimizer], [batches],
    [record] and [run], and on the command line, which wins. Ctrl-C saves what was recorded. Exit codes: 0 done; 2 a
    mistake in the options; 3 the run diverged, and the steps before are saved; 4 saved elsewhere, because the file that
    was named could not be written; 129, 130 and 143 interrupted.
    """

    config: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[CONFIG.TOML]")] = None
    """A TOML file with any of these tables."""


def run(arguments: Sequence[str]) -> int:
    """Train, save and summarise; returns the exit code."""
    options = parsed(arguments)
    destinations.check(options.out, options.overwrite, inputs=[options.config])
    task, net, rule = options.task.build(), options.network.build(), options.rule.build()
    groups = {name: getattr(options, name).build() for name in ("width", "optimizer", "batches", "record")}
    code = 0
    with warnings_said() as caught:
        hold(pieces=1)
        try:
            result = training.train(net, task, rule, **groups, **vars(options.run))
        except training.TrainingInterrupted as interruption:
            result, code = interruption.result, interruption.code
        hold()
    if diverged(caught) and not code:
        code = DIVERGED
    return _keep(result, options, code)


def parsed(arguments: Sequence[str]) -> Train:
    """The options that the arguments give, on top of those of the file that they name. **Raises:** as [`read`]."""
    options = tyro.cli(Train, prog="widelimit train", args=arguments)
    if options.config is None:
        return options
    # What the file says is the default that flags override, so the flags are read once more on top of it; and once
    # more where they make another choice, of rule or width or data: what the file says of its own choice is not for it.
    for_file = vars(read(options.config))
    given = tyro.cli(Train, prog="widelimit train", args=arguments, default=dataclasses.replace(options, **for_file))
    for_choice = {
        name: table.for_choice(getattr(getattr(given, name), table.choice)) if table.choice else table
        for name, table in for_file.items()
    }
    if for_choice == for_file:
        return given
    return tyro.cli(Train, prog="widelimit train", args=arguments, default=dataclasses.replace(options, **for_choice))


def _keep(result: xr.Dataset, output: Output, code: int) -> int:
    if "loss" not in result or not result.sizes.get("step"):
        say("The run ended before anything was recorded; nothing was saved.")
        return code
    path, rescued = destinations.keep(result, output.out, output.overwrite)
    if code > 128:
        say(f"Interrupted; what had been recorded is in {path}.")
    print("\n".join(summary.lines(result)))
    print(f"Saved in {path}; `widelimit show {path}` draws it.")
    for name, text in summary.divergence(result) + summary.rise(result):
        print(f"{name}: {text}.")
    return code or rescued

"""`widelimit limit`: the infinite-width result to a stated accuracy, from a configuration file and flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .. import ensembles
from ..checks import ArgumentError
from ..faults import TrainingInterrupted
from ..interrupts import hold
from ..results import summary
from . import compiled, destinations, train
from .config import TABLES, Configuration
from .destinations import Output
from .messages import DIVERGED, UNREACHED, diverged, say, warnings_said


@dataclass(frozen=True)
class Limit(Configuration, Output):
    """Find the infinite-width limit to a stated accuracy, by whichever way to it is cheapest, and save it.

    What is trained is said as for `widelimit train`; how wide, and how many replicates, is found. Of the table [run],
    steps, seed and precision count. Ctrl-C saves what there is. Exit codes: 0 done; 2 a mistake in the options; 3 all
    runs diverged, and the steps before are saved; 4 saved elsewhere, because the file that was named could not be
    written; 5 the accuracy was not reached, and what was reached is saved; 129, 130 and 143 interrupted.
    """

    accuracy: float = 0.01
    """The relative error, root mean square over the run, that is reached with 95 % probability."""
    of: tuple[str, ...] = ("ntk",)
    """The variables whose error it is."""
    time_budget: float | None = None
    """Seconds after which no further runs are begun."""
    config: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[CONFIG.TOML]")] = None
    """A TOML file with any of these tables."""


def run(arguments: Sequence[str]) -> int:
    """Find, save and summarise; returns the exit code."""
    options = train.parsed(arguments, Limit, "widelimit limit")
    destinations.check(options.out, options.overwrite, inputs=[options.config])
    if options.run.checkpoint is not None:
        raise ArgumentError("run.checkpoint belongs to widelimit train; give limit a --time-budget instead.")
    built, code = train.built(options), 0
    if options.width != TABLES["width"]():
        say("The table [width] is not used: how wide, and with how many replicates, is what limit finds.")
    del built["width"]
    if options.record == TABLES["record"]():
        built["record"] = None
    with warnings_said() as caught, compiled.kept():
        hold(pieces=1)
        try:
            result = ensembles.limit(
                **built,
                steps=options.run.steps,
                seed=options.run.seed,
                precision=options.run.precision,
                accuracy=options.accuracy,
                of=options.of,
                time_budget=options.time_budget,
            )
        except TrainingInterrupted as interruption:
            result, code = interruption.result, interruption.code
        hold()
    if diverged(caught) and not code:
        code = DIVERGED
    elif summary.shortfall(result) and not code:
        code = UNREACHED
    return train.keep(result, options, code)

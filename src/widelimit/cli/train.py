"""`widelimit train`: one run from a configuration file and flags."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
import xarray as xr

from ..results import summary
from ..simulation import training
from ..simulation.step_size import suggest_step_size
from . import config, destinations
from .config import NetworkOptions, RuleOptions, TaskOptions, TrainingOptions
from .messages import DIVERGED, INTERRUPTED, diverged, say, warnings_said


@dataclass(frozen=True)
class Train:
    """Train a network and save what it went through.

    Every option can stand in a TOML file, in the tables [task], [network], [rule] and [training], and on the command
    line, which wins. Ctrl-C saves what was recorded. Exit codes: 0 done; 2 a mistake in the options; 3 the run
    diverged, and the steps before are saved; 130 interrupted.
    """

    config: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[CONFIG.TOML]")] = None
    """A TOML file with tables [task], [network], [rule] and [training]."""
    out: Path = Path("run.nc")
    """The NetCDF file to write."""
    overwrite: bool = False
    """Replace the file if it exists."""
    task: TaskOptions = field(default_factory=TaskOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    rule: RuleOptions = field(default_factory=RuleOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def run(self) -> int:
        """Train, save and summarise; returns the exit code."""
        destinations.check(self.out, self.overwrite)
        task, net, rule = self.task.build(), self.network.build(), self.rule.build()
        options = dataclasses.asdict(self.training)
        if options["step_size"] == "auto":
            options["step_size"] = suggest_step_size(
                net, task, rule, momentum=self.training.momentum, seed=self.training.seed
            )
        code = 0
        with warnings_said() as caught:
            try:
                result = training.train(net, task, rule, **options)
            except training.TrainingInterrupted as interruption:
                result, code = interruption.result, INTERRUPTED
        if diverged(caught) and not code:
            code = DIVERGED
        return self._keep(result, code)

    def _keep(self, result: xr.Dataset, code: int) -> int:
        if "loss" not in result or not result.sizes.get("step"):
            say("The run ended before anything was recorded; nothing was saved.")
            return code
        path = destinations.keep(result, self.out, self.overwrite)
        if code == INTERRUPTED:
            say(f"Interrupted; what had been recorded is in {path}.")
        print("\n".join(summary.lines(result)))
        print(f"Saved in {path}; `widelimit show {path}` draws it.")
        return code


def with_configuration(command: Train) -> Train:
    """A command with the options of its configuration file in the place of the built-in defaults.

    **Raises:** as [`config.read`].
    """
    assert command.config is not None
    options = config.read(command.config)
    return Train(command.config, command.out, command.overwrite, *(getattr(options, f.name) for f in _TABLES))


_TABLES = dataclasses.fields(config.Configuration)

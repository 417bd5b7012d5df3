"""`widelimit resume`: go on with a run of `widelimit train` from its checkpoint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..checks import ArgumentError
from ..simulation import checkpoint
from . import config, destinations, train


@dataclass(frozen=True)
class Resume:
    """Go on with a run from the file in which it kept itself (--run.checkpoint), and save what it went through.

    The file says what was trained and how, and is kept up to date as the run goes on; of a run that was done, the
    result is written again. Exit codes are those of train.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN.CKPT")]
    """The file that `widelimit train` was told by --run.checkpoint."""
    out: Path | None = None
    """The NetCDF file to write; by default that which `widelimit train` was told."""
    overwrite: bool = False
    """Replace the file if it exists, as what an interrupted run has saved does."""
    steps: int | None = None
    """How many steps the run is to have in all, if more than it was told."""

    def run(self) -> int:
        """Go on, save and summarise; returns the exit code."""
        options, out = self._told()
        changes: dict[str, Any] = {"checkpoint": str(self.file)}
        if self.steps is not None:
            changes["steps"] = self.steps
        options = dataclasses.replace(options, run=dataclasses.replace(options.run, **changes))
        return train.trained(options, destinations.Output(out, self.overwrite))

    def _told(self) -> tuple[Any, Path]:
        """The options that the run was begun with, and where its result goes."""
        command = checkpoint.read(self.file).header.get("command")
        if not isinstance(command, dict) or not isinstance(command.get("tables"), dict):
            raise ArgumentError(
                f"{self.file} was made by a call of widelimit.train, and not from the command line; make the same call "
                "to go on."
            )
        return config.configured(self.file, command["tables"]), self.out or Path(command["out"])

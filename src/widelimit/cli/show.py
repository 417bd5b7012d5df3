"""`widelimit show`: a saved run in words and in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .. import results
from ..checks import ArgumentError
from ..results import several, summary
from . import comparison, destinations


@dataclass(frozen=True)
class Show:
    """Print what a run was and what came of it, and draw it. Also opens what `widelimit demo` wrote."""

    run_file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run.nc", metavar="RUN.NC")]
    """A NetCDF file written by widelimit."""
    picture: Path | None = None
    """The picture to write, in the format that its suffix names; beside the run unless given."""
    overwrite: bool = False
    """Replace the picture if it exists."""

    def run(self) -> int:
        """Print and draw; returns the exit code."""
        from .. import plots  # drawing takes a second to import, which the other commands need not pay

        result = results.expanded(results.load(self.run_file))
        picture = self.run_file.with_suffix(".png") if self.picture is None else self.picture
        many = several.holds_several(result)
        if not many and ("loss" not in result or not result.sizes.get("step")):
            raise ArgumentError(f"{self.run_file} holds no recorded step.")
        print("\n".join(comparison.lines(result) if many else summary.lines(result)), flush=True)
        destinations.check(picture, self.overwrite)
        draw(plots.comparison(result) if many else plots.run(result), picture)
        print(f"Drawn in {picture}.")
        return 0


def draw(figure, path: Path) -> None:
    """Save a figure. **Raises:** `ArgumentError` for a suffix that names no picture format."""
    known = figure.canvas.get_supported_filetypes()
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in known:
        raise ArgumentError(f"{path}: {suffix or 'no suffix'} is no picture format; use one of {', '.join(known)}.")
    figure.savefig(path, dpi=160)

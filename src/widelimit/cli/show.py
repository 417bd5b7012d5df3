"""`widelimit show`: a saved run in words and in a picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
import xarray as xr

from .. import results
from ..checks import ArgumentError
from ..results import combined, expansions, inferred, summary
from . import comparison, destinations

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

        result = results.load(self.run_file)
        if inferred.is_inference(result):
            return self._inferred(result)
        if expansions.is_expansion(result):
            print("\n".join(expansions.lines(result)), flush=True)
            return self._drawn(result, plots.expansion)
        result = combined.selected(result)
        if not result.sizes.get("step", result.coords.get("time", np.zeros(0)).size):
            raise ArgumentError(f"{self.run_file} holds no recorded step.")
        result = results.expanded(result)
        rules = combined.run_dims(result) == ("rule", "width")
        print("\n".join(comparison.lines(result) if rules else lines(result)), flush=True)
        return self._drawn(result, plots.comparison if rules else plots.run)

    def _inferred(self, result: xr.Dataset) -> int:
        from .. import plots

        power = "confusion" in result
        print("\n".join(inferred.power_lines(result) if power else inferred.lines(result)), flush=True)
        return self._drawn(result, plots.confusion if power else plots.posterior)

    def _drawn(self, result: xr.Dataset, drawing: Callable[[xr.Dataset], Figure]) -> int:
        """Draw the result into its file, where it can be drawn; returns the exit code."""
        picture = self.run_file.with_suffix(".png") if self.picture is None else self.picture
        try:
            figure = drawing(result)
        except ArgumentError as reason:
            print(f"No picture: {reason}")
            return 0
        destinations.check(picture, self.overwrite, inputs=[self.run_file])
        picture, code = draw(figure, picture, self.overwrite)
        print(f"Drawn in {picture}.")
        return code


def lines(result: xr.Dataset) -> list[str]:
    """A run in words, or each of several that a result holds."""
    dims = combined.run_dims(result)
    if not dims:
        return summary.lines(result)
    text = []
    for labels, run in combined.apart(result).items():
        name = ", ".join(f"{dim} {label}" for dim, label in zip(dims, labels, strict=True))
        text += [f"--- {name}", *summary.lines(run)]
    return text


def draw(figure, path: Path, overwrite: bool) -> tuple[Path, int]:
    """Save a figure as `keep` does a result. **Raises:** `ArgumentError` for a suffix that names no picture format."""
    known = figure.canvas.get_supported_filetypes()
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in known:
        raise ArgumentError(f"{path}: {suffix or 'no suffix'} is no picture format; use one of {', '.join(known)}.")
    content = io.BytesIO()
    figure.savefig(content, format=suffix, dpi=160)
    return destinations.put(content.getvalue(), path, overwrite)

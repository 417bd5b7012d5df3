"""`widelimit report`: one run, several beside each other, or a sweep, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .. import results
from ..checks import ArgumentError
from ..results import inferred
from . import destinations


@dataclass(frozen=True)
class Report:
    """Write a self-contained HTML page about one saved run, several beside each other, or a sweep.

    Curves, kernels that move with a slider, distances between runs of one task, diagnostics, configuration. The page
    needs no network and opens in any browser, on a phone too. Also opens what `widelimit demo` wrote, and what was
    measured elsewhere: what a file lacks is left out. Of the folder of a sweep it makes a page on which settings, layer
    and time are picked.
    """

    run_files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(name="run.nc", metavar="RUN.NC ...")]
    """NetCDF files written by widelimit; theory first, where networks shall be compared with theory. Or the folder of a
    sweep."""
    out: Path | None = None
    """The page to write; beside the first run or the folder, with the suffix .html, unless given."""
    overwrite: bool = False
    """Replace the page if it exists."""
    title: str | None = None
    """The title of the page; made from the runs unless given."""

    def run(self) -> int:
        """Read, write and say where the page went; returns the exit code."""
        if not self.run_files:
            raise ArgumentError("Name at least one run, for example: widelimit report run.nc")
        out = self.run_files[0].with_suffix(".html") if self.out is None else self.out
        destinations.check(out, self.overwrite, inputs=self.run_files)
        if any(path.is_dir() for path in self.run_files):
            return self._sweep(out)
        runs = {name: results.load(path) for name, path in zip(names(self.run_files), self.run_files, strict=True)}
        from ..report import inference_page, page  # with matplotlib, which takes a second that others need not pay

        inferences = [name for name, run in runs.items() if inferred.is_inference(run)]
        if inferences and len(runs) > 1:
            raise ArgumentError(f"{inferences[0]} is no run, and has a page of its own: name it alone.")
        only = next(iter(runs.values()))
        text = inference_page(only, title=self.title) if inferences else page(runs, title=self.title)
        return self._written(text, out)

    def _sweep(self, out: Path) -> int:
        folder, *others = self.run_files
        if others:
            raise ArgumentError(f"{folder} and others: a page is of one sweep, or of runs; name one folder.")
        from ..report import explorer

        return self._written(explorer(folder, title=self.title), out)

    def _written(self, text: str, out: Path) -> int:
        content = text.encode("utf-8")
        out, code = destinations.put(content, out, self.overwrite)
        print(f"Written to {out} ({len(content) / 1e6:.1f} MB); open it in a browser.")
        return code


def names(paths: Sequence[Path]) -> list[str]:
    """What the runs are called: their files without folders and suffixes where that tells them apart."""
    for name in (lambda path: path.stem, lambda path: path.name, str):
        each = [name(path) for path in paths]
        if len(set(each)) == len(each):
            return each
    raise ArgumentError(f"{next(path for path in paths if paths.count(path) > 1)} is named twice; name each run once.")

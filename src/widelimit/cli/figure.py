"""`widelimit figure`: figures of the paper, computed, measured and drawn."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .. import formatting
from ..checks import ArgumentError
from ..interrupts import kept
from . import compiled, destinations

NUMBERS = range(1, 8)
"""The figures that there are: `paper.NUMBERS`, without what draws them, which is imported when it is needed."""


@dataclass(frozen=True)
class Figure:
    """Compute figures of the paper, measure what their captions claim, and draw them.

    Writes figureN.png, figureN.pdf and figureN.json (parameters, claims with their measured values, versions) into a
    folder, and prints the claims. What was computed is kept in the folder's subfolder `results`, and is read back as
    long as parameters and versions are the same, so that drawing again takes a second. All seven take 27 minutes on two
    cores.
    """

    numbers: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="{1..7,all}")]
    """The numbers of the figures, or `all`."""
    out: Path = Path("widelimit-figures")
    """The folder to write into; it is made if it does not exist."""
    quick: bool = False
    """A small version in seconds, which shows the same with larger errors."""
    overwrite: bool = False
    """Replace pictures and numbers that are there."""
    recompute: bool = False
    """Compute everything anew, whatever the folder holds."""
    workers: int = 0
    """How many processes compute; 0 for this one. Each compiles for itself, which pays on many cores alone."""

    def run(self) -> int:
        """Compute, measure, print and draw; returns the exit code."""
        numbers = _numbers(self.numbers)
        destinations.folder(self.out)
        for number in numbers:
            for suffix in ("png", "pdf", "json"):
                destinations.check(self._path(number, suffix), self.overwrite)
        from .. import paper
        from ..ensembles.sweep import means_of

        means = dataclasses.replace(means_of(self.workers, None, None), surroundings=compiled.kept)
        with compiled.kept():
            return max(self._make(paper.figure(number), means) for number in numbers)

    def _make(self, figure, means) -> int:
        from .. import results
        from ..paper import computed, style

        codes = []

        def put(content: bytes, suffix: str) -> Path:
            place, code = destinations.put(content, self._path(figure.number, suffix), self.overwrite)
            codes.append(code)
            return place

        folder = self.out / "results" / self._path(figure.number, "").name
        runs, seconds = computed(figure, folder, quick=self.quick, recompute=self.recompute, means=means)
        kept(f"what was computed is in {folder}, and the same command goes on from there.")
        parameters = figure.at(self.quick)
        claims = figure.claims(parameters, runs)
        print(f"Figure {figure.number}. {figure.title}\n")
        print("\n".join(lines(claims)), flush=True)
        numbers = {
            "figure": figure.number,
            "title": figure.title,
            "caption": figure.caption,
            "quick": self.quick,
            "parameters": figure.described(self.quick),
            "claims": [claim.described() for claim in claims],
            "seconds": seconds,
            "versions": results.versions(),
        }
        text = json.dumps(numbers, indent=2, ensure_ascii=False) + "\n"
        put(text.encode("utf-8"), "json")
        with style.printed():
            picture = figure.draw(parameters, runs)
            places = []
            for suffix in ("png", "pdf"):
                content = io.BytesIO()
                picture.savefig(content, format=suffix)
                places.append(put(content.getvalue(), suffix))
        print(f"\nDrawn in {places[0]} (and pdf, json); computed in {formatting.duration(seconds)}.\n")
        return max(codes)

    def _path(self, number: int, suffix: str) -> Path:
        name = f"figure{number}{'-quick' if self.quick else ''}"
        return self.out / (f"{name}.{suffix}" if suffix else name)


def lines(claims: Sequence) -> list[str]:
    """Claims as a table, each with its note below where there is one."""
    from ..results import summary

    rows = [
        (str(place), formatting.with_error(claim.measured, claim.error), claim.expected, claim.verdict)
        for place, claim in enumerate(claims, 1)
    ]
    text = summary.table(("claim", "measured", "expected", "verdict"), rows)
    for place, claim in enumerate(claims, 1):
        text.append(f"{place}. {claim.statement}{f' ({claim.note})' if claim.note else ''}")
        if claim.finding:
            text.append(f"   Finding: {claim.finding}")
    return text


def _numbers(named: Sequence[str]) -> list[int]:
    if "all" in named:
        return list(NUMBERS)
    for number in named:
        if number not in map(str, NUMBERS):
            raise ArgumentError(f"figure: there is no figure {number!r}; name some of 1 to {max(NUMBERS)}, or all.")
    if not named:
        raise ArgumentError(f"figure: name one or more of the figures 1 to {max(NUMBERS)}, or all.")
    return sorted({int(number) for number in named})

"""What a figure is: parameters, the runs it needs, the claims it measures, and a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import xarray as xr
from matplotlib.figure import Figure

from .claims import Claim

P = TypeVar("P")
Results = Mapping[str, xr.Dataset]
"""The results a figure is made of, by name."""


def stated(default: Any, meaning: str) -> Any:
    """A parameter that the paper states."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "source": "paper"})


def chosen(default: Any, meaning: str) -> Any:
    """A parameter that the paper leaves open, chosen here."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "source": "chosen"})


@dataclass(frozen=True)
class PaperFigure(Generic[P]):
    """A figure of the paper.

    `parameters` and `quick` are two values of one frozen dataclass, whose fields are made with `stated` and `chosen`.
    `runs(parameters)` names the results that are needed and says how each is computed; `claims` and `draw` take the
    parameters and those results.
    """

    number: int
    title: str
    caption: str
    parameters: P
    quick: P
    runs: Callable[[P], Mapping[str, Callable[[], xr.Dataset]]]
    claims: Callable[[P, Results], Sequence[Claim]]
    draw: Callable[[P, Results], Figure]

    def at(self, quick: bool) -> P:
        """The parameters of the whole figure, or of the small version that takes seconds."""
        return self.quick if quick else self.parameters

    def described(self, quick: bool) -> dict[str, dict[str, Any]]:
        """The parameters with their meaning, and whether the paper states them, as plain data."""
        parameters: Any = self.at(quick)
        return {
            field.name: {"value": getattr(parameters, field.name), **field.metadata}
            for field in dataclasses.fields(parameters)
        }

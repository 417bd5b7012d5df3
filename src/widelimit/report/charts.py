"""Charts of a page: curves of one or several runs in one pair of axes, their legend, and their numbers in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from .. import formatting
from ..plots import parts
from ..results import observables
from . import markup, svg, theme
from .runs import DASHES, MARKERS, Run
from .series import finite_times

MUTED = -1
"""The colour of what stands for curves of any colour in a legend."""

_SAME_TIME = 1e-9


@dataclass(frozen=True)
class Curve:
    """One curve: its name, its values, and how it looks."""

    name: str
    values: xr.DataArray
    colour: int
    kind: int = 0
    points: bool = False
    along: str = "time"
    family: str = ""
    """What the curve shares with others of its colour; empty where it stands for itself."""
    symbols: bool = False
    """Whether the name is made of symbols, rather than given by a user."""

    @classmethod
    def of(cls, run: Run, values: xr.DataArray, *, along: str = "time") -> Curve:
        """A curve with the looks of its run; along anything but time it is a line."""
        points = run.points and along == "time"
        kind = run.kind + (1 if run.points and not points else 0)
        return cls(run.name, values, run.colour, kind, points, along, run.family)

    @property
    def html(self) -> str:
        """The name as HTML."""
        return markup.with_symbols(self.name) if self.symbols else markup.text(self.name)

    @property
    def shown(self) -> xr.DataArray:
        """The values that have a place on the axis."""
        return finite_times(self.values) if self.along == "time" else self.values


@dataclass(frozen=True)
class Chart:
    """What is drawn in one pair of axes."""

    name: str
    title: str
    """In plain text."""
    curves: Sequence[Curve]
    log: bool = False
    within: tuple[float, float] | None = None
    """What the vertical axis has to show at least."""
    xlabel: str = "time (step × step size)"
    heading: str = ""
    """The title as HTML, unless it is made from the plain one."""

    def figure(self, *, with_legend: bool = False) -> str:
        """The chart with its title as HTML."""
        picture = svg.panel(self._draw, self.name, self._label())
        curves = legend(self.curves) if with_legend else ""
        return f'<figure class="panel"><figcaption>{self.html_title}{curves}</figcaption>{picture}</figure>'

    @property
    def html_title(self) -> str:
        """The title as HTML."""
        return self.heading or markup.with_symbols(self.title)

    def _draw(self, axes: Axes) -> None:
        dotted = [curve for curve in self.curves if curve.points]
        for curve in self.curves:
            values, colour = curve.shown, theme.curve(curve.colour)
            if not values.size:
                continue
            if curve.points:
                parts.band(axes, values, colour, linewidth=0)
                marker, place = MARKERS[curve.kind % len(MARKERS)], dotted.index(curve)
                parts.points(axes, values, colour, place, len(dotted), size=5.6, marker=marker)
                continue
            dash = DASHES[curve.kind % len(DASHES)]
            marker = "o" if np.isfinite(observables.mean(values).values).sum() == 1 else ""  # a line of one point
            parts.band(axes, values, colour, along=curve.along, linestyle=dash, marker=marker)
        if self.log:
            _log(axes, [curve.shown for curve in self.curves])
        elif self.within is not None:
            bottom, top = axes.get_ylim()
            axes.set_ylim(min(bottom, self.within[0]), max(top, self.within[1]))
        parts.decorate(axes, "", xlabel=self.xlabel)
        axes.tick_params(length=0)

    def _label(self) -> str:
        """What is to be seen, in words."""
        told = []
        for curve in [curve for curve in self.curves if curve.name][:12]:
            values = curve.shown
            if curve.along == "time" and values.size:
                ends = [number(values.isel(step=step)) for step in (0, _last(values))]
                told.append(f"{curve.name}: from {ends[0]} to {ends[1]}")
            else:
                told.append(curve.name)
        return f"{self.title}. {'; '.join(told)}."


def legend(curves: Sequence[Curve]) -> str:
    """Which curve is which; curves of one family share an entry, and what sets them apart is said once below."""
    rows: dict[str, list[Curve]] = {}
    for curve in curves:
        rows.setdefault(curve.family or curve.name, []).append(curve)
    items = ""
    for row in rows.values():
        name = markup.text(row[0].family) if row[0].family else row[0].html
        items += f"<li>{''.join(map(swatch, row))}<span>{name}</span></li>"
    members = {}
    for curve in curves:
        if curve.family:
            members.setdefault(curve.name.removeprefix(f"{curve.family}, "), replace(curve, colour=MUTED))
    if len(members) > 1:
        items += "".join(
            f'<li class="muted">{swatch(curve)}<span>{markup.text(member)}</span></li>'
            for member, curve in members.items()
        )
    return f'<ul class="legend">{items}</ul>'


def swatch(curve: Curve | Run) -> str:
    """A little of a curve, for a legend; the name beside it says all, so that it has no words of its own."""
    colour = "var(--muted)" if curve.colour == MUTED else f"var(--c{curve.colour % theme.COLOURS})"
    if curve.points:
        marks = {
            "o": '<circle cx="14" cy="6" r="3.6"/>',
            "s": '<rect x="10.8" y="2.8" width="6.4" height="6.4"/>',
            "^": '<path d="M14 2l4 7h-8z"/>',
            "D": '<path d="M14 1.5l4.5 4.5-4.5 4.5-4.5-4.5z"/>',
        }
        inside = f'<path d="M14 0v12" style="stroke:{colour};stroke-width:1.3"/>{marks[MARKERS[curve.kind % 4]]}'
        style = f"fill:{colour}"
    else:
        dash = DASHES[curve.kind % len(DASHES)]
        pattern = "" if dash == "-" else f";stroke-dasharray:{' '.join(f'{2 * part:g}' for part in dash[1])}"
        inside = '<path d="M1 6h26"/>'
        style = f"stroke:{colour};stroke-width:2.4{pattern}"
    return f'<svg class="swatch" viewBox="0 0 28 12" aria-hidden="true" style="{style}">{inside}</svg>'


def numbers(charts: Sequence[Chart], caption: str, count: int = 7) -> str:
    """The curves' means and standard errors at a few times, in a table that opens at a click."""
    times = _few_times([curve.values["time"].values for chart in charts for curve in chart.curves], count)
    rows = []
    for chart in charts:
        for curve in chart.curves:
            found = {time: np.flatnonzero(_same(curve.values["time"].values, time)) for time in times}
            mean, error = observables.mean(curve.values).values, observables.standard_error(curve.values).values
            cells = [_written(float(mean[at[0]]), float(error[at[0]])) if len(at) else "" for at in found.values()]
            name = chart.html_title
            rows.append((f"{name}: {curve.html}" if len(chart.curves) > 1 else name, *cells))
    heads = ("time", *("∞" if math.isinf(time) else f"{time:.4g}" for time in times))
    return markup.folded("Numbers", markup.table(heads, rows, caption))


def number(values: xr.DataArray) -> str:
    """Mean ± standard error, or a dash where there is no value."""
    return _written(float(observables.mean(values)), float(observables.standard_error(values)))


def _written(mean: float, error: float) -> str:
    return formatting.with_error(mean, error) if np.isfinite(mean) else "–"


def grid(charts: Sequence[Chart], *, legends: bool = False) -> str:
    """Charts side by side, or one under the other on narrow screens; each with its own legend if they differ."""
    seen = [chart for chart in charts if any(curve.shown.size for curve in chart.curves)]
    return f'<div class="panels">{"".join(chart.figure(with_legend=legends) for chart in seen)}</div>' if seen else ""


def _log(axes: Axes, values: Sequence[xr.DataArray]) -> None:
    """A logarithmic axis where that helps, on which what diverges does not hide where it came from."""
    means = [observables.mean(one).values.ravel() for one in values]
    everything = np.concatenate(means)
    finite = everything[np.isfinite(everything)]
    if not len(finite):
        return
    starts = [one[np.isfinite(one)][0] for one in means if np.isfinite(one).any()]
    floor = 1e-4 * min(1.0, max(max(starts) / max(finite.max(), 1e-300), 1e-300))
    parts.log_where_it_helps(axes, xr.DataArray(everything, dims="any"), floor=floor)


def _last(values: xr.DataArray) -> int:
    known = np.flatnonzero(np.isfinite(observables.mean(values).values))
    return int(known[-1]) if len(known) else 0


def _few_times(each: Sequence[np.ndarray], count: int) -> np.ndarray:
    """A few times spread over those that all have recorded, or over those of the first."""
    if not each:
        return np.zeros(0)
    shared = each[0][[all(_same(other, time).any() for other in each) for time in each[0]]]
    shared = shared if len(shared) > 1 else each[0]
    return shared[np.unique(np.linspace(0, len(shared) - 1, min(count, len(shared))).round().astype(int))]


def _same(times: np.ndarray, time: float) -> np.ndarray:
    return np.isclose(times, time, rtol=_SAME_TIME, atol=1e-12)

"""Charts of a page: curves of one or several runs in one pair of axes as SVG, their legend, and their numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..formatting import number, with_error
from ..plots import parts
from ..results import observables
from . import markup, theme
from .runs import Run
from .series import finite_times
from .theme import Look

_SAME_TIME = 1e-9
_TIMES = 7  # in a table of numbers
_SIZE = (330, 226)  # of one panel, in CSS pixels where it is as wide as a phone
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NAMES = {sentinel: name for name, sentinel in theme.SENTINELS.items()}
_XLINK = "{http://www.w3.org/1999/xlink}href"

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # real text: it can be read aloud, selected and set in the page's font
    "svg.hashsalt": "widelimit",
    "font.size": 14,
    "text.color": theme.SENTINELS["fg"],
    "axes.labelcolor": theme.SENTINELS["muted"],
    "axes.edgecolor": theme.SENTINELS["muted"],
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 1,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": theme.SENTINELS["rule"],
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "xtick.color": theme.SENTINELS["muted"],
    "ytick.color": theme.SENTINELS["muted"],
    "xtick.labelcolor": theme.SENTINELS["muted"],
    "ytick.labelcolor": theme.SENTINELS["muted"],
}

Legend = list[tuple[list[Look], str, bool]]
"""What a template writes as a legend: the curves of an entry, its label, and whether it stands back."""


@dataclass(frozen=True)
class Curve(Look):
    """One curve: its name, its values, and how it looks."""

    name: str
    values: xr.DataArray
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
        return cls(run.name, values, along, run.family, colour=run.colour, kind=kind, points=points)

    @property
    def label(self) -> str:
        """The name on a page."""
        return markup.symbols(self.name) if self.symbols else self.name

    @property
    def shown(self) -> xr.DataArray:
        """The values that have a place on the axis."""
        return finite_times(self.values) if self.along == "time" else self.values


@dataclass(frozen=True)
class Chart:
    """What is drawn in one pair of axes."""

    name: str
    title: str
    curves: Sequence[Curve]
    unit: str = ""
    """What the numbers count, where the title does not say it."""
    log: bool = False
    within: tuple[float, float] | None = None
    """What the vertical axis has to show at least."""
    xlabel: str = "time (step × step size)"

    @property
    def svg(self) -> Markup:
        """The picture, as one SVG for both themes with letters in the page's own font."""
        with matplotlib.rc_context(_STYLE):  # pyright: ignore[reportArgumentType]
            figure = Figure(figsize=(_SIZE[0] / 72, _SIZE[1] / 72), layout="constrained")
            figure.patch.set_visible(False)
            axes = figure.subplots()
            axes.patch.set_visible(False)
            self._draw(axes)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            if axes.get_yscale() == "log":
                _powers_of_ten(axes)
            else:
                axes.yaxis.set_major_locator(MaxNLocator(5))
            written = io.BytesIO()
            nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
            figure.savefig(written, format="svg", metadata=nothing)
        return _inline(written.getvalue(), self.name, self._label())

    def _draw(self, axes: Axes) -> None:
        dotted = [curve for curve in self.curves if curve.points]
        for curve in self.curves:
            values, colour = curve.shown, theme.SENTINELS[curve.variable]
            if not values.size:
                continue
            if curve.points:
                parts.shade(axes, values, colour)
                place = dotted.index(curve)
                parts.points(axes, values, colour, place, len(dotted), size=5.6, marker=curve.marker)
                continue
            parts.band(axes, values, colour, along=curve.along, linestyle=curve.dash)
        if self.log:
            _log(axes, [curve.shown for curve in self.curves])
        elif self.within is not None:
            bottom, top = axes.get_ylim()
            axes.set_ylim(min(bottom, self.within[0]), max(top, self.within[1]))
        parts.decorate(axes, "", xlabel=self.xlabel)
        axes.tick_params(length=0)

    def _label(self) -> str:
        """What is to be seen, in words."""
        described = []
        for curve in [curve for curve in self.curves if curve.name][:12]:
            values = curve.shown
            if curve.along == "time" and values.size:
                ends = [mean_with_error(values.isel(step=step)) for step in (0, _last(values))]
                described.append(f"{curve.name}: from {ends[0]} to {ends[1]}")
            else:
                described.append(curve.name)
        return f"{self.title}. {'; '.join(described)}."


def legend(curves: Sequence[Curve]) -> Legend:
    """Which curve is which; curves of one family share an entry, and what sets them apart is said once below."""
    families: dict[str, list[Curve]] = {}
    curves = [curve for curve in curves if curve.name]
    for curve in curves:
        families.setdefault(curve.family or curve.name, []).append(curve)
    entries: Legend = [(list(members), members[0].family or members[0].label, False) for members in families.values()]
    apart = {}
    for curve in curves:
        if curve.family:
            apart.setdefault(curve.name.removeprefix(f"{curve.family}, "), replace(curve, colour=theme.MUTED))
    return entries + ([([curve], member, True) for member, curve in apart.items()] if len(apart) > 1 else [])


def section(name: str, title: str, charts: Sequence[Chart], said: Sequence[str]) -> list[markup.Section]:
    """A section of charts with what is said beside them and their numbers; none where there is no chart."""
    if not charts:
        return []
    numbers = _numbers(charts, f"{title}: mean ± standard error at some times")
    return [markup.section("charts", name, title, **drawn(charts), said=said, numbers=numbers)]


def drawn(charts: Sequence[Chart]) -> dict[str, Any]:
    """What a template takes of charts: each with a legend of its own if they differ, else one legend of all."""
    curves = {curve.name: curve for chart in charts for curve in chart.curves if curve.name}
    shared = all(set(curves) == {curve.name for curve in chart.curves if curve.name} for chart in charts)
    seen = [chart for chart in charts if any(curve.shown.size for curve in chart.curves)]
    return {
        "charts": [(chart, [] if shared else legend(chart.curves)) for chart in seen],
        "legend": legend(list(curves.values())) if shared and any(len(chart.curves) > 1 for chart in charts) else [],
    }


def mean_with_error(values: xr.DataArray) -> str:
    """Mean ± standard error, the value alone where there are no replicates, and a dash where there is none."""
    mean, error = _moments(values)
    return _written(float(mean), float(error))


def _numbers(charts: Sequence[Chart], caption: str) -> markup.Table:
    """The curves' means and standard errors at a few times."""
    times = _few_times([curve.values["time"].values for chart in charts for curve in chart.curves])
    rows = []
    for chart in charts:
        for curve in chart.curves:
            steps = [np.flatnonzero(_same(curve.values["time"].values, time)) for time in times]
            mean, error = _moments(curve.values)
            cells = [_written(float(mean[at[0]]), float(error[at[0]])) if len(at) else "" for at in steps]
            title = markup.symbols(chart.title)
            rows.append((Markup("{}: {}").format(title, curve.label) if len(chart.curves) > 1 else title, *cells))
    return markup.Table(("time", *map(number, times)), rows, caption)


def _moments(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    mean, error = observables.mean(values), observables.standard_error(values)
    return mean.values, error.values if "replicate" in values.dims else np.full(mean.shape, np.nan)


def _written(mean: float, error: float) -> str:
    return with_error(mean, error) if np.isfinite(mean) else "–"


def _log(axes: Axes, values: Sequence[xr.DataArray]) -> None:
    """A logarithmic axis where that helps, on which what diverges does not hide where it came from."""
    means = [observables.mean(each).values.ravel() for each in values]
    everything = np.concatenate(means)
    finite = everything[np.isfinite(everything)]
    if not len(finite):
        return
    starts = [each[np.isfinite(each)][0] for each in means if np.isfinite(each).any()]
    floor = 1e-4 * min(1.0, max(max(starts) / max(finite.max(), 1e-300), 1e-300))
    parts.log_where_it_helps(axes, xr.DataArray(everything, dims="any"), floor=floor)


def _last(values: xr.DataArray) -> int:
    known = np.flatnonzero(np.isfinite(observables.mean(values).values))
    return int(known[-1]) if len(known) else 0


def _few_times(each: Sequence[np.ndarray]) -> np.ndarray:
    """A few times spread over those that all have recorded, or over those of the first."""
    shared = each[0][[all(_same(other, time).any() for other in each) for time in each[0]]]
    shared = shared if len(shared) > 1 else each[0]
    return shared[np.unique(np.linspace(0, len(shared) - 1, min(_TIMES, len(shared))).round().astype(int))]


def _same(times: np.ndarray, time: float) -> np.ndarray:
    return np.isclose(times, time, rtol=_SAME_TIME, atol=1e-12)


def _powers_of_ten(axes: Axes) -> None:
    """Logarithmic ticks in plain text, which matplotlib's own are not; numbers between them where decades are few."""
    bottom, top = axes.get_ylim()
    few = top < 50 * bottom
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _power(value: float) -> str:
    if 5e-4 < value < 2e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def _inline(written: bytes, name: str, label: str) -> Markup:
    """What matplotlib wrote as a piece of a page: no addresses, no styles of its own, ids that begin with `name`."""
    root = ElementTree.fromstring(written)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):  # addresses, and rules for the whole page
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {_attribute(key): _value(key, value, name) for key, value in element.attrib.items()}
        element.tail = None
        if element.text is not None and not element.text.strip():
            element.text = None
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _attribute(key: str) -> str:
    return "href" if key == _XLINK else key.rpartition("}")[2]


def _value(key: str, value: str, name: str) -> str:
    """An attribute with ids of its own, colours of the theme, coordinates to a hundredth of a pixel, and no font."""
    if key == "id":
        return f"{name}-{value}"
    if key == _XLINK:
        return value.replace("#", f"#{name}-")
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"font-family:[^;]*;? ?", "", value)
        value = re.sub("#[0-9a-f]{6}", lambda colour: f"var(--{_NAMES.get(colour[0], 'bg')})", value)
    elif key == "d":
        value = re.sub(r"\s+", " ", value).strip()
    return re.sub(r"-?\d+\.\d{3,}", lambda digits: f"{float(digits[0]):.2f}".rstrip("0").rstrip("."), value)

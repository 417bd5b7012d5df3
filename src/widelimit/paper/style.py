"""How figures look on a printed page: sizes in inches, letters that stay legible at the width of a page's text."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

WIDTH = 7.0
"""The width of every figure, in inches: a page's text, or two columns."""

THEORY, NETWORK = "0.25", "0.25"

_PRINTED: dict[str, Any] = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.titlepad": 5,
    "axes.labelpad": 2.5,
    "lines.linewidth": 1.3,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderaxespad": 0.3,
    "legend.labelspacing": 0.3,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # letters that a journal's printer can search and edit
}


def printed() -> AbstractContextManager:
    """The context in which figures are drawn and saved."""
    return matplotlib.rc_context(_PRINTED)  # pyright: ignore[reportArgumentType]


def sheet(height: float) -> Figure:
    """An empty figure of the page's width; `height` in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def kinds(axes: Axes, network: str, theory: str | Mapping[str, str] = "theory", **where: Any) -> None:
    """A legend that says what lines and points are, beside whatever legend the axes have for colours.

    `theory` is what lines are, or several such names with their styles, "-", "--" and so on.
    """
    lines = {theory: "-"} if isinstance(theory, str) else theory
    handles = [Line2D([], [], color=THEORY, linestyle=line) for line in lines.values()]  # pyright: ignore[reportArgumentType]
    handles.append(Line2D([], [], color=NETWORK, marker="o", linestyle="", markersize=3, markeredgecolor="white"))
    legend = axes.get_legend()
    axes.legend(handles, [*lines, network], **where)
    if legend is not None:
        axes.add_artist(legend)

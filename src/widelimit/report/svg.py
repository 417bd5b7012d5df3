"""A matplotlib figure as a piece of a page: one SVG for both themes, with letters in the page's own font."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from . import theme

WIDTH, HEIGHT = 330, 226
"""Of one panel, in CSS pixels where it is as wide as a phone."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_XLINK = "{http://www.w3.org/1999/xlink}href"

_LOOK: dict[str, Any] = {
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


def look() -> AbstractContextManager:
    """The context in which panels are drawn."""
    return matplotlib.rc_context(_LOOK)  # pyright: ignore[reportArgumentType]


def panel(draw: Callable[[Axes], None], name: str, label: str) -> str:
    """One pair of axes as an SVG element.

    **Arguments:** `draw`, which draws on the axes with the colours of `theme`; `name`, of which all ids begin; `label`,
    what is to be seen, in plain words.
    """
    with look():
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        draw(axes)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if axes.get_yscale() == "log":
            _powers_of_ten(axes)
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5))
        written = io.BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(written.getvalue(), name, label)


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


def _inline(written: bytes, name: str, label: str) -> str:
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
    text = ElementTree.tostring(root, encoding="unicode")
    for variable, sentinel in theme.SENTINELS.items():
        text = text.replace(sentinel, f"var(--{variable})")
    return text.replace("#ffffff", "var(--bg)")


def _attribute(key: str) -> str:
    return "href" if key == _XLINK else key.rpartition("}")[2]


def _value(key: str, value: str, name: str) -> str:
    """An attribute with ids of its own, coordinates to a hundredth of a pixel, and no font of matplotlib's."""
    if key == "id":
        return f"{name}-{value}"
    if key == _XLINK:
        return value.replace("#", f"#{name}-")
    if key == "style":
        value = re.sub(r"font-family:[^;]*;? ?", "", value)
    elif key == "d":
        value = re.sub(r"\s+", " ", value).strip()
    elif key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)

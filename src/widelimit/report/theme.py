"""How a page looks: its colours in light and in dark, under the names that styles, curves and kernels use; its lines.

`c0` … `c6` are the hues of Okabe & Ito (2008) in `plots.parts.PALETTE`, made darker or lighter until each stands out
from its background; `d0` … `d8` are the anchors of a diverging scale, whose middle is the zero of a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..plots import parts

LIGHT = {
    "bg": "#ffffff",
    "soft": "#f5f6f7",
    "fg": "#1b1f24",
    "muted": "#57606a",
    "rule": "#dfe2e6",
    "accent": "#00629b",
    "warn": "#9a3412",
    "c0": "#0072b2",
    "c1": "#d55e00",
    "c2": "#00855f",
    "c3": "#b45a91",
    "c4": "#a97600",
    "c5": "#3593cb",
    "c6": "#1b1f24",
    "d0": "#053061",
    "d1": "#2166ac",
    "d2": "#4393c3",
    "d3": "#a7d0e4",
    "d4": "#ffffff",
    "d5": "#fbccb4",
    "d6": "#d6604d",
    "d7": "#b2182b",
    "d8": "#67001f",
}
DARK = {
    "bg": "#14171b",
    "soft": "#1c2026",
    "fg": "#e3e6ea",
    "muted": "#9ca5b0",
    "rule": "#2e343c",
    "accent": "#6bb6ee",
    "warn": "#ffb088",
    "c0": "#4aa3e0",
    "c1": "#f08143",
    "c2": "#2dbd94",
    "c3": "#e093c0",
    "c4": "#e6b04a",
    "c5": "#a3d5f5",
    "c6": "#e3e6ea",
    "d0": "#b9e0fb",
    "d1": "#6db7ee",
    "d2": "#2f83c4",
    "d3": "#1f4a70",
    "d4": "#14171b",
    "d5": "#6b2b22",
    "d6": "#c14a38",
    "d7": "#f28a72",
    "d8": "#ffd6c9",
}

COLOURS = len(parts.PALETTE)
MUTED = -1
"""The colour of what stands for curves of any colour in a legend."""

DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
MARKERS = ("o", "s", "^", "D")

# Colours that stand for these names while matplotlib draws; nothing else on a curve has them.
_NAMES = ("fg", "muted", "rule", *(f"c{index}" for index in range(COLOURS)))
SENTINELS = {name: f"#0ddc{index:02x}" for index, name in enumerate(_NAMES)}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a curve is drawn, and how the runs of one colour are told apart."""

    colour: int = 0
    kind: int = 0
    """Which of the dashes or markers sets it apart from others of its colour."""
    points: bool = False
    """Whether it is drawn as points, beside the theory of the same network and rule."""

    @property
    def variable(self) -> str:
        """The name of the colour in the styles."""
        return "muted" if self.colour == MUTED else f"c{self.colour % COLOURS}"

    @property
    def dash(self) -> str | tuple[float, tuple[float, ...]]:
        """The dashes of the line, as matplotlib takes them."""
        return DASHES[self.kind % len(DASHES)]

    @property
    def marker(self) -> str:
        """The marker of the points."""
        return MARKERS[self.kind % len(MARKERS)]

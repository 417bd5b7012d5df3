"""Write gallery.md from what `widelimit figure all --out docs/figures` left: pictures and numbers.

python docs/write_gallery.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from widelimit import formatting
from widelimit.paper import NUMBERS

HERE = Path(__file__).resolve().parent

HEAD = """# Gallery: the paper's figures

Each figure of the paper is one command. It computes what the figure shows, by theory and in networks, draws it,
measures what the caption claims, and says whether it holds:

```sh
widelimit figure 1            # one figure; widelimit figure all for all seven
widelimit figure 1 --quick    # a small version, in seconds
```

What was computed is kept, so that drawing again is quick. Every claim below has a measured number ± its standard error
and a verdict at three standard errors; distances between theory and networks are given *in* standard errors, over whole
curves or matrices, where about 1 is what chance alone makes. A claim that does not hold is kept with the reason.
Parameters that the paper states are its own; it leaves others open, and those are chosen here.

<!-- Written by docs/write_gallery.py from docs/figures/*.json: change it there. -->
"""


def page(folder: Path = HERE / "figures") -> str:
    """The page as Markdown."""
    figures = [json.loads((folder / f"figure{number}.json").read_text(encoding="utf-8")) for number in NUMBERS]
    return (
        "\n".join([HEAD, *_overview(figures), *(line for figure in figures for line in _section(figure))]).rstrip()
        + "\n"
    )


def _overview(figures: list[dict[str, Any]]) -> list[str]:
    rows = ["| figure | shows | claims | that hold | seconds |", "| --- | --- | --- | --- | --- |"]
    for figure in figures:
        holding = sum(claim["verdict"] == "holds" for claim in figure["claims"])
        name = f"[{figure['figure']}](#{_anchor(_title(figure))})"
        rows.append(f"| {name} | {figure['title']} | {len(figure['claims'])} | {holding} | {figure['seconds']:.0f} |")
    total = sum(figure["seconds"] for figure in figures)
    return [*rows, "", f"All seven take {total / 60:.0f} minutes on two cores.", ""]


def _section(figure: dict[str, Any]) -> list[str]:
    number = figure["figure"]
    lines = [
        f"## {_title(figure)}",
        "",
        f"![{figure['title']}](figures/figure{number}.png)",
        "",
        f"*{figure['caption']}*",
        "",
        f"`widelimit figure {number}`, {figure['seconds']:.0f} s on two cores.",
        "",
        "| | claim | measured | expected | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for place, claim in enumerate(figure["claims"], 1):
        note = f" ({_cell(claim['note'])})" if claim["note"] else ""
        verdict = claim["verdict"] if claim["verdict"] == "holds" else f"**{claim['verdict']}**"
        cells = (str(place), _cell(claim["statement"]) + note, _number(claim), _cell(claim["expected"]), verdict)
        lines.append(f"| {' | '.join(cells)} |")
    findings = [
        f"* **Claim {place} does not hold:** {claim['finding']}."
        for place, claim in enumerate(figure["claims"], 1)
        if claim["finding"]
    ]
    lines += ["", *findings, *([""] if findings else [])]
    lines += ["| parameter | value | meaning | from |", "| --- | --- | --- | --- |"]
    for name, parameter in figure["parameters"].items():
        origin = "the paper" if parameter["source"] == "paper" else "chosen"
        lines.append(f"| `{name}` | {_value(parameter['value'])} | {_cell(parameter['meaning'])} | {origin} |")
    return [*lines, ""]


def _title(figure: dict[str, Any]) -> str:
    return f"Figure {figure['figure']}: {figure['title']}"


def _anchor(title: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _number(claim: dict[str, Any]) -> str:
    if claim["measured"] is None:
        return "none finite"
    error = float("nan") if claim["error"] is None else claim["error"]
    if error == 0:
        return f"{formatting.number(claim['measured'])}, exact"
    return formatting.with_error(claim["measured"], error)


def _value(value: Any) -> str:
    return ", ".join(map(_value, value)) if isinstance(value, list) else f"{value}"


def _cell(text: str) -> str:
    """Text that Markdown takes for no markup, in a cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


if __name__ == "__main__":
    (HERE / "gallery.md").write_text(page(), encoding="utf-8")

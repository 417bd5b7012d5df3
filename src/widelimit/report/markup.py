"""Pieces of HTML: escaped text, symbols, tables. Whatever a file said passes through [`text`] on its way to a page."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SYMBOL = re.compile(r"([ΦGh]\u0303?)\^(\d+|ℓ)|(?<!\w)((?:[KfgΔGΦ]\u0303)+|[KfgΔGΦ])(?![\w\u0303])")


def text(value: Any) -> str:
    """Text as HTML, within an element or a quoted attribute."""
    return html.escape(str(value), quote=True)


def symbol(name: str, layer: Any = None) -> str:
    """A quantity as MathML: K, Φ^ℓ, G̃^ℓ. A name may end with a combining tilde."""
    base = f"<mi>{text(name[0])}</mi>"
    if name.endswith("\u0303"):
        base = f'<mover accent="true">{base}<mo stretchy="false">~</mo></mover>'
    if layer is not None:
        kind = "mn" if str(layer).isdigit() else "mi"
        base = f"<msup>{base}<{kind}>{text(layer)}</{kind}></msup>"
    return f"<math>{base}</math>"


def with_symbols(plain: str) -> str:
    """Text as HTML, in which the symbols of quantities, such as Φ^2, are set as mathematics."""
    pieces, end = [], 0
    for found in _SYMBOL.finditer(plain):
        pieces.append(text(plain[end : found.start()]))
        pieces += [symbol(name, found[2]) for name in re.findall("\\w\u0303?", found[1] or found[3])]
        end = found.end()
    return "".join(pieces) + text(plain[end:])


def alignment(kernel: str) -> str:
    """A(·, yyᵀ) of a kernel that is HTML already."""
    inside = kernel.removeprefix("<math>").removesuffix("</math>")
    target = "<mi>y</mi><msup><mi>y</mi><mo>⊤</mo></msup>"
    return f'<math><mi>A</mi><mo stretchy="false">(</mo>{inside}<mo>,</mo>{target}<mo stretchy="false">)</mo></math>'


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    *,
    words: bool = False,
    quiet: bool = False,
    above: Sequence[tuple[str, int]] = (),
) -> str:
    """A table in a box of its own that scrolls sideways. Heads and cells are HTML; the first of a row is its head.

    Columns of numbers are set to the right, and those of words to the left. A quiet caption is read out and not seen.
    `above` are heads over several columns, with their numbers.
    """
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    over = "".join(f'<th scope="colgroup" colspan="{span}">{head}</th>' for head, span in above)
    over = f'<tr class="over">{over}</tr>' if over else ""
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    kind = ' class="words"' if words else ""
    hidden = ' class="unseen"' if quiet else ""
    label = text(re.sub(r"<[^>]*>", "", caption))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table{kind}>'
        f"<caption{hidden}>{caption}</caption><thead>{over}<tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def folded(summary: str, inside: str) -> str:
    """Something that opens at a click; works without scripts."""
    return f"<details><summary>{summary}</summary>{inside}</details>"


@dataclass(frozen=True)
class Section:
    """A part of a page: heading and explanation beside (or, on narrow screens, above) what it shows."""

    name: str
    title: str
    aside: str
    body: str

    @property
    def html(self) -> str:
        """The section as HTML."""
        return (
            f'<section id="{self.name}" aria-labelledby="{self.name}-title"><div class="aside">'
            f'<h2 id="{self.name}-title">{self.title}</h2>{self.aside}</div>'
            f'<div class="body">{self.body}</div></section>'
        )

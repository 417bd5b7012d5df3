"""HTML: the environment in which every template is filled in, tables and sections, and symbols in text.

Whatever a file or a user said is escaped as it enters a template; only what a template has made is taken as it is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from . import theme
from .theme import COLOURS

_KERNEL = "[KΦGh]\u0303?(?:\\^(?:\\d+|ℓ))?"
_MATHEMATICS = re.compile(
    rf"A\((?:·|{_KERNEL}), yyᵀ\)|yyᵀ|[ΦGh]\u0303?\^(?:\d+|ℓ)"
    "|(?<!\\w)(?:(?:[KfgΔGΦ]\u0303)+|[KfgΔGΦ])(?![\\w\u0303])"
)
_ATOM = re.compile("(\\w\u0303?|[(),·])(?:\\^(\\d+|ℓ)|(ᵀ))?")


@dataclass(frozen=True)
class Table:
    """A table that scrolls sideways in a box of its own; the first cell of a row is its head.

    Heads and cells are text, or what a template has made of it.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    words: bool = False
    """Whether columns hold words, which are set to the left, and not numbers, which are set to the right."""
    quiet: bool = False
    """Whether the caption is read out and not seen."""
    above: Sequence[tuple[str, int]] = ()
    """Heads over several columns, with their numbers."""

    @property
    def stacked(self) -> bool:
        """Whether errors stand below their numbers, for want of room beside them."""
        return len(self.heads) > 5


@dataclass(frozen=True)
class Section:
    """A part of a page: heading and explanation beside (or, on narrow screens, above) what it shows."""

    name: str
    title: str
    html: Markup
    shows: bool
    """Whether there is anything to see, rather than how to record it."""


def section(template: str, name: str, title: str, *, shows: bool = True, **context: Any) -> Section:
    """A section by the template of that name."""
    return Section(name, title, Markup(rendered(f"{template}.html.jinja", name=name, title=title, **context)), shows)


def rendered(template: str, **context: Any) -> str:
    """A template filled in."""
    return _ENVIRONMENT.get_template(template).render(**context)


def page(template: str, script: str, **context: Any) -> str:
    """A whole page: a template filled in, with the theme and one script, which lies beside the templates.

    Nothing but this very script runs on the page, whatever a file may have smuggled into it, and nothing is fetched.
    """
    text = source(script)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return rendered(
        template,
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:",
        theme=theme,
        script=Markup(text),
        **context,
    )


def symbols(text: str) -> Markup:
    """Text in which the symbols of quantities, such as Φ^2 and A(K, yyᵀ), are set as mathematics."""
    return _piece("symbols", text)


def named(run: Any) -> Markup:
    """The name of a run or a curve behind a little of its line."""
    return _piece("named", run)


def differs(name: str) -> Markup:
    """The name of a row in which runs differ."""
    return _piece("differs", name)


def pair(run: Any, name: str, reference: str) -> Markup:
    """A run with what it is compared with."""
    return _piece("pair", run, name, reference)


def source(name: str) -> str:
    """A file that lies beside the templates, as it is."""
    assert _ENVIRONMENT.loader is not None
    return _ENVIRONMENT.loader.get_source(_ENVIRONMENT, name)[0]


def _piece(name: str, *arguments: Any) -> Markup:
    return getattr(_ENVIRONMENT.get_template("pieces.html.jinja").module, name)(*arguments)


def _apart(text: str) -> list[str | list[tuple[str, str]]]:
    """Plain text and mathematics by turns; mathematics is a list of letters or operators, each with its exponent."""
    parts, end = [], 0
    for formula in _MATHEMATICS.finditer(text):
        atoms = [(base, above or transposed) for base, above, transposed in _ATOM.findall(formula[0])]
        parts += [text[end : formula.start()], atoms]
        end = formula.end()
    return [part for part in (*parts, text[end:]) if part]


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader(__name__.rpartition(".")[0]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["apart"] = _apart
_ENVIRONMENT.globals["COLOURS"] = COLOURS
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}

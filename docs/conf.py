"""How the documentation is built: `sphinx-build -W -b html docs docs/_build/html`."""

import importlib.metadata
import re
from collections.abc import Callable

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from widelimit import results
from widelimit.weights import deferred

project = "widelimit"
author = "the widelimit authors"
release = version = importlib.metadata.version("widelimit")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
smartquotes = False  # a prime is a derivative
html_theme = "furo"
html_title = f"widelimit {release}"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autoclass_content = "class"

# [`Name`] in a docstring must name something that is documented; types in signatures need not.
nitpicky = True
nitpick_ignore_regex = [(r"py:(class|exc|func|meth|attr|data|mod)", r".*")]


def to_rest(markdown: list[str]) -> list[str]:
    """A docstring in Markdown as reStructuredText: code, [`references`], and blocks of code or formulas."""
    rest: list[str] = []
    above = ""
    for line in markdown:
        indent = len(line) - len(line.lstrip())
        if indent >= 4 and rest and not rest[-1].strip() and not above.startswith((" ", "- ", "* ")):
            rest += ["::", ""]
            above = "::"
        if above == "::" and (indent >= 4 or not line.strip()):
            rest.append(line)
            continue
        rest.append(_inline(line))
        if line.strip():
            above = line
    return rest


def _inline(line: str) -> str:
    """One line outside a block: `code` and [`Name`] converted, what reStructuredText alone gives a meaning escaped."""
    parts = re.split(r"(\[`[^`]+`\]|`[^`]+`)", line)
    for place, part in enumerate(parts):
        if part.startswith("[`"):
            parts[place] = rf":py:obj:`.{part[2:-2]}`\ "
        elif part.startswith("`"):
            parts[place] = rf"`{part}`\ "
        else:
            parts[place] = re.sub(r"(\||_(?!\w))", r"\\\1", part)
    return "".join(parts)


def _convert(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = to_rest(lines)


def _without_internals(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool:
    return skip or name.startswith("_")


class Schema(SphinxDirective):
    """`{schema}`: the table of a result's variables, read from the library itself."""

    def run(self) -> list:
        """The table."""
        self.env.note_dependency(results.registry.__file__)
        rows = ["| variable | dimensions | meaning | unit |", "| --- | --- | --- | --- |"]
        for variable in results.VARIABLES.values():
            dims, meaning = ", ".join(variable.dims), _plain(variable.meaning)
            rows.append(f"| `{variable.name}` | {dims} | {meaning} | {variable.unit} |")
        return self.parse_text_to_nodes("\n".join(rows))


class Defaults(SphinxDirective):
    """`{defaults}`: how much of a deferred matrix is kept, read from the library itself."""

    def run(self) -> list:
        """The table."""
        self.env.note_dependency(deferred.__file__)
        many, long = 10_000, 10**10
        curved, straight = (deferred.default_truncation(linear, many, long) for linear in (False, True))
        least = deferred.default_truncation(False, 1, long).capacity
        particles = deferred.PARTICLES
        enough = f"{particles}, or as many as have room"
        two, three = (deferred.default_truncation(False, 20, long, outputs).capacity // 20 for outputs in (2, 3))
        most = deferred.default_truncation(False, 40, long, 3).capacity
        finest = deferred.default_truncation(False, 10, long, capacity=long).tolerance
        filters = deferred.default_truncation(False, many, long, scatter=True)
        rows = [
            "| | nonlinear networks | convolutional networks, A positions | deep linear networks |",
            "| --- | --- | --- | --- |",
            f"| `particles` S | {enough} | {particles} | {enough} |",
            f"| `capacity` | {curved.capacity // many} P, at least {least} "
            f"| {filters.capacity // many} P A, at least {least} | P + {straight.capacity - many} |",
            f"| with 2 outputs, with more | {two} P, {three} P, up to {most}; or what one takes "
            "| as with one | as with one |",
            f"| `tolerance` | {curved.tolerance:g}; with more room {curved.tolerance * curved.capacity / many:g} "
            f"P / capacity, at least {finest:g} | {filters.tolerance:g} | {straight.tolerance:g} |",
            f"| `growth` | P | capacity / {filters.capacity // filters.growth} | P |",
        ]
        return self.parse_text_to_nodes("\n".join(rows))


def _plain(text: str) -> str:
    """Text of which Markdown takes nothing for markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~^])", r"\\\1", text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    connect: Callable = app.connect
    connect("autodoc-process-docstring", _convert)
    connect("autodoc-skip-member", _without_internals)
    app.add_directive("schema", Schema)
    app.add_directive("defaults", Defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

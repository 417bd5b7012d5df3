"""The page itself: head, sections, styles and script in one file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template

import xarray as xr

from . import charts, curves, distances, kernels, markup, tables, theme, words
from .runs import Run, gathered, of_one_task


def page(runs: xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset], *, title: str | None = None) -> str:
    """One run, or several beside each other, as a self-contained HTML page.

    It shows losses and the test error in time; the kernels K, Φ^ℓ, G^ℓ and G̃^ℓ as images that move with a slider; task
    alignments and gradient alignments; densities of the final preactivations where they were recorded (`fields=True`);
    for several runs of one task how far they lie apart, by [`compare`]; diagnostics, configuration and versions. Errors
    are standard errors over replicates. Of many samples and times the kernels show a part, and the page says so.

    The page needs no network and no other file, is readable on a phone, in the dark and in print, and without scripts
    lacks the images of kernels alone. The same runs give the same page, letter by letter.

    **Arguments:**

    - `runs`: a result, several, or several by name, as `train`, the solvers of `theory` or `widelimit demo` return
      them. Runs of one network and rule share a colour where there are several such; networks are then drawn as points.
      Each run is compared with the first at infinite width of its network and rule, else with the first at infinite
      width, else with the first.
    - `title`: made from the runs unless given.

    **Returns:** the HTML, to be written to a file in UTF-8.

    **Raises:** `ArgumentError` if there is no run, or one that holds no recorded step.
    """
    found = gathered(runs)
    title = words.title(found) if title is None else title
    sections = [
        *curves.losses(found),
        *kernels.section(found),
        *curves.alignments(found),
        *curves.final_densities(found),
        *distances.section(found),
        *tables.diagnostics(found),
        *tables.configuration(found),
        *tables.versions(found),
    ]
    script = _static("viewer.js")
    # Nothing but this very script runs on the page, whatever a file may have smuggled into it, and nothing is fetched.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_static("page.html")).substitute(
        title=markup.text(title),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:",
        style=Template(_static("style.css")).substitute(
            light=theme.variables(theme.LIGHT), dark=theme.variables(theme.DARK)
        ),
        script=script,
        lead=_lead(found),
        contents="".join(f'<a href="#{section.name}">{section.title}</a>' for section in sections),
        sections="\n".join(section.html for section in sections),
    )


def _lead(runs: Sequence[Run]) -> str:
    """What was run, which runs there are, and where they ended."""
    text = f'<p class="lead">{markup.with_symbols(" ".join(words.paragraph(runs, of_one_task(runs))))}</p>'
    warned = "".join(
        f'<p class="warning">{markup.text(run.name)} {markup.text(tables.diverged(run))}</p>'
        for run in runs
        if tables.diverged(run)
    )
    listed = ""
    if len(runs) > 1:
        each = "".join(
            f"<li>{charts.swatch(run)}<span><b>{markup.text(run.name)}</b> "
            f'<span class="muted">{markup.with_symbols(words.whole(run.told))}</span></span></li>'
            for run in runs
        )
        listed = markup.folded("What each run was", f'<ul class="runs">{each}</ul>')
    kind = "head beside" if len(runs) <= tables.FEW else "head"
    return f'<div class="{kind}"><div>{text}{warned}</div>{tables.final_numbers(runs)}</div>{listed}'


def _static(name: str) -> str:
    return resources.files(__name__.rpartition(".")[0]).joinpath(name).read_text(encoding="utf-8")

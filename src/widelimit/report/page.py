"""The page itself: head, sections, styles and script in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from ..checks import ArgumentError
from ..results.legal import taking_results
from ..results.registry import IMAGES
from . import curves, densities, distances, kernels, markup, tables, words
from .runs import gathered, of_one_task


@taking_results
def page(runs: xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset], *, title: str | None = None) -> str:
    """One run, or several beside each other, as a self-contained HTML page.

    It shows losses and the test error in time; the kernels K, Φ^ℓ, G^ℓ and G̃^ℓ as images that move with a slider; task
    alignments and gradient alignments; densities of the final preactivations where they were recorded
    (`Record(fields=True)`); for several runs of one task how far they lie apart, by [`compare`]; diagnostics,
    configuration and versions. Losses are sums over samples. Errors are standard errors over replicates. Of many
    samples and times the kernels show a part, and the page says so.

    A result may hold any part of this, without replicates, without steps where nothing changes, and without a
    configuration: what was measured elsewhere. What is missing is left out.

    The page needs no network and no other file, is readable on a phone, in the dark and in print, and without scripts
    lacks the images of kernels alone. The same runs give the same page, letter by letter.

    **Arguments:**

    - `runs`: a result, several, or several by name, as `train`, the solvers of `theory` or `widelimit demo` return
      them. Runs of one network and rule share a colour where there are several such; networks are then drawn as points.
      Each run is compared with the first at infinite width of its network and rule, else with the first at infinite
      width, else with the first.
    - `title`: made from the runs unless given.

    **Returns:** the HTML, to be written to a file in UTF-8.

    **Raises:** `ArgumentError` if there is no run, if one has steps and no times or dimensions that its variables
    cannot have, or if there is nothing to show.
    """
    shown = gathered(runs)
    final = tables.final_numbers(shown)
    sections = [
        *curves.losses(shown),
        *kernels.section(shown),
        *curves.alignments(shown),
        *densities.section(shown),
        *distances.section(shown),
    ]
    if not (final.rows or any(section.shows for section in sections)):
        variables = ", ".join(dict.fromkeys(str(name) for run in shown for name in run.result.data_vars)) or "nothing"
        raise ArgumentError(
            "There is nothing to show: a page shows loss, test_loss, test_output with test_target, "
            f"{', '.join(IMAGES)} and final_preactivation; the results hold {variables}."
        )
    sections += [*tables.diagnostics(shown), *tables.configuration(shown), *tables.versions(shown)]
    return markup.page(
        "page.html.jinja",
        "viewer.js",
        title=words.title(shown) if title is None else title,
        lead=words.paragraph(shown, of_one_task(shown)),
        warnings=[f"{run.name} {tables.cautions(run)}" for run in shown if tables.cautions(run)],
        final=final,
        beside=len(shown) <= tables.FEW,
        runs=[(run, words.whole(run)) for run in shown],
        sections=sections,
    )

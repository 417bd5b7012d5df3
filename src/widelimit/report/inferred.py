"""A page of a posterior, or of what can be told apart."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import xarray as xr

from ..formatting import number
from ..plots import inference as pictures
from ..results import inferred
from ..results.legal import attribute
from . import markup
from .markup import Section, Table

_MOST = 30  # candidates in the table


def inference_page(result: xr.Dataset, *, title: str | None = None) -> str:
    """What [`infer`] or [`identifiability`] has returned, as a self-contained HTML page.

    **Arguments:** `result`; `title`, made from what it is unless given.

    **Returns:** the HTML, to be written to a file in UTF-8.

    **Raises:** `ArgumentError` if it is neither.
    """
    if "confusion" in result:
        heading, lead, sections, final = _of_power(result)
    else:
        heading, lead, sections, final = _of_posterior(result)
    rows = [(name, str(version)) for name, version in attribute(result, "versions").items()]
    table = Table(("", "version"), rows, "Versions it was computed with", words=True, quiet=True)
    sections.append(markup.section("tables", "versions", "Versions", said=[], table=table, below=[]))
    return markup.page(
        "page.html.jinja",
        "viewer.js",
        title=heading if title is None else title,
        lead=lead,
        warnings=[],
        final=final,
        beside=True,
        runs=[],
        sections=sections,
    )


def _of_posterior(result: xr.Dataset) -> tuple[str, str, list[Section], Table]:
    figure = pictures.posterior(result)
    shares = inferred.marginal(result, "rule")
    final = Table(("rule", "probability"), [(str(rule), inferred.percent(p)) for rule, p in shares.items()], "Rules")
    order = np.argsort(-result["probability"].values, kind="stable")[:_MOST]
    behind = inferred.below_the_best(result)
    rows = [
        (
            str(result["name"].values[index]),
            inferred.percent(float(result["probability"][index])),
            behind[index],
            number(float(result["gain_spread"][index]), 2),
            number(float(result["noise"][index]), 3),
        )
        for index in order
    ]
    heads = ("candidate", "probability", "log evidence", "spread of gains", "noise")
    below = inferred.held_out(result)
    sections = [
        _section(
            "posterior",
            "The posterior",
            "Probability of rule and richness in each layer, evidence, and covariances of responses by session.",
            [(_source(figure), "Heat maps of the posterior, bars of the evidence, observed and predicted kernels.")],
            [],
            below,
        ),
        _section(
            "candidates",
            "Candidates",
            "Log evidence is relative to the best. The spread is that of the logarithm of squared gains, the noise in "
            "units of the recording's own where repeats have told it.",
            [],
            [Table(heads, rows, "The most probable candidates")],
            [],
        ),
    ]
    return "Which rule made these representations?", str(result.attrs.get("verdict", "")), sections, final


def _of_power(result: xr.Dataset) -> tuple[str, str, list[Section], Table]:
    rows = []
    for sessions in range(result.sizes["sessions"]):
        for noise in range(result.sizes["noise"]):
            for neurons in range(result.sizes["neurons"]):
                cell = result.isel(sessions=sessions, noise=noise, neurons=neurons)
                rows.append(
                    (
                        f"{int(cell['neurons'])} neurons, noise {number(float(cell['noise']), 3)}, "
                        f"{int(cell['sessions'])} sessions",
                        f"{float(cell['accuracy']):.2f} ± {float(cell['standard_error']):.2f}",
                        f"{float(cell['probability']):.2f}",
                        f"{float(cell['layer_accuracy']):.2f}",
                        f"{float(cell['richness_accuracy']):.2f}",
                    )
                )
    final = Table(("recorded", "rule right", "its probability", "layer right", "richness near"), rows, "Recovery")
    picture = (_source(pictures.confusion(result)), "Matrices of what each rule is taken for.")
    sections = [
        _section(
            "confusion", "What is taken for what", "Rows made the recordings; each sums to one.", [picture], [], []
        )
    ]
    lead = f"{int(result['recordings'].sum())} recordings of networks of finite width, judged among the candidates."
    return "Which rules can be told apart?", lead, sections, final


def _section(name: str, title: str, aside: str, shown: list[Any], tables: list[Table], below: list[str]) -> Section:
    return markup.section("inferred", name, title, aside=aside, pictures=shown, tables=tables, below=below)


def _source(figure: Any) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"

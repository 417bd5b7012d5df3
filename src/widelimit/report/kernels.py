"""The kernels of a page: their viewer, with its controls."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..results.observables import is_classification
from . import charts, markup
from .frames import KINDS, Choice, chosen, described, finite_steps, moves
from .markup import Section
from .runs import Run


def section(runs: Sequence[Run]) -> list[Section]:
    """The viewer and its data."""
    having = [run for run in runs if any(name in run.result for name in KINDS)]
    if not having:
        return []
    choice = chosen(having)
    data = json.dumps(described(having, choice), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    inside = (
        "<noscript><p>The kernels are drawn by a script of this page, which is switched off here; everything else is "
        "shown without it.</p></noscript>"
        '<div id="viewer" hidden>'
        f"{_controls(having, choice)}"
        f'<div class="groups">{_groups(having, len(choice.times) > 1)}</div>'
        '<p class="hint" id="reading" aria-live="polite"></p></div>'
        f'<script type="application/json" id="kernels-data">{data}</script>'
    )
    return [Section("kernels", "Kernels in time", _told(having, choice), inside)]


def _told(runs: Sequence[Run], choice: Choice) -> str:
    """What is shown, and what is left out."""
    told = ["Means over replicates. Samples are ordered by target; lines part the classes, where there are any."]
    if all(is_classification(run.result["target"]) for run in runs):
        told = ["Means over replicates. Samples are ordered by class; lines part the classes."]
    if any("output_unit" in run.result[name].dims for run in runs for name in KINDS if name in run.result):
        told.append("Of the blocks over outputs, the mean of the diagonal ones is shown.")
    if len(choice.times) > 1:
        told.append("The colour scale is the same at all times.")
    fewest = [(len(samples), run.result.sizes["sample"]) for run, samples in zip(runs, choice.samples, strict=True)]
    if any(shown < there for shown, there in fewest):
        shown, there = next(pair for pair in fewest if pair[0] < pair[1])
        told.append(f"{shown} of the {there} samples are shown, evenly chosen within classes.")
    recorded = max((len(finite_steps(run)) for run in runs if moves(run)), default=1)
    if 1 < len(choice.times) < recorded:
        told.append(f"{len(choice.times)} of the {recorded} recorded times are shown.")
    return f"<p>{' '.join(told)}</p>"


def _controls(runs: Sequence[Run], choice: Choice) -> str:
    """Kernel, layer, time: native controls, which the keyboard reaches."""
    held = [name for name in KINDS if any(name in run.result for run in runs)]
    layers = sorted(
        {int(layer) for run in runs if "layer" in run.result.coords for layer in run.result["layer"].values}
    )
    kernel = "".join(
        f'<label><input type="radio" name="kernel" value="{name}" aria-label="{KINDS[name][1]} {KINDS[name][0]}"'
        f"{' checked' if name == held[0] else ''}><span>{markup.symbol(KINDS[name][0])}</span></label>"
        for name in held
    )
    layer = "".join(
        f'<label><input type="radio" name="layer" value="{each}" aria-label="layer {each}"'
        f"{' checked' if each == layers[-1] else ''}><span>{each}</span></label>"
        for each in layers
    )
    time = (
        '<div class="time"><button type="button" id="play" aria-pressed="false">Play</button>'
        f'<input type="range" id="time" min="0" max="{len(choice.times) - 1}" step="1" value="{len(choice.times) - 1}" '
        'aria-label="Time"><output id="time-shown" for="time"></output></div>'
        if len(choice.times) > 1
        else ""
    )
    scale = (
        '<label class="check"><input type="checkbox" id="one-scale"> one colour scale for all</label>'
        if len({run.group for run in runs}) > 1
        else ""
    )
    return (
        f'<div class="controls"><fieldset><legend>Kernel</legend>{kernel}</fieldset>'
        f'<fieldset id="layers"><legend>Layer</legend>{layer}</fieldset>{scale}{time}</div>'
    )


def _image(run: Run, index: int, name: str, still: str = "") -> str:
    """One image with its name and the value that is pointed at; a still one shows the first time."""
    name = f"<span>{still}</span>" if still else f"{charts.swatch(run)}<span>{markup.text(name)}</span>"
    return (
        f'<figure><figcaption>{name}<output class="value"></output></figcaption>'
        f'<canvas data-run="{index}"{" data-still" if still else ""} tabindex="0" role="img"></canvas>'
        '<p class="note" hidden></p></figure>'
    )


def _groups(runs: Sequence[Run], moving: bool) -> str:
    """The runs of one network and rule side by side, above the colour scale that they share."""
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        groups.setdefault(run.group, []).append(index)
    found = []
    for number, members in enumerate(groups.values()):
        family = runs[members[0]].family
        images = "".join(
            _image(runs[index], index, runs[index].member if len(members) > 1 else runs[index].name)
            for index in members
        )
        if len(runs) == 1 and moving:  # beside where it started
            images = _image(runs[0], 0, "", f"at time {runs[0].times[0]:.4g}") + images
        title = f"<h3>{markup.text(family)}</h3>" if family and len(members) > 1 else ""
        found.append(
            f'<div class="group" data-members="{images.count("<figure>")}">{title}<div class="images">{images}</div>'
            f'<div class="scale" data-group="{number}" role="img"><div class="bar"></div>'
            '<div class="ticks"><span></span><span></span><span></span><span></span><span></span></div></div></div>'
        )
    return "".join(found)

"""The kernels of a page: which frames and samples are shown, how they are written down, and their viewer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..formatting import number
from ..plots import parts
from ..results.observables import is_classification
from ..results.registry import IMAGES
from . import markup
from .markup import Section
from .runs import Run

FRAMES, SAMPLES = 60, 200
"""At most so many times and samples are shown."""

_FEWEST_FRAMES = 12
_NUMBERS = 3_000_000  # on one page; each takes 2.7 letters of it
_MISSING = -32768
_LARGEST = 32767


@dataclass(frozen=True)
class Choice:
    """Which times and samples of the runs are shown."""

    times: np.ndarray
    """The positions of the slider."""
    frames: list[np.ndarray]
    """For each run the steps that are shown, by their index."""
    at: list[np.ndarray]
    """For each run, which of its frames is shown at each position."""
    samples: list[np.ndarray]
    """For each run the samples that are shown, in the order in which they are shown."""


@dataclass(frozen=True)
class Image:
    """One image of the viewer: the run, its place among the runs, its name, and whether it stays at the first time."""

    run: Run
    place: int
    name: str
    still: bool = False


def section(runs: Sequence[Run]) -> list[Section]:
    """The viewer and its data."""
    having = [run for run in runs if any(name in run.result for name in IMAGES)]
    if not having:
        return []
    choice = chosen(having)
    return [
        markup.section(
            "kernels",
            "kernels",
            "Kernels in time" if any(map(moves, having)) else "Kernels",
            said=_said(having, choice),
            kinds=IMAGES,
            names=[name for name in IMAGES if any(name in run.result for run in having)],
            layers=sorted({int(key.partition("/")[2]) for run in having for key in matrices(run.result) if "/" in key}),
            last=len(choice.times) - 1,
            groups=_groups(having, len(choice.times) > 1),
            data=_described(having, choice),
        )
    ]


def chosen(runs: Sequence[Run]) -> Choice:
    """At most [`FRAMES`] times and [`SAMPLES`] samples, fewer where a page would become too large.

    Times are evenly spaced among the steps of the run that has recorded most; every run shows at each of them the
    recorded step that is nearest. Samples are evenly chosen from the list ordered by class.
    """
    count = sum(len(matrices(run.result)) for run in runs)
    samples = min(SAMPLES, max(run.result.sizes["sample"] for run in runs))
    moving = [run for run in runs if moves(run)]
    longest = max(moving, key=lambda run: len(_steps(run)), default=runs[0])
    steps = _steps(longest)
    frames = min(FRAMES, len(steps), max(_FEWEST_FRAMES, _NUMBERS // (count * samples**2)))
    samples = min(samples, max(10, int(np.sqrt(_NUMBERS / (count * frames)))))
    times = longest.times[steps[evenly(len(steps), frames)]] if moving else np.zeros(1)
    choice = Choice(times, [], [], [])
    for run in runs:
        own = _steps(run)
        nearest = np.zeros(len(times), dtype=int)
        if len(own) > 1:
            nearest = np.abs(run.times[own][None, :] - times[:, None]).argmin(axis=1)
        kept, at = np.unique(nearest, return_inverse=True)
        order = np.arange(run.result.sizes["sample"])
        if "target" in run.result:
            order, _ = parts.by_class(run.result["target"])
        choice.frames.append(own[kept])
        choice.at.append(at)
        choice.samples.append(order[evenly(len(order), min(samples, len(order)))])
    return choice


def quantised(frames: np.ndarray) -> dict[str, Any]:
    """Frames (time, sample, sample) as 16-bit whole numbers, little end first, in base64; value = number × scale."""
    known = np.isfinite(frames)
    largest = float(np.abs(frames[known]).max()) if known.any() else 0.0
    scale = largest / _LARGEST if largest > 0 else 1.0
    numbers = np.where(known, np.rint(np.where(known, frames, 0.0) / scale), _MISSING).astype("<i2")
    return {"scale": scale, "frames": len(frames), "data": base64.b64encode(numbers.tobytes()).decode("ascii")}


def moves(run: Run) -> bool:
    """Whether any kernel of a run changes in time."""
    return any(name in run.result and "step" in run.result[name].dims for name in IMAGES)


def _steps(run: Run) -> np.ndarray:
    """The recorded steps that have a place on the slider: those that are not at t = ∞, unless there is no other."""
    finite = np.flatnonzero(np.isfinite(run.times)) if moves(run) else np.zeros(0, dtype=int)
    return finite if len(finite) else np.array([0])


def _described(runs: Sequence[Run], choice: Choice) -> dict[str, Any]:
    """What the viewer is given: times, and for each run its samples and its kernels as quantised frames."""
    groups = list(dict.fromkeys(run.group for run in runs))
    return {
        "times": _written(choice.times),
        "kinds": {name: {"symbol": symbol, "name": words} for name, (symbol, words) in IMAGES.items()},
        "runs": [
            _described_run(run, groups.index(run.group), frames, at, samples)
            for run, frames, at, samples in zip(runs, choice.frames, choice.at, choice.samples, strict=True)
        ],
    }


def _described_run(run: Run, group: int, frames: np.ndarray, at: np.ndarray, samples: np.ndarray) -> dict[str, Any]:
    classes, edges = [], np.zeros(0)
    if "target" in run.result:
        target = run.result["target"].isel(sample=samples)
        _, edges = parts.by_class(target)
        if len(edges) + 1 == len(samples) > 2:  # each has a target of its own: these are no classes
            edges = edges[:0]
        if target.ndim == 1:
            classes = [f"y = {number(float(value), 3)}".replace("-", "−") for value in target.values]
        else:
            classes = [f"class {int(place)}" for place in target.argmax("output_unit").values]
    return {
        "name": run.name,
        "group": group,
        "times": _written(run.times[frames]) if moves(run) else [],
        "at": [int(place) for place in at],
        "samples": [int(sample) for sample in run.samples[samples]],
        "classes": classes,
        "edges": [float(edge) + 0.5 for edge in edges],
        "kernels": {key: quantised(frames_of(kernel, frames, samples)) for key, kernel in matrices(run.result).items()},
    }


def _written(times: np.ndarray) -> list[float | None]:
    """Times as JSON data, which has no word for infinity."""
    return [float(time) if np.isfinite(time) else None for time in times]


def matrices(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """Every kernel that is shown, each layer by itself, by the name that the viewer has for it."""
    each = {}
    for name in IMAGES:
        if name in result and "layer" in result[name].dims:
            each |= {f"{name}/{int(layer)}": result[name].sel(layer=layer) for layer in result["layer"].values}
        elif name in result:
            each[name] = result[name]
    return each


def frames_of(kernel: xr.DataArray, frames: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """A kernel's mean over replicates as frames (time, sample, sample)."""
    kernel = kernel.isel(sample=samples, sample2=samples)
    if "step" not in kernel.dims:
        return parts.averaged(kernel)[None]
    return parts.averaged(kernel.isel(step=frames).transpose("step", ...))


def _said(runs: Sequence[Run], choice: Choice) -> list[str]:
    """What is shown, and what is left out."""
    targets = [run.result["target"] for run in runs if "target" in run.result]
    said = ["Means over replicates."]
    if len(targets) == len(runs) and all(map(is_classification, targets)):
        said.append("Samples are ordered by class; lines part the classes.")
    elif targets:
        said.append("Samples are ordered by target; lines part the classes, where there are any.")
    if any("output_unit" in run.result[name].dims for run in runs for name in IMAGES if name in run.result):
        said.append("Of the blocks over outputs, the mean of the diagonal ones is shown.")
    if len(choice.times) > 1:
        said.append("The colour scale is the same at all times.")
    for run in [run for run in runs if len(run.samples) < run.whole.sizes.get("sample", 0)][:1]:
        said.append(f"Kernels of {len(run.samples)} of the {run.whole.sizes['sample']} samples were recorded.")
    counts = [(len(samples), run.result.sizes["sample"]) for run, samples in zip(runs, choice.samples, strict=True)]
    for shown, there in [(shown, there) for shown, there in counts if shown < there][:1]:
        said.append(f"{shown} of the {there} samples are shown, evenly chosen{' within classes' if targets else ''}.")
    recorded = max(len(_steps(run)) for run in runs)
    if 1 < len(choice.times) < recorded:
        said.append(f"{len(choice.times)} of the {recorded} recorded times are shown.")
    return said


def _groups(runs: Sequence[Run], moving: bool) -> list[tuple[str, list[Image]]]:
    """The runs of one network and rule side by side, above the colour scale that they share, with what they are."""
    if len(runs) == 1:
        last = [Image(runs[0], 0, runs[0].name)]
        first = [Image(runs[0], 0, f"at time {number(runs[0].times[0])}", still=True)] if moving else []
        return [("", first + last)]
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(run.group, []).append(place)
    each = []
    for places in groups.values():
        alone = len(places) == 1
        names = [runs[place].name if alone else runs[place].member for place in places]
        images = [Image(runs[place], place, name) for place, name in zip(places, names, strict=True)]
        each.append(("" if alone else runs[places[0]].family, images))
    return each


def evenly(length: int, count: int) -> np.ndarray:
    """So many places, or fewer, evenly spaced among so many."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(int))

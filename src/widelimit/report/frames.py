"""Which frames and samples of the kernels a page shows, and how they are written down for its viewer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..plots import parts
from ..results.registry import IMAGES as KINDS
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


def chosen(runs: Sequence[Run]) -> Choice:
    """At most [`FRAMES`] times and [`SAMPLES`] samples, fewer where a page would become too large.

    Times are evenly spaced among the steps of the run that has recorded most; every run shows at each of them the
    recorded step that is nearest. Samples are evenly chosen from the list ordered by class.
    """
    kernels = sum(_count(run) for run in runs)
    largest = max(run.result.sizes["sample"] for run in runs)
    samples = min(SAMPLES, largest)
    moving = [run for run in runs if moves(run)]
    longest = max(moving, key=lambda run: len(finite_steps(run)), default=runs[0])
    steps = finite_steps(longest) if moving else np.array([0])
    frames = min(FRAMES, len(steps), max(_FEWEST_FRAMES, _NUMBERS // (kernels * samples**2)))
    samples = min(samples, max(10, int(np.sqrt(_NUMBERS / (kernels * frames)))))
    times = longest.times[steps[_evenly(len(steps), frames)]] if moving else np.zeros(1)
    found = Choice(times, [], [], [])
    for run in runs:
        own = finite_steps(run) if moves(run) else np.array([0])
        nearest = (
            np.abs(run.times[own][None, :] - times[:, None]).argmin(axis=1) if moves(run) else np.zeros(len(times))
        )
        kept, at = np.unique(nearest.astype(int), return_inverse=True)
        order, _ = parts.by_class(run.result["target"])
        found.frames.append(own[kept])
        found.at.append(at)
        found.samples.append(order[_evenly(len(order), min(samples, len(order)))])
    return found


def described(runs: Sequence[Run], choice: Choice) -> dict[str, Any]:
    """What the viewer is given: times, and for each run its samples and its kernels as quantised frames."""
    groups = list(dict.fromkeys(run.group for run in runs))
    return {
        "times": [float(time) for time in choice.times],
        "kinds": {name: {"symbol": symbol, "name": words} for name, (symbol, words) in KINDS.items()},
        "runs": [
            _described(run, groups.index(run.group), frames, at, samples)
            for run, frames, at, samples in zip(runs, choice.frames, choice.at, choice.samples, strict=True)
        ],
    }


def quantised(frames: np.ndarray) -> dict[str, Any]:
    """Frames (time, sample, sample) as 16-bit whole numbers, little end first, in base64; value = number × scale."""
    known = np.isfinite(frames)
    largest = float(np.abs(frames[known]).max()) if known.any() else 0.0
    scale = largest / _LARGEST if largest > 0 else 1.0
    numbers = np.where(known, np.rint(np.where(known, frames, 0.0) / scale), _MISSING).astype("<i2")
    return {"scale": scale, "frames": len(frames), "data": base64.b64encode(numbers.tobytes()).decode("ascii")}


def frames_of(kernel: xr.DataArray, frames: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """A kernel's mean over replicates as frames (time, sample, sample)."""
    kernel = kernel.isel(sample=samples, sample2=samples)
    if "step" not in kernel.dims:
        return parts.averaged(kernel)[None]
    kernel = kernel.isel(step=frames)
    return parts.averaged(kernel.transpose("step", ...))


def moves(run: Run) -> bool:
    """Whether any kernel of a run changes in time."""
    return any(name in run.result and "step" in run.result[name].dims for name in KINDS)


def finite_steps(run: Run) -> np.ndarray:
    """The recorded steps that are not at t = ∞."""
    return np.flatnonzero(np.isfinite(run.times))


def _described(run: Run, group: int, frames: np.ndarray, at: np.ndarray, samples: np.ndarray) -> dict[str, Any]:
    target = run.result["target"]
    _, edges = parts.by_class(target.isel(sample=samples))
    if len(edges) + 1 == len(samples) > 2:  # each has a target of its own: these are no classes
        edges = edges[:0]
    if target.ndim == 1:
        classes = [f"y = {float(value):.3g}".replace("-", "−") for value in target.values[samples]]
    else:
        classes = [f"class {int(place)}" for place in target.argmax("output_unit").values[samples]]
    kernels = {}
    for name in KINDS:
        for key, kernel in _layers(run.result, name):
            kernels[key] = quantised(frames_of(kernel, frames, samples))
    return {
        "name": run.name,
        "group": group,
        "times": [float(time) for time in run.times[frames]] if moves(run) else [],
        "at": [int(place) for place in at],
        "samples": [int(sample) for sample in samples],
        "classes": classes,
        "edges": [float(edge) + 0.5 for edge in edges],
        "kernels": kernels,
    }


def _layers(result: xr.Dataset, name: str) -> list[tuple[str, xr.DataArray]]:
    if name not in result:
        return []
    kernel = result[name]
    if "layer" not in kernel.dims:
        return [(name, kernel)]
    return [(f"{name}/{int(layer)}", kernel.sel(layer=layer)) for layer in kernel["layer"].values]


def _count(run: Run) -> int:
    return sum(len(_layers(run.result, name)) for name in KINDS)


def _evenly(length: int, count: int) -> np.ndarray:
    return np.unique(np.linspace(0, length - 1, count).round().astype(int))

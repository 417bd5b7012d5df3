"""What a candidate says of a recording: its kernels at the times of the sessions, and which times these could be."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from ..checks import ArgumentError
from ..results import observables
from .candidates import Candidate, Candidates
from .evidence import Law
from .recording import Recording

_POWERS = (0.4, 0.65, 1.0, 1.5, 2.5)
"""Exponents κ of a warp of time."""
_STARTS, _ENDS = (0.0, 0.15), (0.5, 1.0)
"""When the first and the last session can have been, as parts of the run."""
_ALONE = np.linspace(0.0, 1.0, 11)
"""When the only session can have been."""


def stimuli_of(recording: Recording, candidates: Candidates) -> np.ndarray:
    """Where the recording's stimuli stand among the samples whose kernels are kept.

    **Raises:** `ArgumentError` if they are not among them.
    """
    samples, dataset = candidates.samples, recording.dataset
    if "inputs" in dataset:
        x = candidates.task.x.reshape(candidates.task.samples, -1)[samples]
        shown = dataset["inputs"].values
        if shown.shape[1] != x.shape[1]:
            raise ArgumentError(f"stimuli have {shown.shape[1]} inputs, and the samples of the task {x.shape[1]}.")
        distances = np.abs(shown[:, None] - x[None]).max(axis=2)
        places = distances.argmin(axis=1)
        if (distances.min(axis=1) > 1e-6 * np.abs(x).max()).any():
            raise ArgumentError("stimuli must be samples of the candidates' task; some are not among them.")
        return places
    labels = dataset["stimulus"].values
    if labels.dtype.kind in "iu":
        where = {int(sample): place for place, sample in enumerate(samples)}
        missing = [int(label) for label in labels if int(label) not in where]
        if missing:
            raise ArgumentError(
                f"stimuli: {missing[0]} is no sample of the candidates, whose task has {candidates.task.samples}. Pass "
                "indices of its samples, or the inputs themselves."
            )
        return np.array([where[int(label)] for label in labels])
    if len(labels) != len(samples):
        raise ArgumentError(
            f"stimuli: {len(labels)} names cannot be matched to {len(samples)} samples; pass their indices."
        )
    return np.arange(len(labels))


def times_of(recording: Recording, run: xr.Dataset | None, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """At which steps the sessions can have been, (possibility, session), and the prior of each possibility.

    One where steps are known, or a performance that the run's own curve is matched to; else monotone warps of time,
    from a first to a last step as t = first + (last − first)·(s/(T − 1))^κ. A single session can have been at any time.
    """
    if recording.steps is not None:
        if recording.steps.max() > steps:
            raise ArgumentError(f"steps: a session is after {recording.steps.max():g}; candidates have {steps} steps.")
        return recording.steps[None].astype(float), np.ones(1)
    count = recording.sessions
    if run is None:
        return np.zeros((1, count)), np.ones(1)
    if recording.performance is not None:
        return matched(recording, run)[None], np.ones(1)
    last = min(float(run["step"][-1]), steps)
    if count == 1:
        return last * _ALONE[:, None], np.full(len(_ALONE), 1 / len(_ALONE))
    place = np.arange(count) / (count - 1)
    warps = {
        tuple(np.round(last * (start + (end - start) * place**power), 6))
        for start, end, power in itertools.product(_STARTS, _ENDS, _POWERS if count > 2 else (1.0,))
        if end > start
    }
    return np.array(sorted(warps)), np.full(len(warps), 1 / len(warps))


def matched(recording: Recording, run: xr.Dataset) -> np.ndarray:
    """The steps at which a run is first as good as the recording says of its sessions."""
    assert recording.performance is not None
    wanted, steps = recording.performance, run["step"].values.astype(float)
    if recording.dataset.attrs["measure"] == "accuracy":
        curve = observables.classification_error(run["output"], run["target"]).values
        wanted = 1 - wanted
    else:
        curve = run["loss"].values / run["loss"].values[0]
    # The best so far, which falls and never rises: where it stays, the first of its steps is meant.
    falling = np.minimum.accumulate(curve)
    falling, first = np.unique(falling, return_index=True)
    found = np.interp(wanted, falling, steps[first])
    return np.maximum.accumulate(found)


def law_of(
    candidate: Candidate,
    candidates: Candidates,
    stimuli: np.ndarray,
    times: np.ndarray,
    without: int | None = None,
) -> Law | None:
    """The law of responses over cells (session, stimulus) at these steps; None where the run diverged before.

    **Arguments:** `without`: the replicate of the run that is left out of the means; none unless given.
    """
    count = len(times)
    if candidate.baseline == "inputs":
        x = candidates.task.x.reshape(candidates.task.samples, -1)[candidates.samples][stimuli]
        return Law.of(np.kron(np.ones((count, count)), x @ x.T / x.shape[1]))
    run = candidates.run_of(candidate)
    steps = run["step"].values.astype(float)
    if candidate.baseline:
        times = np.zeros(count)
    elif times.max() > steps[-1] + 1e-9:
        return None
    kept = run.drop_isel(replicate=without) if without is not None else run
    kept = kept[["feature_kernel_two_time", "mean_feature"]].sel(layer=candidate.layer).mean("replicate")
    kernel = kept["feature_kernel_two_time"].values[..., stimuli, :][..., stimuli]
    weights = np.stack([np.interp(times, steps, row) for row in np.eye(len(steps))], axis=1)  # session, step
    moved = np.einsum("sk,tl,klab->satb", weights, weights, kernel, optimize=True)
    size = count * len(stimuli)
    mean = weights @ kept["mean_feature"].values[:, stimuli]
    moment = moved.reshape(size, size)
    return Law.of((moment + moment.T) / 2, _significant(mean.reshape(-1), moment, candidates))


def _significant(mean: np.ndarray, moment: np.ndarray, candidates: Candidates) -> np.ndarray | None:
    """The mean feature, or None where it is no more than the sampling error of the particles, as of odd ϕ."""
    training = candidates.runs.training
    particles = (training.width.particles or 4000) * training.replicates
    return mean if (mean**2).mean() > 10 * np.trace(moment) / len(moment) / particles else None

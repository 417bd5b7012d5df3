"""Recordings of simulated networks: some of their neurons, with gains, noise and missing cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from .. import checks
from ..checks import ArgumentError
from ..networks import Nonlinearity
from ..precision import at_precision
from ..results import configuration
from ..simulation import Simulation
from .recording import Recording


def record(
    source: Simulation | xr.Dataset,
    *,
    neurons: int,
    layer: int,
    sessions: Sequence[int] | None = None,
    trials: int = 1,
    noise: float = 0.5,
    seed: int = 0,
    replicate: int = 0,
    tracked: bool = True,
    gain_spread: float = 0.0,
    baseline: float = 0.0,
    missing: float = 0.0,
    poisson: bool = False,
    nonlinearity: Nonlinearity | None = None,
) -> Recording:
    """Record from neurons of a simulated network, at the samples that it is trained on.

    A neuron's response is g ϕ(h) + b + noise; with `poisson`, counts at the rate that is this without the noise, moved
    up until it is nowhere negative, on the scale on which their noise has about the variance `noise` · ⟨ϕ²⟩.

    **Arguments:**

    - `source`: a simulation, as `wl.initialize` makes it, which is stepped from one session to the next; or a run with
      `wl.Record(fields=True)`, of which one session is had, at its last recorded step.
    - `neurons`: how many, of each session.
    - `layer`: 1..L, where they are.
    - `sessions`: the steps at which the network is recorded.
    - `trials`: repeats of each stimulus in each session.
    - `noise`: variance of the noise of a trial, relative to the mean of ϕ² over neurons, sessions and stimuli.
    - `seed`: of everything here that is random but for the network, whose seed is its own.
    - `replicate`: which of the source's replicates.
    - `tracked`: the same neurons in all sessions, or others in each.
    - `gain_spread`: of log g.
    - `baseline`: spread of b, relative to the root mean square of ϕ.
    - `missing`: the share of cells (session, neuron, stimulus) that is missing.
    - `poisson`: counts instead of Gaussian noise.
    - `nonlinearity`: ϕ, of a run; a simulation knows its own.

    **Raises:** `ArgumentError` if the network has not so many neurons or layers.
    """
    neurons = checks.integer("neurons", neurons, at_least=1)
    trials = checks.integer("trials", trials, at_least=1)
    tracked, poisson = checks.boolean("tracked", tracked), checks.boolean("poisson", poisson)
    replicate = checks.integer("replicate", replicate, at_least=0)
    checks.number("noise", noise, at_least=0)
    checks.number("missing", missing, at_least=0, below=1)
    checks.number("gain_spread", gain_spread, at_least=0)
    checks.number("baseline", baseline, at_least=0)
    random = np.random.default_rng(checks.integer("seed", seed, at_least=0))
    if isinstance(source, Simulation):
        steps, features, losses = features_of(source, sessions, replicate)
        stimuli = np.arange(source.task.samples) if source.record.samples is None else np.array(source.record.samples)
        targets = source.task.y[stimuli]
    else:
        if sessions is not None:
            raise ArgumentError("sessions are those of a simulation; a run holds the fields of its last step alone.")
        steps, features, losses, stimuli, targets = _of_run(source, nonlinearity, replicate)
    layers, width = features.shape[1], features.shape[-1]
    layer = checks.integer("layer", layer, at_least=1, at_most=layers)
    wanted = neurons if tracked else neurons * len(steps)
    if wanted > width:
        raise ArgumentError(f"neurons: {wanted} different ones are wanted, and a layer of the network has {width}.")
    responses = sampled(
        features[:, layer - 1],
        neurons,
        noise,
        trials,
        tracked,
        random,
        gain_spread=gain_spread,
        baseline=baseline,
        missing=missing,
        poisson=poisson,
    )
    performance = losses[1:] / losses[0] if len(losses) and losses[0] > 0 else None
    return Recording(responses, stimuli, targets, None, performance, tracked, steps)


_DIVERGED = 1e100
"""The size of a feature from which on its square may overflow."""


class SourceDivergesError(ArgumentError):
    """A network that diverges before it was to be recorded."""


def sampled(
    features: np.ndarray,
    neurons: int,
    noise: float,
    trials: int,
    tracked: bool,
    random: np.random.Generator,
    *,
    gain_spread: float = 0.0,
    baseline: float = 0.0,
    missing: float = 0.0,
    poisson: bool = False,
) -> np.ndarray:
    """Responses (session, trial, neuron, stimulus) of some neurons, from their features (session, stimulus, neuron)."""
    sessions, _, width = features.shape
    power = float((features**2).mean())
    chosen = random.permutation(width)[: neurons if tracked else neurons * sessions]
    shown = features[:, :, chosen] if tracked else _in_turn(features, chosen.reshape(sessions, neurons))
    signal = shown.transpose(0, 2, 1)  # session, neuron, stimulus
    of_neurons = (1 if tracked else sessions, neurons, 1)
    signal = signal * np.exp(gain_spread * random.normal(size=of_neurons))
    signal = signal + baseline * np.sqrt(power) * random.normal(size=of_neurons)
    shape = (sessions, trials, *signal.shape[1:])
    if poisson:
        rate = signal - signal.min(axis=(0, 2) if tracked else 2, keepdims=True)
        # Counts of mean c·rate have the variance c·rate: divided by c, that is rate/c.
        scale = rate.mean() / max(noise * power, 1e-12)
        responses = random.poisson(np.broadcast_to((scale * rate)[:, None], shape)) / scale
    else:
        responses = signal[:, None] + np.sqrt(noise * power) * random.normal(size=shape)
    gone = random.random((sessions, 1, *signal.shape[1:])) < missing
    return np.where(gone, np.nan, responses)


def features_of(
    simulation: Simulation, sessions: Sequence[int] | None, replicate: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, ϕ(h) (session, layer, stimulus, neuron), and the losses, with that before learning in front."""
    if not isinstance(sessions, (list, tuple, range, np.ndarray)) or len(sessions) == 0:
        raise ArgumentError("sessions must be the steps at which the network is recorded, such as (0, 10, 20).")
    steps = np.array([checks.integer("sessions", step, at_least=0, at_most=simulation.steps) for step in sessions])
    if (np.diff(steps) < 0).any():
        raise ArgumentError("sessions must not fall: they are in their order in time.")
    if not simulation.record.fields:
        raise ArgumentError("source must record fields: wl.initialize(..., record=wl.Record(fields=True)).")
    if simulation.net.nonlinearity.gated:
        raise ArgumentError("source: neurons of a gated network have no responses of their own; record another one.")
    state, each, done = simulation.start(replicate), [], 0
    losses = [float(simulation.measure(state)["loss"])]
    for step in steps:
        state = simulation.step(state, int(step) - done)
        done = int(step)
        measured = simulation.measure(state)
        each.append(_values(measured["final_preactivation"], simulation.net.nonlinearity))
        losses.append(float(measured["loss"]))
    features = np.stack(each)
    if not (np.abs(features) < _DIVERGED).all():
        raise SourceDivergesError("source diverges before its last session; record it earlier, or take smaller steps.")
    return steps, features, np.array(losses)


def _values(preactivation: xr.DataArray, nonlinearity: Nonlinearity) -> np.ndarray:
    """ϕ(h) (layer, stimulus, neuron); the positions of a convolutional network are averaged."""
    samples = "sample" if "sample" in preactivation.dims else "recorded_sample"
    h = preactivation.transpose("layer", samples, ..., "neuron")
    with at_precision("float64"):
        values = np.asarray(nonlinearity.value(jnp.asarray(h.values)))
    return values.mean(axis=2) if values.ndim == 4 else values


def _of_run(run: Any, nonlinearity: Nonlinearity | None, replicate: int) -> tuple[Any, ...]:
    checks.instance("source", run, xr.Dataset, "a simulation of widelimit.initialize, or a run with fields")
    if "final_preactivation" not in run:
        raise ArgumentError("source holds no fields; train with record=widelimit.Record(fields=True).")
    if nonlinearity is None:
        net = configuration(run).get("net", {})
        raise ArgumentError(f"nonlinearity must be given with a run: that of its network, {net.get('nonlinearity')}.")
    checks.instance("nonlinearity", nonlinearity, Nonlinearity, "widelimit.Tanh()")
    h = run["final_preactivation"]
    count = h.sizes.get("replicate", 1)
    checks.integer("replicate", replicate, at_least=0, at_most=count - 1)
    h = h.isel(replicate=replicate) if "replicate" in h.dims else h
    dim = "sample" if "sample" in h.dims else "recorded_sample"
    stimuli = run[dim].values if dim in run.coords else np.arange(run.sizes[dim])
    step = run["step"].values[-1:] if "step" in run.coords else np.array([0])
    return step, _values(h, nonlinearity)[None], np.zeros(0), stimuli, run["target"].values[stimuli]


def _in_turn(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.stack([session[:, index] for session, index in zip(values, chosen, strict=True)])

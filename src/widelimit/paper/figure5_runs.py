"""The runs of Fig. 5, two linear layers on whitened inputs under several rules, and what is measured of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

import widelimit as wl

from .base import chosen, stated
from .measures import along_targets, mean_diagonal, trace


@dataclass(frozen=True)
class Parameters:
    """What Fig. 5 is computed with."""

    hidden_layers: int = stated(1, "L")
    samples: int = chosen(4, "P; inputs are √P times the unit vectors, so that K^x is the identity")
    richness: float = chosen(4.0, "γ0 of panels a and b; targets are ±1/√P, so that |y| = 1")
    duration: float = chosen(1.0, "the time that panels a and b show")
    records: int = chosen(50, "records in that time, after the one at its beginning")
    steps: int = chosen(500, "steps of the networks in that time; the same networks also take twice as many")
    width: int = chosen(2000, "N of the networks")
    replicates: int = chosen(32, "independent networks")
    correlations: tuple[float, ...] = chosen((0.0, 0.25, 0.5, 0.75, 1.0), "ρ at which fixed points are compared")
    decades: tuple[int, int] = chosen((-2, 6), "log10 γ0 of the fixed points; panel c shows them up to γ0 = 1000")
    points: int = chosen(10, "values of γ0 for each factor of ten")
    end_richness: tuple[float, ...] = chosen((0.1, 1.0, 10.0, 100.0), "γ0 of the networks of panel c")
    end_step: float = chosen(0.03, "their step size times the larger of yᵀKy/|y|² at the beginning and the end")
    end_steps: int = chosen(800, "their steps, after which they are at rest; the same networks also take twice as many")


RULES: dict[str, wl.Rule] = {
    "GD": wl.GradientDescent(),
    "FA, ρ = 0": wl.FeedbackAlignment(0.0),
    "FA, ρ = 1": wl.FeedbackAlignment(1.0),
    "Hebb": wl.Hebbian(),
}
GD, ZERO, ONE, HEBB = RULES
UNEQUAL = "Hebb, unequal targets"
"""Hebbian learning of targets ∝ 1, −2, 3, −4, … of the same |y|."""

EARLY = (6.4e-2, 1.6e-2, 4e-3, 1e-3)
"""Times at which the difference of two losses is measured."""

_SHORT = 1e-6
_RECORDED = ["loss", "feature_kernel", "pseudo_gradient_kernel"]


def runs(parameters: Parameters) -> Mapping[str, Callable[[], xr.Dataset]]:
    """By name and rule: gradient flow, networks, and where they end as a function of γ0."""
    times = [*np.linspace(0.0, parameters.duration, parameters.records + 1), math.inf]
    low, high = parameters.decades
    strengths = np.logspace(low, high, (high - low) * parameters.points + 1)
    by_name: dict[str, Callable[[], xr.Dataset]] = {}
    for name, rule in (RULES | {UNEQUAL: RULES[HEBB]}).items():
        task = _task(parameters, unequal=name == UNEQUAL)
        by_name[f"flow-{name}"] = lambda task=task, rule=rule: _flow(parameters, task, rule, times)
        by_name[f"network-{name}"] = lambda task=task, rule=rule: _networks(parameters, task, rule)
    task = _task(parameters)
    for name, rule in RULES.items():
        by_name[f"early-{name}"] = lambda rule=rule: _flow(parameters, task, rule, EARLY[::-1])
        by_name[f"rate-{name}"] = lambda rule=rule: _train(parameters, task, rule, parameters.richness, _SHORT, 1)
        by_name[f"ends-{name}"] = lambda rule=rule: _ends(parameters, task, rule)
    for name, rule in (RULES | by_correlation(parameters)).items():
        by_name[f"fixed-{name}"] = lambda rule=rule: fixed_point(parameters, rule, strengths)
    return by_name


def by_correlation(parameters: Parameters) -> dict[str, wl.Rule]:
    """Feedback alignment at each ρ, by the names of its runs."""
    return {f"FA, ρ = {rho:g}": wl.FeedbackAlignment(rho) for rho in parameters.correlations}


def fixed_point(parameters: Parameters, rule: wl.Rule, richness: Sequence[float] | np.ndarray) -> xr.Dataset:
    """Where flow ends. Under the Hebbian rule samples do not see each other, and each has |y_μ| = 1/√P."""
    target = 1 / math.sqrt(parameters.samples) if isinstance(rule, wl.Hebbian) else 1.0
    return wl.theory.two_layer_fixed_point(rule, target=target, richness=richness)


def _task(parameters: Parameters, unequal: bool = False) -> wl.Task:
    size = np.arange(1.0, parameters.samples + 1) if unequal else np.ones(parameters.samples)
    y = size * (-1.0) ** np.arange(parameters.samples)
    return wl.Task(math.sqrt(parameters.samples) * np.eye(parameters.samples), y / np.linalg.norm(y))


def _flow(parameters: Parameters, task: wl.Task, rule: wl.Rule, times: Sequence[float]) -> xr.Dataset:
    return wl.theory.two_layer(rule, targets=np.ravel(task.y), richness=parameters.richness, times=times)


def _train(
    parameters: Parameters, task: wl.Task, rule: wl.Rule, richness: float, step_size: float, steps: int, every: int = 1
) -> xr.Dataset:
    run = wl.train(
        wl.MLP(parameters.hidden_layers, wl.Linear(), richness),
        task,
        rule,
        width=parameters.width,
        optimizer=wl.SGD(step_size),
        steps=steps,
        record=wl.Record(every=every),
        replicates=parameters.replicates,
        progress=False,
    )
    return run.drop_vars("step")


def _in_flow(train: Callable[[int], xr.Dataset]) -> xr.Dataset:
    """Networks in continuous time: `train(k)` takes steps k times as short, and steps of η and η/2 extrapolate to 0.

    Both start from the same weights, so this is done network by network; what is left is of the order η².
    """
    coarse, fine = train(1), train(2)
    extrapolated = 2 * fine[_RECORDED].drop_vars("time") - coarse[_RECORDED].drop_vars("time")
    return extrapolated.assign_coords(time=coarse["time"]).assign(target=coarse["target"])


def _networks(parameters: Parameters, task: wl.Task, rule: wl.Rule) -> xr.Dataset:
    def train(finer: int) -> xr.Dataset:
        steps = parameters.steps * finer
        return _train(
            parameters, task, rule, parameters.richness, parameters.duration / steps, steps, steps // parameters.records
        )

    return _in_flow(train)


def _ends(parameters: Parameters, task: wl.Task, rule: wl.Rule) -> xr.Dataset:
    """ΔH_y and the final G̃ of networks at several γ0."""
    ends: list[xr.Dataset] = []
    for richness in parameters.end_richness:
        end = fixed_point(parameters, rule, [richness])
        fastest = max(2.0, float((1 + end["feature_kernel_change"] + end["pseudo_gradient_kernel"])[0]))

        def train(finer: int, richness: float = richness, fastest: float = fastest) -> xr.Dataset:
            steps = parameters.end_steps * finer
            return _train(parameters, task, rule, richness, parameters.end_step / fastest / finer, steps, steps)

        run = _in_flow(train)
        ends.append(xr.Dataset({"change": change(features(run)), "backward": backward(run).isel(step=-1, drop=True)}))
    return xr.concat(ends, xr.Variable("richness", list(parameters.end_richness)))


def features(run: xr.Dataset) -> xr.DataArray:
    """H_y = yᵀHy/|y|²."""
    return along_targets(run["feature_kernel"].isel(layer=0), run["target"])


def share(run: xr.Dataset) -> xr.DataArray:
    """H_y/Tr H."""
    return features(run) / trace(run["feature_kernel"].isel(layer=0))


def apart(run: xr.Dataset) -> xr.DataArray:
    """Σ_{μ≠ν} y_μ H_μν y_ν/|y|², the part of H_y in which samples meet."""
    kernel = run["feature_kernel"].isel(layer=0)
    other = 1 - xr.DataArray(np.eye(kernel.sizes["sample"]), dims=("sample", "sample2"))
    return along_targets(kernel * other, run["target"])


def backward(run: xr.Dataset) -> xr.DataArray:
    """G̃, averaged over samples, among which it differs under the Hebbian rule alone."""
    return mean_diagonal(run["pseudo_gradient_kernel"].isel(layer=0))


def change(values: xr.DataArray) -> xr.DataArray:
    """By how much the last record differs from the first."""
    return values.isel(step=-1, drop=True) - values.isel(step=0, drop=True)

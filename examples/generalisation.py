"""Generalisation from lazy to rich: test error of infinitely wide networks under six learning rules.

Even against odd handwritten digits, several draws of the training set, richness γ0 from the lazy limit (in closed form,
by `theory.lazy`) upwards. Outputs at infinite width are deterministic: they are averaged over replicates before a loss
is taken, and standard errors are over draws of the training set. Runs are compared at the same training loss, or at
the lowest that they reach.

    python examples/generalisation.py                  # about fifteen minutes on two cores
    python examples/generalisation.py --quick          # a minute: fewer draws, fewer steps
    python examples/generalisation.py --out FOLDER     # where runs are kept and the picture is drawn
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from studies import Runs, Study, command, first_below, mean_and_error, where_fallen, with_error
from tqdm import tqdm

import widelimit as wl


@dataclass(frozen=True)
class Plan:
    """What is run."""

    samples: int = 30
    test_samples: int = 200
    draws: int = 12
    richness: tuple[float, ...] = (0.1, 0.3, 1.0, 2.0)
    hidden_layers: int = 2
    particles: int = 2000
    replicates: int = 2
    steps: int = 160
    record_every: int = 2
    stop: float = 0.1  # the share of the initial training loss at which runs are compared
    check_width: int = 1000
    check_networks: int = 8


QUICK = Plan(draws=2, samples=20, test_samples=60, richness=(0.05, 2.0), particles=1500, steps=40, record_every=4)
LAZY = 0.0
RULES = {
    "gradient descent": wl.GradientDescent(),
    "feedback alignment, ρ = ½": wl.FeedbackAlignment(0.5),
    "feedback alignment, ρ = 0": wl.FeedbackAlignment(0.0),
    "direct feedback alignment": wl.DirectFeedbackAlignment(),
    "Hebbian": wl.Hebbian(),
    "gated linear network": wl.GradientDescent(),
}


def network(plan: Plan, rule: str, richness: float) -> wl.MLP:
    """The network that a rule trains."""
    phi = wl.Gated(wl.ReLU()) if rule == "gated linear network" else wl.Tanh()
    return wl.MLP(plan.hidden_layers, phi, richness or 1.0)


def draw(plan: Plan, index: int) -> wl.Task:
    """One draw of the training set: all ten digits, even ones with the target +1, odd ones −1."""
    task = wl.datasets.digits(plan.samples, plan.test_samples, classes=range(10), seed=index)
    y, y_test = (1.0 - 2.0 * (np.argmax(classes, axis=1) % 2) for classes in (task.y, task.y_test))
    return wl.Task(task.inputs, y, task.test_inputs, y_test)


def step_size(plan: Plan, rule: str, richness: float, task: wl.Task) -> float:
    """What is stable in the lazy limit, less where training makes K grow."""
    lazy = wl.suggest_step_size(network(plan, rule, richness), task, RULES[rule], safety=0.2)
    if rule == "Hebbian" and richness != LAZY:
        return min(lazy, 1 / plan.samples)  # its features saturate, and Φ^L has an eigenvalue of P at most
    return lazy / max(1.0, richness)


def call(plan: Plan, rule: str, richness: float, index: int) -> dict[str, Any]:
    """The arguments of `train` for one run."""
    task = draw(plan, index)
    return {
        "net": network(plan, rule, richness),
        "task": task,
        "rule": RULES[rule],
        "width": wl.Infinite(particles=plan.particles),
        "optimizer": wl.SGD(step_size(plan, rule, richness, task)),
        "steps": plan.steps,
        "record": wl.Record(every=plan.record_every),
        "replicates": plan.replicates,
        "precision": "float32",
    }


def calls(plan: Plan) -> dict[tuple[str, float, int | str], dict[str, Any]]:
    """All runs by rule, γ0 and draw; the networks of the check, which learn the first draw, by what they are."""
    made: dict[tuple[str, float, int | str], dict[str, Any]] = {}
    cases = list(itertools.product(RULES, plan.richness, range(plan.draws)))
    for rule, richness, index in tqdm(cases, unit=" runs", desc="step sizes"):
        made[rule, richness, index] = call(plan, rule, richness, index)
    large, richest = {"width": plan.check_width, "replicates": plan.check_networks}, max(plan.richness)
    return made | {(rule, richest, "networks"): made[rule, richest, 0] | large for rule in RULES}


def lazy(plan: Plan, rule: str, index: int) -> xr.Dataset:
    """The limit γ0 → 0 of one run, which is not worth keeping."""
    task, net = draw(plan, index), network(plan, rule, LAZY)
    optimizer = wl.SGD(step_size(plan, rule, LAZY, task))
    return wl.theory.lazy(net, task, RULES[rule], optimizer=optimizer, steps=plan.steps, kernels=(), progress=False)


def measure(plan: Plan, run: xr.Dataset) -> dict[str, np.ndarray]:
    """Losses and errors in time, per sample, of the outputs averaged over replicates."""
    run = run.isel(step=run["step"].values % plan.record_every == 0)  # the lazy limit has every step
    output, test = wl.observables.mean(run["output"]), wl.observables.mean(run["test_output"])
    noise = wl.observables.standard_error(run["test_output"])
    series = {
        "train loss": 0.5 * ((output - run["target"]) ** 2).mean("sample"),
        "test loss": 0.5 * ((test - run["test_target"]) ** 2).mean("test_sample"),
        "test error": wl.observables.classification_error(test, run["test_target"]),
        "noise": 0.5 * (noise**2).mean("test_sample"),  # what sampling adds to the test loss
    }
    return {name: values.values for name, values in series.items()}


def study(plan: Plan, runs: Runs) -> dict[tuple[str, float], list[dict[str, np.ndarray]]]:
    """All runs, measured: for each rule and γ0 a list over draws."""
    measured: dict[tuple[str, float], list[dict[str, np.ndarray]]] = {}
    cases = list(itertools.product(RULES, (LAZY, *plan.richness), range(plan.draws)))
    for rule, richness, index in tqdm(cases, unit=" runs", desc="measured"):
        run = lazy(plan, rule, index) if richness == LAZY else runs((rule, richness, index))
        measured.setdefault((rule, richness), []).append(measure(plan, run))
    return measured


def stop_of(plan: Plan, run: dict[str, np.ndarray]) -> int:
    """The first record at which the training loss has fallen to its share, or is lowest."""
    return first_below(run["train loss"], plan.stop * run["train loss"][0])


def at_stop(plan: Plan, run: dict[str, np.ndarray], name: str) -> float:
    """A quantity where the training loss has fallen to its share."""
    return where_fallen(run["train loss"], plan.stop, run[name])


def table(plan: Plan, measured: dict) -> str:
    """A Markdown table: test loss and error when trained, and their difference from the lazy limit, draw by draw."""
    lines = [
        "| rule | γ0 | training loss | test loss | − lazy | test error | − lazy | noise in the test loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rule in RULES:
        for richness in (LAZY, *plan.richness):
            runs, lazy = measured[rule, richness], measured[rule, LAZY]
            cells = ["lazy" if richness == LAZY else f"{richness:g}"]
            cells.append(f"{np.mean([at_stop(plan, run, 'train loss') / run['train loss'][0] for run in runs]):.1%}")
            for name, scale, digits in (("test loss", 1, 3), ("test error", 100, 1)):
                values = np.array([scale * at_stop(plan, run, name) for run in runs])
                against = values - [scale * at_stop(plan, run, name) for run in lazy]
                cells.append(with_error(values, f".{digits}f"))
                cells.append("—" if richness == LAZY else with_error(against, f"+.{digits}f"))
            cells.append(f"{np.mean([at_stop(plan, run, 'noise') for run in runs]):.0e}" if richness else "0")
            lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\nTest errors in per cent."


def check(plan: Plan, runs: Runs) -> str:
    """A Markdown table: the richest γ0 of every rule on one draw beside networks, where the training loss has fallen.

    Outputs are averages over networks. Their distance from those at infinite width, relative to their size, stands
    beside what their standard errors alone would make it.
    """
    richness = max(plan.richness)
    heads = ["test loss, networks", "∞", "test error, networks", "∞", "distance of outputs", "noise"]
    lines = [f"| rule, γ0 = {richness:g} | {' | '.join(heads)} |", "|---|---|---|---|---|---|---|"]
    for rule in RULES:
        limit, networks = (runs((rule, richness, which)) for which in (0, "networks"))
        measured = [measure(plan, run) for run in (networks, limit)]
        step = stop_of(plan, measured[1])
        outputs = [run["test_output"].isel(step=step) for run in (networks, limit)]
        noise = sum((wl.observables.standard_error(output) ** 2).sum() for output in outputs)
        first, second = (wl.observables.mean(output) for output in outputs)
        size = float((second**2).sum())
        cells = [f"{run['test loss'][step]:.3f}" for run in measured]
        cells += [f"{100 * run['test error'][step]:.1f}" for run in measured]
        cells += [f"{math.sqrt(float(power) / size):.1%}" for power in (((first - second) ** 2).sum(), noise)]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(plan: Plan, measured: dict) -> Figure:
    """Test error through training for each rule, and test loss and error when trained against γ0."""
    every = (LAZY, *plan.richness)
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(every)))
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.4), layout="constrained")
    for axis, rule in zip(axes[:, :3].ravel(), RULES, strict=True):
        for richness, colour in zip(every, colours, strict=True):
            loss = np.mean([run["train loss"] / run["train loss"][0] for run in measured[rule, richness]], axis=0)
            middle, error = mean_and_error([100 * run["test error"] for run in measured[rule, richness]])
            shown = slice(1, first_below(loss, 1e-3) + 1)  # there is no test error before the first step
            style = {"color": colour, "linestyle": "--" if richness == LAZY else "-"}
            label = "lazy limit" if richness == LAZY else f"γ0 = {richness:g}"
            axis.plot(loss[shown], middle[shown], label=label, **style)
            low, high = (middle - error)[shown], (middle + error)[shown]
            axis.fill_between(loss[shown], low, high, color=colour, alpha=0.12, lw=0)
        axis.set(xscale="log", xlim=(1, 1e-3), ylim=(9, 31), title=rule)
    for axis in axes[:, 0]:
        axis.set_ylabel("test error (%)")
    for axis in axes[1, :3]:
        axis.set_xlabel("training loss / initial")
    places = np.arange(len(every))
    for axis, name, scale, label in (
        (axes[0, 3], "test loss", 1, "test loss per sample"),
        (axes[1, 3], "test error", 100, "test error (%)"),
    ):
        for index, rule in enumerate(RULES):
            values = [mean_and_error([scale * at_stop(plan, run, name) for run in measured[rule, g]]) for g in every]
            middle, error = map(np.array, zip(*values, strict=True))
            axis.errorbar(places + 0.06 * (index - 2.5), middle, error, marker="o", ms=3, lw=1, label=rule)
        axis.set_xticks(places, ["lazy", *(f"{g:g}" for g in plan.richness)])
        axis.set(ylabel=label, title=f"at {plan.stop:.0%} of the training loss")
    axes[1, 3].set_xlabel("richness γ0")
    axes[0, 0].legend(fontsize=8, frameon=False)
    axes[0, 3].legend(fontsize=7, frameon=False)
    return figure


if __name__ == "__main__":
    command(__doc__, Study(Plan(), QUICK, calls, study, table, picture, check), "widelimit-generalisation")

"""Feedback alignment in convolutional networks: does partial initial alignment explain where it works?

Fully connected, convolutional and locally connected networks (which look at the same patches, but share no weights) are
trained on two classes of handwritten digits by ρ-aligned feedback from ρ = 0 to 1, by direct feedback alignment and by
gradient descent. Networks are compared at the same training loss, with gradient descent draw by draw. A smaller problem
is run at infinite width as well.

    python examples/feedback_in_cnns.py                  # about half an hour on two cores
    python examples/feedback_in_cnns.py --quick          # a minute or two
    python examples/feedback_in_cnns.py --out FOLDER     # where runs are kept and the picture is drawn
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from studies import Runs, Study, command, mean_and_error, where_fallen, with_error
from tqdm import tqdm

import widelimit as wl


@dataclass(frozen=True)
class Plan:
    """What is run."""

    classes: tuple[int, int] = (3, 8)
    samples: int = 60
    test_samples: int = 250
    draws: int = 6
    width: int = 64
    replicates: int = 1
    steps: int = 160
    record_every: int = 8
    correlations: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    stop: float = 0.05  # the share of the initial training loss at which networks are compared
    check_samples: int = 8  # of the problem that is run at infinite width too
    check_steps: int = 32
    particles: int = 4000


QUICK = Plan(
    samples=6,
    test_samples=20,
    draws=2,
    width=30,
    steps=16,
    record_every=4,
    correlations=(0.0, 0.5),
    check_samples=4,
    check_steps=8,
)
NETWORKS = {
    # At these γ0 features move about as far under gradient descent; K, and what a γ0 means, depend on the network.
    "fully connected": wl.MLP(2, wl.Tanh(), 0.5),
    "locally connected": wl.CNN(2, wl.Tanh(), 6.0, filter_scale=1 / 3, pool=2, shared=False),
    "convolutional": wl.CNN(2, wl.Tanh(), 4.0, filter_scale=1 / 3, pool=2),
}
CHECKED, CHECKED_RULES = ("fully connected", "convolutional"), ("ρ = 0", "DFA", "GD")


def rules(plan: Plan) -> dict[str, wl.Rule]:
    """The rules, by the labels of the picture."""
    aligned = {f"ρ = {rho:g}": wl.FeedbackAlignment(rho) for rho in plan.correlations}
    return {"DFA": wl.DirectFeedbackAlignment(), **aligned, "GD": wl.GradientDescent()}


@functools.cache
def problem(plan: Plan, network: str, samples: int, index: int) -> tuple[wl.Task, float]:
    """One draw of the training set, and a step size that suits it."""
    task = wl.datasets.digits(samples, plan.test_samples, classes=plan.classes, seed=index)
    return task, wl.suggest_step_size(NETWORKS[network], task, safety=0.2)


def call(plan: Plan, network: str, rule: str, index: int, samples: int | None = None, **options: Any) -> dict[str, Any]:
    """The arguments of `train` for one run of one draw of the training set."""
    task, step_size = problem(plan, network, plan.samples if samples is None else samples, index)
    return {
        "net": NETWORKS[network],
        "task": task,
        "rule": rules(plan)[rule],
        "width": plan.width,
        "optimizer": wl.SGD(step_size),
        "steps": plan.steps,
        "record": wl.Record(every=plan.record_every),
        "replicates": plan.replicates,
        "seed": index,  # other networks for each draw, whose errors over draws are then those of both
        "precision": "float32",
    } | options


def calls(plan: Plan) -> dict[tuple[str, str, int | str], dict[str, Any]]:
    """All runs by network, rule and draw; those of the check by network, rule and what they are."""
    small = {"samples": plan.check_samples, "steps": plan.check_steps}
    limit = {"width": wl.Infinite(particles=plan.particles), "replicates": 2}
    widths = {"networks": {"replicates": 12}, "infinite width": limit}
    made: dict[tuple[str, str, int | str], dict[str, Any]] = {}
    each = list(itertools.product(NETWORKS, rules(plan), range(plan.draws)))
    for network, rule, index in tqdm(each, unit=" runs", desc="step sizes"):
        made[network, rule, index] = call(plan, network, rule, index)
    for network, rule, kind in itertools.product(CHECKED, CHECKED_RULES, widths):
        made[network, rule, kind] = call(plan, network, rule, 0, **small, **widths[kind])
    return made


def measure(plan: Plan, run: xr.Dataset) -> dict[str, float]:
    """What a run has come to where the training loss has fallen to its share, averaged over its networks."""
    mean = run.mean("replicate")
    loss, features = mean["loss"].values, mean["feature_kernel"].sel(layer=2)
    alignment = wl.observables.gradient_alignment(run).mean("replicate")
    error = wl.observables.classification_error(run["test_output"], run["test_target"]).mean("replicate")
    moved = ((features - features[0]) ** 2).sum(features.dims[1:]) ** 0.5 / (features[0] ** 2).sum() ** 0.5
    series = {
        "test error": 100 * error.values,
        "test loss": mean["test_loss"].values / run.sizes["test_sample"],
        "time": run["time"].values,
        "training loss": loss / loss[0],
        "change of Φ": moved.values,
        **{f"alignment {layer}": alignment.sel(layer=layer).values for layer in (1, 2)},
    }
    trained = {name: where_fallen(loss, plan.stop, values) for name, values in series.items()}
    return trained | {f"initial alignment {layer}": float(series[f"alignment {layer}"][0]) for layer in (1, 2)}


def study(plan: Plan, runs: Runs) -> dict[tuple[str, str], list[dict[str, float]]]:
    """All runs at finite width, measured: for each network and rule a list over draws."""
    measured: dict[tuple[str, str], list[dict[str, float]]] = {}
    cases = list(itertools.product(NETWORKS, rules(plan), range(plan.draws)))
    for network, rule, index in tqdm(cases, unit=" runs", desc="measured"):
        measured.setdefault((network, rule), []).append(measure(plan, runs((network, rule, index))))
    for network, rule in measured:
        for run, descent in zip(measured[network, rule], measured[network, "GD"], strict=True):  # of the same draw
            run["test error − GD's"] = run["test error"] - descent["test error"]
            run["test loss − GD's"] = run["test loss"] - descent["test loss"]
            run["time / GD's"] = run["time"] / descent["time"]
    return measured


def check(plan: Plan, runs: Runs) -> str:
    """A Markdown table: a smaller problem at infinite width beside networks, alignment and loss at the last step."""
    lines = [
        "| network | rule | quantity | networks | infinite width | standard errors | dropped |",
        "|---|---|---|---|---|---|---|",
    ]
    for network in CHECKED:
        for rule in CHECKED_RULES:
            finite, limit = (runs((network, rule, kind)) for kind in ("networks", "infinite width"))
            dropped = float(limit["forward_dropped_fraction"].mean(("step", "replicate")).max())
            for name, values in (
                ("loss", lambda run: run["loss"].isel(step=-1)),
                ("alignment 1", lambda run: wl.observables.gradient_alignment(run).sel(layer=1).isel(step=-1)),
            ):
                pairs = [mean_and_error(values(run).values) for run in (finite, limit)]
                difference, error = pairs[0][0] - pairs[1][0], math.hypot(pairs[0][1], pairs[1][1])
                apart = f"{difference / error:+.1f}" if error > 1e-6 else "—"  # gradient descent is aligned exactly
                cells = " | ".join(f"{middle:.3f} ± {error:.3f}" for middle, error in pairs)
                lines.append(f"| {network} | {rule} | {name} | {cells} | {apart} | {dropped:.1%} |")
    return "\n".join(lines)


def table(plan: Plan, measured: dict) -> str:
    """A Markdown table of what the networks have come to, with standard errors over draws."""
    lines = [
        "| network | rule | test error (%) | − GD's | test loss − GD's | corr(g, g̃), layer 1 | layer 2 | time / GD's "
        "| training loss | ΔΦ² |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (network, rule), runs in measured.items():
        values = {name: [run[name] for run in runs] for name in runs[0]}
        cells = [
            with_error(values[name], form)
            for name, form in (
                ("test error", ".1f"),
                ("test error − GD's", "+.1f"),
                ("test loss − GD's", "+.3f"),
                ("alignment 1", ".3f"),
                ("alignment 2", ".3f"),
                ("time / GD's", ".1f"),
            )
        ]
        cells += [f"{np.mean(values['training loss']):.1%}", f"{np.mean(values['change of Φ']):.2g}"]
        lines.append(f"| {network} | {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(plan: Plan, measured: dict) -> Figure:
    """Test error and time beside gradient descent, and the alignment of each layer at the start and when trained."""
    names = list(rules(plan))
    places = np.arange(len(names))
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    panels = {
        "test error − GD's": "test error − gradient descent's (%)",
        "time / GD's": "training time / gradient descent's",
        "alignment 1": "corr(g, g̃), layer 1",
        "alignment 2": "corr(g, g̃), layer 2",
    }
    axes = axes.T.ravel()
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        for index, network in enumerate(NETWORKS):
            shift = 0.08 * (index - 1)
            values = [mean_and_error([run[name] for run in measured[network, rule]]) for rule in names]
            middle, error = map(np.array, zip(*values, strict=True))
            axis.errorbar(places + shift, middle, error, fmt="o-", ms=4, lw=1.2, color=f"C{index}", label=network)
            if name.startswith("alignment"):
                start = [np.mean([run[f"initial {name}"] for run in measured[network, rule]]) for rule in names]
                axis.plot(places + shift, start, "_", ms=8, color=f"C{index}")
        axis.set_xticks(places, names, rotation=45)
        axis.set_ylabel(label)
    axes[0].axhline(0, color="0.7", lw=0.8, zorder=0)
    axes[1].axhline(1, color="0.7", lw=0.8, zorder=0)
    axes[1].legend(frameon=False, fontsize=8)
    axes[2].set_title("points: when trained; dashes: at the start", fontsize=9)
    for axis in axes[::2]:
        axis.tick_params(labelbottom=False)
    figure.suptitle(
        f"Networks of {plan.width} neurons or channels, at {plan.stop:.0%} of the initial training loss", fontsize=10
    )
    return figure


if __name__ == "__main__":
    command(__doc__, Study(Plan(), QUICK, calls, study, table, picture, check), "widelimit-feedback")

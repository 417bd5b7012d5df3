"""Feedback alignment in convolutional networks: does partial initial alignment explain where it works?

Fully connected, convolutional and locally connected networks (which look at the same patches, but share no weights) are
trained on two classes of handwritten digits by ρ-aligned feedback from ρ = 0 to 1, by direct feedback alignment and by
gradient descent. Networks are compared at the same training loss. A smaller problem is run at infinite width as well.

    python examples/feedback_in_cnns.py                  # about a quarter of an hour on two cores
    python examples/feedback_in_cnns.py --quick          # a minute
    python examples/feedback_in_cnns.py --out FOLDER     # where runs are kept and the picture is drawn
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from kept import Study, command, complete, first_below, kept, mean_and_error
from matplotlib.figure import Figure
from tqdm import tqdm

import widelimit as wl


@dataclass(frozen=True)
class Plan:
    """What is run."""

    classes: tuple[int, int] = (3, 8)
    samples: int = 10
    test_samples: int = 100
    draws: int = 3
    width: int = 64
    replicates: int = 2
    steps: int = 96
    record_every: int = 4
    correlations: tuple[float, ...] = (0.0, 0.5, 1.0)
    stop: float = 0.1  # the share of the initial training loss at which networks are compared
    check_samples: int = 8  # of the problem that is run at infinite width too
    check_steps: int = 32
    particles: int = 4000


QUICK = Plan(
    samples=6, test_samples=20, draws=2, width=30, steps=16, correlations=(0.0, 0.5), check_samples=4, check_steps=8
)
NETWORKS = {
    # At these γ0 features move about as far under gradient descent; K, and what a γ0 means, depend on the network.
    "fully connected": wl.MLP(2, wl.Tanh(), 0.5),
    "locally connected": wl.CNN(2, wl.Tanh(), 6.0, filter_scale=1 / 3, pool=2, shared=False),
    "convolutional": wl.CNN(2, wl.Tanh(), 4.0, filter_scale=1 / 3, pool=2),
}
CHECKED = ("fully connected", "convolutional")


def rules(plan: Plan) -> dict[str, wl.Rule]:
    """The rules, by the labels of the picture."""
    aligned = {f"ρ = {rho:g}": wl.FeedbackAlignment(rho) for rho in plan.correlations}
    return {"DFA": wl.DirectFeedbackAlignment(), **aligned, "GD": wl.GradientDescent()}


def train(plan: Plan, network: str, rule: str, index: int, folder: Path, **options) -> xr.Dataset:
    """One run of one draw of the training set, kept in `folder`."""
    settings: dict[str, Any] = {
        "samples": plan.samples,
        "steps": plan.steps,
        "width": plan.width,
        "replicates": plan.replicates,
    } | options
    samples = settings.pop("samples")
    task = wl.datasets.digits(samples, plan.test_samples, classes=plan.classes, seed=index)
    net = NETWORKS[network]
    run = kept(
        folder / f"{network}, {rule}, draw {index}, {samples} samples, width {settings['width']}.nc",
        lambda: wl.train(
            net,
            task,
            rules(plan)[rule],
            step_size=wl.suggest_step_size(net, task, safety=0.2),
            record_every=plan.record_every,
            seed=index,  # other networks for each draw, whose errors over draws are then those of both
            precision="float32",
            progress=False,
            **settings,
        ),
    )
    return complete(run)


def measure(plan: Plan, run: xr.Dataset) -> dict[str, float]:
    """What a run has come to where the training loss has fallen to its share, averaged over its networks."""
    loss = run["loss"].mean("replicate").values
    at = run.isel(step=first_below(loss, plan.stop * loss[0]))
    error = wl.observables.classification_error(at["test_output"], at["test_target"])
    features = run["feature_kernel"].mean("replicate").sel(layer=2)
    moved = features.isel(step=-1) - features.isel(step=0)
    found = {
        "test error": 100 * float(error.mean()),
        "test loss": float(at["test_loss"].mean()) / run.sizes["test_sample"],
        "time": float(at["time"]),
        "training loss": float(at["loss"].mean()) / loss[0],
        "change of Φ": float((moved**2).sum() ** 0.5 / (features.isel(step=0) ** 2).sum() ** 0.5),
    }
    alignment = wl.observables.gradient_alignment(run).mean("replicate")
    for layer in (1, 2):
        found[f"alignment {layer}"] = float(
            alignment.sel(layer=layer).isel(step=first_below(loss, plan.stop * loss[0]))
        )
        found[f"initial alignment {layer}"] = float(alignment.sel(layer=layer).isel(step=0))
    return found


def study(plan: Plan, folder: Path) -> dict[tuple[str, str], list[dict[str, float]]]:
    """All runs at finite width, measured: for each network and rule a list over draws."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tqdm(total=len(NETWORKS) * len(rules(plan)) * plan.draws, unit=" runs") as bar:
        for network in NETWORKS:
            for rule in rules(plan):
                for index in range(plan.draws):
                    bar.set_description(f"{network}, {rule}")
                    found.setdefault((network, rule), []).append(
                        measure(plan, train(plan, network, rule, index, folder))
                    )
                    bar.update()
    return found


def check(plan: Plan, folder: Path) -> str:
    """A Markdown table: a smaller problem at infinite width beside networks, alignment and loss at the last step."""
    lines = [
        "| network | rule | quantity | networks | infinite width | standard errors | dropped |",
        "|---|---|---|---|---|---|---|",
    ]
    for network in CHECKED:
        for rule in ("ρ = 0", "DFA", "GD"):
            small = {"samples": plan.check_samples, "steps": plan.check_steps}
            finite = train(plan, network, rule, 0, folder, **small, replicates=12)
            limit = train(
                plan, network, rule, 0, folder, **small, width=math.inf, particles=plan.particles, replicates=2
            )
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


def table(plan: Plan, found: dict) -> str:
    """A Markdown table of what the networks have come to, with standard errors over draws."""
    lines = [
        "| network | rule | test error (%) | test loss | corr(g, g̃), layer 1 | layer 2 | training loss | time | ΔΦ² |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (network, rule), runs in found.items():
        cells = []
        for name, digits in (("test error", 1), ("test loss", 3), ("alignment 1", 3), ("alignment 2", 3)):
            middle, error = mean_and_error([one[name] for one in runs])
            cells.append(f"{middle:.{digits}f} ± {error:.{digits}f}")
        cells += [f"{np.mean([one[name] for one in runs]):.2g}" for name in ("training loss", "time", "change of Φ")]
        lines.append(f"| {network} | {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(plan: Plan, found: dict) -> Figure:
    """Test error and loss, and the alignment of each layer at the start and when trained, against ρ."""
    names = list(rules(plan))
    places = np.arange(len(names))
    panels = {
        "test error": "test error (%)",
        "test loss": "test loss per sample",
        "alignment 1": "corr(g, g̃), layer 1",
        "alignment 2": "corr(g, g̃), layer 2",
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    axes = axes.T.ravel()
    for axis, (name, label) in zip(axes, panels.items(), strict=True):
        for index, network in enumerate(NETWORKS):
            values = [mean_and_error([one[name] for one in found[network, rule]]) for rule in names]
            middle, error = map(np.array, zip(*values, strict=True))
            axis.errorbar(
                places + 0.08 * (index - 1), middle, error, fmt="o-", ms=4, lw=1.2, color=f"C{index}", label=network
            )
            if name.startswith("alignment"):
                start = [np.mean([one[f"initial {name}"] for one in found[network, rule]]) for rule in names]
                axis.plot(places + 0.08 * (index - 1), start, "_", ms=8, color=f"C{index}")
        axis.set_xticks(places, names, rotation=45)
        axis.set_ylabel(label)
    axes[0].legend(frameon=False, fontsize=8)
    axes[2].set_title("points: when trained; dashes: at the start", fontsize=9)
    for axis in axes[::2]:
        axis.tick_params(labelbottom=False)
    figure.suptitle(
        f"Networks of {plan.width} neurons or channels, at {plan.stop:.0%} of the initial training loss", fontsize=10
    )
    return figure


if __name__ == "__main__":
    command(__doc__, Study(Plan(), QUICK, study, table, picture, check), "widelimit-feedback")

"""Suggested step sizes, tried in networks that the suggestion has not seen: does a loss rise, or a run diverge?

All rules × nonlinearities × richnesses × tasks, 200 steps of networks of 200 neurons. Printed is every cell in which a
loss exceeded its start by 5 % or a suggestion said that the rule itself raises it, and the number of all cells.

    python benchmarks/step_sizes.py            # about an hour on two cores
    python benchmarks/step_sizes.py Hebbian    # one rule
    python benchmarks/step_sizes.py --every 9  # each ninth cell
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import widelimit as wl

RULES = [
    wl.GradientDescent(),
    wl.FeedbackAlignment(0.0),
    wl.FeedbackAlignment(0.5),
    wl.DirectFeedbackAlignment(),
    wl.Hebbian(),
    wl.KolenPollack(),
    wl.SignSymmetric(),
    wl.DirectRandomTargetProjection(),
    wl.ThreeFactorHebbian(),
]
NONLINEARITIES = [wl.Tanh(), wl.ReLU(), wl.GELU(), wl.Softplus(), wl.Gated(wl.ReLU())]
RICHNESSES = [0.1, 1.0, 3.0, 10.0]
ROSE = 1.05


@dataclass(frozen=True)
class Problem:
    """What is learned, and in which batches."""

    task: wl.Task
    batches: wl.Batches | None = None


def problems() -> dict[str, Problem]:
    """Five tasks: images, points on a sphere and on a circle, ten classes, minibatches."""
    digits = wl.datasets.digits(16, 0)
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 10)
    circle = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return {
        "digits": Problem(digits),
        "sphere": Problem(wl.datasets.sphere(12, 20)),
        "circle": Problem(wl.Task(circle, np.sign(np.sin(3 * angles)))),
        "ten classes": Problem(wl.datasets.digits(20, 0, classes=range(10))),
        "minibatches": Problem(digits, wl.Batches(4)),
    }


def cells(chosen: str | None) -> Iterator[tuple[wl.Rule, wl.Nonlinearity, float, str, Problem]]:
    """Every combination, those of one rule if it is named."""
    rules = [rule for rule in RULES if chosen in (None, type(rule).__name__)]
    # Cells that differ in richness alone come one after the other: they share what is compiled.
    for rule, nonlinearity, (name, problem), richness in itertools.product(
        rules, NONLINEARITIES, problems().items(), RICHNESSES
    ):
        yield rule, nonlinearity, richness, name, problem


def tried(rule: wl.Rule, nonlinearity: wl.Nonlinearity, richness: float, problem: Problem) -> tuple[float, float, bool]:
    """The suggestion, the highest loss of four networks relative to its start, and whether a rise was foretold."""
    net = wl.MLP(2, nonlinearity, richness)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        size = wl.suggest_step_size(net, problem.task, rule, batches=problem.batches, progress=False)
    foretold = any(issubclass(warning.category, wl.RisingLossWarning) for warning in caught)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = wl.train(
            net,
            problem.task,
            rule,
            width=200,
            optimizer=wl.SGD(size),
            steps=200,
            batches=problem.batches,
            record=wl.Record(every=10, kernels=()),
            replicates=4,
            seed=11,
            progress=False,
        )
    start = run["loss"].isel(step=0).values
    highest = np.where(run["diverged_step"].values >= 0, np.inf, run["highest_loss"].values)
    return size, float(np.max(highest / start)), foretold


def main() -> None:
    """Print the cells in which a loss rose, and how many there were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rule", nargs="?")
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    count, rising, unforetold = 0, 0, 0
    for rule, nonlinearity, richness, name, problem in itertools.islice(cells(options.rule), 0, None, options.every):
        size, rise, foretold = tried(rule, nonlinearity, richness, problem)
        count += 1
        if rise > ROSE or foretold:
            rising += rise > ROSE
            unforetold += rise > ROSE and not foretold
            said = "foretold" if foretold else "NOT FORETOLD"
            print(
                f"{rule}, {nonlinearity}, γ0 = {richness:g}, {name}: η = {size:.3g}, at most {rise:.3g} times its "
                f"start, {said}",
                flush=True,
            )
    print(f"{count} cells; the loss rose in {rising}, unforetold in {unforetold}.")


if __name__ == "__main__":
    main()

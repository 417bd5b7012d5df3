"""The defaults of infinite width on hard tasks: final loss and K against networks extrapolated in 1/N.

Few dimensions, nearly parallel inputs, late and rich training, minibatches: where what is left to learn sits in the
small modes of the kernel, and little power carries much of an update. Ten classes: errors fade, turn, and go on
teaching. Distances are in the standard errors of both.

    python benchmarks/hard_tasks.py             # about half an hour on two cores
    python benchmarks/hard_tasks.py "circle, P = 8"
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

import widelimit as wl


@dataclass(frozen=True)
class Case:
    """One task, network and rule, and how precisely it is measured."""

    x: np.ndarray
    y: np.ndarray
    loss: wl.Loss = field(default_factory=wl.SquaredError)
    net: wl.MLP = field(default_factory=lambda: wl.MLP(2, wl.Tanh()))
    rule: wl.Rule = field(default_factory=wl.GradientDescent)
    steps: int = 40
    step_size: float | None = None
    batches: wl.Batches | None = None
    replicates: int = 16
    networks: int = 64


def drawn(samples: int, dimension: int, seed: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Points on the sphere |x|² = D with targets ±1."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, dimension))
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    return x, random.choice([-1.0, 1.0], samples)


def in_pairs(pairs: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """The same in pairs of points that are nearly parallel."""
    random = np.random.default_rng(8)
    x = np.repeat(random.normal(size=(pairs, dimension)), 2, axis=0)
    x += 0.05 * random.normal(size=x.shape)
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    return x, random.choice([-1.0, 1.0], 2 * pairs)


def classes(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits of ten classes."""
    task = wl.datasets.digits(samples, classes=range(10))
    return task.x, task.y


DEEP = wl.MLP(3, wl.Tanh())
CASES = {
    "circle, P = 8": Case(*drawn(8, 2), steps=15, step_size=0.111),
    "circle, P = 20": Case(*drawn(20, 2)),
    "sphere in 3, P = 40": Case(*drawn(40, 3), steps=30, replicates=6, networks=32),
    "parallel pairs, P = 12": Case(*in_pairs(6, 5), steps=60),
    "late, P = 8": Case(*drawn(8, 10), steps=200),
    "circle, ReLU, P = 12": Case(*drawn(12, 2), net=wl.MLP(2, wl.ReLU())),
    "circle, FA ½, P = 12": Case(*drawn(12, 2), rule=wl.FeedbackAlignment(0.5)),
    "sphere in 3, DFA, L = 3, P = 16": Case(*drawn(16, 3), net=DEEP, rule=wl.DirectFeedbackAlignment()),
    "circle, batches of 4, P = 16": Case(*drawn(16, 2), steps=60, batches=wl.Batches(4)),
    "circle, γ0 = 3, P = 10": Case(*drawn(10, 2), net=wl.MLP(2, wl.Tanh(), 3.0), steps=60),
    "ten classes, P = 10": Case(*classes(10), steps=60, replicates=6, networks=32),
    "ten classes, batches of 5, P = 10": Case(
        *classes(10), steps=160, batches=wl.Batches(5), replicates=6, networks=32
    ),
    "ten classes, L = 3, P = 30": Case(*classes(30), net=DEEP, steps=100, step_size=0.07, replicates=6, networks=32),
    "ten classes, L = 3, FA ½, P = 30": Case(
        *classes(30), net=DEEP, rule=wl.FeedbackAlignment(0.5), steps=100, step_size=0.07, replicates=6, networks=32
    ),
    "ten classes, cross-entropy, L = 3, P = 12": Case(
        *classes(12), wl.SoftmaxCrossEntropy(), DEEP, steps=80, step_size=0.2, replicates=6, networks=32
    ),
}
WIDTHS = (400, 800)


def extrapolated(runs: list[xr.Dataset], quantity) -> tuple[float, float]:
    """The mean of a quantity at N → ∞ from two widths, linearly in 1/N, and its standard error."""
    weights = np.array([-WIDTHS[0], WIDTHS[1]]) / (WIDTHS[1] - WIDTHS[0])
    each = [quantity(run) for run in runs]
    errors = [values.std(ddof=1) / np.sqrt(len(values)) for values in each]
    return float(weights @ [values.mean() for values in each]), float(np.hypot(*(weights * errors)))


def row(name: str, case: Case) -> str:
    """A row of the table, as Markdown."""
    task = wl.Task(case.x, case.y, loss=case.loss)
    size = case.step_size or wl.suggest_step_size(case.net, task, case.rule, batches=case.batches, progress=False)
    options = dict(
        optimizer=wl.SGD(size),
        steps=case.steps,
        record=wl.Record(every=case.steps, kernels=("ntk",)),
        batches=case.batches,
        progress=False,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", wl.TruncationWarning)
        limit = wl.train(case.net, task, case.rule, replicates=case.replicates, **options)
    networks = [
        wl.train(case.net, task, case.rule, width=width, replicates=case.networks, seed=7, **options)
        for width in WIDTHS
    ]
    cells = [f"{float(limit['loss'].isel(step=-1).mean() / limit['loss'].isel(step=0).mean()):.1e}"]
    quantities = (
        lambda run: run["loss"].values[:, -1],
        lambda run: np.linalg.norm(run["ntk"].values[:, -1].reshape(run.sizes["replicate"], -1), axis=1),
    )
    for quantity in quantities:
        values = quantity(limit)
        mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
        expected, of_networks = extrapolated(networks, quantity)
        distance = (mean - expected) / np.hypot(error, of_networks)
        cells += [f"{mean:.4g} ± {error:.2g}", f"{expected:.4g} ± {of_networks:.2g}", f"{distance:+.1f}"]
    cells += [f"{float(limit['unlearned_fraction'].max()):.1e}", "yes" if caught else "no"]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    heads = ("task", "loss/start", "loss, ∞", "networks", "s.e.", "K, ∞", "networks", "s.e.", "not learned", "warned")
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for name in sys.argv[1:] or CASES:
        print(row(name, CASES[name]), flush=True)


if __name__ == "__main__":
    main()

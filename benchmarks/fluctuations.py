"""Predicted covariances of kernels over random networks against networks: `theory.fluctuations` at several widths.

For each network and width, `train(..., steps=0)` makes random networks. The first table compares total variances of Φ,
G and K (sums over layers and pairs of samples), measured over predicted, and all covariances entry by entry: the root
mean square of (measured − predicted)/standard error, which is about 1 where only chance is left. The second has the
slope of log variance against log N, and the ratio of variances extrapolated to N = ∞ by a line in 1/N. Errors are
standard errors over networks.

    python benchmarks/fluctuations.py              # everything: about a quarter of an hour on one core
    python benchmarks/fluctuations.py relu-3 hebb  # cases whose names contain one of the words
    python benchmarks/fluctuations.py points       # the error of the fourth moments alone: a minute
"""

from __future__ import annotations

import sys
import time

import numpy as np

import widelimit as wl

LAYERS, NETWORKS, WIDTHS = 3, 1000, (50, 100, 200, 400)
NONLINEARITIES = {"relu": wl.ReLU(), "tanh": wl.Tanh(), "linear": wl.Linear(), "gated": wl.Gated(wl.ReLU())}
RULES = {
    "gd": wl.GradientDescent(),
    "fa-half": wl.FeedbackAlignment(0.5),
    "fa-0": wl.FeedbackAlignment(0.0),
    "dfa": wl.DirectFeedbackAlignment(),
    "hebb": wl.Hebbian(),
}
CASES = [(phi, samples, "gd") for phi in NONLINEARITIES for samples in (1, 3, 6)] + [
    (phi, 3, rule) for phi in ("relu", "tanh") for rule in RULES if rule != "gd"
]


def main(words: list[str]) -> None:
    """Print the tables as Markdown."""
    if not words or "points" in words:
        points_table()
    chosen = [case for case in CASES if not words or any(word in _name(case) for word in words)]
    if not chosen:
        return
    print("\n| network | N | Φ | G | K | rms z: Φ–Φ | G–G | Φ–G | K–K |\n|---|---|---|---|---|---|---|---|---|")
    slopes = [row for case in chosen for row in compare(*case)]
    print("\n| network | slope of Φ | of G | of K | ratio at N = ∞: Φ | G | K |\n|---|---|---|---|---|---|---|")
    print("\n".join(slopes))


def compare(phi: str, samples: int, rule: str) -> list[str]:
    """Print the rows of one case at all widths; return its row of the second table."""
    task = _task(samples)
    net = wl.MLP(LAYERS, NONLINEARITIES[phi])
    totals = []
    for width in WIDTHS:
        theory = wl.theory.fluctuations(net, task, RULES[rule], width=width, progress=False)
        run = wl.train(
            net,
            task,
            RULES[rule],
            width=width,
            optimizer=wl.SGD(1.0),
            steps=0,
            replicates=NETWORKS,
            seed=width,
            progress=False,
        )
        deviations = _deviations(run)
        predicted = _predicted(theory)
        ratios = [_ratio(deviations[name], predicted[name, name]) for name in "ΦGK"]
        scores = [_score(deviations[a], deviations[b], predicted[a, b]) for a, b in ("ΦΦ", "GG", "ΦG", "KK")]
        totals.append(ratios)
        name = _name((phi, samples, rule))
        print(f"| {name} | {width} | {_cells(ratios)} | " + " | ".join(f"{z:.2f}" for z in scores) + " |", flush=True)
    fits = [_fit(np.array(totals)[:, kind]) for kind in range(3)]
    return [f"| {name} | {_cells([f[0] for f in fits])} | {_cells([f[1] for f in fits])} |"]


def points_table() -> None:
    """How far covariances are from those with many more points, relative to the largest entry."""
    print("| network | points | seconds | Φ: rms, max | G | Φ–G | K |\n|---|---|---|---|---|---|---|")
    for phi, samples in (("relu", 3), ("relu", 10), ("tanh", 3), ("tanh", 10), ("gated", 10)):
        net, task = wl.MLP(LAYERS, NONLINEARITIES[phi]), _task(samples)
        exact = wl.theory.fluctuations(net, task, width=1, points=2**20, seed=9, progress=False)
        for points in (2**12, 2**14, 2**16, 2**18):
            start = time.perf_counter()
            found = wl.theory.fluctuations(net, task, width=1, points=points, progress=False)
            seconds = time.perf_counter() - start
            cells = []
            for name in ("feature_kernel", "gradient_kernel", "feature_gradient", "ntk"):
                name = f"{name}_covariance"
                error = (found[name] - exact[name]).values / np.abs(exact[name].values).max()
                cells.append(f"{np.sqrt(np.mean(error**2)):.0e}, {np.abs(error).max():.0e}")
            print(f"| {phi}-{samples} | {points} | {seconds:.1f} | {' | '.join(cells)} |", flush=True)


def _task(samples: int) -> wl.Task:
    """Points of different norms in D = 8, with targets of different sizes for the Hebbian rule."""
    random = np.random.default_rng(7)
    x = random.normal(size=(samples, 8))
    x *= np.sqrt(8) * np.linspace(0.8, 1.2, samples)[:, None] / np.linalg.norm(x, axis=1, keepdims=True)
    return wl.Task(x, np.linspace(-1, 1.5, samples) if samples > 1 else np.ones(1))


def _deviations(run) -> dict[str, np.ndarray]:
    """Deviations of each network's kernels from their mean, (network, entry)."""
    kernels = {"Φ": run["feature_kernel"], "G": run["gradient_kernel"], "K": run["ntk"]}
    flat = {name: kernel.values.reshape(run.sizes["replicate"], -1) for name, kernel in kernels.items()}
    return {name: kernel - kernel.mean(axis=0) for name, kernel in flat.items()}


def _predicted(theory) -> dict[tuple[str, str], np.ndarray]:
    """Predicted covariances, (entry, entry)."""
    found = {}
    for a, b, name in (("Φ", "Φ", "feature_kernel"), ("G", "G", "gradient_kernel"), ("Φ", "G", "feature_gradient")):
        covariance = theory[f"{name}_covariance"].transpose(
            "layer", "sample", "sample2", "layer2", "sample3", "sample4"
        )
        found[a, b] = covariance.values.reshape(LAYERS * theory.sizes["sample"] ** 2, -1)
    found["K", "K"] = theory["ntk_covariance"].values.reshape((theory.sizes["sample"] ** 2,) * 2)
    return found


def _ratio(deviations: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Total variance, measured over predicted, and its standard error."""
    each = np.sum(deviations**2, axis=1) / np.trace(predicted)
    return each.sum() / (len(each) - 1), each.std(ddof=1) / np.sqrt(len(each))


def _score(a: np.ndarray, b: np.ndarray, predicted: np.ndarray) -> float:
    """Root mean square of (measured − predicted)/standard error over all entries."""
    count = len(a)
    measured = a.T @ b / (count - 1)
    error = np.sqrt(np.maximum((a**2).T @ b**2 / count - measured**2, 0) / count)
    seen = error > 1e-9 * np.sqrt(np.outer(a.var(axis=0), b.var(axis=0)))  # not what is zero in every network
    return float(np.sqrt(np.mean(((measured - predicted)[seen] / error[seen]) ** 2)))


def _fit(ratios: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """The slope of log variance against log N, and the ratio at 1/N = 0, each with its standard error."""
    value, error = ratios.T
    logarithm = np.log(WIDTHS)
    slope = _line(logarithm, np.log(value) - logarithm, error / value)[1]
    return slope, _line(1 / np.array(WIDTHS), value, error)[0]


def _line(x: np.ndarray, y: np.ndarray, error: np.ndarray) -> list[tuple[float, float]]:
    """Intercept and slope of a weighted straight line, with standard errors."""
    design = np.stack([np.ones_like(x), x], axis=1) / error[:, None]
    inverse = np.linalg.inv(design.T @ design)
    return list(zip(inverse @ design.T @ (y / error), np.sqrt(np.diag(inverse)), strict=True))


def _cells(pairs) -> str:
    return " | ".join(f"{value:.3f} ± {error:.3f}" for value, error in pairs)


def _name(case: tuple[str, int, str]) -> str:
    return "-".join(map(str, case))


if __name__ == "__main__":
    main(sys.argv[1:])

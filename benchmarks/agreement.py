"""Infinite width against finite networks, for every rule, nonlinearity, depth and richness.

For each cell the kernels and outputs of the infinite-width run are compared with those of two ensembles of finite
networks, extrapolated linearly in 1/N. Each quantity q (f, K, Φ^ℓ, G̃^ℓ over all steps after the first) gives

* the amplitude a = ⟨q, q∞⟩/⟨q∞, q∞⟩ of its mean along the infinite-width answer, as a z-score: (a − 1) in combined
  standard errors of both;
* the rms over its entries of the difference in combined standard errors, which is about 1 if only noise differs.

    python benchmarks/agreement.py --out agreement.json [--only tanh/3]
    python benchmarks/agreement.py --table agreement.json
    python benchmarks/agreement.py --architectures --out architectures.json [--only 2-D]

The second grid is that of convolutional, locally connected and residual networks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import widelimit as wl

RULES = {
    "gradient descent": wl.GradientDescent(),
    "feedback alignment, ρ = 0": wl.FeedbackAlignment(0.0),
    "feedback alignment, ρ = ½": wl.FeedbackAlignment(0.5),
    "direct feedback alignment": wl.DirectFeedbackAlignment(),
    "Hebbian": wl.Hebbian(),
}
NONLINEARITIES = {"tanh": wl.Tanh(), "relu": wl.ReLU(), "erf": wl.Erf(), "gated": wl.Gated(wl.ReLU())}
DEPTHS = (1, 2, 3)
RICHNESS = (0.3, 2.0)
ARCHITECTURES: dict[str, tuple[tuple[int, ...], int, Callable[[int, wl.Nonlinearity], wl.Architecture]]] = {
    # inputs, particles, and the network with so many hidden layers
    "1-D": ((3, 4, 2), 6000, lambda depth, phi: wl.CNN(depth, phi, 2.0, filter_scale=3**-0.5)),
    "2-D": ((2, 2, 2, 2), 8000, lambda depth, phi: wl.CNN(depth, phi, 1.5, filter_scale=0.5, pool=(2, 1))),
    "locally connected": ((3, 4, 2), 6000, lambda depth, phi: wl.CNN(depth, phi, 2.0, filter_scale=0.6, shared=False)),
    "residual": ((4, 6), 4000, lambda depth, phi: wl.MLP(depth, phi, 2.0, residual=True, branch_scale=depth**-0.5)),
}
WIDTHS, NETWORKS = (150, 300), 160
PARTICLES, REPLICATES = 4000, 12
STEPS = 14


def cell(
    rule: wl.Rule,
    nonlinearity: wl.Nonlinearity,
    depth: int,
    richness: float,
    *,
    step_size: float | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    **training,
) -> dict[str, dict[str, float]]:
    """The comparison of one cell, by quantity; `training` has further options of `train`."""
    task = wl.datasets.sphere(4, 6, seed=3)
    net = wl.MLP(depth, nonlinearity, richness)
    if step_size is None:
        step_size = wl.suggest_step_size(net, task, rule, safety=0.12)
        if isinstance(rule, wl.Hebbian):  # it diverges in finite time where ϕ is unbounded: stay before that
            step_size *= 0.5 if isinstance(nonlinearity, wl.Tanh | wl.Erf) else 0.1
    return compare(net, task, rule, wl.SGD(step_size, momentum, weight_decay), **training)


def architecture_cell(
    rule: wl.Rule, nonlinearity: wl.Nonlinearity, depth: int, name: str
) -> dict[str, dict[str, float]]:
    """The comparison of one cell of the second grid."""
    net, task, step_size = problem(rule, nonlinearity, depth, name)
    return compare(net, task, rule, wl.SGD(step_size), ARCHITECTURES[name][1], 8)


def problem(
    rule: wl.Rule, nonlinearity: wl.Nonlinearity, depth: int, name: str
) -> tuple[wl.Architecture, wl.Task, float]:
    """Network, task and step size of one cell of the second grid."""
    shape, _, make = ARCHITECTURES[name]
    random = np.random.default_rng(3)
    task = wl.Task(random.normal(size=shape), np.where(np.arange(shape[0]) % 2, -1.0, 1.0))
    net = make(depth, nonlinearity)
    start = wl.train(net, task, width=300, steps=0, optimizer=wl.SGD(1.0), replicates=8, progress=False)["ntk"]
    step_size = 0.24 / np.linalg.eigvalsh(start.mean(("replicate", "step")).values).max()
    if isinstance(rule, wl.Hebbian):
        step_size *= 0.3
    return net, task, step_size


def compare(
    net: wl.Architecture,
    task: wl.Task,
    rule: wl.Rule,
    optimizer: wl.SGD,
    particles: int = PARTICLES,
    replicates: int = REPLICATES,
    **training,
) -> dict[str, dict[str, float]]:
    """Infinite width against networks of two widths."""

    def run(width: wl.Infinite | int, replicates: int, seed: int) -> dict[str, np.ndarray]:
        options = dict(optimizer=optimizer, steps=STEPS, replicates=replicates, seed=seed, progress=False)
        return quantities(wl.train(net, task, rule, width=width, **options, **training))

    limit = run(wl.Infinite(particles), replicates, seed=0)
    narrow, wide = (run(width, NETWORKS, seed=width) for width in WIDTHS)
    return {name: _compare(limit[name], narrow[name], wide[name]) for name in limit}


def quantities(run) -> dict[str, np.ndarray]:
    """The recorded arrays after step 0, one row a replicate."""
    assert (run["diverged_step"] < 0).all()
    later = run.isel(step=slice(1, None))
    found = {"f": later["output"], "K": later["ntk"]}
    for layer in run["layer"].values:
        found[f"Φ{layer}"] = later["feature_kernel"].sel(layer=layer)
        found[f"G̃{layer}"] = later["pseudo_gradient_kernel"].sel(layer=layer)
    return {name: array.values.reshape(len(array), -1) for name, array in found.items()}


def _compare(limit: np.ndarray, narrow: np.ndarray, wide: np.ndarray) -> dict[str, float]:
    slope = WIDTHS[0] / (WIDTHS[1] - WIDTHS[0])  # q∞ = q_wide + slope (q_wide − q_narrow)
    answer = limit.mean(0)
    mean = wide.mean(0) + slope * (wide.mean(0) - narrow.mean(0))
    variance = ((1 + slope) ** 2 * _variance(wide) + slope**2 * _variance(narrow)) + _variance(limit)
    amplitudes = [sample @ answer / (answer @ answer) for sample in (limit, narrow, wide)]
    amplitude = amplitudes[2].mean() + slope * (amplitudes[2].mean() - amplitudes[1].mean())
    error = np.sqrt(
        _variance(amplitudes[0]) + (1 + slope) ** 2 * _variance(amplitudes[2]) + slope**2 * _variance(amplitudes[1])
    )
    return {
        "amplitude": float(amplitude),
        "error": float(error),
        "z": float((amplitude - 1) / error),
        "rms_z": float(np.sqrt(np.mean((mean - answer) ** 2 / np.maximum(variance, 1e-300)))),
    }


def _variance(sample: np.ndarray) -> np.ndarray:
    """The variance of the mean."""
    return sample.var(0, ddof=1) / len(sample)


def architecture_cells() -> Iterator[tuple[str, str, int, str]]:
    """Rule, nonlinearity, depth and architecture of each cell of the second grid."""
    for name in ("1-D", "2-D"):
        for depth in (2, 3):
            for rule in RULES:
                yield rule, "tanh", depth, name
            yield "gradient descent", "gated", depth, name
            yield "gradient descent", "relu", depth, name
    for rule in RULES:
        yield rule, "tanh", 2, "locally connected"
        yield rule, "tanh", 3, "residual"


def architecture_table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A Markdown table: one row a cell."""
    lines = ["| network | L | ϕ | rule | K | f | worst z |", "|---|---|---|---|---|---|---|"]
    for key, one in results.items():
        rule, phi, depth, name = key.split("/")
        found = (f"{one[q]['amplitude'] - 1:+.1%} ± {one[q]['error']:.1%}" for q in ("K", "f"))
        worst = max((quantity["z"] for quantity in one.values()), key=abs)
        lines.append(f"| {name} | {depth} | {phi} | {rule} | {' | '.join(found)} | {worst:+.1f} |")
    return "\n".join([*lines, "", _overall(results)])


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A Markdown table: one row a rule and nonlinearity, one column a depth and richness."""
    columns = [(depth, richness) for depth in DEPTHS for richness in RICHNESS]
    lines = [
        "| rule | ϕ | " + " | ".join(f"L = {depth}, γ0 = {richness:g}" for depth, richness in columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for rule in RULES:
        for name in NONLINEARITIES:
            cells = [results.get(f"{rule}/{name}/{depth}/{richness:g}") for depth, richness in columns]
            lines.append(f"| {rule} | {name} | " + " | ".join(_summary(one) for one in cells) + " |")
    return "\n".join([*lines, "", _overall(results)])


def _overall(results: dict[str, dict[str, dict[str, float]]]) -> str:
    everything = [quantity for one in results.values() for quantity in one.values()]
    z = np.array([quantity["z"] for quantity in everything])
    spread = np.array([quantity["rms_z"] for quantity in everything])
    error = np.array([quantity["error"] for quantity in everything])
    return (
        f"Over all {len(z)} quantities of {len(results)} cells: rms z of the amplitudes {np.sqrt(np.mean(z**2)):.2f}, "
        f"largest |z| {np.abs(z).max():.1f}, {np.mean(np.abs(z) > 2):.1%} beyond 2 (chance: 4.6 %); rms z of the "
        f"entries, median {np.median(spread):.2f}, largest {spread.max():.2f}; standard error of an amplitude, median "
        f"{np.median(error):.2%}."
    )


def _summary(one: dict[str, dict[str, float]] | None) -> str:
    if one is None:
        return "—"
    kernel = one["K"]
    worst = max((quantity["z"] for quantity in one.values()), key=abs)
    return f"{kernel['amplitude'] - 1:+.1%} ± {kernel['error']:.1%} ({worst:+.1f})"


def main() -> None:
    """Run the grid, adding each cell to the output file, or print the table of an output file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--only", default="", help="run the cells whose name contains this")
    parser.add_argument("--architectures", action="store_true", help="the grid of other than fully connected networks")
    options = parser.parse_args()
    show = architecture_table if options.architectures else table
    if options.table:
        print(show(json.loads(options.table.read_text())))
        return
    if options.architectures:
        cells, measure = architecture_cells(), architecture_cell
    else:
        cells = ((r, n, d, g) for n in NONLINEARITIES for d in DEPTHS for r in RULES for g in RICHNESS)
        measure = cell
    results = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for rule, name, depth, last in cells:
        key = "/".join(f"{part:g}" if isinstance(part, float) else str(part) for part in (rule, name, depth, last))
        if key in results or options.only not in key:
            continue
        began = time.perf_counter()
        results[key] = measure(RULES[rule], NONLINEARITIES[name], depth, last)
        worst = max((q["z"] for q in results[key].values()), key=abs)
        seconds = time.perf_counter() - began
        print(f"{key}: {_summary(results[key])}, worst z {worst:+.1f}, {seconds:.0f} s", flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1))
    print(show(results))


if __name__ == "__main__":
    main()

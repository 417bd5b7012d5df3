"""How much of a deferred matrix has to be kept: capacity and tolerance against amplitude, spread and what is dropped.

P = 16 points on the sphere in D = 24, L = 3, 60 steps of gradient descent, 4000 particles, 8 replicates with the same
seeds throughout. The amplitude of K over the run is relative to that of the most generous setting. And the same for
convolutional networks, whose kernels of features and alignments depend on it more than K does: three of the problems
of the agreement table, relative to a run with twice the particles.

    python benchmarks/truncation.py                # about three minutes on two cores
    python benchmarks/truncation.py convolution    # about ten
"""

from __future__ import annotations

import sys

import agreement
import numpy as np
import xarray as xr

import widelimit as wl

CASES = [
    ("tanh, γ0 = 2", wl.MLP(3, wl.Tanh(), 2.0), 0.04),
    ("ReLU, γ0 = 1.5", wl.MLP(3, wl.ReLU(), 1.5), 0.012),
]
SETTINGS = [(10, 0.02), (10, 0.1), (10, 0.3), (5, 0.1), (3, 0.1), (1, 0.1)]
SAMPLES, REPLICATES = 16, 8
CONVOLUTIONS = [("1-D", "direct feedback alignment"), ("1-D", "feedback alignment, ρ = ½"), ("2-D", "gradient descent")]
ROWS_KEPT = (10, 5, 4, 3, 2)  # capacity over rows, P × positions


def amplitude(values: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """How large each replicate is along the reference, less one: the mean and its standard error."""
    amplitudes = values @ reference / (reference @ reference)
    return amplitudes.mean() - 1, amplitudes.std(ddof=1) / np.sqrt(len(values))


def in_bases(run: xr.Dataset, what: str) -> list[xr.DataArray]:
    """A diagnostic of both directions."""
    return [run[f"{way}_{what}"] for way in ("forward", "backward")]


def fully_connected() -> None:
    """The table of fully connected networks, as Markdown."""
    task = wl.datasets.sphere(SAMPLES, 24, seed=2)
    print("| network | capacity | tolerance | amplitude of K | spread | in use at the end | dropped, mean |")
    print("|---|---|---|---|---|---|---|")
    for name, net, step_size in CASES:
        reference = None
        for multiple, tolerance in SETTINGS:
            run = wl.train(
                net,
                task,
                optimizer=wl.SGD(step_size),
                steps=60,
                record=wl.Record(every=5),
                replicates=REPLICATES,
                width=wl.Infinite(capacity=multiple * SAMPLES, tolerance=tolerance),
                progress=False,
            )
            kernels = run["ntk"].values.reshape(REPLICATES, -1)
            mean = kernels.mean(0)
            reference = mean if reference is None else reference
            middle, error = amplitude(kernels, reference)
            spread = np.sqrt(((kernels - mean) ** 2).sum() / (REPLICATES - 1) / (mean @ mean))
            sizes = [size.isel(step=-1).mean().item() for size in in_bases(run, "basis_size")]
            dropped = [part.mean().item() for part in in_bases(run, "dropped_fraction")]
            print(
                f"| {name} | {multiple} P | {tolerance:g} | {middle:+.1%} ± {error:.1%} | {spread:.1%} "
                f"| {sizes[0]:.0f}, {sizes[1]:.0f} | {dropped[0]:.2%}, {dropped[1]:.2%} |",
                flush=True,
            )


def convolution() -> None:
    """The table of convolutional networks, as Markdown."""
    shown = ("K", "Φ3", "G̃1", "G̃2")
    print(f"| network | rule | capacity | {' | '.join(shown)} | dropped, mean of the worst layer |")
    print("|---" * (4 + len(shown)) + "|")
    for name, rule in CONVOLUTIONS:
        shape, particles, _ = agreement.ARCHITECTURES[name]
        net, task, step_size = agreement.problem(agreement.RULES[rule], wl.Tanh(), 3, name)
        rows = int(np.prod(shape[:-1]))
        options = {"optimizer": wl.SGD(step_size), "steps": agreement.STEPS, "replicates": 2 * REPLICATES}
        most = wl.Infinite(2 * particles, capacity=10 * rows, growth=2 * rows, tolerance=0.01)
        best = agreement.quantities(
            wl.train(net, task, agreement.RULES[rule], width=most, seed=1, **options, progress=False)
        )
        for multiple in ROWS_KEPT:
            kept = wl.Infinite(particles, capacity=multiple * rows, growth=max(4, multiple * rows // 5))
            run = wl.train(net, task, agreement.RULES[rule], width=kept, **options, progress=False)
            found = agreement.quantities(run)
            amplitudes = [amplitude(found[quantity], best[quantity].mean(0)) for quantity in shown]
            dropped = max(part.mean(("replicate", "step")).max().item() for part in in_bases(run, "dropped_fraction"))
            cells = " | ".join(f"{middle:+.1%} ± {error:.1%}" for middle, error in amplitudes)
            print(f"| {name} | {rule} | {multiple} rows | {cells} | {dropped:.2%} |", flush=True)


if __name__ == "__main__":
    convolution() if sys.argv[1:] == ["convolution"] else fully_connected()

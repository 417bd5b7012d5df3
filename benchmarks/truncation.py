"""How much of a deferred matrix has to be kept: capacity and tolerance against amplitude, spread and what is dropped.

P = 16 points on the sphere in D = 24, L = 3, 60 steps of gradient descent, 4000 particles, 8 replicates with the same
seeds throughout. The amplitude of K over the run is relative to that of the most generous setting.

    python benchmarks/truncation.py     # about three minutes on two cores
"""

from __future__ import annotations

import numpy as np

import widelimit as wl

CASES = [
    ("tanh, γ0 = 2", wl.MLP(3, wl.Tanh(), 2.0), 0.04),
    ("ReLU, γ0 = 1.5", wl.MLP(3, wl.ReLU(), 1.5), 0.012),
]
SETTINGS = [(10, 0.02), (10, 0.1), (10, 0.3), (5, 0.1), (3, 0.1), (1, 0.1)]
SAMPLES, REPLICATES = 16, 8


def main() -> None:
    """Print the table as Markdown."""
    task = wl.datasets.sphere(SAMPLES, 24, seed=2)
    print("| network | capacity | tolerance | amplitude of K | spread | in use at the end | dropped, mean |")
    print("|---|---|---|---|---|---|---|")
    for name, net, step_size in CASES:
        reference = None
        for multiple, tolerance in SETTINGS:
            run = wl.train(
                net,
                task,
                step_size=step_size,
                steps=60,
                record_every=5,
                replicates=REPLICATES,
                capacity=multiple * SAMPLES,
                tolerance=tolerance,
                progress=False,
            )
            kernels = run["ntk"].values.reshape(REPLICATES, -1)
            mean = kernels.mean(0)
            reference = mean if reference is None else reference
            amplitudes = kernels @ reference / (reference @ reference)
            spread = np.sqrt(((kernels - mean) ** 2).sum() / (REPLICATES - 1) / (mean @ mean))
            sizes = [run[f"{way}_basis_size"].isel(step=-1).mean().item() for way in ("forward", "backward")]
            dropped = [run[f"{way}_dropped_fraction"].mean().item() for way in ("forward", "backward")]
            print(
                f"| {name} | {multiple} P | {tolerance:g} | {amplitudes.mean() - 1:+.1%} ± "
                f"{amplitudes.std(ddof=1) / np.sqrt(REPLICATES):.1%} | {spread:.1%} | {sizes[0]:.0f}, {sizes[1]:.0f} "
                f"| {dropped[0]:.2%}, {dropped[1]:.2%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Many samples of real data: the limit of infinite width directly, and by networks extrapolated in 1/N.

    python benchmarks/many_samples.py [--samples P] [--rule gd dfa fa] [--routes networks large limit] [--steps 100]
    python benchmarks/many_samples.py --mnist [...]     # 4000 + 1000 images, batches of 50, 5 epochs

Digits of ten classes, tanh, L = 3, γ0 = 1, float32. A row for each width: the final loss a sample, the error on
held-out digits, the mean diagonal of K on 100 recorded samples, seconds (compilation included) and the largest memory
of the process so far. `networks` are N = 500 and 1000, with a row for their extrapolation; `large` are N = 2000 and
4000.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import numpy as np
import xarray as xr

import widelimit as wl

RULES = {"gd": wl.GradientDescent(), "dfa": wl.DirectFeedbackAlignment(), "fa": wl.FeedbackAlignment(0.5)}
WIDTHS = {"networks": {500: 8, 1000: 4}, "large": {2000: 3, 4000: 2}}


def quantities(run: xr.Dataset) -> np.ndarray:
    """Loss a sample, test error and mean diagonal of K at the last step, (quantity, replicate)."""
    last = run.isel(step=-1)
    kernel = np.einsum("rssoo->r", last["ntk"].values) / np.prod(last["ntk"].shape[2:4])
    return np.stack([last["loss"].values / run.sizes["sample"], wl.observables.test_error(last).values, kernel])


def row(label: str, mean: np.ndarray, error: np.ndarray, seconds: float, note: str = "") -> str:
    cells = [f"{value:.4g} ± {spread:.1g}" for value, spread in zip(mean, error, strict=True)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"| {label} | {' | '.join(cells)} | {seconds:.0f} | {memory:.1f} | {note} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--mnist", action="store_true")
    parser.add_argument("--rule", nargs="*", choices=RULES, default=["dfa", "gd"])
    parser.add_argument("--routes", nargs="*", choices=[*WIDTHS, "limit"], default=[*WIDTHS, "limit"])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--particles", type=int, help="of the limit; otherwise as many as it chooses")
    options = parser.parse_args()
    warnings.simplefilter("ignore", wl.RecordWarning)
    digits, batches, steps = wl.datasets.digits, None, options.steps
    if options.mnist:
        digits, batches, steps = wl.datasets.mnist, wl.Batches(50), 5 * 80
    task = digits(*((4000, 1000) if options.mnist else (options.samples, 500)), classes=range(10))
    net = wl.MLP(3, wl.Tanh())
    settings = {
        "optimizer": wl.SGD(wl.suggest_step_size(net, task, batches=batches, pilot=False)),
        "steps": steps,
        "batches": batches,
        "precision": "float32",
        "record": wl.Record(every=steps, kernels=("ntk",), samples=range(0, task.samples, task.samples // 100)),
    }
    print(f"step size {settings['optimizer'].step_size:.4g}, {steps} steps, P = {task.samples}")
    print("| route | loss a sample | test error | mean diagonal of K | seconds | GiB | unlearned |\n|" + " --- |" * 7)
    for name in options.rule:
        for route in options.routes:
            each, began = {}, time.perf_counter()
            for width, replicates in WIDTHS.get(route, {np.inf: 1}).items():
                start = time.perf_counter()
                chosen = wl.Infinite(options.particles) if np.isinf(width) and options.particles else width
                run = wl.train(net, task, RULES[name], width=chosen, replicates=replicates, **settings)
                values = quantities(run)
                error = values.std(axis=1, ddof=1) / np.sqrt(replicates) if replicates > 1 else np.full(3, np.nan)
                each[width] = values.mean(axis=1), error
                lost = f"{float(run['unlearned_fraction'].max()):.2g}" if "unlearned_fraction" in run else ""
                label = f"{name}, {'limit' if np.isinf(width) else f'N = {width}, {replicates} networks'}"
                print(row(label, *each[width], time.perf_counter() - start, lost), flush=True)
            if route == "networks":
                (few, many), (first, second) = each.values(), each
                weights = np.array([-first, second]) / (second - first)
                mean = weights[0] * few[0] + weights[1] * many[0]
                error = np.hypot(weights[0] * few[1], weights[1] * many[1])
                print(row(f"{name}, extrapolated", mean, error, time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()

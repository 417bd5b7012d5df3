"""What Algorithm 1 costs beside the infinite-width solver, at equal error in the tangent kernel K.

One problem, P = 6 points on the sphere in D = 12, tanh, L = 2, γ0 = 1.5, gradient descent with η = 0.05, and more and
more steps T, all of them recorded. Both are timed in turn in one process, `train` in calls of four replicates; times
are medians per replicate, compilation apart. The error of a method is the spread of K over the run between replicates.
It falls as 1/√time, by more particles or more replicates, so what compares two methods is time × variance: the ratio
given is that of the times to the same error. Nothing is extrapolated.

    python benchmarks/algorithm1.py              # about 5 minutes on one core
    python benchmarks/algorithm1.py --steps 10 20 40
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np

import widelimit as wl
from widelimit.theory import alternating

INPUTS, STEP_SIZE = 6, 0.05
NET = wl.MLP(2, wl.Tanh(), 1.5)
PARTICLES = 2000
REPEATS = {10: (5, 10), 20: (5, 10), 40: (5, 8), 80: (3, 6), 160: (3, 5)}  # timed in turn, replicates for the spread


def task() -> wl.Task:
    """The problem."""
    return wl.datasets.sphere(INPUTS, 2 * INPUTS, seed=1)


def algorithm(steps: int, seed: int, speed: float = 1.0):
    """One replicate of Algorithm 1."""
    return alternating(
        NET,
        task(),
        optimizer=wl.SGD(STEP_SIZE),
        steps=steps,
        particles=PARTICLES,
        seed=seed,
        update_speed=speed,
        progress=False,
    )


def limit(steps: int, seed: int):
    """Four replicates of the infinite-width solver."""
    return wl.train(
        NET,
        task(),
        optimizer=wl.SGD(STEP_SIZE),
        steps=steps,
        width=wl.Infinite(particles=PARTICLES),
        replicates=4,
        seed=seed,
        progress=False,
    )


def timed(method, steps: int, seed: int):
    """Seconds per replicate, and the result."""
    began = time.perf_counter()
    result = method(steps, seed)
    return (time.perf_counter() - began) / result.sizes["replicate"], result


def spread(kernels: np.ndarray) -> float:
    """Root mean squared distance of one replicate's K from the mean, relative to it, over the run."""
    deviation = ((kernels - kernels.mean(0)) ** 2).sum() / (len(kernels) - 1)
    return float(np.sqrt(deviation / (kernels.mean(0) ** 2).sum()))


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Relative distance of the two means, and what chance alone would make it."""
    norm = np.sqrt((b.mean(0) ** 2).sum())
    chance = np.sqrt(spread(a) ** 2 / len(a) + spread(b) ** 2 / len(b))
    return float(np.sqrt(((a.mean(0) - b.mean(0)) ** 2).sum()) / norm), float(chance)


def exponent(sizes: list[int], values: list[float]) -> float:
    """The exponent of the power law through the last three points."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0])


def say(line: str = "") -> None:
    print(line, flush=True)


def main() -> None:
    """Print the report as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=list(REPEATS))
    chosen = parser.parse_args().steps
    say(f"P = {INPUTS}, {PARTICLES} particles in both, medians of runs in turn.\n")
    say(
        "| T | P·(T+1) | Algorithm 1, s | sweeps | spread of K | `train`, s | spread of K | time ratio at equal error "
        "| distance of means (chance) |\n|---|---|---|---|---|---|---|---|---|"
    )
    costs: dict[str, list[float]] = {"Algorithm 1": [], "`train`": []}
    products: dict[str, list[float]] = {"Algorithm 1": [], "`train`": []}
    for steps in chosen:
        turns, replicates = REPEATS.get(steps, (3, 4))
        for method in (algorithm, limit):  # compile
            method(steps, 1000)
        times: tuple[list[float], list[float]] = ([], [])
        kernels: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        sweeps = []
        for seed in range(replicates):
            for side, method in enumerate((algorithm, limit)):
                seconds, result = timed(method, steps, seed)
                if seed < turns:
                    times[side].append(seconds)
                kernels[side].extend(result["ntk"].values)
                if side == 0:
                    sweeps.append(result.sizes["sweep"])
        seconds = [median(side) for side in times]
        spreads = [spread(np.array(side)) for side in kernels]
        for name, second, width in zip(costs, seconds, spreads, strict=True):
            costs[name].append(second)
            products[name].append(second * width**2)
        distance, chance = apart(*map(np.array, kernels))
        ratio = products["Algorithm 1"][-1] / products["`train`"][-1]
        say(
            f"| {steps} | {INPUTS * (steps + 1)} | {seconds[0]:.2f} ({min(times[0]):.2f}–{max(times[0]):.2f}) "
            f"| {median(sweeps):g} | {spreads[0]:.2%} | {seconds[1]:.2f} ({min(times[1]):.2f}–{max(times[1]):.2f}) "
            f"| {spreads[1]:.2%} | {ratio:.1f} | {distance:.2%} ({chance:.2%}) |"
        )
    if len(chosen) > 2:
        say("\n| | exponent of the time in T | of time × variance |\n|---|---|---|")
        for name in costs:
            say(f"| {name} | {exponent(chosen, costs[name]):.2f} | {exponent(chosen, products[name]):.2f} |")
        say("\nExponents are of the last three rows.")
    say("\nDamping of Algorithm 1: sweeps to a residual of 1e-3 with update speed 1 and the paper's 0.6:\n")
    for steps in [steps for steps in chosen if steps <= 80]:
        counts = [algorithm(steps, 0, speed).sizes["sweep"] for speed in (1.0, 0.6)]
        say(f"* T = {steps}: {counts[0]} and {counts[1]}")


if __name__ == "__main__":
    main()

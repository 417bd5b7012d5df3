"""`wl.limit` against references: is the error what it says, and what does it cost beside the better way tuned by hand?

Handwritten digits, tanh. For each number of samples, rule and accuracy, `limit` is called several times with other
seeds, and its K compared with that of many replicates of many particles. Beside it, what each way takes whose number
of replicates is known beforehand, from the spread that all calls together have seen, with everything compiled.

    python benchmarks/limit.py --samples 6 --accuracies 0.02 --repetitions 10
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Iterator

import numpy as np
import scipy.stats
import xarray as xr

import widelimit as wl
from widelimit.results import configuration

RULES = {
    "gradient descent": wl.GradientDescent(),
    "feedback alignment, ρ = ½": wl.FeedbackAlignment(0.5),
    "direct feedback": wl.DirectFeedbackAlignment(),
}
KERNEL = wl.Record(kernels=("ntk",))


def relative(estimate: xr.DataArray, reference: xr.DataArray) -> float:
    """The relative root mean square error over the run."""
    return float(((estimate - reference) ** 2).sum() / (reference**2).sum()) ** 0.5


def paces(arguments: dict, width: wl.Finite | wl.Infinite, count: int) -> tuple[float, float, float, float]:
    """Seconds of one replicate without compilation; |K|, root of tr C of one, and the directions it scatters in."""
    wl.train(**arguments, width=width, record=KERNEL, replicates=count, seed=900, progress=False)
    began = time.perf_counter()
    run = wl.train(**arguments, width=width, record=KERNEL, replicates=count, seed=901, progress=False)
    took = (time.perf_counter() - began) / count
    values = run["ntk"].values.reshape(count, -1)
    deviations = values - values.mean(axis=0)
    gram = deviations @ deviations.T / (count - 1)
    directions = np.trace(gram) ** 2 / max(np.sum(gram**2) - np.trace(gram) ** 2 / (count - 1), 1e-300)
    return took, float(np.linalg.norm(values.mean(axis=0))), float(np.trace(gram)) ** 0.5, max(directions, 1.0)


def by_hand(arguments: dict, samples: int, accuracy: float, particles: set[int]) -> dict[str, float]:
    """Seconds of each way for the accuracy with 95 % probability, if nothing has to be found out.

    Deferred weights with whichever of some numbers of `particles` is the fastest; two runs at least, at each width.
    """
    narrow = max(100, samples)
    ways = [("deferred", [(wl.Infinite(size), 1.0)]) for size in sorted(particles)]
    ways += [("networks", [(wl.Finite(narrow), -1.0), (wl.Finite(2 * narrow), 2.0)])]
    seconds: dict[str, float] = {}
    for name, parts in ways:
        measured = [(weight, *paces(arguments, width, 16 if weight != 1.0 else 6)) for width, weight in parts]
        directions = float(np.mean([directions for *_, directions in measured]))
        factor = float(scipy.stats.chi2.ppf(0.95, directions)) / directions
        whole = sum(abs(weight) * spread * math.sqrt(took) for weight, took, _, spread, _ in measured)
        needed = whole**2 * factor / (accuracy * measured[0][2]) ** 2
        fewest = sum(2 * took for _, took, *_ in measured)
        seconds[name] = min(seconds.get(name, math.inf), max(needed, fewest))
    return seconds


def particles_of(result: xr.Dataset) -> set[int]:
    """The numbers of particles that the levels of a limit have."""
    levels = configuration(result)["limit"]["levels"]
    return {level["particles"] for level in levels if "particles" in level}


def cells(options: argparse.Namespace) -> Iterator[str]:
    """A row of the table for each cell, as it is done."""
    for samples in options.samples:
        task = wl.datasets.digits(samples=samples, classes=(3, 8))
        net = wl.MLP(options.layers, wl.Tanh(), 1.0)
        for name, rule in RULES.items():
            if options.rules and not any(part in name for part in options.rules):
                continue
            arguments = {
                "net": net,
                "task": task,
                "rule": rule,
                "optimizer": wl.SGD(options.time / samples),
                "steps": options.steps,
            }
            many = wl.Infinite(options.reference_particles)
            reference = wl.train(
                **arguments, width=many, record=KERNEL, replicates=options.reference_replicates, seed=10**6
            )["ntk"]
            known = float(wl.observables.relative_standard_error(reference, reference.dims[1:]))
            for accuracy in options.accuracies:
                errors, seconds, routes, sizes = [], [], [], set()
                for repetition in range(options.repetitions):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        result = wl.limit(
                            **arguments, accuracy=accuracy, seed=repetition, time_budget=options.time_budget
                        )
                    errors.append(relative(result["ntk"].mean("replicate"), reference.mean("replicate")))
                    seconds.append(configuration(result)["seconds"])
                    routes.append(configuration(result)["limit"]["route"].split(",")[0])
                    sizes |= particles_of(result)
                hand = by_hand(arguments, samples, accuracy, sizes)
                within = sum(error < accuracy for error in errors)
                route = max(set(routes), key=routes.count)
                yield (
                    f"| {samples} | {name} | {accuracy:.1%} | {within} of {len(errors)} | {np.median(errors):.2%} "
                    f"| {known:.2%} | {route} ({routes.count(route)}) | {seconds[0]:.0f} "
                    f"| {np.median(seconds[1:]):.1f} | {hand['deferred']:.1f} | {hand['networks']:.1f} |"
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[6, 20])
    parser.add_argument("--rules", nargs="*", default=[])
    parser.add_argument("--accuracies", type=float, nargs="+", default=[0.02, 0.01])
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--time", type=float, default=0.8, help="step size × samples")
    parser.add_argument("--time-budget", type=float, default=None)
    parser.add_argument("--reference-particles", type=int, default=16000)
    parser.add_argument("--reference-replicates", type=int, default=32)
    print(
        "| P | rule | asked | within | error, median | of the reference | route "
        "| first, s | next, s | deferred | networks |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in cells(parser.parse_args()):
        print(row, flush=True)


if __name__ == "__main__":
    main()

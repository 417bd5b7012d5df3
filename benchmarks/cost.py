"""What infinite width costs, beside finite networks: time per step, growth with steps, spread, time to an accuracy.

Everything is measured side by side in one process, in turn, and quoted as medians; peak memory is that of a process of
its own. One problem throughout: P = 20 points on the sphere in D = 40, tanh, L = 3, γ0 = 1.

    python benchmarks/cost.py                 # all parts, about 25 minutes on two cores
    python benchmarks/cost.py step first      # some of: step, convolution, length, spread, accuracy, first
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import resource
import subprocess
import sys
import time
from statistics import median

import numpy as np

import widelimit as wl
from widelimit import planning, training
from widelimit.precision import at_precision

SAMPLES = 20
NET = wl.MLP(3, wl.Tanh(), 1.0)
STEP_SIZE = 0.05


def task() -> wl.Task:
    """The problem."""
    return wl.datasets.sphere(SAMPLES, 40, seed=1)


def say(line: str = "") -> None:
    """Print a line of the report at once."""
    print(line, flush=True)


class Stepper:
    """One run that can be stepped and timed by itself."""

    def __init__(
        self,
        name: str,
        size: int,
        precision: str,
        dense: bool,
        net: wl.Architecture = NET,
        problem: wl.Task | None = None,
        step_size: float = STEP_SIZE,
    ):
        self.name, self.precision, self.steps = f"{name}, {precision}", precision, 3 if dense else 20
        problem = task() if problem is None else problem
        width = size if dense else math.inf
        fabric = planning.plan_fabric(net, problem, width, size, None, None, None, 10**6, precision)
        with at_precision(precision):
            self.dynamics, self.given = planning.prepare(
                net, problem, wl.GradientDescent(), wl.Optimizer(step_size), fabric, precision
            )
            self.state = self.dynamics.start(self.given, (0, 0))
        self.run(2 if dense else 60)  # compile, and fill the bases

    def run(self, steps: int) -> float:
        """Milliseconds per step."""
        with at_precision(self.precision):
            began = time.perf_counter()
            self.state = training._proceed(self.dynamics, self.given, self.state, steps)
            self.state.step.block_until_ready()
            return (time.perf_counter() - began) / steps * 1e3


def step() -> None:
    """(a) Time per step at S = N = 4000."""
    say("### Time per step, S = N = 4000\n")
    runners = [
        Stepper(name, 4000, precision, dense)
        for precision in ("float64", "float32")
        for name, dense in (("dense", True), ("deferred", False))
    ]
    times: dict[str, list[float]] = {runner.name: [] for runner in runners}
    for _ in range(9):
        for runner in runners:
            times[runner.name].append(runner.run(runner.steps))
    say("| weights | ms per step, median | range |\n|---|---|---|")
    for name, values in times.items():
        say(f"| {name} | {median(values):.1f} | {min(values):.1f}–{max(values):.1f} |")
    for precision in ("float64", "float32"):
        pairs = zip(times[f"dense, {precision}"], times[f"deferred, {precision}"], strict=True)
        say(f"\nDense over deferred, {precision}: {median(a / b for a, b in pairs):.1f} (median of paired ratios).")
    say()


def convolution() -> None:
    """Time per step of a convolutional network at S = N = 4000, as the number of rows P × positions grows."""
    say("### Convolution: time per step against P × positions, S = N = 4000\n")
    say("| P × positions | capacity | dense, ms | deferred, ms | dense over deferred |\n|---|---|---|---|---|")
    net = wl.CNN(2, wl.Tanh(), 1.0, filter_scale=3**-0.5)
    for positions in (4, 8, 16, 32):
        random = np.random.default_rng(0)
        problem = wl.Task(random.normal(size=(4, positions, 2)), random.choice([-1.0, 1.0], size=4))
        runners = [
            Stepper(name, 4000, "float64", name == "dense", net, problem, 0.2 / positions)
            for name in ("dense", "deferred")
        ]
        pairs = [[runner.run(runner.steps) for runner in runners] for _ in range(5)]
        dense, deferred = (median(times) for times in zip(*pairs, strict=True))
        kept = runners[1].state.network.layers[1].sent_up.basis.shape[0]
        ratio = median(a / b for a, b in pairs)
        say(f"| 4 × {positions} | {kept} | {dense:.0f} | {deferred:.1f} | {ratio:.1f} |")
    say()


def length() -> None:
    """(b) 1600 steps against 200, recording every 50th."""
    say("### Growth with the number of steps\n")
    lengths = (200, 1600)
    times: dict[int, list[float]] = {steps: [] for steps in lengths}
    _run(steps=50, record_every=50)
    for _ in range(5):
        for steps in lengths:
            times[steps].append(_timed(lambda steps=steps: _run(steps=steps, record_every=50)))
    ratio = median(b / a for a, b in zip(times[200], times[1600], strict=True))
    memory = {steps: _peak_memory(steps) for steps in lengths}
    say("| steps | seconds, median | peak memory of the process, MiB |\n|---|---|---|")
    for steps in lengths:
        say(f"| {steps} | {median(times[steps]):.2f} | {memory[steps]:.0f} |")
    say(f"\n1600 over 200 steps: time {ratio:.2f}, memory {memory[1600] / memory[200]:.2f}.\n")


def spread() -> None:
    """(c) Spread of K between seeds at equal S and N."""
    say("### Spread of K between seeds\n")
    say("| γ0 | S = N | networks | deferred | ratio |\n|---|---|---|---|---|")
    ratios = []
    for richness in (1.0, 2.0):
        net = dataclasses.replace(NET, richness=richness)
        for size, repeats in ((500, 40), (1000, 32), (2000, 16)):
            a, b = (_spread(_kernels(repeats, net=net, **kind)) for kind in ({"width": size}, {"particles": size}))
            ratios.append(a / b)
            say(f"| {richness:g} | {size} | {a:.1%} | {b:.1%} | {a / b:.2f} |")
    say(f"\nGeometric mean of the ratios: {np.exp(np.mean(np.log(ratios))):.2f}.\n")


def accuracy() -> None:
    """(d) Time to an accuracy of K over the run: both sides at their best size."""
    say("### Time to an accuracy of K over the run\n")
    say("Seconds per run include setting it up, not compilation. The error of n runs is √(bias² + spread²/n).\n")
    measured: dict[str, tuple[float, float]] = {}
    means: dict[int, tuple[np.ndarray, float]] = {}
    say("| run | seconds | spread of one |\n|---|---|---|")
    for width, repeats in ((25, 400), (50, 400), (100, 200), (200, 100), (400, 40), (1000, 12), (2000, 6)):
        kernels, seconds = _measured(repeats, width=width)
        measured[f"N = {width}"] = (seconds, _spread(kernels))
        means[width] = (kernels.mean(0), _spread(kernels) ** 2 / repeats)
        say(f"| N = {width} | {seconds:.3f} | {_spread(kernels):.1%} |")
    for precision in ("float64", "float32"):
        for size, repeats in ((1000, 12), (4000, 8), (8000, 6)):
            kernels, seconds = _measured(repeats, particles=size, precision=precision)
            measured[f"S = {size}, {precision}"] = (seconds, _spread(kernels))
            say(f"| S = {size}, {precision} | {seconds:.3f} | {_spread(kernels):.1%} |")
    slope = _bias_slope(means)
    say(f"\nBias of finite networks: {slope:.2f}/N of |K| (from N = 25, 50 and 100 against each other).\n")
    say("| error | best ensemble of networks | seconds | best deferred | seconds | ratio |\n|---|---|---|---|---|---|")
    for error in (0.01, 0.003):
        networks = {
            name: _time_to(error, *pair, slope / int(name.split()[-1]))
            for name, pair in measured.items()
            if name.startswith("N")
        }
        limits = {name: _time_to(error, *pair, 0.0) for name, pair in measured.items() if name.startswith("S")}
        best, own = min(networks, key=networks.__getitem__), min(limits, key=limits.__getitem__)
        say(
            f"| {error:.1%} | {best} | {networks[best]:.1f} | {own} | {limits[own]:.1f} "
            f"| {networks[best] / limits[own]:.1f} |"
        )
        for name in ("N = 1000", "N = 2000"):
            if name == best:
                continue
            say(
                f"| {error:.1%} | {name} | {networks[name]:.1f} | {own} | {limits[own]:.1f} "
                f"| {networks[name] / limits[own]:.1f} |"
            )
    say()


def first() -> None:
    """(e) Time to the first result of a small run in a fresh process, compilation and imports included."""
    say("### Time to the first result\n")
    program = (
        "import widelimit as wl; wl.train(wl.MLP(3, wl.Tanh()), wl.datasets.sphere(6, 10), "
        "step_size=0.1, steps=30, particles=2000, replicates=1)"
    )
    times = [_timed(lambda: subprocess.run([sys.executable, "-c", program], check=True)) for _ in range(5)]
    say(f"P = 6, L = 3, 30 steps, S = 2000: {median(times):.1f} s ({min(times):.1f}–{max(times):.1f}).\n")


def _run(net: wl.MLP = NET, **options):
    return wl.train(
        net, task(), step_size=STEP_SIZE, progress=False, **{"replicates": 1, "steps": 50, "record_every": 5, **options}
    )


def _kernels(repeats: int, **options) -> np.ndarray:
    return _run(replicates=repeats, **options)["ntk"].values


def _measured(repeats: int, **options) -> tuple[np.ndarray, float]:
    """Kernels of an ensemble, and seconds per run, by the slope between two ensemble sizes."""
    _run(**options)
    short = median(_timed(lambda: _run(**options)) for _ in range(3))
    began = time.perf_counter()
    kernels = _kernels(repeats, **options)
    return kernels, max((time.perf_counter() - began - short) / (repeats - 1), 1e-4)


def _spread(kernels: np.ndarray) -> float:
    """Root mean squared distance of one run's K from the mean, relative to it, over the run."""
    deviation = ((kernels - kernels.mean(0)) ** 2).sum() / (len(kernels) - 1)
    return float(np.sqrt(deviation / (kernels.mean(0) ** 2).sum()))


def _bias_slope(means: dict[int, tuple[np.ndarray, float]]) -> float:
    """c in |E[K_N] − K_∞| = c |K|/N, by differences between ensembles with the noise subtracted."""
    estimates = []
    for small, large in ((25, 50), (25, 100), (50, 100)):
        (a, noise_a), (b, noise_b) = means[small], means[large]
        norm = (b**2).sum()
        squared = ((a - b) ** 2).sum() / norm - noise_a - noise_b
        estimates.append(math.sqrt(max(squared, 0)) / (1 / small - 1 / large))
    return median(estimates)


def _time_to(error: float, seconds: float, spread_of_one: float, bias: float) -> float:
    if bias >= error:
        return math.inf
    return seconds * max(spread_of_one**2 / (error**2 - bias**2), 1.0)


def _timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak_memory(steps: int) -> float:
    """Peak resident memory in MiB of a fresh process that makes the run."""
    command = [sys.executable, os.path.abspath(__file__), "--memory", str(steps)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


PARTS = {
    "step": step,
    "convolution": convolution,
    "length": length,
    "spread": spread,
    "accuracy": accuracy,
    "first": first,
}


def main() -> None:
    """Print the report as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], metavar="part")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        _run(steps=options.memory, record_every=50)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    for name in options.parts or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()

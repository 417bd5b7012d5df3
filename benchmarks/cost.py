"""What infinite width costs, beside finite networks: time per step, growth with steps, spread, time to an accuracy.

Everything is measured side by side in one process, in turn, and quoted as medians; peak memory is that of a process of
its own. One problem throughout: P = 20 points on the sphere in D = 40, tanh, L = 3, γ0 = 1.

    python benchmarks/cost.py                 # all parts, about 25 minutes on two cores
    python benchmarks/cost.py step first      # some of: step, convolution, length, spread, accuracy, first
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import os
import resource
import subprocess
import sys
import time
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import widelimit as wl
from widelimit.precision import at_precision
from widelimit.simulation.step import compiled_proceed, proceed
from widelimit.threads import lapack_in_one_thread

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
        optimizer = wl.SGD(step_size)
        self.simulation = wl.initialize(
            net, problem, width=_width(size, dense), optimizer=optimizer, steps=10**6, precision=precision
        )
        self.state = self.simulation.start()
        self.run(2 if dense else 60)  # compile, and fill the bases

    def run(self, steps: int) -> float:
        """Milliseconds per step."""
        with at_precision(self.precision):
            began = time.perf_counter()
            # A step by hand copies the state first, as a run does not.
            self.state = compiled_proceed(self.simulation.program, self.simulation.settings, self.state, steps)
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
        kept = runners[1].simulation.width.describe()["capacity"]
        ratio = median(a / b for a, b in pairs)
        say(f"| 4 × {positions} | {kept} | {dense:.0f} | {deferred:.1f} | {ratio:.1f} |")
    say()


def length() -> None:
    """(b) 1600 steps against 200, recording every 50th."""
    say("### Growth with the number of steps\n")
    lengths = (200, 1600)
    times: dict[int, list[float]] = {steps: [] for steps in lengths}
    _run(steps=50, every=50)
    for _ in range(5):
        for steps in lengths:
            times[steps].append(_timed(lambda steps=steps: _run(steps=steps, every=50)))
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
    logarithms: dict[str, list[tuple[float, float]]] = {"all": []}
    for richness in (1.0, 2.0):
        net = dataclasses.replace(NET, richness=richness)
        for size, repeats in ((500, 200), (1000, 120), (2000, 40)):
            a, b = (_kernels(repeats, net=net, width=_width(size, dense)) for dense in (True, False))
            wide, limit = _spread(a), _spread(b)
            ratio, error = wide / limit, math.hypot(_spread_error(a), _spread_error(b))
            for group in (f"γ0 = {richness:g}", "all"):
                logarithms.setdefault(group, []).append((math.log(ratio), error))
            say(f"| {richness:g} | {size} | {wide:.1%} | {limit:.1%} | {ratio:.2f} ± {ratio * error:.2f} |")
    for name, rows in logarithms.items():
        mean, error = np.exp(np.mean([row[0] for row in rows])), math.hypot(*(row[1] for row in rows)) / len(rows)
        say(f"\nGeometric mean of the ratios, {name}: {mean:.2f} ± {mean * error:.2f}.")
    say()


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one run costs and how far it scatters: `size` neurons a layer if dense, and else so many particles."""

    size: int
    precision: str
    dense: bool
    seconds: float
    spread: float

    @property
    def name(self) -> str:
        """As the tables call it."""
        return f"{'N' if self.dense else 'S'} = {self.size}, {self.precision}"

    def runs_to(self, error: float, slope: float) -> float:
        """How many runs have this error, where the bias of a network is slope/N."""
        bias = slope / self.size if self.dense else 0.0
        return math.inf if bias >= error else max(self.spread**2 / (error**2 - bias**2), 1.0)

    def seconds_to(self, error: float, slope: float) -> float:
        """How long they take, one after the other."""
        return self.seconds * self.runs_to(error, slope)


def accuracy() -> None:
    """(d) Time to an accuracy of K over the run: both sides at their best size."""
    say("### Time to an accuracy of K over the run\n")
    say("Seconds per run include setting it up, not compilation. The error of n runs is √(bias² + spread²/n).\n")
    say("| run | seconds | spread of one |\n|---|---|---|")
    measured: list[Measured] = []
    means: dict[int, tuple[np.ndarray, float]] = {}
    for precision in ("float64", "float32"):
        networks = ((25, 400), (50, 400), (100, 200), (200, 100), (400, 60), (1000, 20), (2000, 8))
        limits = ((1000, 24), (4000, 16), (8000, 16))
        for dense, size, repeats in [*((True, *pair) for pair in networks), *((False, *pair) for pair in limits)]:
            kernels, seconds = _measured(repeats, precision=precision, width=_width(size, dense))
            one = Measured(size, precision, dense, seconds, _spread(kernels))
            measured.append(one)
            if dense:
                means[size] = (kernels.mean(0), one.spread**2 / repeats)
            say(f"| {one.name} | {one.seconds:.3f} | {one.spread:.1%} |")
    slope = _bias_slope(means)
    say(f"\nBias of finite networks: {slope:.2f}/N of |K| (from N = 25, 50 and 100 against each other).\n")
    say("| error | best ensemble of networks | seconds | best deferred | seconds | ratio |\n|---|---|---|---|---|---|")
    chosen: dict[float, tuple[Measured, Measured]] = {}
    for error in (0.01, 0.003):
        dense_runs = [one for one in measured if one.dense]
        best = min(dense_runs, key=lambda one: one.seconds_to(error, slope))
        own = min((one for one in measured if not one.dense), key=lambda one: one.seconds_to(error, slope))
        wide = [one for one in dense_runs if one.precision == best.precision and one.size in (1000, 2000)]
        limit = own.seconds_to(error, slope)
        for one in dict.fromkeys((best, *wide)):
            seconds = one.seconds_to(error, slope)
            say(f"| {error:.1%} | {one.name} | {seconds:.1f} | {own.name} | {limit:.1f} | {seconds / limit:.1f} |")
        chosen[error] = best, own
    say("\n| error | run | runs | operations of a step | all, relative |\n|---|---|---|---|---|")
    for error, (best, own) in chosen.items():
        for one in (best, own):
            runs, operations = one.runs_to(error, slope), _operations(one.size, one.precision, one.dense)
            share = runs * operations / own.runs_to(error, slope) / _operations(own.size, own.precision, own.dense)
            say(f"| {error:.1%} | {one.name} | {runs:.1f} | {operations / 1e6:.0f} million | {share:.1f} |")
    say()


def first() -> None:
    """(e) Time to the first result of a small run in a fresh process, compilation and imports included."""
    say("### Time to the first result\n")
    program = (
        "import widelimit as wl; wl.train(wl.MLP(3, wl.Tanh()), wl.datasets.sphere(6, 10), "
        "width=wl.Infinite(particles=2000), optimizer=wl.SGD(0.1), steps=30, replicates=1)"
    )
    times = [_timed(lambda: subprocess.run([sys.executable, "-c", program], check=True)) for _ in range(5)]
    say(f"P = 6, L = 3, 30 steps, S = 2000: {median(times):.1f} s ({min(times):.1f}–{max(times):.1f}).\n")


def _width(size: int, dense: bool) -> wl.Finite | wl.Infinite:
    """So many neurons a layer if dense, and else so many particles."""
    return wl.Finite(size) if dense else wl.Infinite(particles=size)


def _run(net: wl.MLP = NET, steps: int = 50, every: int = 5, replicates: int = 1, **options) -> xr.Dataset:
    training = dict(optimizer=wl.SGD(STEP_SIZE), steps=steps, record=wl.Record(every), progress=False)
    return wl.train(net, task(), replicates=replicates, **training, **options)


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


def _spread_error(kernels: np.ndarray) -> float:
    """The standard error of the logarithm of the spread, by leaving out one run at a time."""
    without = [math.log(_spread(np.delete(kernels, run, axis=0))) for run in range(len(kernels))]
    return math.sqrt((len(without) - 1) * np.var(without))


def _bias_slope(means: dict[int, tuple[np.ndarray, float]]) -> float:
    """c in |E[K_N] − K_∞| = c |K|/N, by differences between ensembles with the noise subtracted."""
    estimates = []
    for small, large in ((25, 50), (25, 100), (50, 100)):
        (a, noise_a), (b, noise_b) = means[small], means[large]
        norm = (b**2).sum()
        squared = ((a - b) ** 2).sum() / norm - noise_a - noise_b
        estimates.append(math.sqrt(max(squared, 0)) / (1 / small - 1 / large))
    return median(estimates)


@functools.cache
def _operations(size: int, precision: str, dense: bool) -> float:
    """Floating-point operations of a step, as the compiler counts them: of each case, the one that does most."""
    runner = Stepper("counted", size, precision, dense)
    with at_precision(precision):
        simulation = runner.simulation
        lowered = jax.jit(proceed, static_argnums=0).lower(
            simulation.program, simulation.settings, runner.state, jnp.asarray(1)
        )
        return (lowered.cost_analysis() or {})["flops"]


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
        _run(steps=options.memory, every=50)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with lapack_in_one_thread():  # as in a run
        for name in options.parts or PARTS:
            PARTS[name]()


if __name__ == "__main__":
    main()

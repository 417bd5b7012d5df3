"""What it gains to step replicates together: time of a group, relative to its replicates one after the other.

Interleaved in one process, medians of paired ratios; on whatever device jax computes. One problem throughout: P points
on the sphere in D = 40, tanh, L = 3, γ0 = 1, gradient descent. A network's group is also compared with a plain
ensemble: the same networks and steps, written by hand in a few lines of jax and vmapped.

    python benchmarks/replicates.py                 # a few minutes on two cores
    python benchmarks/replicates.py --together 16   # groups of 16; 4 unless said otherwise
    python benchmarks/replicates.py --widths 200 1000 --particles 4000 --samples 20
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from statistics import median

import jax
import jax.numpy as jnp

import widelimit as wl
from widelimit.precision import at_precision
from widelimit.simulation import step
from widelimit.simulation.state import State
from widelimit.threads import lapack_in_one_thread
from widelimit.weights import DenseWeights

NET = wl.MLP(3, wl.Tanh(), 1.0)
TURNS = 7


def simulation(width: wl.Finite | wl.Infinite, samples: int, precision: str) -> wl.Simulation:
    """The problem at one width."""
    task = wl.datasets.sphere(samples, 40, seed=1)
    optimizer = wl.SGD(0.05 * min(1, 5 / samples))
    return wl.initialize(NET, task, width=width, optimizer=optimizer, steps=10**5, precision=precision)


class Runs:
    """Some replicates of a simulation, one by one and together."""

    def __init__(self, simulated: wl.Simulation, together: int):
        self.program, self.settings = simulated.program, simulated.settings
        states = [simulated.start(replicate) for replicate in range(together)]
        self.group = step.stacked(states)
        self.states = states

    def one_by_one(self, recorded: bool, steps: int) -> None:
        for index, state in enumerate(self.states):
            self.states[index] = self._stepped(state, recorded, steps, step.compiled_advance, step.compiled_proceed)

    def together(self, recorded: bool, steps: int) -> None:
        self.group = self._stepped(
            self.group, recorded, steps, step.compiled_advance_together, step.compiled_proceed_together
        )

    def _stepped(self, state, recorded: bool, steps: int, advance: Callable, proceed: Callable):
        if recorded:
            for _ in range(steps):
                state, record = advance(self.program, self.settings, state)
                jax.device_get(record["loss"])
        else:
            state = proceed(self.program, self.settings, state, steps)
        return jax.block_until_ready(state)


class PlainEnsemble:
    """The networks of a group as plain arrays, and the same steps by `jax.grad`."""

    def __init__(self, simulated: wl.Simulation, runs: Runs):
        settings = simulated.settings
        x, y, size = settings.inputs.train, settings.y, simulated.width.size
        rate = float(simulated.optimizer.step_size) * size  # their f is divided by γ0 N, and kernels are of order 1

        def output(weights):
            first, *hidden, last = weights
            phi = jnp.tanh(x @ first / math.sqrt(40))
            for matrix in hidden:
                phi = jnp.tanh(phi @ matrix / math.sqrt(size))
            return phi @ last / size

        def loss(weights, origin):
            return 0.5 * jnp.sum((output(weights) - origin - y) ** 2)

        def trained(weights, origin, steps):
            def one(_, weights):
                return jax.tree.map(lambda w, g: w - rate * g, weights, jax.grad(loss)(weights, origin))

            return jax.lax.fori_loop(0, steps, one, weights)

        # Copies, because the first step of the group uses up its own.
        self.weights = [jnp.array(matrix, copy=True) for matrix in matrices(runs.group)]
        self.origin = jax.vmap(output)(self.weights)
        self.step = jax.jit(jax.vmap(trained, (0, 0, None)), donate_argnums=0)

    def together(self, steps: int) -> None:
        self.weights = jax.block_until_ready(self.step(self.weights, self.origin, steps))


def matrices(state: State) -> list[jax.Array]:
    """The weight matrices of finite networks."""
    return [layer.matrix for layer in state.network.layers if isinstance(layer, DenseWeights)]


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def row(width: wl.Finite | wl.Infinite, samples: int, together: int, precision: str) -> None:
    """Measure one size and print its row."""
    simulated = simulation(width, samples, precision)
    with at_precision(precision):
        runs = Runs(simulated, together)
        plain = PlainEnsemble(simulated, runs) if isinstance(width, wl.Finite) else None
        for recorded in (True, False):  # compile
            runs.one_by_one(recorded, 1)
            runs.together(recorded, 1)
        if plain is not None:
            plain.together(2)
            for ours, matrix in zip(matrices(runs.group), plain.weights, strict=True):
                assert jnp.allclose(ours, matrix, rtol=1e-4, atol=1e-5), "these are other networks"
        cells, beside = [], "–"
        for recorded in (False, True):
            once = seconds(lambda recorded=recorded: runs.one_by_one(recorded, 1))
            steps = max(2, min(200, int(0.3 / once)))
            pairs = []
            for _ in range(TURNS):
                apart = seconds(lambda recorded=recorded, steps=steps: runs.one_by_one(recorded, steps))
                group = seconds(lambda recorded=recorded, steps=steps: runs.together(recorded, steps))
                theirs = math.nan
                if plain is not None and not recorded:
                    theirs = seconds(lambda steps=steps: plain.together(steps))
                pairs.append((apart, group, theirs))
            cells += [
                f"{median(apart for apart, _, _ in pairs[1:]) / steps / together * 1e3:.2f}",
                f"{median(group / apart for apart, group, _ in pairs[1:]):.2f}",
            ]
            if plain is not None and not recorded:
                beside = f"{median(group / theirs for _, group, theirs in pairs[1:]):.2f}"
    kind = f"N = {width.size}" if isinstance(width, wl.Finite) else f"S = {width.size}"
    print(f"| {kind} | {samples} | {' | '.join(cells)} | {beside} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--together", type=int, default=4)
    parser.add_argument("--precision", default="float64")
    parser.add_argument("--samples", type=int, nargs="*", default=[6, 20, 100])
    parser.add_argument("--widths", type=int, nargs="*", default=[50, 200, 1000])
    parser.add_argument("--particles", type=int, nargs="*", default=[1000, 4000])
    told = parser.parse_args()
    device = jax.devices()[0]
    print(f"{device.platform} ({device.device_kind}), {told.precision}, groups of {told.together}\n")
    print("| size | P | ms a step, one | ratio | ms a recorded step, one | ratio | to a plain ensemble |")
    print("|---|---|---|---|---|---|---|")
    for width in [*map(wl.Finite, told.widths), *map(wl.Infinite, told.particles)]:
        for samples in told.samples:
            row(width, samples, told.together, told.precision)


if __name__ == "__main__":
    with lapack_in_one_thread():  # as in a run
        main()

"""What it gains that LAPACK takes one thread while a run is under way: seconds of the same runs with all threads.

Interleaved in one process, medians, compiled before; at infinite width, where each step decomposes matrices.

    python benchmarks/threads.py            # some four minutes on two cores
    python benchmarks/threads.py --turns 3
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable
from statistics import median
from unittest import mock

import numpy as np

import widelimit as wl
from widelimit.simulation import loop


def runs() -> dict[str, Callable[[], object]]:
    """The runs, by what they are."""
    fa, dfa = wl.FeedbackAlignment(0.5), wl.DirectFeedbackAlignment()

    def run(net, task, rule, particles: int, steps: int) -> Callable[[], object]:
        return lambda: wl.train(
            net,
            task,
            rule,
            width=wl.Infinite(particles),
            optimizer=wl.SGD(0.01),
            steps=steps,
            replicates=1,
            record=wl.Record(every=steps),
            progress=False,
        )

    images = wl.Task(np.random.default_rng(0).normal(size=(2, 5, 2)), np.array([1.0, -1.0]))
    points = {samples: wl.datasets.sphere(samples=samples, dimension=30) for samples in (20, 100)}
    return {
        "linear, L = 3, P = 20": run(wl.MLP(3, wl.Linear()), points[20], fa, 8000, 20),
        "linear convolution, L = 2, P = 2": run(wl.CNN(2, wl.Linear(), filter_size=3), images, fa, 8000, 4),
        "tanh, L = 3, P = 20": run(wl.MLP(3, wl.Tanh()), points[20], dfa, 4000, 20),
        "tanh, L = 3, P = 100": run(wl.MLP(3, wl.Tanh()), points[100], dfa, 8000, 20),
    }


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| run | all threads, s | one, s | ratio |\n|---|---|---|---|")
    for name, run in runs().items():
        run()
        pairs = []
        for _ in range(turns):
            with mock.patch.object(loop, "lapack_in_one_thread", contextlib.nullcontext):
                before = seconds(run)
            pairs.append((before, seconds(run)))
        ratio = median(one / before for before, one in pairs)
        print(
            f"| {name} | {median(p[0] for p in pairs):.2f} | {median(p[1] for p in pairs):.2f} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

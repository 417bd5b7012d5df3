"""How good a plan's seconds are: those that it estimates against those that the run then takes.

Each case is planned, all compiled programs are forgotten, and it is trained, in one process. `first steps` is what the
first steps alone would say, without a look at full bases.

    python benchmarks/plan.py                 # about ten minutes on two cores
    python benchmarks/plan.py networks long   # some of the cases
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import warnings

import jax
import numpy as np

import widelimit as wl
from widelimit.simulation import timing

_RANDOM = np.random.default_rng(0)
_TANH = wl.MLP(3, wl.Tanh())
_ROWS = wl.Task(_RANDOM.normal(size=(4, 8, 2)), _RANDOM.choice([-1.0, 1.0], size=4))

CASES = {
    "networks": (_TANH, wl.datasets.sphere(20, 40), {"width": 500, "steps": 200, "record": wl.Record(every=10)}),
    "limit": (
        _TANH,
        wl.datasets.sphere(10, 20),
        {"width": wl.Infinite(2000), "steps": 300, "record": wl.Record(every=10)},
    ),
    "all recorded": (_TANH, wl.datasets.sphere(10, 20), {"width": wl.Infinite(1000), "steps": 300}),
    "long": (
        wl.MLP(2, wl.Tanh()),
        wl.datasets.sphere(6, 10),
        {"width": wl.Infinite(1000), "steps": 4000, "record": wl.Record(every=100)},
    ),
    "convolution": (
        wl.CNN(2, wl.Tanh(), 1.0, filter_scale=3**-0.5),
        _ROWS,
        {"width": wl.Infinite(1000), "steps": 150, "record": wl.Record(every=10), "optimizer": wl.SGD(0.02)},
    ),
    "linear": (
        wl.MLP(3, wl.Linear()),
        wl.datasets.sphere(6, 10),
        {"width": wl.Infinite(1000), "steps": 150, "record": wl.Record(every=10)},
    ),
}


def main() -> None:
    names = sys.argv[1:] or list(CASES)
    print(
        "| case | estimated, s | first steps, s | taken, s | estimated over taken | load |\n|---|---|---|---|---|---|"
    )
    for name in names:
        net, task, options = CASES[name]
        options = {"optimizer": wl.SGD(0.05), "replicates": 2} | options
        jax.clear_caches()
        plan = wl.plan(net, task, **options)
        share, timing._Clock.share_with_full_bases = timing._Clock.share_with_full_bases, lambda self, steps: 0.0
        first = timing.timed(wl.initialize(net, task, **options), options["replicates"])
        timing._Clock.share_with_full_bases = share
        naive = dataclasses.replace(plan, step_seconds=first.step, recorded_step_seconds=first.recorded).seconds
        jax.clear_caches()
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wl.train(net, task, progress=False, **options)
        taken = time.perf_counter() - began
        load = os.getloadavg()[0]
        row = (f"{plan.seconds:.1f}", f"{naive:.1f}", f"{taken:.1f}", f"{plan.seconds / taken:.2f}", f"{load:.1f}")
        print(f"| {name} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()

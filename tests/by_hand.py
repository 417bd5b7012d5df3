"""Run by `test_simulation` in a process of its own, whose programs are compiled as users have them.

Steps by hand are those of `train` to the last bit, although other programs take them: what is compiled in a hurry, as
the suite's own programs are, need not round alike.
"""

import sys

import numpy as np
import pytest
from helpers import small_task

import widelimit as wl
from widelimit.simulation import grouping

NET = wl.MLP(2, wl.Tanh())
WIDTHS = {"finite": wl.Finite(13), "infinite": wl.Infinite(particles=300)}
BATCHES = {"full": None, "batches": wl.Batches(3)}


def compare(width, batches):
    """To the last bit, for a replicate that is not the first, with momentum, test points and everything recorded."""
    task = small_task(samples=5, test_samples=2)
    options = dict(
        width=WIDTHS[width],
        optimizer=wl.SGD(0.05, momentum=0.4, weight_decay=0.1),
        steps=4,
        batches=BATCHES[batches],
        record=wl.Record(every=4, fields=True),
        seed=3,
    )
    run = wl.train(NET, task, wl.KolenPollack(), replicates=2, **options).isel(replicate=1)
    simulation = wl.initialize(NET, task, wl.KolenPollack(), **options)
    state = simulation.start(replicate=1)
    first = simulation.measure(state)
    for steps in (1, 2, 1):
        state = simulation.step(state, steps)
    last = simulation.measure(state)
    for measured, index in ((first, 0), (last, 1)):
        for name in ("loss", "output", "error", "test_output", "test_loss", "ntk", "feature_kernel", "gradient_kernel"):
            assert np.array_equal(measured[name], run[name].isel(step=index)), name
    assert np.array_equal(last["final_preactivation"], run["final_preactivation"])
    assert int(last["step"]) == 4
    assert float(last["time"]) == pytest.approx(0.2)
    assert "replicate" not in last.dims


if __name__ == "__main__":
    grouping.replicates_together = lambda *arguments: 1
    compare(*sys.argv[1:])

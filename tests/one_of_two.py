"""One of two processes that share a run, for `test_devices`: the sum of K, and of a network's, as JSON."""

import json
import os
import sys

import jax
from helpers import small_task

import widelimit as wl

if __name__ == "__main__":
    index, count, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if count > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, count, index)
    sums = []
    for width, replicates in ((wl.Infinite(512), 1), (wl.Finite(50), 3)):
        result = wl.train(
            wl.MLP(2, wl.Tanh()),
            small_task(),
            wl.FeedbackAlignment(0.5),
            width=width,
            optimizer=wl.SGD(0.05),
            steps=4,
            replicates=replicates,
            record=wl.Record(fields=True),
            seed=3,
        )
        sums += [float(result["ntk"].sum()), float((result["final_preactivation"] ** 2).sum())]
    if count > 1 and hasattr(os, "SCHED_BATCH"):
        # all of them, of which one is gloo's: sums take forty times as long where it puts others aside
        policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
        assert policies == {os.SCHED_BATCH}, policies
    print(json.dumps(sums))

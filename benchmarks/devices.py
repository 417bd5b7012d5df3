"""What more processors of one kind are worth: twice the particles on two of them, in the time of one on one.

    python benchmarks/devices.py [--particles 4000] [--samples 20] [--steps 100]

Starts processes of one core each, by `jax.distributed`: one alone with S particles, then two that share a run of 2S,
alternately. Their ratio is the efficiency (weak scaling). What a device needs beside others, and not a core, is the
same; run the script on a machine with several accelerators to have it for those (`--devices`).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time


def timed(particles: int, samples: int, steps: int, devices: int | None) -> float:
    """Milliseconds of a step, in this process."""
    import jax
    import numpy as np

    import widelimit as wl
    from widelimit.precision import at_precision
    from widelimit.simulation import step
    from widelimit.threads import lapack_in_one_thread

    x = np.random.default_rng(0).normal(size=(samples, 40))
    x *= np.sqrt(40) / np.linalg.norm(x, axis=1, keepdims=True)
    task = wl.Task(x, np.where(np.arange(samples) % 2, 1.0, -1.0))
    simulation = wl.initialize(
        wl.MLP(3, wl.Tanh()),
        task,
        width=wl.Infinite(particles, capacity=8 * samples),
        optimizer=wl.SGD(0.02),
        steps=3 * steps + 20,
        record=wl.Record(every=10, kernels=()),
        devices=devices,
    )
    with at_precision(simulation.precision), lapack_in_one_thread():
        settings, state = simulation.spread(simulation.start())
        state, _ = step.compiled_advance(simulation.program, settings, state)
        times = []
        for count in (steps // 5, steps, steps, steps):
            began = time.perf_counter()
            state = step.compiled_proceed(simulation.program, settings, state, count)
            jax.block_until_ready(state)
            times.append(1e3 * (time.perf_counter() - began) / count)
    return statistics.median(times[1:])


def of_processes(count: int, particles: int, samples: int, steps: int) -> float:
    """Milliseconds of a step that so many processes of one core each share."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        address = f"localhost:{one.getsockname()[1]}"
    words = [str(particles), str(samples), str(steps), address, str(count)]
    processes = [
        subprocess.Popen([sys.executable, __file__, "--worker", str(index), *words], stdout=subprocess.PIPE, text=True)
        for index in range(count)
    ]
    return max(json.loads(process.communicate()[0].splitlines()[-1]) for process in processes)


def worker(index: str, particles: str, samples: str, steps: str, address: str, count: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[int(index)]})
    import jax

    if int(count) > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, int(count), int(index))
    print(json.dumps(timed(int(particles), int(samples), int(steps), None)))


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        return worker(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, default=4000)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--devices", action="store_true", help="the devices of this process, and not processes")
    options = parser.parse_args()
    size = (options.particles, options.samples, options.steps)
    if options.devices:
        import jax

        alone = timed(*size, 1)
        print(f"1 device ({jax.devices()[0].device_kind}), S = {options.particles}: {alone:.2f} ms a step")
        for number in (2**k for k in range(1, 10) if 2**k <= len(jax.devices())):
            shared = timed(number * options.particles, *size[1:], number)
            print(f"{number} devices, S = {number * options.particles}: {shared:.2f} ms, {alone / shared:.2f}")
        return None
    ratios = []
    for turn in range(options.turns):
        alone, shared = of_processes(1, *size), of_processes(2, 2 * size[0], *size[1:])
        ratios.append(alone / shared)
        print(f"turn {turn + 1}: one {alone:.2f} ms, two {shared:.2f} ms a step: efficiency {ratios[-1]:.2f}")
    print(f"median {statistics.median(ratios):.2f}")
    return None


if __name__ == "__main__":
    main()

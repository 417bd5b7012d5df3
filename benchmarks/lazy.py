"""What the lazy limit costs: kernels and predictions for 4000 training and 1000 test images of MNIST, ten classes.

Each run is a process of its own, whose wall time and processor time (all cores together; imports and reading the
images left out) and peak memory are quoted.
It needs the images: pip install "widelimit[mnist]".

    python benchmarks/lazy.py                 # all parts, about five minutes on two cores
    python benchmarks/lazy.py images norms    # some of: images, norms, losses
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time

import numpy as np

import widelimit as wl

NONLINEARITIES = {
    "linear": wl.Linear(),
    "relu": wl.ReLU(),
    "erf": wl.Erf(),
    "gated relu": wl.Gated(wl.ReLU()),
    "tanh": wl.Tanh(),
    "gelu": wl.GELU(),
    "softplus": wl.Softplus(),
}
TIMES = [*np.geomspace(1e-4, 1e2, 25), math.inf]


def say(line: str = "") -> None:
    """Print a line of the report at once."""
    print(line, flush=True)


def images() -> None:
    """(a) Images of equal norm, by nonlinearity."""
    say("### 4000 + 1000 images of norm √D, L = 3, gradient flow at 26 times\n")
    _table(list(NONLINEARITIES), "sphere")


def norms() -> None:
    """(b) Images of different norms, where each has its own Hermite coefficients."""
    say("### The same with images of different norms (mean |x|² = D)\n")
    _table(["relu", "tanh", "gelu"], "norms")


def losses() -> None:
    """(c) Cross-entropy, in 1000 steps."""
    say("### The same with softmax cross-entropy, 1000 steps of 0.001\n")
    _table(["relu", "tanh"], "cross-entropy")


def _table(names: list[str], kind: str) -> None:
    say("| nonlinearity | seconds | processor seconds | peak memory of the process, GiB | test error |")
    say("|---|---|---|---|---|")
    for name in names:
        command = [sys.executable, os.path.abspath(__file__), "--one", name, kind]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        say(
            f"| {name} | {found['seconds']:.1f} | {found['processor']:.1f} | {found['peak']:.2f} "
            f"| {found['error']:.1%} |"
        )
    say()


def one(name: str, kind: str) -> None:
    """One run, in this process; prints what it took as JSON."""
    loss = wl.SoftmaxCrossEntropy() if kind == "cross-entropy" else None
    task = wl.datasets.mnist(4000, 1000, classes=range(10), loss=loss)
    if kind == "norms":
        random = np.random.default_rng(0)
        size, test_size = (np.sqrt(random.uniform(0.5, 1.5, (count, 1))) for count in (4000, 1000))
        task = wl.Task(task.x * size, task.y, task.x_test * test_size, task.y_test)
    net = wl.MLP(3, NONLINEARITIES[name])
    schedule = {"optimizer": wl.SGD(1e-3), "steps": [0, 10, 100, 1000]} if kind == "cross-entropy" else {"times": TIMES}
    began, processor = time.perf_counter(), time.process_time()
    run = wl.theory.lazy(net, task, kernels=(), progress=False, **schedule)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    error = wl.observables.classification_error(run["test_output"], run["test_target"])
    report = {"seconds": seconds, "processor": processor, "peak": _peak(), "error": float(error[-1])}
    print(json.dumps(report))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


PARTS = {"images": images, "norms": norms, "losses": losses}


def main() -> None:
    """Print the report as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], metavar="part")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(*options.one)
        return
    for name in options.parts or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()

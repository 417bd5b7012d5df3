"""Run by `test_devices` in a process of its own, with several virtual devices: prints what it finds as JSON.

The number of jax's devices is fixed when it starts, so that the suite's own process cannot have more than one.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from helpers import small_task

import widelimit as wl
from widelimit.precision import at_precision
from widelimit.simulation import step

CASES = {
    "tanh": (wl.MLP(3, wl.Tanh()), wl.FeedbackAlignment(0.5), wl.Infinite(1024, capacity=24), {}),
    "momentum": (
        wl.MLP(2, wl.Tanh()),
        wl.GradientDescent(),
        wl.Infinite(512),
        {"optimizer": wl.SGD(0.05, momentum=0.5)},
    ),
    "batches": (wl.MLP(2, wl.ReLU()), wl.DirectFeedbackAlignment(), wl.Infinite(512), {"batches": wl.Batches(2)}),
    "linear": (wl.MLP(3, wl.Linear()), wl.GradientDescent(), wl.Infinite(1024, capacity=24), {}),
    "gated": (wl.MLP(2, wl.Gated(wl.ReLU())), wl.KolenPollack(), wl.Infinite(512), {}),
    "networks": (wl.MLP(2, wl.Tanh()), wl.GradientDescent(), wl.Finite(40), {"replicates": 8}),
    "uneven": (wl.MLP(2, wl.Tanh()), wl.Hebbian(), wl.Finite(300), {"replicates": 5}),
}


def run(case: str, devices: int, **more) -> dict[str, np.ndarray]:
    """What a run of a case on so many devices records."""
    net, rule, width, settings = CASES[case]
    settings = {"optimizer": wl.SGD(0.05), "replicates": 2} | settings | more
    steps = settings.pop("steps", 6)
    record = wl.Record(every=2, two_time=True, fields=True)
    task = small_task(samples=4, test_samples=3)
    result = wl.train(net, task, rule, width=width, steps=steps, record=record, devices=devices, seed=3, **settings)
    return {name: variable.values for name, variable in result.items()}


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """The largest difference of two runs, relative to the size of each variable."""
    assert set(a) == set(b)
    return max(float(np.abs(a[name] - b[name]).max() / max(np.abs(a[name]).max(), 1e-3)) for name in a if a[name].size)


def collectives(case: str) -> dict[str, object]:
    """What devices tell one another in a recorded step: how often, and the largest number of numbers at once."""
    net, rule, width, settings = CASES[case]
    task = small_task(samples=4, test_samples=3)
    simulation = wl.initialize(
        net, task, rule, width=width, optimizer=settings.get("optimizer", wl.SGD(0.05)), steps=6, record=wl.Record(2)
    )
    with at_precision("float64"):
        laid, state = simulation.spread(simulation.start())
        program = step.compiled_advance.lower(simulation.program, laid, state).compile().as_text()
        before = [leaf.sharding for leaf in jax.tree.leaves(state)]
        after = jax.tree.leaves(step.compiled_advance(simulation.program, laid, state)[0])
    lines = [
        line for line in program.splitlines() if re.search(r"\) (all|collective)|= .*(all-|collective-)\S*\(", line)
    ]
    names = re.findall(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", "\n".join(lines))
    sizes = [
        int(np.prod([int(n) for n in shape.split(",") if n]))
        for line in lines
        for shape in re.findall(r"f64\[([\d,]*)\]", line.split("(%")[0])
    ]
    kept = all(one.is_equivalent_to(leaf.sharding, leaf.ndim) for one, leaf in zip(before, after, strict=True))
    return {"count": len(names), "kinds": sorted(set(names)), "largest": max(sizes, default=0), "layout kept": kept}


def resumed(case: str) -> float:
    """How far a run that goes on, on other devices, is from one that was never interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "run.ckpt"
        whole = run(case, 2, steps=6)
        run(case, 4, steps=4, checkpoint=kept)
        return distance(whole, run(case, 2, steps=6, checkpoint=kept))


if __name__ == "__main__":
    kind, number, *cases = sys.argv[1:]
    found: dict[str, object] = {}
    for case in cases:
        if kind == "distances":
            alone = run(case, 1)
            found[case] = {number: distance(alone, run(case, int(number)))}
        elif kind == "collectives":
            found[case] = collectives(case)
        else:
            found[case] = resumed(case)
    print(json.dumps(found))

"""Functions that the tests sweep; workers import them by name."""

import os
import time
import warnings
from pathlib import Path

import numpy as np

import widelimit as wl


def decay(rate, seed=0, samples=3, steps=4, layers=2, replicates=2):
    """Outputs and kernels that are known in closed form: loss e^{−rate t}, Φ^ℓ = (rate + ℓ) 1 at all times."""
    if rate < 0:
        raise wl.ArgumentError(f"rate must be at least 0; got {rate}.")
    if rate == 13:
        raise ZeroDivisionError("an unlucky rate")
    if rate > 100:
        warnings.warn("the rate is large", wl.RisingLossWarning, stacklevel=2)
    time = np.arange(steps + 1) * 0.5
    loss = np.exp(-rate * time) + 1e-3 * np.arange(replicates)[:, None] + seed
    kernel = (rate + np.arange(1, layers + 1))[:, None, None] * np.eye(samples)
    return wl.result(
        time=time,
        step=np.arange(steps + 1),
        loss=loss,
        ntk=np.broadcast_to(np.eye(samples), (replicates, steps + 1, samples, samples)).copy(),
        feature_kernel=np.broadcast_to(kernel, (replicates, steps + 1, layers, samples, samples)).copy(),
        target=np.ones(samples),
        configuration={"rule": "decay", "rate": float(rate)},
    )


def slow(rate, folder, seconds=0.0, waits_at=()):
    """[`decay`], after some time; at some rates it says who computes it and waits to be killed, the first time."""
    mark = Path(folder) / f"{rate:g}.pid"
    if rate in waits_at and not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(600)
    time.sleep(seconds)
    return decay(rate)


def greedy(rate, folder):
    """Takes memory until it is stopped."""
    held = []
    for _ in range(400):
        held.append(np.ones(2**20))
        time.sleep(0.02)
    return decay(rate)


def at_widths(rate, widths=(20, 40)):
    """Several runs as one result, along labels that are the function's own."""
    return wl.combine({width: decay(rate + 1 / width) for width in widths}, "width")


def at_times(scale):
    """Recorded at times of its own."""
    return wl.result(time=scale * np.arange(3.0), step=np.arange(3), loss=np.ones((1, 3)))


def no_result(rate):
    """Returns what is none."""
    return rate


def total(x):
    """Of an array."""
    return wl.result(time=np.arange(2.0), step=np.arange(2), loss=np.full((1, 2), float(np.sum(x))))


def applied(g):
    """Of a function."""
    return wl.result(time=np.arange(2.0), step=np.arange(2), loss=np.full((1, 2), float(g(2.0))))


def square(x):
    """x²."""
    return x * x


def named_alike(rho):
    """A result that holds what is swept."""
    return at_times(1.0).assign(rho=2.0 * rho)

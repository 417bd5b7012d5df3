"""Canaries: small computations that some releases of jax get wrong, each against an answer that is known.

Each returns None where all is well, and a sentence about what is wrong otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import experimental, lax

REMEDY = "Install a release of jax that works: pip install 'jax>=0.7,!=0.10.*,!=0.11.0,!=0.11.1'."
"""What to do when a canary fails."""


def vmapped_product(rows: int = 20000) -> str | None:
    """|A r|² of many short rows in double precision; jax 0.10.2 gets thousands of rows wrong on the CPU, silently."""
    random = np.random.default_rng(0)
    matrix, vectors = random.normal(size=(3, 3)), random.normal(size=(rows, 3))
    with _double_precision():
        found = np.asarray(jax.jit(jax.vmap(lambda r: jnp.sum((matrix @ r) ** 2)))(jnp.asarray(vectors)))
    wrong = int(np.sum(~np.isclose(found, np.sum((vectors @ matrix.T) ** 2, axis=1), rtol=1e-9)))
    return f"{wrong} of {rows} rows of a vmapped product are wrong." if wrong else None


def shifted_buffer(size: int = 50) -> str | None:
    """A vector shifted onto itself by `b.at[1:].set(b[:-1])` and reshaped under jit: its first entry may fill it all.

    Releases that are otherwise sound do this too, so nothing here shifts a buffer: histories are written by index.
    """
    buffer = np.arange(float(size), dtype=np.float32)
    shifted = np.concatenate([buffer[:1], buffer[:-1]])
    found = np.asarray(jax.jit(lambda b: b.at[1:].set(b[:-1]).reshape(size, 1))(jnp.asarray(buffer)))[:, 0]
    wrong = int(np.sum(found != shifted))
    return f"{wrong} of {size} entries of a shifted buffer are wrong." if wrong else None


def indexed_history(size: int = 50) -> str | None:
    """A history written by index in a loop and reshaped, which is what stands here in the place of shifted buffers."""

    def write(first: jax.Array) -> jax.Array:
        history = jnp.zeros((size,), jnp.float32).at[0].set(first)
        history = lax.fori_loop(1, size, lambda i, h: h.at[i].set(h[i - 1] + i), history)
        return history.reshape(size, 1)

    found = np.asarray(jax.jit(write)(jnp.float32(1)))[:, 0]
    wrong = int(np.sum(found != 1 + np.cumsum(np.arange(size, dtype=np.float32))))
    return f"{wrong} of {size} entries of a history written by index are wrong." if wrong else None


def high_rank_reduction(seconds: float = 120.0) -> str | None:
    """Products of arrays of rank 7 and 8, summed: 0.10.2 and 0.11.0 crash or hang, so another process does it."""
    return _elsewhere("a sum over an array of high rank", "_reduce", seconds)


def batched_decompositions(seconds: float = 120.0) -> str | None:
    """Batches of matrices, decomposed at once: 0.10.0 to 0.11.1 hang when every thread waits for a share of a batch.

    Each batch is divided over the threads that the program itself runs on (jaxlib's `ParallelBatchMap`, switched off in
    0.11.2), so that another process does it, with two threads.
    """
    alone = {"NPROC": "2", "OPENBLAS_NUM_THREADS": "1"}  # NPROC: how many threads XLA computes with on a CPU
    return _elsewhere("a program with many batches of matrices to decompose", "_decompose", seconds, alone)


def indexed_updates(steps: int = 2000, size: int = 500_000) -> str | None:
    """One entry of a buffer set in each step of a loop; 0.11.1 copies the whole buffer each time, on the CPU.

    Whether it does is read off the clock in units of one copy: `steps` copies if it does, about one if it does not.
    """

    @jax.jit
    def fill(start: jax.Array) -> jax.Array:
        buffer = jnp.full((size,), start, jnp.float32)
        return lax.fori_loop(0, steps, lambda i, b: b.at[i].set(b[i] + 1.0), buffer)

    plain = np.zeros(size, np.float32)
    fill(jnp.float32(0)).block_until_ready()
    looped = min(_seconds(lambda: fill(jnp.float32(0)).block_until_ready()) for _ in range(3))
    copied = min(_seconds(plain.copy) for _ in range(5))
    # Far above the overhead of a loop, which is under a microsecond a step, and far below a copy for each step.
    if looped > 0.25 * steps * copied + 5e-6 * steps:
        return f"{steps} indexed updates took {looped / copied:.0f} copies of the whole buffer: they are not in place."
    return None


CANARIES: dict[str, Callable[[], str | None]] = {
    "vmapped products": vmapped_product,
    "histories written by index": indexed_history,
    "reductions of high rank": high_rank_reduction,
    "batches of decompositions": batched_decompositions,
    "indexed updates in loops": indexed_updates,
}
"""What widelimit relies on, by what is watched."""

AVOIDED: dict[str, Callable[[], str | None]] = {"buffers shifted in place": shifted_buffer}
"""What widelimit does nowhere, because releases get it wrong that are otherwise sound."""


def _elsewhere(what: str, function: str, seconds: float, environment: Mapping[str, str] | None = None) -> str | None:
    """What is wrong where another process calls a function of this module; None if it returns."""
    command = [sys.executable, "-c", f"from widelimit.canaries import {function}; {function}()"]
    environment = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        return f"{what} has not returned after {seconds:g} s."
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or [""])[-1]
    how = f"died of signal {-done.returncode}" if done.returncode < 0 else f"failed: {last}"
    return f"{what} {how}."


def _decompose() -> None:
    """The decompositions that hang, and whether they are right where they do not."""
    batches = np.random.default_rng(0).normal(size=(32, 4, 1000, 20)).astype(np.float32)
    # "raw", with Householder vectors below the triangles: what else would be done stands between the calls.
    decompose = jax.jit(lambda batches: [jnp.linalg.qr(batch, mode="raw") for batch in batches])
    raw = np.stack([np.asarray(found) for found, _ in decompose(jnp.asarray(batches))])
    triangles = np.tril(raw)[..., :20]
    expected = np.swapaxes(batches, -1, -2) @ batches
    found = triangles @ np.swapaxes(triangles, -1, -2)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())


def _reduce() -> None:
    """The reductions that crash, and whether they are right where they do not."""
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(3, 1, 2, 2, 8, 8, 8)).astype(np.float32) for _ in range(2))
    found = np.asarray(jax.jit(lambda a, b: jnp.sum(a * b, axis=3))(a, b))
    np.testing.assert_allclose(found, np.sum(a * b, axis=3), rtol=1e-4, atol=1e-4)
    # With axes of length 7 or less, 0.11.0 takes another path and does not crash.
    weights = random.normal(size=(2, 1, 3)).astype(np.float32)
    wide = np.ones((2, 1, 3, 9, 9, 9, 9, 9), np.float32)
    found = np.asarray(jax.jit(lambda a, b: jnp.sum(a[..., None, None, None, None, None] * b, axis=2))(weights, wide))
    expected = np.broadcast_to(weights.sum(axis=2)[..., None, None, None, None, None], found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _double_precision():
    enable = jax.enable_x64 if hasattr(jax, "enable_x64") else experimental.enable_x64  # type: ignore
    return enable(True)

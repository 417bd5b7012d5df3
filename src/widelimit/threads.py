"""How many threads LAPACK takes within a compiled program."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

_SAID = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")


@contextlib.contextmanager
def lapack_in_one_thread() -> Iterator[None]:
    """A context in which the LAPACK that jax calls on a CPU takes one thread, unless the environment says how many.

    XLA computes the parts of a step that do not need each other at once, on all cores. Each decomposition among them
    would take all cores once more, in threads that wait for those of the others: on two cores and nothing else to do,
    steps took 1.2 to 1.65 times as long. The number is one of the process, and is put back at the end.
    """
    if any(name in os.environ for name in _SAID):
        yield
        return
    with _controller().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _controller():
    import scipy.linalg.cython_lapack  # noqa: F401  # which jax calls: a library is found once it is loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()

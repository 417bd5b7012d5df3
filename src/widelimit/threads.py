"""The threads that compute: how many LAPACK takes within a compiled program, and whom they make way for."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

_SAID = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")


@contextlib.contextmanager
def lapack_in_one_thread() -> Iterator[None]:
    """A context in which the LAPACK that jax calls on a CPU takes one thread, unless the environment says how many.

    XLA computes the parts of a step that do not need each other at once, on all cores. Each decomposition among them
    would take all cores once more, in threads that wait for those of the others: on two cores and nothing else to do,
    runs took up to 1.6 times as long.
    """
    with contextlib.nullcontext() if any(name in os.environ for name in _SAID) else _LIMIT:
        yield


def not_put_aside() -> None:
    """From now on no thread of this process is put aside for another one that has just been woken, on Linux.

    Processes of a CPU exchange sums by gloo, one thread of which is woken while another one, which woke it, still holds
    a lock, and asks for that again and again. Where both have one core, the holder gets it back when the time slice of
    the other is over: 4 ms for a sum of 400 numbers, which takes 0.1 ms when threads are scheduled as those of batch
    jobs (`SCHED_BATCH`).
    """
    if hasattr(os, "SCHED_BATCH"):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # it may have ended, and a container may not allow it
                if os.sched_getscheduler(int(thread)) == os.SCHED_OTHER:
                    os.sched_setscheduler(int(thread), os.SCHED_BATCH, os.sched_param(0))


class _Limit:
    """One limit for all who compute at the same time.

    The number is one of the process: who comes second finds it limited already, and who goes last puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._before: AbstractContextManager[Any] = contextlib.nullcontext()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._before = _controller().limit(limits=1, user_api="blas")
            self._within += 1

    def __exit__(self, *raised: Any) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._before.__exit__(*raised)


_LIMIT = _Limit()


@functools.cache
def _controller():
    import scipy.linalg.cython_lapack  # noqa: F401  # which jax calls: a library is found once it is loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()

"""Where the points of a sweep are computed: in this process, in a cluster of processes here, or in one that exists."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import formatting
from ..checks import ArgumentError
from ..interrupts import Watch, hold, watched
from ..memory import available_memory
from . import index
from .points import Job, Outcome, compute, found, keep_failure

_LOOK = 0.02  # seconds between two looks at what is done
_ROLL = 0.5  # seconds between two looks at which workers there are
_PATIENCE = 120.0  # seconds in which the first worker of a cluster of our own has to come
_DEATHS = 2  # deaths of a worker with a point before the point is given up
_SPARE = 0.9  # of the memory that is free, what workers may take together
_LEAST = 2**30  # bytes for a worker, where nothing else is asked for

Surroundings = Callable[[], AbstractContextManager[Any]]
Done = Iterator[tuple[Job, Outcome]]


@dataclass(frozen=True)
class Means:
    """With what a sweep is computed."""

    workers: int | None = None
    """Processes; 0 for this one, None for as many as there are cores and memory for."""
    memory: float | None = None
    """The bytes that each may take."""
    scheduler: str | None = None
    """The address of a cluster that exists."""
    surroundings: Surroundings | None = None
    """A context in which every point is computed."""

    def sized(self, points: int) -> tuple[int, int, float]:
        """The workers for so many points, the threads of each, and its bytes."""
        from dask.system import CPU_COUNT  # with the shares that containers are given

        free = _SPARE * available_memory()
        fitting = max(int(free // (self.memory or _LEAST)), 1)
        workers = self.workers or max(min(CPU_COUNT, points, fitting), 1)
        return workers, max(CPU_COUNT // workers, 1), self.memory or free / workers


def computed(jobs: Sequence[Job], folder: Path, means: Means) -> Done:
    """Compute points, and yield each with how it went.

    **Raises:** `Interrupted` by a signal; what is computed by then is in its files. `ArgumentError` where there is no
    cluster to compute with.
    """
    if means.workers == 0:
        yield from _in_this_process(jobs, folder, means)
        return
    required()
    if means.scheduler is not None:
        yield from _on_a_cluster(jobs, folder, means, None)
        return
    hold()  # workers are to be ended before this process is
    workers, threads, memory = means.sized(len(jobs))
    with _Local(workers, threads, memory) as local:
        yield from _on_a_cluster(jobs, folder, Means(workers, memory, local.address, means.surroundings), local)


def required() -> None:
    """Raise where what clusters are made of is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise ArgumentError(
            "A sweep in several processes needs dask.distributed, which is not installed: install "
            "widelimit[distributed], or pass workers=0 (--workers 0) to compute in this process."
        )


def _in_this_process(jobs: Sequence[Job], folder: Path, means: Means) -> Done:
    # Points that need the same programs follow each other, before the process has too many and forgets them.
    order = list(dict.fromkeys(job.program for job in jobs))
    for job in sorted(jobs, key=lambda job: order.index(job.program)):
        yield job, compute(job, str(folder), means.memory, means.surroundings)


def _on_a_cluster(jobs: Sequence[Job], folder: Path, means: Means, local: _Local | None) -> Done:
    from distributed import Client

    assert means.scheduler is not None
    logs = logging.getLogger("distributed")
    level = logs.level
    logs.setLevel(logging.CRITICAL)  # what happens is said here in sentences
    try:
        try:
            client = Client(means.scheduler, timeout=20, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ArgumentError(f"There is no scheduler at {means.scheduler} ({_first_line(error)}).") from None
        try:
            with watched() as watch:
                yield from _Dispatch(client, jobs, folder, means, watch, local).outcomes()
        finally:
            with contextlib.suppress(Exception):  # a scheduler that is gone is no reason to lose what is said
                client.close(timeout=2)
    finally:
        logs.setLevel(level)


@dataclass
class _Dispatch:
    """Hands points to workers, one at a time to each, and as a rule those of one program to one worker."""

    client: Any
    jobs: Sequence[Job]
    folder: Path
    means: Means
    watch: Watch
    local: _Local | None
    pending: dict[str, list[Job]] = field(default_factory=dict)
    running: dict[Any, tuple[Job, str]] = field(default_factory=dict)
    program: dict[str, str] = field(default_factory=dict)
    """What each worker has compiled last."""
    deaths: dict[str, int] = field(default_factory=dict)
    """How many workers have died with a point."""
    took: dict[tuple[str, bool], float] = field(default_factory=dict)
    """The seconds of a point of each program that had to be compiled, and of one that had not."""

    def outcomes(self) -> Done:
        """All points, as they are done."""
        for job in self.jobs:
            self.pending.setdefault(job.program, []).append(job)
        workers: list[str] = []
        looked, done = 0.0, 0
        checked = self.local is not None
        while any(self.pending.values()) or self.running:
            self.watch.check()
            if time.monotonic() - looked > _ROLL or len(self.running) < len(workers):
                workers, looked = self._workers(done), time.monotonic()
                if workers and not checked:
                    self._check_folder(workers[0])
                    checked = True
            lost = [future for future, (_, worker) in self.running.items() if worker not in workers]
            for future in [future for future in lost if not future.done()]:
                job = self._recover(future)
                if self.deaths[job.digest] > _DEATHS:
                    yield job, self._given_up(job)
                    done += 1
            self._hand_out(workers)
            ended = [future for future in self.running if future.done()]
            for future in ended:
                job, _ = self.running.pop(future)
                outcome = self._outcome(future, job, done)
                self.took[job.program, outcome.compilations > 0] = outcome.seconds
                yield job, outcome
                done += 1
            if not ended:
                time.sleep(_LOOK)

    def _workers(self, done: int) -> list[str]:
        if self.local is not None:
            self.local.tend()
        try:
            workers = list(self.client.nthreads())
        except Exception as error:  # of several kinds, by how far the connection had come
            raise self._gone(done) from error
        if self.local is not None and not workers:
            self.local.lose_patience()
        elif self.local is not None:
            self.local.has_begun()
        self.program = {worker: last for worker, last in self.program.items() if worker in workers}
        return workers

    def _hand_out(self, workers: list[str]) -> None:
        busy = {worker for _, worker in self.running.values()}
        for worker in workers:
            if worker in busy or len(self.running) >= len(workers):
                continue
            job = self._next(worker)
            if job is None:  # which is for the worker that has compiled its program, wherever in the list that is
                continue
            self.program[worker] = job.program
            future = self.client.submit(
                compute,
                job,
                str(self.folder.absolute()),
                self.means.memory,
                self.means.surroundings,
                key=f"point-{job.digest}-{self.deaths.get(job.digest, 0)}",
                workers=[worker],  # where this one dies, it is handed out again: see [`_recover`]
                pure=False,
            )
            self.running[future] = job, worker

    def _next(self, worker: str) -> Job | None:
        """A point of the program that this worker has compiled, or else of that which fewest have.

        None where it is better to leave the last points of a program to the worker that has compiled it.
        """
        left = {program: jobs for program, jobs in self.pending.items() if jobs}
        own = self.program.get(worker)
        if own in left:
            return left[own].pop(0)
        having = [last for other, last in self.program.items() if other != worker]
        left = {program: jobs for program, jobs in left.items() if program not in having or self._worth(program)}
        if not left:
            return None
        program = min(left, key=lambda each: (having.count(each), -len(left[each])))
        return left[program].pop(0)

    def _worth(self, program: str) -> bool:
        """Whether a worker more may compile a program for what is left of its points."""
        count, compiling = len(self.pending[program]), self.took.get((program, True))
        each = self.took.get((program, False))
        if compiling is None or each is None:
            return count > 1
        return count * each > compiling

    def _outcome(self, future: Any, job: Job, done: int) -> Outcome:
        if future.status == "finished":
            try:
                outcome = future.result()
            except OSError as error:  # what a point raised is an outcome: this is the connection, which ended just now
                raise self._gone(done) from error
            if outcome.status != "failed" and found(self.folder, job.digest).status == "to do":
                raise ArgumentError(
                    f"A worker has written a point of {self.folder}, and it is not there: the folder must be one that "
                    "all workers share."
                )
            return outcome
        if future.status != "error":  # cancelled or lost, and not by this process
            raise self._gone(done)
        error = future.exception()
        outcome = Outcome("failed", f"{type(error).__name__}: {error}")
        keep_failure(self.folder, job, outcome)
        return outcome

    def _recover(self, future: Any) -> Job:
        """Take back the point of a worker that has died, to be handed out again unless it was given up.

        dask would do that too, but keeps a point for ever where no worker is left for a moment.
        """
        job, _ = self.running.pop(future)
        with contextlib.suppress(OSError):  # a scheduler that is gone too is found so at the next look at its workers
            future.cancel()
        self.deaths[job.digest] = self.deaths.get(job.digest, 0) + 1
        if self.deaths[job.digest] <= _DEATHS:
            self.pending.setdefault(job.program, []).insert(0, job)
        return job

    def _given_up(self, job: Job) -> Outcome:
        limit = "" if self.means.memory is None else f" Each may take {formatting.memory(self.means.memory)}."
        died = f"{self.deaths[job.digest]} workers died with this point, for want of memory or killed."
        outcome = Outcome("failed", died + limit)
        keep_failure(self.folder, job, outcome)
        return outcome

    def _check_folder(self, worker: str) -> None:
        """Raise unless a worker of another's cluster sees the folder."""
        path = self.folder.absolute() / index.NAME
        expected = path.read_bytes()
        try:
            future = self.client.submit(_content, str(path), workers=[worker], pure=False)
            seen = future.result(timeout=_PATIENCE)
        except ModuleNotFoundError as error:
            raise ArgumentError(f"The workers of {self.means.scheduler} lack a module: {error}.") from None
        except TimeoutError:
            raise ArgumentError(
                f"A worker of {self.means.scheduler} has not answered within {_PATIENCE:.0f} s."
            ) from None
        except OSError as error:
            raise self._gone(0) from error
        if seen != expected:
            raise ArgumentError(
                f"The workers of {self.means.scheduler} do not see the folder {self.folder}: name one that they share."
            )

    def _gone(self, done: int) -> ArgumentError:
        return ArgumentError(
            f"The scheduler at {self.means.scheduler} is gone. {done} points were computed before that, and are in "
            f"{self.folder}; the same call goes on."
        )


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


class _Local:
    """A scheduler in this process, and workers in processes of their own.

    Workers are started as programs of their own rather than by `multiprocessing`, which would run the user's script
    once more in each of them.
    """

    def __init__(self, workers: int, threads: int, memory: float):
        self._workers, self._threads, self._memory = workers, threads, memory
        self._processes: list[subprocess.Popen] = []
        self._started = 0
        self._since: float | None = None

    def __enter__(self) -> _Local:
        import dask.config
        from distributed import LocalCluster

        with contextlib.ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="widelimit-sweep-")))
            with dask.config.set({"distributed.scheduler.http.routes": []}):
                # No dashboard. What is left of its server gets a port of this machine alone, and has no pages.
                quiet = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
                cluster = LocalCluster(
                    n_workers=0,
                    host="127.0.0.1",
                    scheduler_kwargs=quiet,
                    silence_logs=logging.CRITICAL,
                )
            stack.callback(lambda: cluster.close(timeout=5))
            self.address = cluster.scheduler_address
            stack.callback(self._end)
            for _ in range(self._workers):
                self._start()
            self._stack = stack.pop_all()
        self._since = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tend(self) -> None:
        """Start a worker in the place of one whose two processes have both ended.

        **Raises:** `ArgumentError` where that goes on and on.
        """
        for process in [process for process in self._processes if process.poll() is not None]:
            self._processes.remove(process)
            if self._started >= 4 * self._workers + 4:
                raise ArgumentError(f"Workers of this sweep end as soon as they begin.{self._said()}")
            self._start()

    def has_begun(self) -> None:
        """A worker is there."""
        self._since = None

    def lose_patience(self) -> None:
        """Raise where none has come for too long."""
        if self._since is None:
            self._since = time.monotonic()
        if time.monotonic() - self._since > _PATIENCE:
            raise ArgumentError(f"No worker of this sweep has begun within {_PATIENCE:.0f} s.{self._said()}")

    def _start(self) -> None:
        threads = str(self._threads)
        own = {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "NPROC": threads,  # how many threads XLA computes with on a CPU
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
            "XLA_PYTHON_CLIENT_PREALLOCATE": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),
            "DASK_LOGGING__DISTRIBUTED": "error",
        }
        words = [sys.executable, "-m", "distributed.cli.dask_worker", self.address]
        words += ["--nthreads", "1", "--memory-limit", str(int(self._memory)), "--no-dashboard"]
        words += ["--local-directory", str(self._folder), "--death-timeout", "30", "--host", "127.0.0.1"]
        with (self._folder / f"{self._started}.log").open("wb") as log:
            process = subprocess.Popen(
                words,
                env=os.environ | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the sweep, which ends its workers itself
            )
        self._processes.append(process)
        self._started += 1

    def _end(self) -> None:
        for process in self._processes:
            with contextlib.suppress(OSError):
                process.terminate()
        limit = time.monotonic() + 5
        for process in self._processes:
            try:
                process.wait(max(limit - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _said(self) -> str:
        """The last lines of what a worker has said."""
        logs = sorted(self._folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
        text = logs[-1].read_text(errors="replace").strip() if logs else ""
        return f" The last of them said: {' / '.join(text.splitlines()[-3:])[:600]}" if text else ""


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__

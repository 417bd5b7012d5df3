"""How many threads LAPACK takes while a program of the library runs."""

import pytest
import scipy.linalg.cython_lapack  # noqa: F401  # what jax calls
import threadpoolctl
from helpers import small_task

import widelimit as wl
from widelimit import threads
from widelimit.simulation import step


def lapack_threads():
    """Of each BLAS in this process, how many threads it takes."""
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def two_threads(monkeypatch):
    """A process that says nothing of threads, and whose BLAS takes two."""
    for name in threads._SAID:
        monkeypatch.delenv(name, raising=False)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if set(lapack_threads()) != {2}:
            pytest.skip("this BLAS takes one thread whatever is asked")
        yield


def test_one_thread_within_and_as_before_outside(two_threads):
    with threads.lapack_in_one_thread():
        assert set(lapack_threads()) == {1}
    assert set(lapack_threads()) == {2}
    with pytest.raises(RuntimeError), threads.lapack_in_one_thread():
        raise RuntimeError
    assert set(lapack_threads()) == {2}


def test_who_goes_last_puts_the_number_back(two_threads):
    first, second = threads.lapack_in_one_thread(), threads.lapack_in_one_thread()
    for context in (first, second):
        context.__enter__()
    first.__exit__(None, None, None)
    assert set(lapack_threads()) == {1}
    second.__exit__(None, None, None)
    assert set(lapack_threads()) == {2}


@pytest.mark.parametrize("name", threads._SAID)
def test_what_the_environment_says_goes_before(two_threads, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with threads.lapack_in_one_thread():
        assert set(lapack_threads()) == {2}


def test_runs_and_steps_by_hand_compute_so(two_threads, monkeypatch):
    seen = []

    class Watched:
        def __init__(self, program):
            self.program, self.eval_shape = program, program.eval_shape

        def __call__(self, *arguments):
            seen.append(set(lapack_threads()))
            return self.program(*arguments)

    for name in ("compiled_advance", "compiled_proceed", "compiled_measure"):
        monkeypatch.setattr(step, name, Watched(getattr(step, name)))
    problem = dict(net=wl.MLP(2, wl.Tanh()), task=small_task(), width=wl.Infinite(50), optimizer=wl.SGD(0.1), steps=3)
    simulation = wl.initialize(**problem)
    simulation.measure(simulation.step(simulation.start(), 2))
    assert seen == [{1}] * 3
    wl.train(**problem, record=wl.Record(every=3), replicates=1)
    assert len(seen) > 5
    assert all(each == {1} for each in seen)
    assert set(lapack_threads()) == {2}

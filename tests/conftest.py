"""Fixtures shared by all tests, and the hook that enforces shapes in signatures."""

import os
import signal

from compiling import compile_quickly

# The slow set sets this to 0, and tests programs as users have them.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
    compile_quickly()

# Tests run side by side: what NumPy and LAPACK would do on all cores at once waits for the other test's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# No test reads or writes the user's own compiled programs.
os.environ["WIDELIMIT_COMPILATION_CACHE"] = "off"

import pytest
from jaxtyping import install_import_hook

# Before anything imports the library: pytest itself would, for a warning of the library that is named in its settings.
ROOMS = (
    "problem",
    "networks",
    "optimizers",
    "weights",
    "rules",
    "simulation",
    "results",
    "ensembles",
    "inference",
    "plots",
    "report",
)
# The solvers of theory compute in NumPy, and warn of the line that called them, which the hook's frames would hide.
install_import_hook([f"widelimit.{room}" for room in ROOMS], "shapes.checked")

from helpers import small_task  # noqa: E402

import widelimit as wl  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error::widelimit.DivergenceWarning")
    # A shell starts what it puts in the background with Ctrl-C ignored, and nohup what it runs with SIGHUP. Tests of
    # signals, and the commands that they start, are to be what they are in a terminal.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def task():
    """Four points in three dimensions with targets ±1, and two test points."""
    return small_task(test_samples=2)


@pytest.fixture
def net():
    return wl.MLP(hidden_layers=2, nonlinearity=wl.Tanh())


@pytest.fixture(scope="session")
def short_run():
    """A finished run on a small finite network, for tests of results and observables."""
    return wl.train(
        wl.MLP(2, wl.Tanh()),
        small_task(test_samples=2),
        width=12,
        optimizer=wl.SGD(0.05),
        steps=4,
        replicates=3,
        seed=1,
    )


@pytest.fixture(scope="session")
def short_multiclass_run():
    """The same with three outputs, feedback alignment and fields."""
    return wl.train(
        wl.MLP(2, wl.Tanh()),
        small_task(outputs=3, loss=wl.SoftmaxCrossEntropy(), test_samples=2),
        wl.FeedbackAlignment(0.5),
        width=12,
        optimizer=wl.SGD(0.05),
        steps=4,
        replicates=2,
        seed=1,
        record=wl.Record(two_time=True, fields=True),
    )

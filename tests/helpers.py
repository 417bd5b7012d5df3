"""Shared by the tests: small tasks, the list of rules and nonlinearities, initial weights, comparisons."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from reference import ConvolutionalReference, Reference, Start

import widelimit as wl
from widelimit.results import DIMENSIONS

RULES = {
    "gd": wl.GradientDescent(),
    "fa-0": wl.FeedbackAlignment(0.0),
    "fa-half": wl.FeedbackAlignment(0.5),
    "fa-1": wl.FeedbackAlignment(1.0),
    "dfa": wl.DirectFeedbackAlignment(),
    "hebb": wl.Hebbian(),
}
LATER_RULES = {
    "drtp": wl.DirectRandomTargetProjection(),
    "kolen-pollack": wl.KolenPollack(),
    "signs": wl.SignSymmetric(),
    "signs-frozen": wl.SignSymmetric(tracking=False),
    "three-factor": wl.ThreeFactorHebbian(),
}
NONLINEARITIES = {
    "linear": wl.Linear(),
    "relu": wl.ReLU(),
    "tanh": wl.Tanh(),
    "erf": wl.Erf(),
    "gelu": wl.GELU(),
    "softplus": wl.Softplus(),
    "gated": wl.Gated(wl.ReLU()),
}
KERNELS = ("feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk")


def of_which_fast(cases, *fast):
    """The cases as parameters, of which all but the named ones are left to the slow set."""
    return [pytest.param(case, marks=() if case in fast else pytest.mark.slow) for case in cases]


def small_task(samples=4, dimension=3, outputs=None, loss=None, test_samples=0, seed=0):
    """Random points on the sphere |x|² = D, which D ≤ P keeps unrotated, with targets that any loss can take."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples + test_samples, dimension))
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    total = len(x)
    if isinstance(loss, wl.SoftmaxCrossEntropy):
        y = np.eye(outputs)[np.arange(total) % outputs]
    else:
        y = random.choice([-1.0, 1.0], size=total if outputs is None else (total, outputs))
    if not test_samples:
        return wl.Task(x, y, loss=loss)
    return wl.Task(x[:samples], y[:samples], x[samples:], y[samples:], loss=loss)


def grouped(
    *,
    width=math.inf,
    particles=4000,
    capacity=None,
    tolerance=None,
    growth=None,
    step_size=None,
    momentum=0.0,
    weight_decay=0.0,
    batch_size=None,
    batch_seed=0,
    record_every=1,
    two_time=False,
    fields=False,
    positions=False,
    **others,
):
    """The keyword arguments of `train` from numbers by name, as the configuration of a result has them.

    For tests that hand one dictionary of numbers to `train` and to what knows no groups, a `Reference` or a solver of
    `theory`, and for those that vary one number of a group. `particles`, `capacity`, `tolerance` and `growth` are left
    out at finite width, the optimiser without a `step_size`, batches without a `batch_size`; `others` pass as they are.
    """
    groups = {"record": wl.Record(record_every, two_time=two_time, fields=fields, positions=positions)}
    groups["width"] = wl.Infinite(particles, capacity, tolerance, growth) if width == math.inf else width
    if step_size is not None:
        groups["optimizer"] = wl.SGD(step_size, momentum, weight_decay)
    if batch_size is not None:
        groups["batches"] = wl.Batches(batch_size, batch_seed)
    return groups | others


def started(net, task, rule, width, seed, replicate):
    """A replicate of `train` before its first step: its inputs and its state."""
    simulation = wl.initialize(net, task, rule, width=width, optimizer=wl.SGD(0.1), steps=0, seed=seed)
    return simulation.settings.inputs, simulation.start(replicate)


def reference_for(net, task, rule, width, *, seed=0, replicate=0, rule_name=None):
    """A NumPy network with the initial weights of the given replicate of `train`."""
    inputs, state = started(net, task, rule, width, seed, replicate)
    gated = net.nonlinearity.gated
    start = Start(
        weights=[np.array(layer.matrix).T for layer in state.network.layers],
        feedback={layer: _feedback(made) for layer, made in (state.feedback or {}).items()},
        gates=[np.array(gate) for gate in state.network.gates] if gated else None,
        test_gates=[np.array(gate) for gate in state.network.test_gates] if gated else None,
    )
    return Reference(
        start,
        np.array(inputs.train),
        np.array(inputs.test),
        task.y,
        dimension=task.x.shape[1],
        branch_scale=net.branch_scale if net.residual else None,
        **_described(net, task, rule, rule_name),
    )


def convolutional_reference_for(net, task, rule, width, *, seed=0, replicate=0):
    """The same for a convolutional network."""
    inputs, state = started(net, task, rule, width, seed, replicate)
    assert inputs.trained == inputs.geometry.coordinates, "the inputs have been rotated"
    *grid, channels = task.shape
    size = net.filter_size if isinstance(net.filter_size, tuple) else (net.filter_size,) * len(grid)
    window = tuple(grid) if net.pool == "all" else (net.pool,) * len(grid)
    groups = 1 if net.shared else math.prod(grid)

    def filters(matrix):  # stacked by group and tap, each (below, above)
        stack = np.array(matrix)
        return stack.reshape(groups, math.prod(size), -1, width).transpose(0, 1, 3, 2)

    def readout(matrix):  # stacked by window, each (channel, output)
        return np.array(matrix).reshape(-1, width, task.outputs).transpose(2, 0, 1)

    def feedback(layer, made):
        if hasattr(made, "values"):  # a vector for each output and position, as the readout reaches them
            return np.array(made.values)
        return readout(made.matrix) if layer == net.hidden_layers else filters(made.matrix)

    *hidden, last = state.network.layers
    made = {layer: feedback(layer, one) for layer, one in (state.feedback or {}).items()}
    vectors = {
        layer: one.reshape(task.outputs, -1) for layer, one in made.items() if hasattr(state.feedback[layer], "values")
    }
    found = ConvolutionalReference(
        [filters(layer.matrix) for layer in hidden],
        readout(last.matrix),
        [np.array(gate) for gate in state.network.gates] if net.nonlinearity.gated else None,
        [np.array(gate) for gate in state.network.test_gates] if net.nonlinearity.gated else None,
        {layer: one for layer, one in made.items() if layer not in vectors},
        task.inputs.reshape(task.samples, -1, channels),
        task.test_inputs.reshape(len(task.x_test), math.prod(grid), channels),
        task.y,
        grid=tuple(grid),
        size=size,
        circular=net.padding == "circular",
        window=window,
        filter_scale=net.filter_scale,
        **_described(net, task, rule),
    )
    found.start.feedback.update(vectors)
    return found


def _described(net, task, rule, rule_name=None):
    """What a reference is told of a network, a task and a rule."""
    names = {
        wl.GradientDescent: "gd",
        wl.FeedbackAlignment: "fa",
        wl.DirectFeedbackAlignment: "dfa",
        wl.Hebbian: "hebb",
        wl.DirectRandomTargetProjection: "drtp",
        wl.KolenPollack: "kp",
        wl.SignSymmetric: "signs",
        wl.ThreeFactorHebbian: "three",
    }
    return dict(
        phi=type(net.nonlinearity).__name__,
        loss=type(task.loss).__name__,
        rule=rule_name or names[type(rule)],
        richness=float(net.richness),
        correlation=getattr(rule, "correlation", 0.0),
        error_power=getattr(rule, "error_power", 2),
        tracking=getattr(rule, "tracking", True),
    )


def _feedback(made):
    """Frozen vectors (output, neuron), or a feedback matrix as (above, below)."""
    return np.array(made.matrix).T if hasattr(made, "matrix") else np.array(made)


def relative_error(found, expected):
    """Largest difference, relative to the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{found.shape} is not {expected.shape}"
    assert np.all(np.isfinite(found))
    return np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-300)


def assert_same(found, expected, tolerance, names=None):
    """Every variable of two results agrees to a relative tolerance."""
    for name in names or expected.data_vars:
        if expected[name].size:
            error = relative_error(found[name].values, expected[name].values)
            assert error <= tolerance, f"{name}: relative error {error:.2e} exceeds {tolerance:.0e}"


def assert_matches_reference(result, expected, scalar, tolerance, replicate=0):
    """A replicate of a run agrees with the arrays of a `Reference`, whose unit axes a scalar task does not have."""
    for name, array in expected.items():
        if name not in result:
            continue
        dims = [dim for dim in DIMENSIONS[name][1:] if not dim.startswith("position") or dim in result[name].dims]
        if scalar:
            array = array[tuple(0 if dim in ("output_unit", "output_unit2") else slice(None) for dim in dims)]
        error = relative_error(result[name].isel(replicate=replicate).values, array)
        assert error <= tolerance, f"{name}: relative error {error:.2e} exceeds {tolerance:.0e}"


def assert_agree_statistically(found, expected, resolution, chance=1e-3):
    """The mean over replicates (axis 0) of `found` is `expected`, in standard errors.

    `expected` is an exact array, or one with replicates of its own. The bound is Student's t for a family of as many
    comparisons as there are entries, at the given chance. `resolution` is the largest standard error allowed, relative
    to the largest entry: a comparison that resolves nothing must not pass.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    variance, freedom = found.var(axis=0, ddof=1) / len(found), len(found) - 1
    difference, scale = found.mean(axis=0), np.max(np.abs(found.mean(axis=0)))
    if expected.ndim == found.ndim:
        variance = variance + expected.var(axis=0, ddof=1) / len(expected)
        freedom = min(freedom, len(expected) - 1)
        expected = expected.mean(axis=0)
    difference, error = np.abs(difference - expected), np.sqrt(variance)
    assert np.max(error) <= resolution * scale, f"standard error {np.max(error) / scale:.1e} is too large to tell"
    bound = scipy.stats.t.ppf(1 - chance / 2 / difference.size, freedom)
    worst = np.max(difference / (error + 1e-9 * scale))
    assert worst <= bound, f"{worst:.1f} standard errors apart; at most {bound:.1f} are due to chance"


def small_configuration(steps, replicates=1, step_size=1e-6, run="", tables=""):
    """The text of a configuration file of a small network; `run` is more of [run], and `tables` are further ones."""
    return f"""
[task]
data = "sphere"
samples = 4
dimension = 5
[network]
hidden_layers = 2
[width]
kind = "finite"
neurons = 20
[optimizer]
step_size = {step_size}
[run]
steps = {steps}
replicates = {replicates}
{run}
{tables}
"""


def flipped(content, count):
    """The bytes with one bit of them turned over, in so many ways."""
    chance = random.Random(0)
    for _ in range(count):
        damaged, bit = bytearray(content), chance.randrange(8 * len(content))
        damaged[bit // 8] ^= 1 << bit % 8
        yield damaged


def launched(arguments, folder, **options):
    """A process of Python's with the library that is tested.

    A process begins with what its parent ignores: SIGHUP under `nohup`, SIGINT where a shell starts it in the
    background. This one heeds both.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    heeded = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in heeded.items()}
    try:
        return subprocess.Popen(
            arguments, cwd=folder, env=environment, text=True, **{"stdout": subprocess.DEVNULL} | options
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def said_by(process, seconds=200):
    """What a process has said on its standard error by its end; one that does not end is killed, and the test fails."""
    try:
        return process.communicate(timeout=seconds)[1]
    finally:
        process.kill()

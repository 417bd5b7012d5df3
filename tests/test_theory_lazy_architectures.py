"""The lazy limit of convolutional and residual networks, against runs of them at step 0 and at small richness."""

import math

import numpy as np
import pytest
from helpers import assert_agree_statistically, relative_error
from test_cnn import GEOMETRIES, images

import widelimit as wl

RULES = {
    "gd": wl.GradientDescent(),
    "fa-half": wl.FeedbackAlignment(0.5),
    "dfa": wl.DirectFeedbackAlignment(),
    "hebb": wl.Hebbian(),
}
KERNELS = ("feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk", "pseudo_gradient_norm")
RESIDUAL = "residual"


ROUNDED = {("1-D", "gd"), ("1-D circular, pooled", "dfa"), (RESIDUAL, "fa-half")}
"""The cases of the fast set: each geometry once."""


def network(geometry, layers, nonlinearity, richness=1.0):
    """A network and the shape of its inputs."""
    if geometry == RESIDUAL:
        return wl.MLP(layers, nonlinearity, richness, residual=True, branch_scale=0.7), (3,)
    shape, options = GEOMETRIES[geometry]
    return wl.CNN(layers, nonlinearity, richness, **({"filter_scale": 0.5} | options)), shape


@pytest.mark.parametrize(
    ("geometry", "rule"),
    [
        pytest.param(geometry, rule, marks=() if (geometry, rule) in ROUNDED else pytest.mark.slow)
        for geometry in ("1-D", "1-D circular, pooled", RESIDUAL)
        for rule in RULES
    ],
)
def test_deep_linear_networks_to_rounding(geometry, rule):
    net, shape = network(geometry, 3, wl.Linear())
    task = images(shape, samples=2, test_samples=0)
    run = wl.train(
        net, task, RULES[rule], width=wl.Infinite(particles=3000), optimizer=wl.SGD(1.0), steps=0, replicates=1
    )
    lazy = wl.theory.lazy(net, task, RULES[rule], optimizer=wl.SGD(1.0), steps=0)
    for name in KERNELS:
        scale = np.abs(run["gradient_kernel"].values).max()
        expected = lazy[name].values.reshape(run[name].shape)
        assert np.max(np.abs(run[name].values - expected)) < 1e-10 * scale, name


@pytest.mark.parametrize(
    ("geometry", "nonlinearity", "rule"),
    [
        ("1-D", wl.Tanh(), "gd"),
        ("1-D", wl.ReLU(), "fa-half"),
        ("2-D circular, windows", wl.Tanh(), "fa-half"),
        ("2-D circular, windows", wl.Gated(wl.ReLU()), "gd"),
        ("2-D", wl.Erf(), "dfa"),
        ("locally connected", wl.ReLU(), "gd"),
        ("locally connected", wl.Tanh(), "hebb"),
        (RESIDUAL, wl.Tanh(), "fa-half"),
        (RESIDUAL, wl.Gated(wl.ReLU()), "gd"),
    ],
    ids=str,
)
def test_kernels_are_those_of_wide_networks(geometry, nonlinearity, rule):
    net, shape = network(geometry, 2, nonlinearity)
    task = images(shape, samples=3, test_samples=0)
    # A bias of order 1/N must be small beside the standard error of the mean over networks, of order 1/√(N n).
    run = wl.train(net, task, RULES[rule], width=400, optimizer=wl.SGD(1.0), steps=0, replicates=40).isel(step=0)
    lazy = wl.theory.lazy(net, task, RULES[rule], optimizer=wl.SGD(1.0), steps=0)
    for name in ("feature_kernel", "gradient_kernel", "ntk"):
        expected = lazy[name].values.reshape(run[name].shape[1:])
        assert_agree_statistically(run[name].values, expected, resolution=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["1-D", "2-D circular, windows", RESIDUAL])
@pytest.mark.parametrize("rule", ["gd", "fa-half"])
def test_small_richness_is_the_lazy_limit(geometry, rule):
    """Outputs on training and test points after steps of training, at infinite width."""
    net, shape = network(geometry, 2, wl.Tanh(), richness=1e-2)
    task = images(shape, samples=3)
    training = dict(optimizer=wl.SGD(wl.suggest_step_size(net, task, RULES[rule])), steps=6)
    particles, replicates = (4000, 12) if "windows" in geometry else (2000, 5)
    run = wl.train(net, task, RULES[rule], width=wl.Infinite(particles=particles), replicates=replicates, **training)
    lazy = wl.theory.lazy(net, task, RULES[rule], **training)
    assert lazy["loss"].values[-1] < 0.8 * lazy["loss"].values[0]
    for name in ("output", "test_output"):
        assert_agree_statistically(run[name].values[:, 1:], lazy[name].values[1:], resolution=0.05)


def test_tiles_and_test_points():
    """A test point that is a training point has its kernel, however samples are cut into tiles."""
    net, shape = network("2-D circular, windows", 2, wl.Tanh())
    first = images(shape, samples=7)
    task = wl.Task(first.inputs, first.y[:, 0], first.inputs)
    from widelimit.theory.lazy.kernels import TaskKernels

    bar = type("Bar", (), {"update": lambda self, count: None})()
    names = ("ntk", "test_ntk", "feature_kernel", "gradient_kernel", "ntk_term")
    whole, tiled = (TaskKernels(net, task, 0.5, names, tile) for tile in (100, 3))
    for kernels in (whole, tiled):
        kernels.compute(bar)
    for name in names:
        assert relative_error(tiled.kept[name], whole.kept[name]) < 1e-13
    assert relative_error(whole.kept["test_ntk"], whole.kept["ntk"]) < 1e-13
    assert relative_error(whole.kept["ntk_term"].sum(axis=0), whole.kept["ntk"]) < 1e-13


def test_what_networks_share():
    """One position is a fully connected network, and branches of no weight leave one layer."""
    task = images((1, 3))
    flat = wl.Task(task.x, task.y[:, 0], task.x_test, task.y_test[:, 0])
    for rule in RULES.values():
        one = wl.theory.lazy(wl.CNN(3, wl.Tanh(), filter_size=1), task, rule, times=[0.5, math.inf])
        other = wl.theory.lazy(wl.MLP(3, wl.Tanh()), flat, rule, times=[0.5, math.inf])
        for name in (*KERNELS, "output", "test_output", "ntk_term"):
            assert np.allclose(one[name], other[name], rtol=1e-12, atol=1e-14), name
        none = wl.theory.lazy(wl.MLP(3, wl.Tanh(), residual=True, branch_scale=1e-9), flat, rule, times=[0.5])
        single = wl.theory.lazy(wl.MLP(1, wl.Tanh()), flat, rule, times=[0.5])
        assert np.allclose(none["ntk"], single["ntk"], rtol=1e-12)


def test_suggested_steps_of_rules_that_theory_does_not_know():
    net, shape = network("1-D", 2, wl.Tanh())
    task = images(shape)
    known = wl.suggest_step_size(net, task, wl.GradientDescent())
    assert abs(wl.suggest_step_size(net, task, wl.KolenPollack()) / known - 1) < 1e-12  # K(0) = Φ^L is the smaller


@pytest.mark.parametrize(
    "net", [wl.CNN(2, wl.Linear()), wl.MLP(2, wl.Linear(), residual=True)], ids=["CNN", "residual"]
)
@pytest.mark.parametrize("solver", ["linear", "alternating", "fluctuations"])
def test_solvers_of_fully_connected_networks_refuse_others(net, solver):
    task = images((4, 1), test_samples=0)
    calls = {
        "linear": lambda: wl.theory.linear(net, task, optimizer=wl.SGD(0.1), steps=2),
        "alternating": lambda: wl.theory.alternating(net, task, optimizer=wl.SGD(0.1), steps=2),
        "fluctuations": lambda: wl.theory.fluctuations(net, task, width=100),
    }
    with pytest.raises(wl.ArgumentError) as refusal:
        calls[solver]()
    for word in ("net", f"theory.{solver}", "residual", "train("):
        assert word in str(refusal.value)

"""Residual connections: finite networks against NumPy to rounding, infinitely wide ones against themselves."""

import pytest
from helpers import (
    LATER_RULES,
    RULES,
    assert_agree_statistically,
    assert_matches_reference,
    assert_same,
    grouped,
    of_which_fast,
    reference_for,
    relative_error,
    small_task,
)

import widelimit as wl

ALL_RULES = RULES | LATER_RULES


@pytest.mark.parametrize("rule", ALL_RULES)
def test_a_finite_network_to_rounding(rule):
    task = small_task(samples=5, outputs=2, test_samples=2)
    net = wl.MLP(3, wl.Tanh(), 1.3, residual=True, branch_scale=0.7)
    training = dict(step_size=0.04, steps=4, momentum=0.5, weight_decay=0.3)
    batch = None if rule == "three-factor" else 3  # its error of all samples is another one while all are measured
    numbers = grouped(width=11, batch_size=batch, **training)
    run = wl.train(net, task, ALL_RULES[rule], replicates=1, seed=4, **numbers)
    network = reference_for(net, task, ALL_RULES[rule], 11, seed=4)
    expected = network.train(**training, batches=batch and wl.Batches(batch, seed=0).order(5, 5))
    assert_matches_reference(run, {name: array for name, array in expected.items() if name in run}, False, 1e-10)


def test_gates():
    net, task = wl.MLP(3, wl.Gated(wl.ReLU()), residual=True), small_task(test_samples=2)
    run = wl.train(net, task, width=11, replicates=1, optimizer=wl.SGD(0.03), steps=3)
    expected = reference_for(net, task, wl.GradientDescent(), 11).train(step_size=0.03, steps=3)
    assert_matches_reference(run, {name: array for name, array in expected.items() if name in run}, True, 1e-10)


def test_the_tangent_kernel_says_how_the_output_moves():
    """df/dt = K Δ for a rule whose g̃ is not the gradient: differences of outputs over small steps."""
    net, task = wl.MLP(3, wl.Tanh(), residual=True, branch_scale=0.5), small_task()
    step = 1e-5
    run = wl.train(net, task, wl.FeedbackAlignment(0.3), width=40, replicates=1, optimizer=wl.SGD(step), steps=1)
    moved = (run["output"].isel(step=1) - run["output"].isel(step=0)).values[0] / step
    assert relative_error(moved, run["ntk"].values[0, 0] @ run["error"].values[0, 0]) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_deep_linear_networks_are_exact(rule):
    task = small_task(test_samples=2)
    net = wl.MLP(3, wl.Linear(), 1.2, residual=True, branch_scale=0.6)
    training = dict(optimizer=wl.SGD(0.01, momentum=0.5, weight_decay=0.2), steps=5, replicates=1)
    one, two = (
        wl.train(net, task, RULES[rule], width=wl.Infinite(particles=s), seed=s, **training) for s in (1200, 1500)
    )
    names = ["output", "test_output", "feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk"]
    assert_same(two, one, 1e-10, names)
    assert relative_error(one["ntk"].isel(step=-1), one["ntk"].isel(step=0)) > 1e-3


@pytest.mark.parametrize("rule", of_which_fast(["gd", "fa-half"], "gd"))
def test_wide_networks_tend_to_the_exact_answer(rule):
    task = small_task()
    net = wl.MLP(3, wl.Linear(), 1.0, residual=True, branch_scale=0.6)
    training = dict(optimizer=wl.SGD(0.02), steps=6)
    limit = wl.train(net, task, RULES[rule], width=wl.Infinite(particles=1200), replicates=1, **training)
    limit = limit.isel(replicate=0)
    wide = wl.train(net, task, RULES[rule], width=600, replicates=24, **training)
    for name in ("output", "feature_kernel", "ntk"):
        later = {"step": slice(1, None)}
        assert_agree_statistically(wide[name].isel(later), limit[name].isel(later).values, resolution=0.03)


@pytest.mark.parametrize("width", [20, wl.Infinite(particles=300)], ids=["finite", "infinite"])
def test_one_hidden_layer_has_nothing_to_add_to(width):
    training = dict(width=width, optimizer=wl.SGD(0.05), steps=3, replicates=1)
    one, two = (wl.train(wl.MLP(1, wl.Tanh(), residual=on), small_task(), **training) for on in (True, False))
    assert_same(one, two, 1e-14)

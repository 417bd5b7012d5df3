"""Limits with known answers: static kernels, kernels at initialisation in closed form, and divergence."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    KERNELS,
    NONLINEARITIES,
    RULES,
    assert_agree_statistically,
    assert_same,
    relative_error,
    small_task,
)

import widelimit as wl

# --- lazy kernels, Φ = ⟨ϕ(u)ϕ(u)ᵀ⟩ and ⟨ϕ'(u)ϕ'(u)ᵀ⟩ with u ~ N(0, K)


def relu_moments(kernel):
    norms = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
    angle = np.arccos(np.clip(kernel / norms, -1, 1))
    return norms * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi, 1 - angle / np.pi


def erf_moments(kernel):
    spread = np.outer(1 + 2 * np.diag(kernel), 1 + 2 * np.diag(kernel))
    return 2 / np.pi * np.arcsin(2 * kernel / np.sqrt(spread)), 4 / np.pi / np.sqrt(spread - 4 * kernel**2)


def tanh_moments(kernel):
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    value, slope = np.empty_like(kernel), np.empty_like(kernel)
    for (i, j), cross in np.ndenumerate(kernel):
        first = np.sqrt(kernel[i, i]) * nodes[:, None]
        rest = np.sqrt(max(kernel[j, j] - cross**2 / kernel[i, i], 0))
        second = cross / np.sqrt(kernel[i, i]) * nodes[:, None] + rest * nodes[None, :]
        value[i, j] = np.sum(weights * np.tanh(first) * np.tanh(second))
        slope[i, j] = np.sum(weights / np.cosh(first) ** 2 / np.cosh(second) ** 2)
    return value, slope


MOMENTS = {
    "linear": lambda kernel: (kernel, np.ones_like(kernel)),
    "relu": relu_moments,
    "erf": erf_moments,
    "tanh": tanh_moments,
}


def lazy_kernels(inputs, nonlinearity, layers):
    """Φ^0..Φ^L and G^1..G^{L+1} at initialisation."""
    features, slopes = [inputs], []
    for _ in range(layers):
        if nonlinearity == "gated":
            slope = relu_moments(inputs)[1]
            value = slope * features[-1]
        else:
            value, slope = MOMENTS[nonlinearity](features[-1])
        features.append(value)
        slopes.append(slope)
    gradients = [np.ones_like(inputs)]
    for slope in reversed(slopes):
        gradients.insert(0, slope * gradients[0])
    return features, gradients


def lazy_tangent_kernel(rule, features, gradients):
    """The paper's Table 2: K = Σ_ℓ ρ^{L−ℓ} G^{ℓ+1} Φ^ℓ, with ρ = 1 for gradient descent and 0 for DFA and Hebb."""
    rho = {"gd": 1.0, "fa-1": 1.0, "fa-half": 0.5, "fa-0": 0.0, "dfa": 0.0, "hebb": 0.0}[rule]
    last = len(features) - 1
    return sum(rho ** (last - m) * gradients[m] * features[m] for m in range(last + 1))


def compare_with_table(rule, nonlinearity):
    task = small_task()
    run = wl.train(
        wl.MLP(2, NONLINEARITIES[nonlinearity]),
        task,
        RULES[rule],
        optimizer=wl.SGD(0.1),
        steps=0,
        width=wl.Infinite(particles=2000),
        replicates=12,
    )
    features, gradients = lazy_kernels(task.x @ task.x.T / 3, nonlinearity, 2)
    expected = {
        "feature_kernel": np.stack(features[1:]),
        "gradient_kernel": np.stack(gradients[:-1]),
        "ntk": lazy_tangent_kernel(rule, features, gradients),
    }
    for name, exact in expected.items():
        found = run[name].values[:, 0]
        if nonlinearity == "linear":
            assert relative_error(found, np.broadcast_to(exact, found.shape)) < 1e-10, name
        else:
            assert_agree_statistically(found, exact, resolution=0.02)


REPRESENTATIVES = [
    ("gd", "relu"),
    ("gd", "linear"),
    ("gd", "gated"),
    ("fa-half", "tanh"),
    ("fa-half", "linear"),
    ("fa-0", "relu"),
    ("fa-1", "erf"),
    ("dfa", "erf"),
    ("hebb", "tanh"),
]


@pytest.mark.parametrize(("rule", "nonlinearity"), REPRESENTATIVES)
def test_initial_kernels(rule, nonlinearity):
    compare_with_table(rule, nonlinearity)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("nonlinearity", [*MOMENTS, "gated"])
def test_initial_kernels_of_the_full_product(rule, nonlinearity):
    compare_with_table(rule, nonlinearity)


def test_gated_tangent_kernel_on_the_circle():
    """K(θ) = (L + 1) (1 − θ/π)^L cos θ for points of unit variance at angle θ."""
    angle = 0.8
    inputs = np.array([[1, np.cos(angle)], [np.cos(angle), 1]])
    kernel = lazy_tangent_kernel("gd", *lazy_kernels(inputs, "gated", 3))
    assert abs(kernel[0, 1] - 4 * (1 - angle / np.pi) ** 3 * np.cos(angle)) < 1e-12
    assert abs(kernel[0, 0] - 4) < 1e-6


# --- the lazy limit of training

LIMIT = wl.Infinite(particles=400)


def train_at(richness, rule, width, replicates=1):
    return wl.train(
        wl.MLP(2, wl.Tanh(), richness),
        small_task(),
        RULES[rule],
        width=width,
        optimizer=wl.SGD(0.1),
        steps=6,
        replicates=replicates,
    )


@pytest.mark.parametrize("rule", RULES)
def test_small_richness_freezes_the_kernels_of_a_network(rule):
    lazy, rich = (train_at(richness, rule, 40) for richness in (1e-3, 1.0))
    names = ["feature_kernel", "gradient_kernel"] + (["ntk"] if rule != "hebb" else [])  # whose K is made of errors
    for name in names:
        moved = [relative_error(run[name].isel(step=-1), run[name].isel(step=0)) for run in (lazy, rich)]
        assert moved[0] < 2e-3, name
        assert moved[1] > 20 * moved[0], name
    assert lazy["loss"][0, -1] < 0.9 * lazy["loss"][0, 0]


@pytest.mark.parametrize("rule", ["gd", "fa-half"])
def test_small_richness_freezes_the_kernels_of_the_limit(rule):
    """In standard errors, because sampling noise that enters with what goes backward moves the kernels a little."""
    lazy, rich = (train_at(richness, rule, LIMIT, replicates=12) for richness in (1e-2, 1.0))
    for name in ("feature_kernel", "gradient_kernel", "ntk"):
        start, end = (lazy[name].isel(step=step).values for step in (0, -1))
        assert_agree_statistically(end - start + start.mean(axis=0), start.mean(axis=0), resolution=0.01)
        average = rich[name].mean("replicate")
        assert relative_error(average.isel(step=-1), average.isel(step=0)) > 0.03, name


def test_small_richness_leaves_the_limits_outputs_resolved():
    run = train_at(1e-3, "gd", LIMIT)
    assert np.all(run["loss"].diff("step") < 0)


@pytest.mark.parametrize("rule", ["gd", "fa-0", "fa-half", "dfa"])
def test_lazy_outputs_follow_the_static_kernel(rule):
    """f(k) = [1 − (1 − ηK)^k] y."""
    run = train_at(1e-5, rule, 40)
    kernel, target = run["ntk"].values[0, 0], run["target"].values
    remaining = [np.linalg.matrix_power(np.eye(4) - 0.1 * kernel, step) @ target for step in run["step"].values]
    assert relative_error(run["output"].values[0], target - np.array(remaining)) < 1e-3


@pytest.mark.parametrize("width", [40, LIMIT], ids=["finite", "infinite"])
def test_full_feedback_correlation_starts_as_gradient_descent(width):
    aligned, gradient = (train_at(1.0, rule, width) for rule in ("fa-1", "gd"))
    assert_same(aligned.isel(step=[0]), gradient.isel(step=[0]), 1e-12, KERNELS)
    assert_same(aligned.isel(step=[1]), gradient.isel(step=[1]), 1e-10, ["output", "feature_kernel"])
    assert relative_error(aligned["output"].isel(step=-1), gradient["output"].isel(step=-1)) > 1e-4


# --- divergence


def diverge(**options):
    with pytest.warns(wl.DivergenceWarning) as caught:
        run = wl.train(task=small_task(), **{"steps": 60, "replicates": 2, **options})
    assert len(caught) == 1
    return run, str(caught[0].message)


@pytest.mark.parametrize("width", [30, wl.Infinite(particles=800)], ids=["finite", "infinite"])
def test_hebbian_learning_in_a_deep_linear_network_diverges(width):
    run, message = diverge(net=wl.MLP(2, wl.Linear(), 2.0), rule=wl.Hebbian(), width=width, optimizer=wl.SGD(0.1))
    steps = run["diverged_step"].values
    assert np.all((steps > 2) & (steps < 60))
    assert f"the first at step {steps.min()} (time {0.1 * steps.min():g})" in message
    assert "2 of 2 replicates" in message
    assert "smaller step size" in message
    assert run.sizes["step"] == steps.max()
    for replicate, step in enumerate(steps):
        kept = run.isel(replicate=replicate, step=slice(0, step))
        assert np.all(np.isfinite(kept["loss"]))
        assert np.all(np.isfinite(kept["ntk"]))


def test_too_large_a_step_diverges_and_keeps_the_steps_before():
    options = {"net": wl.MLP(2, wl.ReLU()), "rule": wl.GradientDescent(), "width": 30, "optimizer": wl.SGD(2.0)}
    run, _ = diverge(**options, replicates=1)
    (step,) = run["diverged_step"].values
    before = wl.train(task=small_task(), **options, replicates=1, steps=int(step) - 1)
    assert run["step"].values.tolist() == list(range(step))
    assert_same(run, before, 0.0, ["output", "loss", "ntk"])


def test_divergence_between_recorded_steps_is_seen():
    options = {"net": wl.MLP(2, wl.Linear(), 2.0), "rule": wl.Hebbian(), "width": 30, "optimizer": wl.SGD(0.1)}
    every, _ = diverge(**options)
    seldom, _ = diverge(**options, record=wl.Record(every=20))
    assert np.array_equal(every["diverged_step"], seldom["diverged_step"])
    assert seldom["step"].values.tolist() == list(range(0, int(every["diverged_step"].max()), 20))


def test_converging_training_does_not_warn():
    assert np.all(train_at(1.0, "gd", 40)["diverged_step"] == -1)


@pytest.mark.parametrize(
    ("nonlinearity", "rule"), [pytest.param("tanh", "gd", marks=pytest.mark.slow), ("relu", "fa-half")]
)
def test_test_points_of_a_lazy_network_are_as_sharp_as_training_points(nonlinearity, rule):
    """f = ⟨z ϕ⟩/γ0 less its initial value: both must meet the same noise, or their difference is noise over γ0."""
    task = small_task(test_samples=3)
    net = wl.MLP(2, NONLINEARITIES[nonlinearity], richness=1e-3)
    run = wl.train(
        net, task, RULES[rule], optimizer=wl.SGD(0.1), steps=8, width=wl.Infinite(particles=2000), replicates=8
    )
    lazy = wl.theory.lazy(net, task, RULES[rule], optimizer=wl.SGD(0.1), steps=8)
    later = {"step": slice(1, None)}
    for name in ("output", "test_output"):
        assert_agree_statistically(run[name].isel(later), lazy[name].isel(later).values, resolution=0.03)


def test_feedback_through_the_initial_weights_leaves_gradient_descent_as_the_square_of_richness():
    """ρ = 1 is gradient descent in the lazy limit, and parts from it where weights move."""
    task, apart = small_task(), []
    for richness in (0.02, 0.06):
        net = wl.MLP(3, wl.Linear(), richness)
        one, other = (
            wl.theory.linear(net, task, rule, optimizer=wl.SGD(0.05), steps=20)["ntk"].values
            for rule in (wl.FeedbackAlignment(1.0), wl.GradientDescent())
        )
        apart.append(relative_error(one, other))
    assert abs(np.log(apart[1] / apart[0]) / np.log(3) - 2) < 0.05

"""The lazy limit against NumPy formulas, wide networks, and training at small richness."""

from __future__ import annotations

import json
import math
import sys
import tracemalloc
from time import perf_counter
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from helpers import NONLINEARITIES, RULES, assert_agree_statistically, relative_error, small_task

import widelimit as wl
from widelimit import theory
from widelimit.theory import SingularKernelWarning
from widelimit.theory.lazy.costs import Costs
from widelimit.theory.lazy.dynamics import Schedule
from widelimit.theory.lazy.kernels import KERNELS, TaskKernels

lazy_module = sys.modules[theory.lazy.__module__]  # the package shares its name with the function
RHO = {"gd": 1.0, "fa-0": 0.0, "fa-half": 0.5, "fa-1": 1.0, "dfa": 0.0, "hebb": 0.0}


def net_of(nonlinearity="tanh", layers=2, richness=1.0):
    return wl.MLP(layers, NONLINEARITIES[nonlinearity], richness)


def run(nonlinearity="tanh", rule="gd", task=None, layers=2, **options):
    options = options or {"times": [0.0, 1.0, 5.0]}
    task = small_task(test_samples=3) if task is None else task
    return theory.lazy(net_of(nonlinearity, layers), task, RULES[rule], progress=False, **options)


def angles_of(task, test=False):
    rows = task.x_test if test else task.x
    cosine = rows @ task.x.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(task.x, axis=1)
    theta = np.arccos(np.clip(cosine, -1, 1))
    if not test:
        np.fill_diagonal(theta, 0)
    return theta


def inputs_of(task):
    """K^x."""
    return task.x @ task.x.T / task.x.shape[1]


# --- kernels, written independently


def relu_tangent_kernel(theta, layers, rho):
    """K of a ReLU network for |x|² = D, by the angles of the layers (Cho & Saul 2009, Jacot et al. 2018)."""
    feature, tangent = np.cos(theta), np.cos(theta)
    for _ in range(layers):
        slope = 1 - theta / np.pi
        feature = (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi
        theta = np.where(theta == 0, 0, np.arccos(np.clip(feature, -1, 1)))
        tangent = feature + rho * slope * tangent
    return tangent, feature


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_rectifier_networks(rule, layers):
    task = small_task(samples=6, test_samples=5)
    found = run("relu", rule, task, layers)
    kernel, feature = relu_tangent_kernel(angles_of(task), layers, RHO[rule])
    assert np.allclose(found["ntk"], kernel, rtol=0, atol=1e-13)
    assert np.allclose(found["feature_kernel"].sel(layer=layers), feature, rtol=0, atol=1e-13)
    test_kernel = relu_tangent_kernel(angles_of(task, test=True), layers, RHO[rule])[0]
    assert np.allclose(found["test_ntk"], test_kernel, rtol=0, atol=1e-13)


@pytest.mark.parametrize("layers", [1, 3])
def test_error_function_networks_of_any_norm(layers):
    """Against the arcsine kernel (Williams 1997), for inputs of different norms."""
    random = np.random.default_rng(4)
    x = random.normal(size=(7, 3)) * random.uniform(0.3, 2, size=(7, 1))
    found = run("erf", "gd", wl.Task(x[:5], np.ones(5), x[5:]), layers)
    feature = x @ x.T / 3
    tangent = feature
    for _ in range(layers):
        spread = 1 + 2 * np.diag(feature)
        ratio = 2 * feature / np.sqrt(np.outer(spread, spread))
        slope = 4 / np.pi / np.sqrt(np.outer(spread, spread) - 4 * feature**2)
        feature = 2 / np.pi * np.arcsin(ratio)
        tangent = feature + slope * tangent
    assert np.allclose(found["ntk"], tangent[:5, :5], rtol=1e-13)
    assert np.allclose(found["test_ntk"], tangent[5:, :5], rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_terms_and_kernels_belong_together(rule):
    found = run("tanh", rule, layers=3)
    rho, features, gradients = RHO[rule], found["feature_kernel"], found["gradient_kernel"]
    assert np.allclose(found["ntk_term"].sum("weight"), found["ntk"], rtol=1e-14)
    for layer in (1, 2, 3):
        scaled = rho ** (4 - layer) * gradients.sel(layer=layer)
        assert np.allclose(found["pseudo_gradient_kernel"].sel(layer=layer), scaled, rtol=1e-15)
        below = found["input_kernel"] if layer == 1 else features.sel(layer=layer - 1)
        assert np.allclose(found["ntk_term"].sel(weight=layer - 1), scaled * below.values, rtol=1e-14)
    assert np.allclose(found["ntk_term"].sel(weight=3), features.sel(layer=3), rtol=1e-15)


def test_the_feedback_correlation_goes_from_features_to_the_tangent_kernel():
    """ρ = 0 gives Φ^L (the NNGP kernel) as DFA and Hebb do, ρ = 1 the NTK of gradient descent."""
    kernels = {rule: run("gelu", rule, layers=3) for rule in RULES}
    for rule in ("fa-0", "dfa", "hebb"):
        assert np.allclose(kernels[rule]["ntk"], kernels["gd"]["feature_kernel"].sel(layer=3), rtol=1e-15)
    assert np.allclose(kernels["fa-1"]["ntk"], kernels["gd"]["ntk"], rtol=1e-15)


@pytest.mark.parametrize("layers", [1, 3])
def test_gated_networks(layers):
    """Linear gates: (L+1) K^x. ReLU gates: (L+1) (1 − θ/π)^L cos θ."""
    task = small_task(samples=6, test_samples=3)
    net = wl.MLP(layers, wl.Gated(wl.Linear()))
    found = theory.lazy(net, task, times=1.0)
    assert np.allclose(found["ntk"], (layers + 1) * inputs_of(task), rtol=0, atol=1e-14 * layers)
    found = run("gated", "gd", task, layers)
    for name, theta in (("ntk", angles_of(task)), ("test_ntk", angles_of(task, test=True))):
        expected = (layers + 1) * (1 - theta / np.pi) ** layers * np.cos(theta)
        assert np.allclose(found[name], expected, rtol=0, atol=1e-13)
    gate = 1 - angles_of(task) / np.pi
    for layer in range(1, layers + 1):
        expected = gate**layer * inputs_of(task)
        assert np.allclose(found["feature_kernel"].sel(layer=layer), expected, rtol=0, atol=1e-14)
        expected = gate ** (layers + 1 - layer)
        assert np.allclose(found["gradient_kernel"].sel(layer=layer), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_rules_on_gated_networks(rule):
    task = small_task(samples=6)
    found, share = run("gated", rule, task, 3), sum(RHO[rule] ** power for power in range(4))
    expected = share * (1 - angles_of(task) / np.pi) ** 3 * inputs_of(task)
    assert np.allclose(found["ntk"], expected, rtol=0, atol=1e-13)


class SoftGate(wl.Nonlinearity):
    """A gate of a user's own: sigmoid(m), the derivative of softplus."""

    @property
    def gated(self):
        return True

    def gate(self, m):
        return 1 / (1 + jnp.exp(-m))

    def value(self, h):
        raise NotImplementedError

    derivative = value


def test_gates_of_a_users_own():
    own, known = (
        theory.lazy(wl.MLP(2, gate), small_task(), times=1.0) for gate in (SoftGate(), wl.Gated(wl.Softplus()))
    )
    assert np.allclose(own["ntk"], known["ntk"], rtol=1e-13)


def test_samples_that_occur_twice():
    """A rectifier's kernel falls as the angle between inputs; rounding must not open one between equal inputs."""
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 784)) * random.uniform(0.5, 2, size=(40, 1))
    task = wl.Task(np.concatenate([x, 3 * x]), np.ones(80), x[::-1])
    kernels = TaskKernels(wl.MLP(3, wl.ReLU()), task, 1.0, (), tile=7)
    kernels.compute(lazy_module._bar(1, "", "", False))
    own = np.diag(kernels.tangent)
    assert np.allclose(np.diag(kernels.tangent[:40, 40:]), 3 * own[:40], rtol=1e-14)
    assert np.allclose(np.diag(kernels.test_tangent[::-1]), own[:40], rtol=1e-14)
    assert np.allclose(own[:40], 4 * np.sum(x**2, axis=1) / 784, rtol=1e-14)


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh", "gated"])
def test_tiles_make_no_difference(nonlinearity):
    random = np.random.default_rng(1)
    x = random.normal(size=(17, 4))
    task = wl.Task(x[:11], np.ones((11, 2)), x[11:])
    names = tuple(KERNELS)
    whole, tiled = (TaskKernels(net_of(nonlinearity), task, 0.5, names, tile) for tile in (100, 3))
    for kernels in (whole, tiled):
        with lazy_module._bar(kernels.pairs, "", "", False) as bar:
            kernels.compute(bar)
    assert np.allclose(whole.tangent, tiled.tangent, rtol=0, atol=1e-14)
    assert np.allclose(whole.test_tangent, tiled.test_tangent, rtol=0, atol=1e-14)
    for name in names:
        assert np.allclose(whole.kept[name], tiled.kept[name], rtol=0, atol=1e-14), name
    assert whole.kept["ntk"].shape == (11, 11)
    assert whole.kept["feature_kernel"].shape == (2, 11, 11)


# --- networks


def slowly(cases, fast):
    """All cases, those that are not `fast` marked as slow."""
    return [case if case in fast else pytest.param(*np.atleast_1d(case), marks=pytest.mark.slow) for case in cases]


ALL = [(rule, nonlinearity) for rule in RULES for nonlinearity in NONLINEARITIES]


@pytest.mark.parametrize(("rule", "nonlinearity"), slowly(ALL, [("fa-half", "tanh"), ("gd", "gated")]))
def test_wide_networks_at_initialisation(rule, nonlinearity):
    task = small_task()
    found = run(nonlinearity, rule, task)
    networks = wl.train(
        net_of(nonlinearity),
        task,
        RULES[rule],
        width=2000,
        optimizer=wl.SGD(0.1),
        steps=0,
        replicates=16,
        progress=False,
    )
    names = ["feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "pseudo_gradient_norm"]
    for name in names + ["ntk"] * (rule != "hebb"):  # whose K(0) has a part that is nothing but noise
        exact = found[name].isel(step=0) if "step" in found[name].dims else found[name]
        if name == "pseudo_gradient_kernel" and RHO[rule] == 0:
            assert np.all(exact == 0)
            continue
        assert_agree_statistically(networks[name].values[:, 0], exact.values, resolution=0.05)


def at_small_richness(nonlinearity, rule, task, width, richness=1e-3):
    return wl.train(
        wl.MLP(2, nonlinearity, richness),
        task,
        rule,
        width=width,
        optimizer=wl.SGD(0.1),
        steps=4,
        progress=False,
        replicates=12,
    )


def alike(exact, trained):
    """An array of the theory with the steps, the outputs (K as K ⊗ 1) and the order of axes of one that was trained."""
    trained = trained.isel(replicate=0, drop=True)
    if {"output_unit", "output_unit2"} <= set(trained.dims) - set(exact.dims):
        exact = exact * xr.DataArray(np.eye(trained.sizes["output_unit"]), dims=("output_unit", "output_unit2"))
    return (exact + 0 * trained).transpose(*trained.dims).values


HEBBIAN = {f"hebb-{power}": wl.Hebbian(power) for power in (0, 1)}


@pytest.mark.parametrize("rule", slowly([*RULES, *HEBBIAN], ["fa-half"]))
def test_linear_networks_at_small_richness(rule):
    """Particles solve linear networks exactly, up to O(γ0) for Hebbian learning and O(γ0²) for the others."""
    rule = (RULES | HEBBIAN)[rule]
    task = small_task(outputs=2 if isinstance(rule, wl.Hebbian) else None, test_samples=3)
    exact = theory.lazy(wl.MLP(2, wl.Linear()), task, rule, optimizer=wl.SGD(0.1), steps=4)
    trained = at_small_richness(wl.Linear(), rule, task, wl.Infinite(particles=200), richness=1e-7).isel(replicate=[0])
    names = ["output", "test_output", "loss", "test_loss", "error", "feature_kernel", "gradient_kernel", "input_kernel"]
    names += ["pseudo_gradient_norm"] + ["ntk", "pseudo_gradient_kernel"] * (not isinstance(rule, wl.Hebbian))
    for name in names:
        if name == "input_kernel":
            assert np.array_equal(exact[name], trained[name])
        elif np.any(exact[name]):
            found = trained[name].isel(replicate=0)
            assert relative_error(found, alike(exact[name], trained[name])) < 1e-5, name


@pytest.mark.parametrize(
    ("rule", "nonlinearity"), slowly([case for case in ALL if case[1] != "linear"], [("gd", "tanh"), ("hebb", "gated")])
)
def test_training_at_small_richness(rule, nonlinearity):
    """The same steps at infinite width; subtracting results goes by their labels."""
    task = small_task(loss=wl.Logistic())
    exact = run(nonlinearity, rule, task, optimizer=wl.SGD(0.1), steps=[0, 2, 4])
    trained = at_small_richness(NONLINEARITIES[nonlinearity], RULES[rule], task, wl.Infinite(particles=2000))
    assert (trained["output"] - exact["output"]).sizes == {"replicate": 12, "step": 3, "sample": 4}
    for name in ("output", "error"):
        found = trained[name].sel(step=[2, 4])
        assert_agree_statistically(found.values, alike(exact[name], found), resolution=0.02)


@pytest.mark.parametrize("rule", slowly(RULES, ["fa-half"]))
def test_wide_networks_at_small_richness(rule):
    """With several outputs and test points, whose outputs at infinite width are noise of the order 1/γ0 in `train`."""
    task = small_task(outputs=3, loss=wl.SoftmaxCrossEntropy(), test_samples=2)
    exact = run("tanh", rule, task, optimizer=wl.SGD(0.1), steps=4)
    trained = at_small_richness(wl.Tanh(), RULES[rule], task, 1000)
    for name in ("output", "test_output"):
        found = trained[name].sel(step=[1, 4])
        assert_agree_statistically(found.values, alike(exact[name], found), resolution=0.05)


# --- outputs in time, squared loss


def test_linear_networks_in_closed_form():
    """K = (L+1) K^x for gradient descent; f = y − e^{−Kt} y by the series of the exponential."""
    task = small_task(samples=3, dimension=5)
    found = run("linear", "gd", task, layers=3, times=[0.0, 0.2, 0.7])
    kernel, y = 4 * task.x @ task.x.T / 5, task.y[:, 0]
    for time in found["time"].values:
        left, term = y.copy(), y.copy()
        for order in range(1, 60):
            term = -time / order * kernel @ term
            left = left + term
        assert np.allclose(found["output"].values[found["time"].values == time][0], y - left, rtol=0, atol=1e-12)
    losses = [0.5 * np.sum((y - f) ** 2) for f in found["output"].values]
    assert np.allclose(found["loss"], losses, rtol=1e-13)


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
def test_the_end_of_training_is_kernel_regression(nonlinearity):
    task = small_task(samples=6, dimension=8, test_samples=5, outputs=2)
    found = run(nonlinearity, "gd", task, times=[1.0, 10.0, math.inf])
    kernel, test_kernel = found["ntk"].values, found["test_ntk"].values
    weights = np.linalg.solve(kernel, task.y)
    assert np.allclose(found["test_output"].isel(step=-1), test_kernel @ weights, rtol=0, atol=1e-12)
    assert np.allclose(found["regression_coefficient"].isel(step=-1), weights, rtol=0, atol=1e-11)
    assert np.allclose(found["output"].isel(step=-1), task.y, rtol=0, atol=1e-13)
    assert found["time"].values[-1] == math.inf
    for name, matrix in (("output", kernel), ("test_output", test_kernel)):
        expected = np.einsum("mn,tnc->tmc", matrix, found["regression_coefficient"])
        assert np.allclose(found[name], expected, rtol=0, atol=1e-13)


def test_steps_are_those_of_the_recursion():
    """f ← f + ηK(y − f), α ← α + η(y − f), at the steps asked for."""
    task = small_task(test_samples=2)
    found = run("gelu", "fa-half", task, optimizer=wl.SGD(0.15), steps=[0, 1, 5, 40])
    assert found["step"].values.tolist() == [0, 1, 5, 40]
    assert np.allclose(found["time"], 0.15 * found["step"], rtol=1e-15)
    kernel, y, alpha = found["ntk"].values, task.y[:, 0], np.zeros(4)
    for step in range(41):
        if step in found["step"]:
            assert np.allclose(found["output"].sel(step=step), kernel @ alpha, rtol=0, atol=1e-13)
            assert np.allclose(found["regression_coefficient"].sel(step=step), alpha, rtol=0, atol=1e-12)
        alpha = alpha + 0.15 * (y - kernel @ alpha)
    every = run("gelu", "fa-half", task, optimizer=wl.SGD(0.15), steps=5)
    assert every["step"].values.tolist() == list(range(6))
    assert np.allclose(every["output"].sel(step=5), found["output"].sel(step=5), rtol=0, atol=1e-14)


def test_steps_become_gradient_flow():
    """The difference to gradient flow halves with the step size."""
    flow = run("tanh", "gd", times=[0.5, 2.0])
    errors = []
    for step_size in (1e-2, 5e-3, 2.5e-3):
        steps = run("tanh", "gd", optimizer=wl.SGD(step_size), steps=[round(0.5 / step_size), round(2 / step_size)])
        errors.append(np.max(np.abs(steps["test_output"].values - flow["test_output"].values)))
    assert errors[0] < 0.02
    assert np.allclose(np.divide(errors[:-1], errors[1:]), 2, atol=0.05)


def test_classes_are_learned_apart():
    """C outputs of squared loss are C scalar problems of one kernel, which is kept once."""
    task = small_task(outputs=3, test_samples=2)
    found = run("relu", "gd", task, times=[0.3, math.inf])
    for unit in range(3):
        alone = run("relu", "gd", wl.Task(task.x, task.y[:, unit], task.x_test), times=[0.3, math.inf])
        for name in ("output", "test_output", "regression_coefficient"):
            assert np.allclose(found[name].isel(output_unit=unit), alone[name], rtol=0, atol=1e-12)
        for name in (*KERNELS, "pseudo_gradient_norm"):
            assert found[name].dims == alone[name].dims
            assert np.array_equal(found[name], alone[name]), name
    column = run("relu", "gd", wl.Task(task.x, task.y[:, :1]), times=0.3)
    assert column["ntk"].dims == ("sample", "sample2")
    assert column["output"].dims == ("step", "sample", "output_unit")


@pytest.mark.parametrize("rule", ["gd", "fa-half", "hebb"])
def test_a_kernel_kept_once_stands_for_all_outputs(rule):
    """Beside a result that has C×C blocks, and in alignments, K is K ⊗ 1."""
    task = small_task(outputs=3, test_samples=2)
    found = run("tanh", rule, task, optimizer=wl.SGD(0.1), steps=2)
    blocks = np.eye(3)
    whole = found.copy()
    for name in ("ntk", "gradient_kernel", "pseudo_gradient_kernel", "test_ntk", "ntk_term"):
        assert "output_unit" not in found[name].dims
        whole[name] = found[name] * xr.DataArray(blocks, dims=("output_unit", "output_unit2"))
    if rule != "hebb":
        whole["pseudo_gradient_norm"] = found["pseudo_gradient_norm"].expand_dims(output_unit=3)
    for a, b in ((found, whole), (whole, found)):
        distances = wl.compare(a, b)
        assert {"ntk", "gradient_kernel", "pseudo_gradient_norm", "test_ntk"} <= set(distances)
        assert all(np.all(values.sel(measure="absolute") < 1e-14) for values in distances.values())
    for measure in (
        lambda result: wl.observables.alignment(result["ntk"], result["target"]),
        wl.observables.gradient_alignment,
    ):
        assert np.allclose(measure(found), measure(whole), rtol=1e-13)
    trained = at_small_richness(wl.Tanh(), RULES[rule], task, width=50)
    distances = wl.compare(trained, found)
    kernel = alike(found["ntk"], trained["ntk"])
    apart = np.linalg.norm((trained["ntk"].mean("replicate") - kernel).values[0]) / np.linalg.norm(kernel[0])
    assert np.allclose(distances["ntk"].sel(measure="relative").isel(step=0), apart, rtol=1e-12)


def test_a_singular_kernel_leaves_its_null_modes_alone():
    """A linear network of more samples than dimensions: least squares at the end, and y outside K's range unlearned."""
    random = np.random.default_rng(3)
    x, x_test, y = random.normal(size=(8, 3)), random.normal(size=(4, 3)), random.normal(size=8)
    task = wl.Task(x, y, x_test)
    with pytest.warns(SingularKernelWarning, match=r"5 of its 8 modes are never learned, with [\d.]+% of") as caught:
        found = theory.lazy(wl.MLP(2, wl.Linear()), task, times=[1.0, 1e6, math.inf])
    assert caught[0].filename == __file__
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    assert json.loads(found.attrs["configuration"])["null_modes"] == 5
    for step in (1, 2):
        assert np.allclose(found["output"].isel(step=step), x @ weights, rtol=0, atol=1e-12)
        assert np.allclose(found["test_output"].isel(step=step), x_test @ weights, rtol=0, atol=1e-12)
    outside = y - x @ weights
    assert np.allclose(found["regression_coefficient"].values[1] @ outside, 1e6 * outside @ outside, rtol=1e-12)
    pseudo_inverse = np.linalg.pinv(x @ x.T, rcond=1e-10) @ y
    assert np.allclose(found["regression_coefficient"].isel(step=2), pseudo_inverse, rtol=0, atol=1e-12)


def test_a_kernel_that_is_not_singular_has_no_null_modes():
    found = run("relu", "gd", small_task(samples=6, dimension=8), times=math.inf)
    assert wl.results.configuration(found)["null_modes"] == 0


def indefinite():
    """ρ = −1 at L = 1: K = Φ^1 − ⟨ϕ'ϕ'⟩ K^x, with eigenvalues of both signs."""
    return wl.MLP(1, wl.Tanh()), small_task(samples=5, dimension=5), wl.FeedbackAlignment(-1.0)


def test_negative_feedback_has_no_end():
    net, task, rule = indefinite()
    found = theory.lazy(net, task, rule, times=[0.5, 1.0])
    values = np.linalg.eigvalsh(found["ntk"].values)
    assert values[0] < -1e-3
    left, term = task.y[:, 0].copy(), task.y[:, 0].copy()
    for order in range(1, 60):
        term = -found["ntk"].values @ term / order
        left = left + term
    assert np.allclose(found["error"].isel(step=-1), left, rtol=0, atol=1e-13)
    with pytest.raises(wl.ArgumentError, match="K has negative eigenvalues"):
        theory.lazy(net, task, rule, times=math.inf)
    with pytest.warns(wl.DivergenceWarning, match="negative eigenvalue"):
        theory.lazy(net, task, rule, times=1e5)


def test_too_large_a_step_warns_of_the_largest_that_is_stable():
    largest = np.linalg.eigvalsh(run("relu")["ntk"].values)[-1]
    with pytest.warns(wl.DivergenceWarning, match=f"stable up to 2/λ = {2 / largest:.3g}"):
        found = run("relu", optimizer=wl.SGD(2.1 / largest), steps=50)
    assert found["loss"][-1] > found["loss"][-2] > found["loss"][0]
    run("relu", optimizer=wl.SGD(1.9 / largest), steps=50)


# --- outputs in time, other losses


@pytest.mark.parametrize("loss", [wl.Logistic(), wl.SoftmaxCrossEntropy()])
def test_other_losses_flow_as_tiny_steps_do(loss):
    """Steps extrapolated to size zero: 2 f(η/2) − f(η) is within O(η²) of gradient flow."""
    outputs = 3 if isinstance(loss, wl.SoftmaxCrossEntropy) else None
    task = small_task(outputs=outputs, loss=loss, test_samples=3)
    flow = run("relu", "gd", task, times=[0.0, 1.0, 4.0])
    coarse, fine = (
        run("relu", "gd", task, optimizer=wl.SGD(size), steps=[0, round(1 / size), round(4 / size)])
        for size in (4e-3, 2e-3)
    )
    for name in ("output", "test_output", "regression_coefficient"):
        extrapolated = 2 * fine[name].values - coarse[name].values
        assert np.max(np.abs(fine[name].values - flow[name].values)) > 1e-5, name
        assert np.allclose(extrapolated, flow[name], rtol=0, atol=2e-5), name


class Same(wl.Loss):
    """The squared loss by another name."""

    curvature: ClassVar[float] = 1.0

    def value(self, output, target):
        return 0.5 * jnp.sum((output - target) ** 2, axis=-1)

    def error(self, output, target):
        return target - output

    def check(self, name, target, scalar):
        pass


def test_squared_loss_two_ways():
    """The general integrator and the stepper agree with the exact solution."""
    task = small_task(outputs=2, test_samples=2)
    again = wl.Task(task.x, task.y, task.x_test, task.y_test, loss=Same())
    for options, tolerance in (
        ({"times": [0.1, 1.0, 9.0]}, 1e-9),
        ({"optimizer": wl.SGD(0.1), "steps": [0, 3, 80]}, 1e-13),
    ):
        exact, general = (run("tanh", "gd", one, **options) for one in (task, again))
        for name in ("output", "test_output", "regression_coefficient", "loss", "test_loss"):
            assert relative_error(general[name], exact[name]) < tolerance, name


def test_steps_of_other_losses_that_diverge_warn():
    task = small_task(outputs=2, test_samples=2)
    task = wl.Task(task.x, task.y, loss=Same())
    with pytest.warns(wl.DivergenceWarning, match="smaller step size"):
        run("relu", "gd", task, optimizer=wl.SGD(10.0), steps=400)


# --- the kernel between two points at an angle


@pytest.mark.parametrize("rule", RULES)
def test_rectifier_kernel_of_angle(rule):
    theta = np.linspace(0, np.pi, 41)
    for layers in (1, 3):
        found = theory.kernel_of_angle(net_of("relu", layers), RULES[rule], theta)
        expected = relu_tangent_kernel(theta, layers, RHO[rule])[0]
        assert found.dims == ("angle",)
        assert np.array_equal(found["angle"], theta)
        assert np.allclose(found, expected, rtol=0, atol=1e-13)
        assert abs(found[0] - sum(RHO[rule] ** power for power in range(layers + 1))) < 2e-15 * layers


def test_gated_kernel_of_angle():
    theta = np.linspace(0, np.pi, 41)
    found = theory.kernel_of_angle(net_of("gated", 4), None, theta)
    assert np.allclose(found, 5 * (1 - theta / np.pi) ** 4 * np.cos(theta), rtol=0, atol=2e-14)
    assert found[0] == pytest.approx(5, rel=2e-15)
    assert found[-1] == 0


@pytest.mark.parametrize("nonlinearity", ["tanh", "softplus", "linear", "erf"])
def test_kernel_of_angle_is_that_of_a_task(nonlinearity):
    theta = np.array([0, 0.3, 1.1, np.pi])
    x = math.sqrt(2) * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    found = theory.kernel_of_angle(net_of(nonlinearity, 3), RULES["fa-half"], theta)
    task = run(nonlinearity, "fa-half", wl.Task(x, np.ones(4)), 3)
    assert np.allclose(found, task["ntk"][0], rtol=0, atol=1e-13)


def test_one_angle():
    found = theory.kernel_of_angle(net_of("linear", 2), None, 0.0)
    assert found.shape == (1,)
    assert float(found[0]) == 3


# --- the result


def test_the_result_is_labelled(tmp_path):
    found = run("tanh", "gd", layers=3, times=[0.0, 2.0, math.inf])
    assert "replicate" not in found.sizes
    static = [name for name in found.data_vars if "step" not in found[name].dims]
    assert set(KERNELS) | {"input_kernel", "pseudo_gradient_norm", "target", "test_target"} == set(static)
    assert found["ntk_term"]["weight"].values.tolist() == [0, 1, 2, 3]
    assert wl.results.configuration(found)["solver"] == "theory.lazy"
    wl.save(found, tmp_path / "lazy.nc")
    assert wl.load(tmp_path / "lazy.nc").identical(found)


def test_only_what_is_asked_for_is_kept():
    assert not set(KERNELS) & set(run(times=1.0, kernels=()))
    assert set(KERNELS) & set(run(times=1.0, kernels=["ntk", "ntk"])) == {"ntk"}
    task = small_task()
    assert "test_ntk" not in run(task=task, times=1.0)
    assert "test_output" not in run(task=task, times=1.0)


def test_richness_plays_no_role():
    task = small_task(test_samples=2)
    poor, rich = (theory.lazy(net_of("tanh", richness=g), task, times=[1.0]) for g in (0.1, 5.0))
    for name in poor.data_vars:
        assert np.array_equal(poor[name], rich[name])


def test_gradient_descent_is_the_default():
    task = small_task()
    assert np.array_equal(theory.lazy(net_of(), task, times=1.0)["output"], run(task=task, times=1.0)["output"])


# --- bad input


class OwnRule(wl.Rule):
    def pseudo_gradient(self, view, layer, above):
        return above


BAD = {
    "neither": ({}, "either times .* got neither"),
    "both": ({"times": 1.0, "optimizer": wl.SGD(0.1), "steps": 3}, "either times .* got both"),
    "half": ({"optimizer": wl.SGD(0.1)}, "steps must be given too"),
    "other half": ({"steps": 3}, "optimizer must be given too"),
    "negative time": ({"times": -1.0}, "times must be .* none negative; got -1.0"),
    "descending times": ({"times": [1.0, 0.5]}, "times must be .* ascending"),
    "no times": ({"times": []}, "times must be"),
    "not a time": ({"times": [math.nan]}, "times must be"),
    "times of words": ({"times": "soon"}, "times must be numbers; got 'soon'"),
    "times in a table": ({"times": [[1.0]]}, "times must be"),
    "infinity twice": ({"times": [math.inf, math.inf]}, "times must be"),
    "a number": ({"optimizer": 0.1, "steps": 3}, "optimizer must be a SGD"),
    "a step size to choose": ({"optimizer": wl.SGD("auto"), "steps": 3}, "theory.lazy needs .*suggest_step_size"),
    "auto": ({"optimizer": "auto", "steps": 3}, "theory.lazy needs .*suggest_step_size"),
    "momentum": (
        {"optimizer": wl.SGD(0.1, momentum=0.5), "steps": 3},
        "plain steps; got momentum 0.5 and weight decay 0",
    ),
    "decay": ({"optimizer": wl.SGD(0.1, weight_decay=0.5), "steps": 3}, "plain steps; .* weight decay 0.5.* train"),
    "negative steps": ({"optimizer": wl.SGD(0.1), "steps": -1}, "steps must be a whole number at least 0"),
    "half a step": ({"optimizer": wl.SGD(0.1), "steps": 0.5}, "steps must be a whole number"),
    "half steps": ({"optimizer": wl.SGD(0.1), "steps": [0.5, 1]}, "steps must be a whole number"),
    "steps without end": ({"optimizer": wl.SGD(0.1), "steps": [1, math.inf]}, "steps must be a whole number"),
    "unknown kernel": ({"times": 1.0, "kernels": ["nkt"]}, "kernels: unknown name 'nkt'. Did you mean 'ntk'"),
    "a word for a list": ({"times": 1.0, "kernels": "ntk"}, "kernels must be a list of names"),
}


@pytest.mark.parametrize("case", BAD)
def test_arguments_that_cannot_serve(case):
    options, message = BAD[case]
    with pytest.raises(wl.ArgumentError, match=message):
        theory.lazy(net_of(), small_task(), **options)


def test_objects_that_cannot_serve():
    with pytest.raises(wl.ArgumentError, match=r"net must be an instance.*MLP\(\)"):
        theory.lazy(wl.MLP, small_task(), times=1.0)
    with pytest.raises(wl.ArgumentError, match="task must be a Task"):
        theory.lazy(net_of(), np.ones((3, 3)), times=1.0)
    for call in (
        lambda: theory.lazy(net_of(), small_task(), OwnRule(), times=1.0),
        lambda: theory.kernel_of_angle(net_of(), OwnRule(), 0.1),
    ):
        with pytest.raises(wl.ArgumentError, match=r"covers GradientDescent.*Hebbian; got OwnRule"):
            call()
    for theta in (-0.1, 3.2, [[0.1]], [0.1, np.nan], "wide"):
        with pytest.raises(wl.ArgumentError, match="theta"):
            theory.kernel_of_angle(net_of(), None, theta)


@pytest.mark.parametrize("loss", [wl.Logistic(), wl.SoftmaxCrossEntropy()])
def test_losses_without_a_minimum_have_no_end(loss):
    task = small_task(outputs=3, loss=loss)
    with pytest.raises(wl.ArgumentError, match=f"covered for SquaredError.*{type(loss).__name__}"):
        theory.lazy(net_of(), task, times=[1.0, math.inf])


def test_sizes_that_cannot_fit(monkeypatch):
    monkeypatch.setattr("widelimit.memory.available_memory", lambda: 2.0**31)
    task = wl.Task(np.ones((9000, 2)), np.ones((9000, 10)))
    with pytest.raises(wl.ArgumentError, match=r"needs about \d+\.\d GiB .* 2\.0 GiB are free: .*kernels=\(\)"):
        theory.lazy(net_of(), task, times=1.0)
    task = wl.Task(np.ones((4000, 2)), np.ones((4000, 10)))
    Costs(net_of(), task, Schedule(np.zeros(1)), (), True).check(math.inf)  # without kernels it fits
    with pytest.raises(wl.ArgumentError, match="fewer times"):
        Costs(net_of(), task, Schedule(np.arange(10.0**4)), (), True).check(math.inf)


def test_runs_of_days_are_refused_at_once(monkeypatch):
    """10 000 colour images of 32×32 pixels, between all pairs of which there are 5e13 pairs of positions."""
    monkeypatch.setattr("widelimit.memory.available_memory", lambda: math.inf)
    images = wl.Task(np.ones((10_000, 32, 32, 3)), np.ones((10_000, 10)))
    net = wl.CNN(2, wl.ReLU())
    began = perf_counter()
    with pytest.raises(
        wl.ArgumentError, match=r"time_limit: theory.lazy takes about \d+ days for 10000 samples at 1024"
    ):
        theory.lazy(net, images, times=1.0)
    assert perf_counter() - began < 1
    with pytest.raises(wl.ArgumentError, match=r"about \d+ days .* The limit is 2\.3 days\. .* smaller images"):
        theory.lazy(net, images, times=1.0, time_limit=2e5)
    with pytest.raises(wl.ArgumentError, match="time_limit must be a finite number above 0"):
        theory.lazy(net_of(), small_task(), times=1.0, time_limit=0)


def test_runs_of_minutes_warn(monkeypatch):
    task = small_task()
    monkeypatch.setattr(sys.modules[Costs.__module__], "WARN_FROM", 0.0)
    with pytest.warns(
        theory.LongRunWarning,
        match="theory.lazy takes about 0.0 s for 4 samples, 1.0e.01 pairs of them in each of 2 layers",
    ) as caught:
        theory.lazy(net_of(), task, times=1.0)
    assert caught[0].filename == __file__


def test_the_time_that_is_said_in_advance():
    """Of the order of what runs take: a series for each norm, several taps, kernels that pass both ways."""
    schedule = Schedule(np.zeros(1))
    flat = wl.Task(np.ones((4000, 2)), np.ones(4000))
    cheap, dear = (Costs(wl.MLP(3, phi), flat, schedule, (), True).seconds() for phi in (wl.ReLU(), wl.Tanh()))
    assert 8 < cheap < dear < 20  # measured: 11 s and 13 s, of which 8 for the eigenmodes
    uneven = wl.Task(np.arange(8000.0).reshape(4000, 2), np.ones(4000))
    assert Costs(wl.MLP(3, wl.Tanh()), uneven, schedule, (), True).seconds() > 3 * dear
    images = wl.Task(np.ones((20, 12, 12, 1)), np.ones(20))
    small, large = (Costs(wl.CNN(2, wl.ReLU(), filter_size=size), images, schedule, (), True) for size in (1, 5))
    assert small.row_pairs == large.row_pairs == 210 * 144**2
    assert 2 * small.seconds() < large.seconds() < 6 * small.seconds()
    kept = Costs(large.net, images, schedule, KERNELS, True)
    assert large.seconds() < kept.seconds() < 4 * large.seconds()


@pytest.mark.parametrize(("samples", "times", "outputs", "record"), [(700, 1, None, None), (300, 300, 5, ())])
def test_memory_is_told_in_advance(samples, times, outputs, record):
    """What is allocated at most is within what was announced, and more than a quarter of it."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(samples, 5)), random.normal(size=samples if outputs is None else (samples, outputs))
    task, net = wl.Task(x, y, x[:100]), wl.MLP(3, wl.ReLU())
    schedule = Schedule(np.arange(float(times)))
    parts = Costs(net, task, schedule, KERNELS if record is None else record, True).memory()
    tracemalloc.start()
    theory.lazy(net, task, times=np.arange(times), kernels=record)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.25 * sum(parts.values()) < peak < sum(parts.values())

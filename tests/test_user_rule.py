"""A rule written outside the package: direct random target projection (Frenkel, Lefebvre & Bol 2021)."""

import importlib.util
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_agree_statistically, assert_matches_reference, of_which_fast, reference_for, small_task

import widelimit as wl

_EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "random_target_projection.py"
_SPEC = importlib.util.spec_from_file_location("random_target_projection", _EXAMPLE)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
RandomTargetProjection = _MODULE.RandomTargetProjection


class Saturating(wl.Rule):
    """δ^ℓ = ϕ'(h^ℓ) ⊙ tanh(W^ℓᵀ δ^{ℓ+1}/√N), from Δ w at the top: not linear in the error."""

    @property
    def linear_in_error(self):
        return False

    def pseudo_gradient(self, view, layer, above):
        return view.derivatives[layer] * jnp.tanh(view.weights[layer].backward(above))


class Twice(wl.Rule):
    """g̃^ℓ = ϕ'(h^ℓ) ⊙ W^ℓᵀ(a + b)/√N with a = h^{ℓ+1} ⊙ g̃^{ℓ+1} and b = g̃^{ℓ+1}, sent one after the other."""

    def pseudo_gradient(self, view, layer, above):
        matrix = view.weights[layer]
        if layer == view.hidden_layers:
            return view.derivatives[layer] * matrix.backward(above)
        arriving = matrix.backward(jnp.tanh(view.preactivations[layer + 1]) * above) + matrix.backward(above)
        return view.derivatives[layer] * arriving


class Once(wl.Rule):
    """The same as `Twice` in one send, of as many rows."""

    def pseudo_gradient(self, view, layer, above):
        if layer < view.hidden_layers:
            above = jnp.tanh(view.preactivations[layer + 1]) * above + above
        return view.derivatives[layer] * view.weights[layer].backward(above)


NET = wl.MLP(2, wl.Tanh(), 1.5)


@pytest.mark.parametrize("outputs", [None, 3])
def test_finite_width(outputs):
    task, rule = small_task(outputs=outputs, test_samples=2), RandomTargetProjection()
    run = wl.train(
        NET, task, rule, width=200, optimizer=wl.SGD(step_size=0.05, momentum=0.5), steps=5, replicates=1, seed=2
    )
    reference = reference_for(NET, task, rule, 200, seed=2, rule_name="drtp")
    assert_matches_reference(run, reference.train(step_size=0.05, steps=5, momentum=0.5), task.scalar, 1e-10)


@pytest.mark.parametrize("outputs", of_which_fast([None, 2], 2))
def test_infinite_width_is_what_wide_networks_tend_to(outputs):
    task = small_task(outputs=outputs)
    options = {"optimizer": wl.SGD(0.1), "steps": 6, "record": wl.Record(every=3)}
    rule = RandomTargetProjection()
    limit = wl.train(NET, task, rule, width=wl.Infinite(particles=2000), replicates=8, **options)
    wide = wl.train(NET, task, rule, width=1000, replicates=24, seed=1, **options)
    for name in ("output", "feature_kernel", "ntk"):
        last = {"step": slice(1, None)}
        assert_agree_statistically(wide[name].isel(last), limit[name].isel(last).values, resolution=0.03)
    start, end = (limit["feature_kernel"].isel(step=step).mean("replicate").values for step in (0, -1))
    assert np.max(np.abs(end - start)) > 0.1, "features have hardly moved"


@pytest.mark.parametrize("outputs", [None, 2])
@pytest.mark.parametrize("width", [60, wl.Infinite(particles=400)], ids=["finite", "infinite"])
def test_the_recorded_kernel_moves_the_output(outputs, width):
    """f(1) − f(0) = η K(0) Δ(0) + O(η²), also for a rule that is not linear in the error."""
    task = small_task(outputs=outputs)
    rises = {}
    for step_size in (1e-4, 2e-4):
        run = wl.train(
            NET,
            task,
            Saturating(),
            width=width,
            optimizer=wl.SGD(step_size),
            steps=1,
            replicates=1,
        )
        kernel, error, output = (run[name].values[0] for name in ("ntk", "error", "output"))
        kernel = kernel.reshape(*kernel.shape[:3], *((1, 1) if outputs is None else kernel.shape[3:]))[0]
        error, output = (array.reshape(2, task.samples, -1) for array in (error, output))
        predicted = step_size * np.einsum("mncd,nd->mc", kernel, error[0])
        rises[step_size] = np.max(np.abs(output[1] - output[0] - predicted)) / np.max(np.abs(predicted))
    assert rises[1e-4] < 0.02
    if not isinstance(width, wl.Infinite):  # there, sampling error of the responses that enter at step 1 remains
        assert rises[1e-4] < 0.7 * rises[2e-4]


def test_two_sends_through_one_matrix_are_one_send_of_the_sum():
    task = small_task()
    options, limit = {"optimizer": wl.SGD(0.1), "steps": 6}, wl.Infinite(particles=2000, capacity=24)
    twice, once = (
        wl.train(NET, task, rule, width=limit, replicates=8, seed=seed, **options)
        for seed, rule in enumerate((Twice(), Once()))
    )
    networks = [wl.train(NET, task, rule, width=30, replicates=1, **options) for rule in (Twice(), Once())]
    assert np.allclose(networks[0]["ntk"], networks[1]["ntk"], rtol=1e-10)
    for name in ("output", "feature_kernel", "ntk"):
        last = {"step": slice(1, None)}
        assert_agree_statistically(
            twice[name].isel(last), once[name].isel(last).mean("replicate").values, resolution=0.04
        )


class TeachesTheNetwork(wl.Rule):
    """Lets a matrix of the network learn by itself, which it cannot."""

    def pseudo_gradient(self, view, layer, above):
        signal = view.pulled_back(layer, view.weights[layer].backward(above), above)
        view.weights[layer].learn(above, view.features[layer])
        return signal


@pytest.mark.parametrize("width", [20, wl.Infinite(500)])
def test_matrices_of_the_network_learn_by_pseudo_gradients_alone(width):
    with pytest.raises(wl.ArgumentError, match=r"TeachesTheNetwork calls learn on a matrix of view\.weights"):
        wl.train(wl.MLP(2, wl.Tanh()), small_task(), TeachesTheNetwork(), width=width, optimizer=wl.SGD(0.1), steps=2)


class Saturated(wl.Rule):
    """Sends the sign of the error backward, and returns Σ_c of it: not linear, which has to be said."""

    def pseudo_gradient(self, view, layer, above):
        sent = jnp.sign(above) if layer == view.hidden_layers else above
        return view.pulled_back(layer, view.weights[layer].backward(sent), sent)


class SaturatedAndSaid(Saturated):
    @property
    def linear_in_error(self):
        return False


@pytest.mark.parametrize("width", [20, wl.Infinite(500)])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_rules_that_are_not_linear_in_the_error_have_to_say_so(width, precision):
    """They would train as another rule: K Δ was 0.64 of its size from df/dt with three outputs, without a word."""
    options = {"width": width, "optimizer": wl.SGD(0.1), "steps": 2, "precision": precision}
    net, task = wl.MLP(2, wl.Tanh()), small_task()
    with pytest.raises(wl.ArgumentError, match="rule: Saturated is not linear in the error"):
        wl.initialize(net, task, Saturated(), **options)
    wl.initialize(net, task, SaturatedAndSaid(), **options)


class WithoutCoefficients(wl.Rule):
    """g̃ = ϕ'(h), which the update of a single output multiplies by Δ; of several nothing would."""

    def pseudo_gradient(self, view, layer, above):
        return view.derivatives[layer]


def test_a_single_output_needs_no_coefficients():
    net, task = wl.MLP(2, wl.Tanh()), small_task()
    several = wl.Task(task.x, np.stack([task.y[:, 0], -task.y[:, 0]], axis=1))
    wl.initialize(net, task, WithoutCoefficients(), width=20, optimizer=wl.SGD(0.1), steps=2)
    with pytest.raises(wl.ArgumentError, match="WithoutCoefficients is not linear in the error"):
        wl.initialize(net, several, WithoutCoefficients(), width=20, optimizer=wl.SGD(0.1), steps=2)


@pytest.mark.parametrize("net", [wl.MLP(6, wl.ReLU(), 1e-3), wl.MLP(2, wl.Gated(wl.ReLU())), wl.MLP(2, wl.Tanh(), 3.0)])
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_no_rule_of_the_library_s_would_be_refused_as_a_user_s(net, precision, outputs):
    """Those that are linear in the error are asked as if somebody else had written them; g̃ of one depends on Δ."""
    random = np.random.default_rng(0)
    y = random.normal(size=(5, outputs))
    task = wl.Task(random.normal(size=(5, 4)), y if outputs > 1 else y[:, 0])
    rules = (wl.GradientDescent, wl.FeedbackAlignment, wl.DirectFeedbackAlignment, wl.Hebbian, wl.KolenPollack)
    for rule in (*rules, wl.SignSymmetric):
        as_a_user_s = type(rule.__name__, (rule,), {"__module__": __name__})
        wl.initialize(net, task, as_a_user_s(), width=10, optimizer=wl.SGD(0.1), steps=1, precision=precision)

"""Algorithm 1 against the infinite-width solver, exact deep linear theory, and responses read off deferred weights."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import KERNELS, NONLINEARITIES, RULES, assert_agree_statistically, assert_same, relative_error, small_task
from test_exact import LinearTheory

import widelimit as wl
from widelimit.precision import at_precision
from widelimit.simulation import step
from widelimit.simulation.training import TrainingInterrupted
from widelimit.theory import ConvergenceWarning, alternating
from widelimit.theory.alternating import estimates
from widelimit.theory.alternating.fields import Overflow
from widelimit.theory.alternating.sweeps import Sweeper

# --- against the infinite-width solver, in standard errors

CURVED = {"tanh": {"optimizer": wl.SGD(0.1), "steps": 10}, "relu": {"optimizer": wl.SGD(0.03), "steps": 12}}
CURVED["gated"] = CURVED["relu"]


def solve_both(rule, nonlinearity, layers, replicates=16, **options):
    """Independent replicates of both at γ0 = 2, where responses are 10 to 20 % of K."""
    net, task = wl.MLP(layers, NONLINEARITIES[nonlinearity], richness=2.0), small_task()
    numbers = {"replicates": replicates, "progress": False, **CURVED[nonlinearity], **options}
    rows = task.samples * (numbers["steps"] + 1)
    found = alternating(net, task, RULES[rule], particles=2000, seed=1, **numbers)
    limit = wl.train(
        net, task, RULES[rule], width=wl.Infinite(particles=2000, capacity=rows, tolerance=0.02), seed=2, **numbers
    )
    assert "Converged" in found.attrs["verdict"]
    return found, limit


def amplitudes(result, reference):
    """How much of the reference each replicate holds, (replicate, quantity): one number a layer and variable."""
    columns = []
    for name in ("output", *KERNELS):
        values, expected = (r[name].isel(step=slice(1, None)) for r in (result, reference))
        expected = expected.mean("replicate")
        over = [dim for dim in expected.dims if dim != "layer"]
        share = (values * expected).sum(over) / (expected**2).sum(over)
        columns.append(share.transpose("replicate", ...).values.reshape(len(values), -1))
    return np.concatenate(columns, axis=1)


def assert_agree(found, limit, resolution):
    """Every entry, and with far more power the amplitude of every quantity, in standard errors."""
    assert_agree_statistically(amplitudes(found, limit), amplitudes(limit, limit), resolution)
    for name in ("output", *KERNELS):
        later = {"step": slice(1, None)}
        assert_agree_statistically(found[name].isel(later), limit[name].isel(later), 4 * resolution)


FAST = [("dfa", 2)]
CASES = [(rule, layers) for rule in ("gd", "fa-half", "fa-0", "dfa", "hebb") for layers in (1, 2, 3)]


@pytest.mark.parametrize(
    ("rule", "layers"), [pytest.param(*case, marks=() if case in FAST else pytest.mark.slow) for case in CASES]
)
def test_agrees_with_training(rule, layers):
    replicates = 32 if (rule, layers) == ("fa-0", 3) else 16  # G̃^1 is small there, and scatters more
    assert_agree(*solve_both(rule, "tanh", layers, replicates), resolution=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gated_networks_agree_with_training(layers):
    assert_agree(*solve_both("gd", "gated", layers), resolution=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gd", "fa-half", "fa-0", "dfa", "hebb"])
def test_relu_networks_agree_with_training(rule):
    """ϕ'' is a delta function, which integration by parts sees."""
    # Where g̃ starts out unrelated to g, G̃ is small and scatters more; Hebb diverges unless steps are short.
    scattered = rule in ("fa-0", "dfa", "hebb")
    shorter = {"optimizer": wl.SGD(0.01)} if rule == "hebb" else {}
    assert_agree(*solve_both(rule, "relu", 2, 48 if scattered else 16, **shorter), resolution=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gd", "fa-half", "dfa"])
def test_momentum_and_decay_agree_with_training(rule):
    assert_agree(*solve_both(rule, "tanh", 2, optimizer=wl.SGD(0.05, momentum=0.5, weight_decay=0.5)), resolution=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gd", "fa-half"])
def test_pathwise_responses_agree_with_training(rule):
    net, task = wl.MLP(2, wl.Tanh(), 2.0), small_task()
    options = {"optimizer": wl.SGD(0.1), "steps": 6, "replicates": 16, "progress": False}
    found = alternating(net, task, RULES[rule], particles=1000, responses="pathwise", **options)
    limit = wl.train(
        net, task, RULES[rule], width=wl.Infinite(particles=2000, capacity=28, tolerance=0.02), seed=2, **options
    )
    assert_agree(found, limit, resolution=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gd", "fa-half"])
def test_without_responses_it_would_not_agree(rule, monkeypatch):
    monkeypatch.setattr(estimates, "by_parts", lambda *arguments: None)
    found, limit = solve_both(rule, "tanh", 2)
    with pytest.raises(AssertionError, match="standard errors apart"):
        assert_agree_statistically(amplitudes(found, limit), amplitudes(limit, limit), 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [wl.Logistic(), wl.SoftmaxCrossEntropy()], ids=["logistic", "softmax"])
def test_other_losses_and_several_outputs_agree_with_training(loss):
    outputs = 3 if isinstance(loss, wl.SoftmaxCrossEntropy) else 2
    net, task = wl.MLP(2, wl.Tanh(), 2.0), small_task(samples=3, outputs=outputs, loss=loss)
    options = {"optimizer": wl.SGD(0.3), "steps": 5, "replicates": 12, "progress": False}
    rule = RULES["fa-half" if outputs == 3 else "gd"]
    found = alternating(net, task, rule, particles=2000, **options)
    limit = wl.train(
        net, task, rule, width=wl.Infinite(particles=2000, capacity=18 * outputs, tolerance=0.02), seed=2, **options
    )
    assert found["ntk"].dims == limit["ntk"].dims
    assert_agree(found, limit, resolution=0.02)


def test_small_richness_leaves_the_outputs_resolved():
    """f = O(1) although ⟨z ϕ⟩ = O(γ0): [1 − (1 − ηK)^k] y with the static kernel."""
    run = alternating(wl.MLP(2, wl.Tanh(), 1e-4), small_task(), optimizer=wl.SGD(0.1), steps=6, particles=1000)
    kernel, target = run["ntk"].values[0, 0], run["target"].values
    remaining = [np.linalg.matrix_power(np.eye(4) - 0.1 * kernel, step) @ target for step in range(7)]
    assert relative_error(run["output"].values[0], target - np.array(remaining)) < 1e-3


# --- deep linear networks, exactly


@pytest.mark.parametrize(("rule", "correlation"), [("gd", None), ("fa-half", 0.5), ("dfa", 0.0)])
def test_deep_linear_networks_against_matrix_theory(rule, correlation):
    task = small_task(samples=4, dimension=3)
    output, kernels = LinearTheory(task, 2, 1.2, 0.04, 6, correlation).solve()
    run = alternating(
        wl.MLP(2, wl.Linear(), 1.2), task, RULES[rule], optimizer=wl.SGD(0.04), steps=6, particles=400, tolerance=1e-11
    )
    assert relative_error(run["output"].values[0], output) < 1e-9
    assert relative_error(run["feature_kernel"].values[0], kernels) < 1e-9


QUICK = ("fa-half",)


@pytest.mark.parametrize(
    "rule", [pytest.param(rule, marks=() if rule in QUICK else pytest.mark.slow) for rule in RULES]
)
def test_deep_linear_networks_against_training(rule):
    """Three layers, two outputs, momentum and decay: the same numbers, up to the jitter of the covariances' roots."""
    net, task = wl.MLP(3, wl.Linear(), 1.2), small_task(outputs=2)
    options = {"optimizer": wl.SGD(0.02, momentum=0.6, weight_decay=0.4), "steps": 4, "replicates": 1}
    run = alternating(net, task, RULES[rule], particles=600, tolerance=1e-11, **options)
    limit = wl.train(
        net, task, RULES[rule], width=wl.Infinite(particles=600), record=wl.Record(two_time=True), **options
    )
    shared = [name for name in limit.data_vars if name in run]
    assert {"output", "loss", "ntk", "pseudo_gradient_norm", "pseudo_gradient_kernel_two_time"} <= set(shared)
    assert_same(run, limit, 1e-8, shared)


@pytest.mark.parametrize("power", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_other_hebbian_powers_against_training(power):
    """A target of zero makes an initial error of zero, on which plain Hebb acts all the same."""
    task = wl.Task(small_task().x, [1.0, 0.0, -1.0, 1.0])
    options = {"rule": wl.Hebbian(error_power=power), "optimizer": wl.SGD(0.02), "steps": 4, "replicates": 1}
    run = alternating(wl.MLP(2, wl.Linear(), 1.2), task, particles=600, tolerance=1e-11, **options)
    limit = wl.train(wl.MLP(2, wl.Linear(), 1.2), task, width=wl.Infinite(particles=600), **options)
    assert_same(run, limit, 1e-8, ["output", "feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk"])


# --- responses, against fields of the infinite-width solver


def deferred_fields(rule, steps, replicates):
    """For each replicate ϕ^1, g^2 and g̃^2 of every step, and the noise u, y that the matrix between gave ϕ and g̃."""
    net, task = wl.MLP(2, wl.Tanh(), 2.0), small_task()
    rows = task.samples * (steps + 1)
    simulation = wl.initialize(
        net,
        task,
        RULES[rule],
        width=wl.Infinite(1500, capacity=rows, tolerance=0.0),
        optimizer=wl.SGD(0.1),
        steps=steps,
        record=wl.Record(fields=True),
        seed=3,
    )
    with at_precision("float64"):
        for replicate in range(replicates):
            state, kept = simulation.start(replicate), []
            for _ in range(steps + 1):
                state, record = step.compiled_advance(simulation.program, simulation.settings, state)
                fields = record["fields"]
                feature = fields["feature"][0, :, 0]  # one position, one output
                kept.append((feature, *(fields[name][1, :, 0, 0] for name in ("gradient", "pseudo_gradient"))))
            phi, gradient, pseudo = (np.concatenate(rows) for rows in zip(*kept, strict=True))
            matrix = state.network.layers[1]
            u = matrix.sent_up.noise_of(matrix.sent_up.coordinates(jnp.asarray(phi)))
            y = matrix.sent_down.noise_of(matrix.sent_down.coordinates(jnp.asarray(pseudo)))
            yield phi, gradient, pseudo, np.asarray(u), np.asarray(y)


def flat(pairs):
    """(step, step2, sample, sample2) as a matrix."""
    steps, _, samples, _ = pairs.shape
    return pairs.transpose(0, 2, 1, 3).reshape(steps * samples, -1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gd", "fa-half"])
def test_responses_are_those_of_deferred_weights(rule):
    """⟨ϕ y⟩ = (A or C)⟨p p⟩, ⟨g u⟩ = B Φ and ⟨g̃ u⟩ = D Φ, with all four sides measured in independent runs."""
    steps, replicates = 5, 12
    measured = []
    for phi, gradient, pseudo, u, y in deferred_fields(rule, steps, replicates):
        measured.append([a @ b.T / a.shape[1] for a, b in ((phi, y), (gradient, u), (pseudo, u))])
    run = alternating(
        wl.MLP(2, wl.Tanh(), 2.0),
        small_task(),
        RULES[rule],
        optimizer=wl.SGD(0.1),
        steps=steps,
        particles=3000,
        replicates=replicates,
        seed=7,
    )
    forward, backward = ("response_a", "response_b") if rule == "gd" else ("response_c", "response_d")
    predicted = []
    for replicate in range(replicates):
        one = run.isel(replicate=replicate)
        features = flat(one["feature_kernel_two_time"].values[0])
        carried = flat(one["pseudo_gradient_covariance_two_time"].values[1])
        responses = [flat(one[name].values[0]) for name in (forward, "response_b", backward)]
        predicted.append([responses[0] @ carried, responses[1] @ features, responses[2] @ features])
    if rule == "gd":  # g is g̃, and D is kept at zero
        assert np.all(run["response_c"] == 0)
        assert np.all(run["response_d"] == 0)
    else:
        assert np.all(run["response_a"] == 0)
    for index in range(3):
        a, b = (np.array([one[index] for one in side]) for side in (measured, predicted))
        assert_agree_statistically(b, a, resolution=0.03)
        share = [np.sum(x * b.mean(0), axis=(1, 2)) / np.sum(b.mean(0) ** 2) for x in (a, b)]
        assert_agree_statistically(share[1][:, None], share[0][:, None], resolution=0.03)
    causal = np.tril(np.ones((steps + 1, steps + 1)), -1)
    assert np.all(run[forward].values[:, 0][:, causal == 0] == 0)
    assert np.all(run["response_b"].values[:, 0][:, causal.T == 1] == 0)
    assert np.max(np.abs(run["response_b"].values[:, 0, range(3), range(3)])) > 0.05


# --- the iteration


def test_damping_changes_the_way_and_not_the_end():
    options = {"net": wl.MLP(2, wl.Tanh(), 2.0), "task": small_task(), "optimizer": wl.SGD(0.1), "steps": 5}
    options["particles"] = 400
    plain, slow = (alternating(update_speed=speed, tolerance=1e-10, **options) for speed in (1.0, 0.6))
    assert slow.sizes["sweep"] > plain.sizes["sweep"]
    assert_same(slow, plain, 1e-7, ["output", *KERNELS])
    assert np.all(plain["residual"].values[0, -2:] < 1e-3)


def test_replicates_and_seeds():
    net, task = wl.MLP(2, wl.Tanh()), small_task()
    options = {"optimizer": wl.SGD(0.1), "steps": 3, "particles": 300}
    two, one = (alternating(net, task, replicates=count, **options) for count in (2, 1))
    assert_same(two.isel(replicate=[0]), one, 0.0, ["output", *KERNELS])
    other = alternating(net, task, seed=1, **options)
    assert relative_error(two["ntk"].values[1], two["ntk"].values[0]) > 1e-4
    assert relative_error(other["ntk"].values, one["ntk"].values) > 1e-4


def test_the_result_has_the_schema_of_training(tmp_path):
    net, task = wl.MLP(3, wl.Tanh()), small_task(test_samples=2)
    run = alternating(net, task, wl.FeedbackAlignment(0.5), optimizer=wl.SGD(0.1), steps=3, particles=300, replicates=2)
    limit = wl.train(
        net,
        task,
        wl.FeedbackAlignment(0.5),
        optimizer=wl.SGD(0.1),
        steps=3,
        width=wl.Infinite(particles=600),
        replicates=2,
    )
    for name in ("output", "error", "loss", "target", "input_kernel", "pseudo_gradient_norm", *KERNELS):
        assert run[name].dims == limit[name].dims, name
        assert run[name].shape == limit[name].shape, name
    assert "test_output" not in run
    assert "test_target" not in run
    assert np.all(np.isfinite((run["ntk"] - limit["ntk"]).mean("replicate")))
    for name in ("a", "b", "c", "d"):
        assert run[f"response_{name}"].dims == ("replicate", "matrix", "step", "step2", "sample", "sample2")
        assert run[f"response_{name}"].sizes["matrix"] == 2
    two_time = run["gradient_kernel_two_time"].values
    assert np.array_equal(two_time[:, :, 2, 2], run["gradient_kernel"].values[:, 2])
    assert "Converged in" in run.attrs["verdict"]
    assert json.loads(run.attrs["configuration"])["responses"] == "by parts"
    back = wl.load(wl.save(run, tmp_path / "run.nc"))
    assert_same(back, run, 0.0, ["output", "response_b", "gradient_kernel_two_time"])
    assert back.attrs["verdict"] == run.attrs["verdict"]
    single = alternating(wl.MLP(1, wl.Tanh()), task, optimizer=wl.SGD(0.1), steps=0, particles=100)
    assert "response_a" not in single
    assert single.sizes["step"] == 1


def test_stopping_early_warns_and_keeps_what_there_is():
    with pytest.warns(ConvergenceWarning, match="1 of 1 replicates did not converge: after 2 sweeps the residual is"):
        run = alternating(
            wl.MLP(2, wl.Tanh(), 2.0), small_task(), optimizer=wl.SGD(0.1), steps=6, particles=300, max_sweeps=2
        )
    assert "Pass a larger max_sweeps" in run.attrs["verdict"]
    assert run["residual"].shape == (1, 2)
    assert run["residual"].values[0, -1] > 1e-3
    assert np.all(np.isfinite(run["ntk"]))


def test_an_interruption_returns_what_there_is(monkeypatch):
    sweep, left = Sweeper.sweep, [12]

    def interrupted(self, orders, speed):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return sweep(self, orders, speed)

    monkeypatch.setattr(Sweeper, "sweep", interrupted)
    with pytest.raises(TrainingInterrupted) as caught:
        alternating(wl.MLP(2, wl.Tanh()), small_task(), optimizer=wl.SGD(0.1), steps=3, particles=300, replicates=9)
    assert 1 <= caught.value.result.sizes["replicate"] < 9
    assert "Interrupted" in caught.value.result.attrs["verdict"]


def test_divergence_is_found_where_training_finds_it():
    """Hebbian learning in a deep linear network really diverges; the steps before are kept, and right."""
    net, task = wl.MLP(2, wl.Linear(), 2.0), small_task()
    options = {"rule": wl.Hebbian(), "optimizer": wl.SGD(0.1), "steps": 30, "replicates": 2}
    with pytest.warns(wl.DivergenceWarning, match="2 of 2 replicates diverged, the first at step"):
        run = alternating(net, task, particles=800, tolerance=1e-8, **options)
    with pytest.warns(wl.DivergenceWarning):
        limit = wl.train(net, task, width=wl.Infinite(particles=800), **options)
    assert_same(run, limit, 1e-6, ["diverged_step", "output", "feature_kernel", "ntk"])
    assert run.sizes["step"] == int(limit["diverged_step"].max())


def test_a_transient_overflow_is_no_divergence(monkeypatch):
    """Sweeps that overflow on the way are repeated on fewer steps, and then continued to the same answer."""
    net, task = wl.MLP(2, wl.Tanh(), 2.0), small_task()
    options = {"optimizer": wl.SGD(0.1), "steps": 6, "particles": 400, "tolerance": 1e-9}
    plain = alternating(net, task, **options)
    sweep, trouble = Sweeper.sweep, [1]

    def overflowing(self, orders, speed):
        if orders.steps > 4 and trouble[0] > 0:
            trouble[0] -= 1
            raise Overflow(4)
        return sweep(self, orders, speed)

    monkeypatch.setattr(Sweeper, "sweep", overflowing)
    found = alternating(net, task, **options)
    assert np.isinf(found["residual"].values[0, 0])
    assert_same(found, plain, 1e-6, ["output", *KERNELS])


# --- bad input

NET, GOOD = wl.MLP(2, wl.Tanh()), {"optimizer": wl.SGD(0.1), "steps": 3}


class Ownrule(wl.Rule):
    def pseudo_gradient(self, view, layer, above):
        return view.features[layer]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"net": wl.Tanh()}, ["net must be an Architecture"]),
        ({"task": np.ones(3)}, ["task must be a Task"]),
        ({"rule": Ownrule()}, ["rule: theory.alternating covers GradientDescent", "Ownrule", "train(..., width"]),
        ({"rule": wl.Hebbian}, ["rule must be an instance"]),
        ({"optimizer": 0.1}, ["optimizer must be a SGD", "got float"]),
        ({"optimizer": wl.SGD("auto")}, ["optimizer: theory.alternating needs", "number", "suggest_step_size"]),
        ({"optimizer": "auto"}, ["optimizer: theory.alternating needs", "number", "suggest_step_size"]),
        ({"steps": -1}, ["steps", "at least 0", "-1"]),
        ({"particles": 5}, ["particles", "at least 10", "5"]),
        ({"update_speed": 0.0}, ["update_speed", "above 0"]),
        ({"update_speed": 1.5}, ["update_speed", "at most 1", "1.5"]),
        ({"tolerance": 0.0}, ["tolerance", "above 0"]),
        ({"max_sweeps": 0}, ["max_sweeps", "at least 1"]),
        ({"replicates": 0}, ["replicates", "at least 1"]),
        ({"seed": -1}, ["seed", "at least 0"]),
        ({"responses": "by part"}, ["responses", "Did you mean 'by parts'"]),
        ({"responses": 3}, ["responses must be one of by parts, pathwise", "3"]),
        ({"responses": "pathwise", "net": wl.MLP(2, wl.ReLU())}, ["ReLU jumps", "by parts"]),
        ({"steps": 10**6}, ["steps: this run needs about", "GiB", "4000004 (step, sample) pairs", "Pass fewer steps"]),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_work_starts(changes, words):
    with pytest.raises(wl.ArgumentError) as caught:
        alternating(**{"net": NET, "task": small_task(), "rule": None, **GOOD, **changes})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.slow
def test_pathwise_is_taken_for_every_smooth_nonlinearity():
    for name, nonlinearity in NONLINEARITIES.items():
        if name != "relu":
            run = alternating(wl.MLP(2, nonlinearity), small_task(), particles=50, responses="pathwise", **GOOD)
            assert np.all(np.isfinite(run["ntk"])), name

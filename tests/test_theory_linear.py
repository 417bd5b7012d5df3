"""The algebraic solution of deep linear networks against infinite-width training, which shares no code with it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers import RULES, assert_agree_statistically, assert_same, of_which_fast, relative_error, small_task

import widelimit as wl
from widelimit.theory.momentum import OptimizerMemory

PLAIN = {"momentum": 0.0, "weight_decay": 0.0}
MOVING = {"momentum": 0.6, "weight_decay": 0.4}
SAME = [
    "output",
    "error",
    "loss",
    "test_output",
    "test_loss",
    "feature_kernel",
    "gradient_kernel",
    "pseudo_gradient_kernel",
    "pseudo_gradient_norm",
    "ntk",
    "feature_kernel_two_time",
    "pseudo_gradient_kernel_two_time",
]
HEBBIAN = {"hebb-0": wl.Hebbian(0), "hebb-1": wl.Hebbian(1)}


def compare(rule, layers, task, options=PLAIN, steps=6, step_size=0.02):
    net = wl.MLP(layers, wl.Linear(), richness=1.2)
    numbers = {"optimizer": wl.SGD(step_size, **options), "steps": steps}
    found = wl.theory.linear(net, task, rule, **numbers)
    run = wl.train(
        net, task, rule, width=wl.Infinite(particles=800), replicates=1, record=wl.Record(two_time=True), **numbers
    )
    assert_same(found, run.isel(replicate=0), 1e-9, SAME)
    for name in SAME:
        assert found[name].dims == run[name].dims[1:]
    assert relative_error(found["ntk"].isel(step=-1), found["ntk"].isel(step=0)) > 1e-3
    assert abs((run - found)["ntk"]).max() < 1e-8


@pytest.mark.parametrize("rule", of_which_fast(RULES, "fa-half"))
def test_agrees_with_training_of_four_layers(rule):
    compare(RULES[rule], 4, small_task(test_samples=2))


@pytest.mark.parametrize("rule", of_which_fast(["gd", "fa-half"], "gd"))
def test_agrees_with_training_of_several_outputs_with_momentum_and_decay(rule):
    compare(RULES[rule], 3, small_task(3, 5, outputs=2, test_samples=2), MOVING)


@pytest.mark.slow
@pytest.mark.parametrize("options", [PLAIN, MOVING], ids=["plain", "momentum-decay"])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("rule", [*RULES, *HEBBIAN])
def test_agrees_with_training_everywhere(rule, layers, options):
    for task in (small_task(test_samples=2), small_task(3, 5, outputs=2, test_samples=2)):
        # Hebbian learning diverges within these steps, in four layers with momentum, unless they are short.
        compare((RULES | HEBBIAN)[rule], layers, task, options, step_size=0.005 if "hebb" in rule else 0.02)


@pytest.mark.parametrize("loss", [wl.Logistic(), pytest.param(wl.SoftmaxCrossEntropy(), marks=pytest.mark.slow)])
def test_other_losses(loss):
    task = small_task(3, 5, outputs=2, loss=loss, test_samples=2)
    compare(wl.FeedbackAlignment(0.5), 2, task, step_size=0.1)


@pytest.mark.slow
def test_long_runs_stay_exact():
    compare(wl.GradientDescent(), 2, small_task(test_samples=2), steps=40, step_size=0.05)


def test_agrees_with_wide_networks():
    """Two-time kernels, which the responses make, in networks of finite width."""
    net, task = wl.MLP(2, wl.Linear(), richness=1.5), small_task()
    found = wl.theory.linear(net, task, optimizer=wl.SGD(0.05), steps=6)
    wide = wl.train(
        net, task, width=800, replicates=24, optimizer=wl.SGD(0.05), steps=6, record=wl.Record(two_time=True)
    )
    for name in ("feature_kernel_two_time", "pseudo_gradient_kernel_two_time"):
        assert_agree_statistically(wide[name], found[name].values, resolution=0.02)


# --- what the fields' equations say, one by one


def flat(array):
    """(layer, step, step2, sample, sample2) as a matrix over (step, sample) for each layer."""
    layers, steps, _, samples, _ = array.shape
    return array.transpose(0, 1, 3, 2, 4).reshape(layers, steps * samples, steps * samples)


@pytest.mark.parametrize("rule", ["gd", "fa-half"])
def test_responses_explain_the_kernels(rule):
    """Stein's lemma: ⟨ϕ r⟩ = A G or C G̃ᵀ, and so on, put together give back the covariance of the fields.

    h = u + 𝒜 g̃ with 𝒜 = C (or A) + what was learned, so Φ² = Φ¹ + 𝒜⟨g̃ u⟩ + … is checked as (1 − 𝒜ℬ) Φ² (1 − 𝒜ℬ)ᵀ =
    Φ¹ + 𝒜 G³ 𝒜ᵀ for gradient descent, and as Φ² = Φ¹ + 𝒜 G̃̃ 𝒜ᵀ for feedback alignment.
    """
    task, richness, step_size = small_task(), 1.3, 0.04
    run = wl.theory.linear(wl.MLP(3, wl.Linear(), richness), task, RULES[rule], optimizer=wl.SGD(step_size), steps=5)
    feature, mixed, own = (
        flat(run[f"{name}_two_time"].values)
        for name in ("feature_kernel", "pseudo_gradient_kernel", "pseudo_gradient_covariance")
    )
    responses = {name: flat(run[f"response_{name}"].values) for name in "abcd"}
    size = feature.shape[1]
    earlier = np.kron(np.tril(np.ones((6, 6)), -1), np.ones((4, 4)))
    learned = step_size * richness * earlier * run["error"].values.ravel()
    up = responses["a"][0] + responses["c"][0] + learned * feature[0]
    down = responses["b"][1] + learned * mixed[2]
    if rule == "gd":
        mix = np.eye(size) - up @ down
        assert relative_error(mix @ feature[1] @ mix.T, feature[0] + up @ mixed[2] @ up.T) < 1e-12
        assert np.abs(responses["a"]).max() > 0.01
    else:
        assert relative_error(feature[1], feature[0] + up @ own[1] @ up.T) < 1e-12
        assert np.abs(responses["c"]).max() > 0.01
        assert not responses["a"].any()
    assert np.abs(responses["b"]).max() > 0.01
    for name in "ac":
        assert not (responses[name][0] * (1 - earlier)).any(), "the responses of features are strictly causal"


def test_memory_of_plain_steps():
    memory = OptimizerMemory.of(wl.SGD(0.1), 3)
    assert np.array_equal(memory.initial, np.ones(4))
    assert np.array_equal(memory.learned, 0.1 * np.tril(np.ones((4, 4)), -1))


def test_memory_is_what_the_optimiser_does_to_one_weight():
    size, momentum, decay = 0.1, 0.7, 0.5
    changes = np.random.default_rng(0).normal(size=6)
    weight, velocity, path = 1.5, 0.0, [1.5]
    for change in changes:
        velocity = momentum * velocity + size * change
        weight = (1 - size * decay) * weight + velocity
        path.append(weight)
    memory = OptimizerMemory.of(wl.SGD(size, momentum, decay), 6)
    assert np.allclose(1.5 * memory.initial + memory.learned[:, :6] @ changes, path, rtol=1e-13)


# --- where it ends


def test_divergence_keeps_what_came_before():
    net, task = wl.MLP(3, wl.Linear(), richness=2.0), small_task()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wl.DivergenceWarning)
        run = wl.train(
            net, task, wl.Hebbian(), width=wl.Infinite(particles=400), replicates=1, optimizer=wl.SGD(0.1), steps=30
        )
    with pytest.warns(wl.DivergenceWarning, match=r"diverged at step \d+ .* Hebbian"):
        found = wl.theory.linear(net, task, wl.Hebbian(), optimizer=wl.SGD(0.1), steps=30)
    assert found.sizes["step"] == int(run["diverged_step"][0]) < 31
    assert np.all(np.isfinite(found["feature_kernel_two_time"]))
    assert_same(found, run.isel(replicate=0), 1e-9, ["output", "ntk"])


class Homemade(wl.Rule):
    """A rule that no solver of the theory knows."""

    def pseudo_gradient(self, view, layer, above):
        return view.features[layer]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"net": wl.MLP(2, wl.Tanh())},
            r"net: theory.linear covers the nonlinearity Linear\(\); got Tanh.*alternating",
        ),
        ({"rule": Homemade()}, r"rule: theory.linear covers GradientDescent.*got Homemade.*train"),
        ({"rule": wl.Hebbian}, r"write Hebbian\(\)"),
        ({"steps": -1}, "steps must be a whole number at least 0; got -1"),
        ({"optimizer": 0.1}, r"optimizer must be a SGD, for example widelimit.SGD\(step_size=0.1\); got float"),
        ({"optimizer": "auto"}, "optimizer: theory.linear needs a step size that is a number; .*suggest_step_size"),
        ({"optimizer": wl.SGD("auto")}, "optimizer: theory.linear needs .* number; .*suggest_step_size"),
        ({"steps": 10**6}, r"needs about .* GiB .* train\(\.\.\., width=math\.inf\)"),
        ({"net": "tanh"}, "net must be an Architecture"),
        ({"task": None}, "task must be a Task"),
    ],
)
def test_bad_input(change, message):
    arguments = {
        "net": wl.MLP(2, wl.Linear()),
        "task": small_task(),
        "rule": None,
        "optimizer": wl.SGD(0.1),
        "steps": 2,
    }
    arguments |= change
    with pytest.raises(wl.ArgumentError, match=message):
        wl.theory.linear(arguments.pop("net"), arguments.pop("task"), arguments.pop("rule"), **arguments)


def test_it_is_saved_and_loaded(tmp_path):
    found = wl.theory.linear(wl.MLP(2, wl.Linear()), small_task(), optimizer=wl.SGD(0.1), steps=2)
    loaded = wl.load(wl.save(found, tmp_path / "linear.nc"))
    assert loaded.equals(found)
    assert wl.results.configuration(loaded)["solver"] == "theory.linear"
    assert "replicate" not in loaded.dims

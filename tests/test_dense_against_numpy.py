"""A finite network does what the equations say, to rounding: every rule, nonlinearity, loss and option."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import NONLINEARITIES, RULES, assert_matches_reference, grouped, reference_for, relative_error, small_task

import widelimit as wl
from widelimit.simulation.inputs import Inputs

TOLERANCE = 1e-10
WIDTH = 17


def compare(net, task, rule, *, steps=5, step_size=0.04, centred=True, momentum=0.0, weight_decay=0.0, **options):
    training = dict(step_size=step_size, steps=steps, momentum=momentum, weight_decay=weight_decay, centred=centred)
    run = wl.train(net, task, rule, replicates=2, seed=3, **grouped(width=WIDTH, **training, **options))
    assert np.all(run["diverged_step"] == -1)
    for replicate in range(2):
        expected = reference_for(net, task, rule, WIDTH, seed=3, replicate=replicate).train(**training)
        assert_matches_reference(run, expected, task.scalar, TOLERANCE, replicate)
    first, last = run["loss"].isel(replicate=0, step=[0, -1]).values
    assert abs(last - first) > 1e-3 * first, "the networks have hardly moved, so little was compared"
    return run


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_with_momentum_decay_and_three_layers(rule):
    net = wl.MLP(hidden_layers=3, nonlinearity=wl.Tanh(), richness=1.3)
    compare(net, small_task(test_samples=2), RULES[rule], momentum=0.6, weight_decay=0.3)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_with_classes(rule):
    task = small_task(outputs=3, loss=wl.SoftmaxCrossEntropy(), test_samples=2)
    compare(wl.MLP(2, wl.Tanh()), task, RULES[rule], step_size=0.1, weight_decay=0.1)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_every_nonlinearity(nonlinearity):
    net = wl.MLP(2, NONLINEARITIES[nonlinearity], richness=0.7)
    compare(net, small_task(test_samples=2), wl.FeedbackAlignment(0.5), momentum=0.5)


@pytest.mark.parametrize("rule", ["fa-half", "dfa", "hebb"])
def test_other_rules_on_a_gated_network(rule):
    compare(wl.MLP(2, wl.Gated(wl.ReLU())), small_task(test_samples=2), RULES[rule])


@pytest.mark.parametrize(
    ("loss", "outputs"), [(wl.SquaredError(), 2), (wl.Logistic(), None), (wl.Logistic(), 2)], ids=str
)
def test_every_loss(loss, outputs):
    task = small_task(outputs=outputs, loss=loss, test_samples=2)
    compare(wl.MLP(2, wl.Erf()), task, wl.GradientDescent(), momentum=0.5, weight_decay=0.2)


@pytest.mark.parametrize("power", [0, 1])
@pytest.mark.parametrize("outputs", [None, 2])
def test_hebbian_error_powers(power, outputs):
    compare(wl.MLP(2, wl.Tanh()), small_task(outputs=outputs), wl.Hebbian(error_power=power))


def test_one_hidden_layer():
    compare(wl.MLP(1, wl.ReLU()), small_task(test_samples=1), wl.FeedbackAlignment(-0.3), momentum=0.3)


def test_uncentred_network():
    run = compare(wl.MLP(2, wl.Tanh()), small_task(test_samples=2), wl.GradientDescent(), centred=False)
    assert np.all(np.abs(run["output"].isel(step=0)) > 1e-4)


@pytest.mark.parametrize("outputs", [None, 2])
def test_two_time_kernels_and_final_fields(outputs):
    task = small_task(outputs=outputs)
    run = compare(wl.MLP(2, wl.Tanh()), task, wl.FeedbackAlignment(0.5), record=wl.Record(two_time=True, fields=True))
    for name in ("feature_kernel_two_time", "pseudo_gradient_kernel_two_time", "final_pre_gradient"):
        assert name in run


def test_more_dimensions_than_samples():
    """The network then sees its inputs in another basis, in which every inner product is what it was."""
    task = small_task(samples=3, dimension=8, test_samples=2)
    compare(wl.MLP(2, wl.Tanh()), task, wl.GradientDescent())
    with jax.enable_x64(True):
        inputs = Inputs.of(wl.MLP(1, wl.Tanh()), task, jnp.float64)
    rows = np.concatenate([inputs.train, inputs.test])
    original = np.concatenate([task.x, task.x_test])
    assert rows.shape[1] == 5
    assert relative_error(rows @ rows.T, original @ original.T) < 1e-12


@pytest.mark.parametrize("richness", [0.5, 2.0])
def test_the_tangent_kernel_is_the_jacobian_times_itself(richness):
    """K = γ0² N ∂f/∂θ · ∂f/∂θ by automatic differentiation of the network's formula."""
    net, task = wl.MLP(3, wl.Tanh(), richness), small_task(outputs=2)
    run = wl.train(net, task, width=WIDTH, optimizer=wl.SGD(0.1), steps=0, replicates=1, seed=3)
    start = reference_for(net, task, wl.GradientDescent(), WIDTH, seed=3).start
    with jax.enable_x64(True):

        def output(weights):
            features, scale = jnp.asarray(task.x), 1 / np.sqrt(task.x.shape[1])
            for matrix in weights[:-1]:
                features, scale = jnp.tanh(scale * features @ matrix.T), 1 / np.sqrt(WIDTH)
            return features @ weights[-1].T / (richness * WIDTH)

        jacobian = jax.jacobian(output)([jnp.asarray(w) for w in start.weights])
        flat = np.concatenate([np.reshape(block, (*task.y.shape, -1)) for block in jacobian], axis=2)
    kernel = richness**2 * WIDTH * np.einsum("pci,qdi->pqcd", flat, flat)
    assert relative_error(run["ntk"].values[0, 0], kernel) < TOLERANCE


@pytest.mark.parametrize("rule", RULES)
def test_the_tangent_kernel_is_how_outputs_move(rule):
    """f(1) − f(0) = η K Δ + O(η²), whatever the rule."""
    step_size = 1e-5
    run = wl.train(
        wl.MLP(2, wl.Tanh()),
        small_task(outputs=2),
        RULES[rule],
        width=WIDTH,
        optimizer=wl.SGD(step_size),
        steps=1,
        replicates=1,
    )
    first = run.isel(replicate=0, step=0)
    predicted = np.einsum("pqcd,qd->pc", first["ntk"].values, first["error"].values)
    moved = (run["output"].values[0, 1] - run["output"].values[0, 0]) / step_size
    assert relative_error(moved, predicted) < 1e-3

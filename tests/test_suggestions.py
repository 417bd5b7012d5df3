"""The suggested step size: where the largest eigenvalue of the initial kernel is known, and along rich training."""

import numpy as np
import pytest
from helpers import LATER_RULES, RULES, small_task

import widelimit as wl
from widelimit.simulation.step_size import _largest_eigenvalue

NET = wl.MLP(2, wl.Linear())


def largest_eigenvalue(task):
    return np.linalg.eigvalsh(task.x @ task.x.T / task.x.shape[1]).max()


ALL = (wl.GradientDescent(), wl.FeedbackAlignment(0.5), wl.FeedbackAlignment(-1.0), wl.Hebbian(), wl.Hebbian(1))


class Amplified(wl.Rule):
    """g̃^ℓ = a ϕ'(h^ℓ) ⊙ W^ℓᵀ g̃^{ℓ+1}/√N: for a linear network K(0) = Σ_ℓ a^{L+1−ℓ} K^x with ℓ = 1…L + 1."""

    factor: float

    def pseudo_gradient(self, view, layer, above):
        return self.factor * view.pulled_back(layer, view.weights[layer].backward(above), above)


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_deep_linear_networks(rule):
    """Gradient descent has K(0) = (L + 1) K^x, which no other rule here exceeds: the suggestion is its own for all."""
    task = small_task()
    expected = 0.25 * 2 / (3 * largest_eigenvalue(task))
    assert np.isclose(wl.suggest_step_size(NET, task, rule, pilot=False), expected, rtol=1e-9)


def test_a_rule_with_a_larger_kernel_gets_the_smaller_step():
    """A rule of a user's own, whose K(0) is that of networks: (1 + 2 + 4) K^x, to a few per cent."""
    task = small_task()
    expected = 0.25 * 2 / (7 * largest_eigenvalue(task))
    assert np.isclose(wl.suggest_step_size(NET, task, Amplified(2.0), pilot=False), expected, rtol=0.15)


def test_momentum_safety_and_the_curvature_of_the_loss():
    task = small_task(outputs=2, loss=wl.Logistic())
    expected = 0.5 * 2 * 1.9 / (0.25 * 3 * largest_eigenvalue(task))
    assert np.isclose(wl.suggest_step_size(NET, task, momentum=0.9, safety=0.5, pilot=False), expected, rtol=1e-9)


def test_the_bound_is_where_training_turns_unstable():
    """Just below the bound of a lazy network the loss falls, just above it grows."""
    task, net = small_task(), wl.MLP(1, wl.Linear(), richness=1e-4)
    bound = wl.suggest_step_size(net, task, safety=1.0, pilot=False)
    for factor, grows in ((0.95, False), (1.05, True)):
        run = wl.train(
            net, task, width=wl.Infinite(particles=100), optimizer=wl.SGD(factor * bound), steps=40, replicates=1
        )
        mode = np.linalg.eigh(task.x @ task.x.T)[1][:, -1]
        error = np.abs(run["error"].values[0] @ mode)
        assert (error[-1] > error[0]) == grows


TASKS = {
    "digits": lambda: wl.datasets.digits(16, 0, classes=(3, 8)),
    "circle": lambda: wl.datasets.sphere(12, 2, seed=8),
    "ten classes": lambda: wl.datasets.digits(30, 0, classes=range(10)),
    "two classes by entropy": lambda: wl.datasets.digits(20, 0, loss=wl.Logistic()),
    "ten classes by entropy": lambda: wl.datasets.digits(30, 0, classes=range(10), loss=wl.SoftmaxCrossEntropy()),
}
CASES = [
    pytest.param("digits", "gd", wl.Tanh(), 1.0, {}, marks=pytest.mark.slow),
    ("digits", "gd", wl.Tanh(), 10.0, {}),
    pytest.param("digits", "gd", wl.GELU(), 1.0, {}, marks=pytest.mark.slow),
    pytest.param("digits", "fa-half", wl.ReLU(), 3.0, {}, marks=pytest.mark.slow),
    pytest.param("circle", "dfa", wl.Softplus(), 3.0, {}, marks=pytest.mark.slow),
    pytest.param("ten classes", "gd", wl.ReLU(), 3.0, {}, marks=pytest.mark.slow),
    pytest.param("digits", "gd", wl.Gated(wl.ReLU()), 10.0, {}, marks=pytest.mark.slow),
    ("digits", "gd", wl.Tanh(), 3.0, {"momentum": 0.9}),
    pytest.param("two classes by entropy", "gd", wl.Tanh(), 3.0, {}, marks=pytest.mark.slow),
    pytest.param("ten classes by entropy", "fa-0", wl.GELU(), 1.0, {}, marks=pytest.mark.slow),
    pytest.param("digits", "dfa", wl.Tanh(), 3.0, {"batches": wl.Batches(4)}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("task", "rule", "nonlinearity", "richness", "options"), CASES, ids=str)
def test_no_loss_rises_at_the_suggestion(task, rule, nonlinearity, richness, options):
    """In networks that are not the pilot's: wider, and with other weights; and the suggestion is not timid."""
    net, task = wl.MLP(2, nonlinearity, richness), TASKS[task]()
    rule = (RULES | LATER_RULES)[rule]
    size = wl.suggest_step_size(net, task, rule, **options)
    optimizer = wl.SGD(size, options.get("momentum", 0.0))
    run = wl.train(
        net,
        task,
        rule,
        width=300,
        optimizer=optimizer,
        steps=150,
        replicates=2,
        seed=5,
        batches=options.get("batches"),
        record=wl.Record(every=10, kernels=()),
    )
    start = run["loss"].isel(step=0)
    assert np.all(run["highest_loss"] < 1.05 * start)
    assert np.all(run["loss"].isel(step=-1) < 0.5 * start)


@pytest.mark.parametrize(
    ("task", "richness", "momentum"),
    [
        (lambda: wl.datasets.sphere(8, 12), 5.0, 0.9),
        pytest.param(lambda: wl.datasets.sphere(8, 12), 5.0, 0.0, marks=pytest.mark.slow),
        pytest.param(
            lambda: wl.datasets.digits(100, 0, classes=range(10), loss=wl.SoftmaxCrossEntropy()),
            3.0,
            0.9,
            marks=pytest.mark.slow,
        ),
    ],
    ids=("sphere", "sphere without momentum", "ten classes by entropy"),
)
def test_deep_and_rich_networks_that_differ_agree_on_a_step_that_learns(task, richness, momentum):
    """What one of them takes, others do not; and a kernel that blew up at too large a step bounds no smaller one."""
    net, task = wl.MLP(5, wl.Tanh(), richness), task()
    optimizer = wl.SGD(wl.suggest_step_size(net, task, momentum=momentum), momentum)
    record = wl.Record(every=50, kernels=())
    run = wl.train(net, task, width=200, optimizer=optimizer, steps=200, replicates=16, seed=11, record=record)
    start = run["loss"].isel(step=0)
    assert np.all(run["highest_loss"] < 1.05 * start)
    assert np.all(run["loss"].isel(step=-1) < 0.5 * start)


@pytest.mark.parametrize(
    ("task", "rule", "nonlinearity", "richness"),
    [
        ("circle", "gd", wl.ReLU(), 10.0),
        pytest.param("circle", "gd", wl.Softplus(), 3.0, marks=pytest.mark.slow),
        pytest.param("ten classes", "dfa", wl.GELU(), 3.0, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_kernel_that_grows_at_once_is_no_rise_of_the_rule_s_own(task, rule, nonlinearity, richness):
    """K grows a hundredfold within a time that hardly depends on the step size, so that the loss rises at every step
    that is too large for it, at nearly the same time; steps that are small enough there are."""
    net, task, rule = wl.MLP(2, nonlinearity, richness), TASKS[task](), RULES[rule]
    size = wl.suggest_step_size(net, task, rule)
    options = dict(width=300, steps=150, replicates=2, seed=5, record=wl.Record(every=10, kernels=()))
    small = wl.train(net, task, rule, optimizer=wl.SGD(size), **options)
    assert np.all(small["highest_loss"] < 1.05 * small["loss"].isel(step=0))
    with pytest.warns((wl.RisingLossWarning, wl.DivergenceWarning)):
        wl.train(net, task, rule, optimizer=wl.SGD(64 * size), **options)


def test_a_rise_that_is_the_rule_s_own_is_named():
    """Hebbian grows without bound, and target projection drives gated units for ever."""
    hebbian = wl.MLP(2, wl.Linear()), small_task(), wl.Hebbian()
    projected = wl.MLP(2, wl.Gated(wl.ReLU())), TASKS["digits"](), wl.DirectRandomTargetProjection()
    for net, task, rule in (hebbian, projected):
        with pytest.warns(wl.RisingLossWarning, match=f"Under {type(rule).__name__} the loss of a small .* from time"):
            size = wl.suggest_step_size(net, task, rule)
        assert size == wl.suggest_step_size(net, task, rule, pilot=False)


@pytest.mark.parametrize("kernel", [np.zeros((300, 300)), np.eye(300)], ids=["0", "1"])
def test_kernels_whose_eigenvalues_are_all_alike(kernel):
    """A cross-entropy that is learned to rounding has no curvature left, which no iteration from a vector sees."""
    assert np.isclose(_largest_eigenvalue(kernel), kernel[0, 0])


@pytest.mark.slow
def test_a_gradient_that_raises_the_loss_is_told():
    """A rule that calls itself a gradient and climbs: no step size serves, and silence would be wrong."""

    class Ascent(wl.GradientDescent):
        def pseudo_gradient(self, view, layer, above):
            return -30 * super().pseudo_gradient(view, layer, above)

    with pytest.warns(wl.RisingLossWarning, match="steps along a gradient do not do"):
        wl.suggest_step_size(wl.MLP(1, wl.Tanh(), richness=2.0), small_task(4, 3), Ascent())

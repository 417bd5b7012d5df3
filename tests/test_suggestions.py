"""The suggested step size, where the largest eigenvalue of the initial kernel is known."""

import numpy as np
import pytest
from helpers import small_task

import widelimit as wl

NET = wl.MLP(2, wl.Linear())


def largest_eigenvalue(task):
    return np.linalg.eigvalsh(task.x @ task.x.T / task.x.shape[1]).max()


RULES = (wl.GradientDescent(), wl.FeedbackAlignment(0.5), wl.FeedbackAlignment(-1.0), wl.Hebbian(), wl.Hebbian(1))


class Amplified(wl.Rule):
    """g̃^ℓ = a ϕ'(h^ℓ) ⊙ W^ℓᵀ g̃^{ℓ+1}/√N: for a linear network K(0) = Σ_ℓ a^{L+1−ℓ} K^x with ℓ = 1…L + 1."""

    factor: float

    def pseudo_gradient(self, view, layer, above):
        return self.factor * view.pulled_back(layer, view.weights[layer].backward(above), above)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_deep_linear_networks(rule):
    """Gradient descent has K(0) = (L + 1) K^x, which no other rule here exceeds: the suggestion is its own for all."""
    task = small_task()
    expected = 0.25 * 2 / (3 * largest_eigenvalue(task))
    assert np.isclose(wl.suggest_step_size(NET, task, rule), expected, rtol=1e-9)


def test_a_rule_with_a_larger_kernel_gets_the_smaller_step():
    """A rule of a user's own, whose K(0) is that of networks: (1 + 2 + 4) K^x, to a few per cent."""
    task = small_task()
    expected = 0.25 * 2 / (7 * largest_eigenvalue(task))
    assert np.isclose(wl.suggest_step_size(NET, task, Amplified(2.0)), expected, rtol=0.15)


def test_momentum_safety_and_the_curvature_of_the_loss():
    task = small_task(outputs=2, loss=wl.Logistic())
    expected = 0.5 * 2 * 1.9 / (0.25 * 3 * largest_eigenvalue(task))
    assert np.isclose(wl.suggest_step_size(NET, task, momentum=0.9, safety=0.5), expected, rtol=1e-9)


def test_the_bound_is_where_training_turns_unstable():
    """Just below the bound of a lazy network the loss falls, just above it grows."""
    task, net = small_task(), wl.MLP(1, wl.Linear(), richness=1e-4)
    bound = wl.suggest_step_size(net, task, safety=1.0)
    for factor, grows in ((0.95, False), (1.05, True)):
        run = wl.train(
            net, task, width=wl.Infinite(particles=100), optimizer=wl.SGD(factor * bound), steps=40, replicates=1
        )
        mode = np.linalg.eigh(task.x @ task.x.T)[1][:, -1]
        error = np.abs(run["error"].values[0] @ mode)
        assert (error[-1] > error[0]) == grows

"""Where infinite width is solved exactly: deep linear networks, and the two-layer whitened model in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import RULES, assert_agree_statistically, assert_same, of_which_fast, relative_error, small_task
from scipy.integrate import solve_ivp

import widelimit as wl

PLAIN, MOVING = wl.SGD(0.02), wl.SGD(0.02, momentum=0.6, weight_decay=0.4)
EXACT = ["output", "test_output", "loss", "feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk"]


def compare_seeds_and_particles(rule, hidden_layers, optimizer):
    task, net = small_task(samples=4, dimension=3, test_samples=2), wl.MLP(hidden_layers, wl.Linear(), richness=1.2)

    def solve(particles, **numbers):
        width = wl.Infinite(particles)
        return wl.train(net, task, RULES[rule], width=width, optimizer=optimizer, steps=6, **numbers)

    run = solve(400, seed=1, replicates=2)
    one = run.isel(replicate=[0])
    names = [*EXACT, "pseudo_gradient_norm"]
    assert_same(run.isel(replicate=[1]), one, 1e-10, names)
    assert_same(solve(600, seed=7, replicates=1), one, 1e-10, names)
    assert relative_error(one["ntk"].isel(step=-1), one["ntk"].isel(step=0)) > 1e-3
    assert one["loss"].values[0, -1] < 0.95 * one["loss"].values[0, 0]


@pytest.mark.parametrize("rule", of_which_fast(RULES, "gd"))
def test_three_layers_with_momentum_and_decay(rule):
    compare_seeds_and_particles(rule, 3, MOVING)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [PLAIN, MOVING], ids=["plain", "momentum-decay"])
@pytest.mark.parametrize("hidden_layers", [1, 2, 3])
@pytest.mark.parametrize("rule", RULES)
def test_all_depths(rule, hidden_layers, optimizer):
    compare_seeds_and_particles(rule, hidden_layers, optimizer)


@pytest.mark.parametrize("rule", of_which_fast(["gd", "fa-1"], "gd"))
def test_momentum_and_decay_are_what_wide_networks_do(rule):
    net, task = wl.MLP(2, wl.Linear(), richness=1.2), small_task()
    options = {"optimizer": wl.SGD(0.05, momentum=0.5, weight_decay=3.0), "steps": 8}
    limit = wl.train(net, task, RULES[rule], width=wl.Infinite(particles=400), replicates=1, **options)
    wide = wl.train(net, task, RULES[rule], width=800, replicates=24, **options)
    later = {"step": slice(1, None)}
    wide, limit = wide.isel(later), limit.isel(replicate=0, **later)
    for name in ("output", "feature_kernel", "ntk"):
        assert_agree_statistically(wide[name], limit[name].values, resolution=0.02)


# --- the deep linear theory on (step, sample) matrices, with no particles at all


class LinearTheory:
    """Mean-field equations of a deep linear network, as matrices over (step, sample), iterated to their fixed point.

    h = u + 𝒜 g (gradient descent) or h = u + 𝒞 g̃ (ρ-aligned feedback, whose g̃ has unit covariance at all steps and
    samples), and g = r + ℬ h, in each layer. Everything is causal, so that sweeps converge exactly.
    """

    def __init__(self, task, hidden_layers, richness, step_size, steps, correlation=None):
        self.depth, self.richness, self.correlation = hidden_layers, richness, correlation
        self.shape = (steps + 1, task.samples)
        self.size = (steps + 1) * task.samples
        earlier = np.tril(np.ones((steps + 1, steps + 1)), -1)
        self.weight = step_size * richness * np.kron(earlier, np.ones((task.samples, task.samples)))
        self.target = np.tile(task.y[:, 0], steps + 1)
        self.ones, none = np.ones((self.size, self.size)), np.zeros((self.size, self.size))
        inputs = np.tile(task.x @ task.x.T / task.x.shape[1], (steps + 1, steps + 1))
        self.features = [inputs] * (hidden_layers + 1)
        self.gradients = [self.ones] * (hidden_layers + 2)
        self.forward_response = [none] * (hidden_layers + 1)
        self.backward_response = [none] * (hidden_layers + 1)
        self.output = np.zeros(self.size)

    def solve(self):
        for _ in range(4 * self.shape[0] * self.depth):
            before, error = self.output, self.target - self.output
            for layer in range(1, self.depth + 1):
                learned_up = self.forward_response[layer - 1] + self.weight * self.features[layer - 1] * error
                learned_down = self.backward_response[layer] + self.weight * self.gradients[layer + 1] * error
                advance = self._gradient_descent if self.correlation is None else self._feedback_alignment
                advance(layer, learned_up, learned_down)
        assert np.max(np.abs(self.output - before)) < 1e-13, "the theory has not converged"
        kernels = [np.einsum("tptq->tpq", kernel.reshape(2 * self.shape)) for kernel in self.features[1:]]
        return self.output.reshape(self.shape), np.stack(kernels, axis=1)

    def _gradient_descent(self, layer, a, b):
        below, above = self.features[layer - 1], self.gradients[layer + 1]
        h, g = np.linalg.inv(np.eye(self.size) - a @ b), np.linalg.inv(np.eye(self.size) - b @ a)
        self.features[layer] = h @ (below + a @ above @ a.T) @ h.T
        self.gradients[layer] = g @ (above + b @ below @ b.T) @ g.T
        self.forward_response[layer], self.backward_response[layer - 1] = h @ a, g @ b
        if layer == self.depth:
            self._read_out(above @ (h @ a).T, b)

    def _feedback_alignment(self, layer, c, b):
        self.features[layer] = self.features[layer - 1] + c @ self.ones @ c.T
        self.gradients[layer] = self.correlation * self.gradients[layer + 1] + b @ c @ self.ones
        self.forward_response[layer], self.backward_response[layer - 1] = self.correlation * c, b
        if layer == self.depth:
            self._read_out(self.correlation * self.ones @ c.T, b)

    def _read_out(self, initial, b):
        """f = ⟨z h⟩/γ0 at equal steps, with `initial` = ⟨r hᵀ⟩."""
        self.output = np.diag(initial + b @ self.features[self.depth]) / self.richness


@pytest.mark.parametrize(
    ("rule", "correlation"),
    [
        ("gd", None),
        ("fa-half", 0.5),
        ("dfa", 0.0),
        pytest.param("fa-0", 0.0, marks=pytest.mark.slow),
        pytest.param("fa-1", 1.0, marks=pytest.mark.slow),
    ],
)
def test_three_layers_against_matrix_theory(rule, correlation):
    task = small_task(samples=4, dimension=3)
    run = wl.train(
        wl.MLP(3, wl.Linear(), 1.2),
        task,
        RULES[rule],
        optimizer=wl.SGD(0.04),
        steps=6,
        width=wl.Infinite(particles=400),
        replicates=1,
    )
    output, kernels = LinearTheory(task, 3, 1.2, 0.04, 6, correlation).solve()
    assert relative_error(run["output"].values[0], output) < 1e-10
    assert relative_error(run["feature_kernel"].values[0], kernels) < 1e-10
    assert relative_error(kernels[-1], kernels[0]) > 0.01


# --- two layers and whitened inputs, in continuous time

RICHNESS, TARGET, TIME = 1.5, 2.0, 1.0


def whitened_run(rule, step_size):
    """K^x = I: three orthogonal inputs; the target lies along a direction that is no sample's own."""
    direction = np.array([2.0, -1.0, 2.0]) / 3
    task = wl.Task(np.sqrt(3) * np.eye(3), TARGET * direction)
    steps = round(TIME / step_size)
    run = wl.train(
        wl.MLP(1, wl.Linear(), RICHNESS),
        task,
        rule,
        optimizer=wl.SGD(step_size),
        steps=steps,
        width=wl.Infinite(particles=100),
        replicates=1,
    )
    kernel = direction @ run["feature_kernel"].values[0, -1, 0] @ direction
    backward = run["pseudo_gradient_kernel"].values[0, -1, 0, 0, 0]
    return np.array([direction @ run["error"].values[0, -1], kernel, backward])


def gradient_descent_theory():
    """dΔ/dt = −2 H Δ with H = G = √(1 + γ0²(y − Δ)²)."""

    def kernel(error):
        return np.sqrt(1 + RICHNESS**2 * (TARGET - error) ** 2)

    flow = solve_ivp(lambda _, error: -2 * kernel(error) * error, (0, TIME), [TARGET], rtol=1e-11, atol=1e-12)
    error = flow.y[0, -1]
    return np.array([error, kernel(error), kernel(error)])


def feedback_alignment_theory(rho):
    """da/dt = γ0 y − (1 + ρ) a − a³/2, H = 1 + a², G̃ = ρ + a²/2, Δ = y − [(1 + ρ) a + a³/2]/γ0."""

    def learned(a):
        return (1 + rho) * a + a**3 / 2

    flow = solve_ivp(lambda _, a: RICHNESS * TARGET - learned(a), (0, TIME), [0.0], rtol=1e-11, atol=1e-12)
    a = flow.y[0, -1]
    return np.array([TARGET - learned(a) / RICHNESS, 1 + a**2, rho + a**2 / 2])


@pytest.mark.parametrize(
    ("rule", "theory"),
    [
        (wl.GradientDescent(), gradient_descent_theory()),
        (wl.FeedbackAlignment(0.0), feedback_alignment_theory(0.0)),
        (wl.FeedbackAlignment(0.5), feedback_alignment_theory(0.5)),
        (wl.FeedbackAlignment(1.0), feedback_alignment_theory(1.0)),
    ],
    ids=str,
)
def test_two_layer_whitened_model_is_the_limit_of_small_steps(rule, theory):
    """The distance to continuous time is of first order: halving the step halves it, and extrapolation removes it."""
    coarse, fine = whitened_run(rule, 0.01), whitened_run(rule, 0.005)
    ratio = (coarse - theory) / (fine - theory)
    assert np.all(np.abs(ratio - 2) < 0.1), ratio
    assert np.all(np.abs(2 * fine - coarse - theory) < 0.05 * np.abs(fine - theory))

"""Simulations stepped by hand, what compiles, and the order in which random numbers are drawn."""

import math
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import NET, WIDTHS
from helpers import RULES, of_which_fast, small_task

import widelimit as wl
from widelimit.simulation import initialization, step
from widelimit.weights.population import IndependentPopulation, MatchedPopulation, Population

# --- stepping by hand


@pytest.mark.parametrize("batches", [pytest.param("full", marks=pytest.mark.slow), "batches"])
@pytest.mark.parametrize("width", ["finite", "infinite"])
def test_steps_by_hand_are_those_of_train(width, batches):
    """To the last bit: see `by_hand`."""
    script = Path(__file__).with_name("by_hand.py")
    environment = os.environ | {"XLA_FLAGS": ""}
    process = subprocess.run(
        [sys.executable, str(script), width, batches], env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


def test_a_state_is_never_changed():
    simulation = wl.initialize(NET, small_task(), width=7, optimizer=wl.SGD(0.05), steps=5)
    state = simulation.start()
    before = jax.tree.map(np.array, state)
    one, other = simulation.step(state), simulation.step(state)
    simulation.measure(state)
    for kept, after in zip(jax.tree.leaves(before), jax.tree.leaves(state), strict=True):
        assert np.array_equal(kept, after)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.array_equal(left, right)
    assert simulation.step(state, 0) is state


def test_steps_beyond_those_that_were_planned_are_refused():
    simulation = wl.initialize(NET, small_task(), width=7, optimizer=wl.SGD(0.05), steps=2)
    state = simulation.step(simulation.start(), 2)
    with pytest.raises(wl.ArgumentError, match="initialised for 2; got 1 after 2"):
        simulation.step(state)
    with pytest.raises(wl.ArgumentError, match="replicate"):
        simulation.start(-1)


@pytest.mark.parametrize("optimizer", ["auto", wl.SGD("auto", momentum=0.5)], ids=["auto", "momentum"])
def test_an_automatic_step_size_is_the_suggested_one(optimizer):
    task, momentum = small_task(), 0.0 if optimizer == "auto" else 0.5
    run = wl.train(NET, task, width=9, optimizer=optimizer, steps=1, replicates=1)
    assert float(run["time"][1]) == wl.suggest_step_size(NET, task, momentum=momentum)


# --- what compiles


class Leaky(wl.Rule):
    """Gradient descent whose feedback is scaled by a number and by an array, both fields of the rule."""

    leak: float = 1.0
    shift: np.ndarray = eqx.field(default_factory=lambda: np.zeros(1))
    power: int = 1

    def pseudo_gradient(self, view, layer, above):
        arriving = self.leak**self.power * view.weights[layer].backward(above) * (1 + jnp.mean(self.shift))
        return view.pulled_back(layer, arriving, above)


def compiled(*runs):
    """How many programs were compiled for a step, by each run in turn."""
    counts = []
    for options in runs:
        before = step.compiled_advance._cache_size() + step.compiled_proceed._cache_size()
        wl.train(NET, small_task(), **{"optimizer": wl.SGD(0.05), "steps": 3, "replicates": 1, **options})
        counts.append(step.compiled_advance._cache_size() + step.compiled_proceed._cache_size() - before)
    return counts


@pytest.mark.parametrize("width", of_which_fast(WIDTHS, "finite"))
def test_numbers_of_a_rule_compile_nothing_again(width):
    size = {"width": WIDTHS[width], "record": wl.Record(every=2)}
    rules = [wl.FeedbackAlignment(0.5), wl.FeedbackAlignment(0.6), wl.FeedbackAlignment(-0.3)]
    assert compiled(*({"rule": rule, **size} for rule in rules)) == [2, 0, 0]
    rules = [Leaky(0.5), Leaky(0.25), Leaky(1), Leaky(0.5, np.ones(1)), Leaky(0.5, power=2)]
    assert compiled(*({"rule": rule, **size} for rule in rules)) == [2, 0, 0, 0, 2]


def test_what_changes_the_calls_of_a_rule_compiles_anew():
    """ρ = 0 sends nothing through the initial weights, and ρ = 1 nothing through random ones."""
    rules = [wl.FeedbackAlignment(0.5), wl.FeedbackAlignment(0.0), wl.FeedbackAlignment(1.0)]
    assert compiled(*({"rule": rule, "width": 11} for rule in rules)) == [1, 1, 1]


def test_numbers_of_everything_else_compile_nothing_again():
    nets = [wl.MLP(2, wl.Tanh(), richness) for richness in (0.7, 1.4)]
    task = small_task()
    before = step.compiled_advance._cache_size()
    for net in nets:
        for optimizer in (wl.SGD(0.05, 0.3), wl.SGD(0.02, 0.6, 0.1)):
            for seed in (0, 1):
                wl.train(net, task, width=10, optimizer=optimizer, steps=1, replicates=1, seed=seed)
    assert step.compiled_advance._cache_size() - before == 1


def test_a_number_and_an_array_of_a_rule_have_their_effect():
    """Against a rule that has them built in."""

    class BuiltIn(wl.Rule):
        def pseudo_gradient(self, view, layer, above):
            return view.pulled_back(layer, 0.625 * view.weights[layer].backward(above), above)

    options = dict(width=9, optimizer=wl.SGD(0.05), steps=3, replicates=1)
    with_fields = wl.train(NET, small_task(), Leaky(0.5, np.array([0.5, 0.0])), **options)
    built_in = wl.train(NET, small_task(), BuiltIn(), **options)
    assert np.allclose(with_fields["ntk"], built_in["ntk"], rtol=1e-12)
    assert not np.allclose(with_fields["ntk"][0, -1], with_fields["ntk"][0, 0], rtol=1e-2)


def test_a_rule_that_decides_by_a_number_is_told_how():
    class Deciding(wl.Rule):
        leak: float = 0.5

        def pseudo_gradient(self, view, layer, above):
            arriving = view.weights[layer].backward(above)
            return view.pulled_back(layer, arriving if self.leak > 0 else -arriving, above)

    with pytest.raises(wl.ArgumentError, match=r"Deciding .* eqx\.field\(static=True\)"):
        wl.train(NET, small_task(), Deciding(), width=9, optimizer=wl.SGD(0.05), steps=1)


def test_a_rule_with_a_field_that_cannot_be_compared_is_refused():
    class Listed(wl.GradientDescent.__base__):
        names: set = eqx.field(default_factory=set, static=True)

        def pseudo_gradient(self, view, layer, above):
            return view.derivatives[layer]

    with pytest.raises(wl.ArgumentError, match="rule: the fields of Listed"):
        wl.train(NET, small_task(), Listed(), width=9, optimizer=wl.SGD(0.05), steps=1)


# --- the order of random draws


def noted_draws(monkeypatch, net, task, rule, width, **options):
    """Every call for rows of noise while a network is set up: (layer, kind, rows), in order."""
    notes, layers = [], {}
    for name in ("draw", "spare", "loose"):
        original = getattr(Population, name)

        def noted(population, rows, name=name, original=original):
            if rows:
                notes.append((layers.setdefault(id(population), len(layers) + 1), name, rows))
            return original(population, rows)

        monkeypatch.setattr(Population, name, noted)
    for kind in (IndependentPopulation, MatchedPopulation):
        original = kind.avoid

        def avoided(population, rows, fields, original=original):
            notes.append((layers[id(population)], "avoid", 0))
            return original(population, rows, fields)

        monkeypatch.setattr(kind, "avoid", avoided)
    made = initialization.Initialization._populations

    def numbered(self, seed):
        populations = made(self, seed)
        layers.update({id(population): layer for layer, population in enumerate(populations, start=1)})
        return populations

    monkeypatch.setattr(initialization.Initialization, "_populations", numbered)
    simulation = wl.initialize(net, task, rule, width=width, optimizer=wl.SGD(0.1), steps=2, **options)
    notes.clear()  # those of planning, where nothing is drawn
    simulation.start()
    monkeypatch.undo()
    return notes


def test_the_order_of_draws_of_a_finite_network(monkeypatch):
    """P = 4 samples in D = 3, two test points in the span; three hidden layers of five neurons, gated, C = 2."""
    task = small_task(outputs=2, test_samples=2)
    net = wl.MLP(3, wl.Gated(wl.ReLU()))
    notes = noted_draws(monkeypatch, net, task, wl.FeedbackAlignment(0.5), 5)
    assert notes == [
        (1, "draw", 3),  # W^0
        (2, "draw", 5),  # W^1, W^2
        (3, "draw", 5),
        (1, "draw", 3),  # gates
        (2, "draw", 3),
        (3, "draw", 3),
        (1, "avoid", 0),
        (2, "avoid", 0),
        (3, "avoid", 0),
        (3, "draw", 2),  # the readout
        (2, "draw", 5),  # W̃^1, W̃^2, w̃
        (3, "draw", 5),
        (3, "draw", 2),
    ]


def test_the_order_of_draws_at_infinite_width(monkeypatch):
    """One direction of a test point is outside the span of P = 2 samples in D = 3; six directions are kept."""
    task = small_task(samples=2, test_samples=1)
    width = wl.Infinite(particles=200, capacity=6)
    notes = noted_draws(monkeypatch, wl.MLP(3, wl.Tanh()), task, wl.DirectFeedbackAlignment(), width)
    assert notes == [
        (1, "draw", 2),  # W^0, in the span of the samples
        (2, "draw", 6),  # W^1 sends up: what lasts, what passes
        (2, "draw", 2),
        (3, "draw", 6),  # W^2
        (3, "draw", 2),
        (1, "avoid", 0),
        (2, "avoid", 0),
        (3, "avoid", 0),
        (3, "draw", 1),  # the readout; the rule sends nothing down the hidden matrices
        (1, "draw", 1),  # z̃^1..3
        (2, "draw", 1),
        (3, "draw", 1),
        (1, "spare", 1),  # what the test point has outside the span
        (2, "spare", 1),  # test points of W^1, and probes for its gradients
        (1, "spare", 2),
        (3, "spare", 1),  # W^2
        (2, "spare", 2),
    ]


def test_seeds_and_replicates_name_networks():
    """The first number that each population draws is that of NumPy's generator of (seed, replicate, layer)."""
    simulation = wl.initialize(NET, small_task(), RULES["gd"], width=6, optimizer=wl.SGD(0.1), steps=1, seed=8)
    state = simulation.start(replicate=2)
    first, hidden, _ = (np.asarray(weights.matrix) for weights in state.network.layers)
    assert np.array_equal(first, np.random.default_rng([8, 2, 0]).standard_normal((3, 6)))
    assert np.array_equal(hidden, np.random.default_rng([8, 2, 1]).standard_normal((6, 6)))


def test_widths_that_cannot_be():
    for width, words in (
        (0, "width must be a whole number"),
        (2.5, "width must be"),
        ("wide", "width must be"),
        (True, "width must be"),
        (-math.inf, "width must be"),
    ):
        with pytest.raises(wl.ArgumentError, match=words):
            wl.initialize(NET, small_task(), width=width, optimizer=wl.SGD(0.1), steps=1)
    for make, words in (
        (lambda: wl.Finite(0), "width.neurons"),
        (lambda: wl.Infinite(1), "width.particles"),
        (lambda: wl.Infinite(100, capacity=0), "width.capacity"),
        (lambda: wl.Infinite(100, tolerance=1.0), "width.tolerance"),
        (lambda: wl.Infinite(100, growth=0), "width.growth"),
        (lambda: wl.Batches(0), "batches.size"),
        (lambda: wl.Batches(2, seed=-1), "batches.seed"),
        (lambda: wl.SGD("automatic"), "step_size"),
    ):
        with pytest.raises(wl.ArgumentError, match=words.replace(".", r"\.")):
            make()

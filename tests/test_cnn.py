"""Convolutional networks: finite ones against NumPy to rounding, infinitely wide ones against them and one another."""

import math

import numpy as np
import pytest
from helpers import (
    LATER_RULES,
    RULES,
    assert_matches_reference,
    assert_same,
    convolutional_reference_for,
    grouped,
    of_which_fast,
    relative_error,
)

import widelimit as wl
from widelimit.results import configuration

GEOMETRIES = {
    "1-D": ((5, 2), dict(filter_size=3)),
    "1-D circular, pooled": ((4, 2), dict(filter_size=3, padding="circular", pool="all", filter_scale=0.6)),
    "2-D": ((3, 2, 1), dict(filter_size=(3, 1))),
    "2-D circular, windows": ((2, 4, 1), dict(filter_size=3, padding="circular", pool=2)),
    "locally connected": ((4, 1), dict(filter_size=3, shared=False, pool=2)),
}
ALL_RULES = RULES | LATER_RULES


def images(shape, samples=4, outputs=None, test_samples=2, seed=0, loss=None):
    """Random inputs on a grid, with targets ±1, or one-hot."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples + test_samples, *shape))
    y = random.choice([-1.0, 1.0], size=len(x))
    if outputs is not None:
        y = np.eye(outputs)[np.arange(len(x)) % outputs]
    if not test_samples:
        return wl.Task(x, y, loss=loss)
    return wl.Task(x[:samples], y[:samples], x[samples:], y[samples:], loss=loss)


# --- finite networks, against block matrices in NumPy


def compare(net, task, rule, *, batch_size=None, steps=3, **options):
    training = dict(step_size=0.03, steps=steps, momentum=0.5, weight_decay=0.3) | options
    run = wl.train(net, task, rule, replicates=1, seed=2, **grouped(width=7, batch_size=batch_size, **training))
    network = convolutional_reference_for(net, task, rule, 7, seed=2)
    batches = None if batch_size is None else wl.Batches(batch_size, seed=0).order(task.samples, steps + 1)
    expected = network.train(**training, batches=batches)
    assert_matches_reference(run, {name: array for name, array in expected.items() if name in run}, task.scalar, 1e-10)
    assert relative_error(run["ntk"].isel(step=-1), run["ntk"].isel(step=0)) > 1e-3


@pytest.mark.parametrize("rule", ALL_RULES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_finite_network_to_rounding(geometry, rule):
    shape, options = GEOMETRIES[geometry]
    if rule.startswith("signs") and options.get("pool"):
        pytest.skip("the reference takes signs of the averages that stand for a pooled readout")
    compare(wl.CNN(2, wl.Tanh(), 1.4, **options), images(shape), ALL_RULES[rule])


@pytest.mark.parametrize("rule", of_which_fast(["gd", "fa-half", "dfa", "hebb", "kolen-pollack"], "fa-half"))
def test_classes_batches_and_gates(rule):
    shape, options = GEOMETRIES["2-D circular, windows"]
    task = images(shape, samples=5, outputs=3, loss=wl.SoftmaxCrossEntropy())
    compare(wl.CNN(2, wl.Tanh(), **options), task, ALL_RULES[rule], batch_size=2)
    short = dict(step_size=0.0004) if rule == "hebb" else {}  # it diverges in finite time where units are linear
    compare(wl.CNN(3, wl.Gated(wl.ReLU()), **options), task, ALL_RULES[rule], **short)


def test_kernels_between_positions_and_fields():
    """Their averages over positions are the kernels that are always recorded, and they are kernels of the fields."""
    shape, options = GEOMETRIES["1-D"]
    net, task = wl.CNN(2, wl.Tanh(), **options), images(shape, outputs=2)
    run = wl.train(
        net,
        task,
        wl.FeedbackAlignment(0.5),
        width=9,
        optimizer=wl.SGD(0.05),
        steps=2,
        record=wl.Record(positions=True, fields=True, two_time=True),
        replicates=2,
    )
    for name in ("feature_kernel", "gradient_kernel", "pseudo_gradient_kernel"):
        every = run[f"{name}_positions"]
        mean = np.einsum("rtlpaqa...->rtlpq...", every.values) / every.sizes["position"]
        assert relative_error(mean, run[name].values) < 1e-12
    phi = np.tanh(run["final_preactivation"].values)
    found = np.einsum("rlpan,rlqbn->rlpaqb", phi, phi) / 9
    assert relative_error(run["feature_kernel_positions"].isel(step=-1).values, found) < 1e-12
    two_time = run["feature_kernel_two_time"]
    for step in range(3):
        same = two_time.isel(step=step, step2=step).values
        assert relative_error(same, run["feature_kernel"].isel(step=step).values) < 1e-12
    assert run["final_pre_gradient"].dims == ("replicate", "layer", "sample", "output_unit", "position", "neuron")


# --- relations that hold at every width


@pytest.mark.parametrize("width", [30, wl.Infinite(particles=400)], ids=["finite", "infinite"])
@pytest.mark.parametrize("rule", of_which_fast(ALL_RULES, "fa-half"))
def test_one_position_is_a_fully_connected_network(rule, width):
    task = images((1, 3))
    flat = wl.Task(task.x, task.y[:, 0], task.x_test, task.y_test[:, 0])
    training = dict(width=width, optimizer=wl.SGD(0.05), steps=4, replicates=1)
    one = wl.train(wl.CNN(2, wl.Tanh(), filter_size=1), task, ALL_RULES[rule], **training)
    other = wl.train(wl.MLP(2, wl.Tanh()), flat, ALL_RULES[rule], **training)
    assert_same(one, other, 1e-13)


@pytest.mark.parametrize("width", [20, wl.Infinite(particles=3000)], ids=["finite", "infinite"])
@pytest.mark.parametrize("rule", of_which_fast(["gd", "fa-half", "dfa", "hebb"], "fa-half"))
def test_circular_networks_are_translation_equivariant(rule, width):
    """Every image moved by its own way round the grid: what averages over positions stays the same.

    At infinite width noise is drawn by row, so the network is linear, which makes it exact.
    """
    nonlinearity = wl.Linear() if isinstance(width, wl.Infinite) else wl.Tanh()
    net = wl.CNN(2, nonlinearity, padding="circular", pool="all", filter_scale=1 / 3)
    task = images((2, 4, 1), samples=3)
    random = np.random.default_rng(0)

    def moved(x):
        ways = random.integers(1, 4, size=(len(x), 2))
        return np.stack([np.roll(one, way, axis=(0, 1)) for one, way in zip(x, ways, strict=True)])

    other = wl.Task(moved(task.inputs), task.y[:, 0], moved(task.test_inputs), task.y_test[:, 0])
    training = dict(width=width, optimizer=wl.SGD(0.01 if rule == "hebb" else 0.1), steps=3, replicates=1)
    names = ["output", "test_output", "loss", "ntk"]
    one, two = (wl.train(net, data, RULES[rule], **training) for data in (task, other))
    assert_same(one, two, 1e-10, names)


# --- deep linear networks at infinite width, exact


EXACT = ["output", "test_output", "feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk"]


def compare_seeds_and_particles(geometry, rule, layers, outputs=None):
    shape, options = GEOMETRIES[geometry]
    task = images(shape, samples=2, outputs=outputs, test_samples=1)
    net = wl.CNN(layers, wl.Linear(), 1.2, **({"filter_scale": 0.5} | options))
    optimizer = wl.SGD(0.003 if rule == "hebb" else 0.01, momentum=0.5, weight_decay=0.2)
    training = dict(optimizer=optimizer, steps=4, replicates=1)
    one, two = (
        wl.train(net, task, RULES[rule], width=wl.Infinite(particles=particles), seed=particles, **training)
        for particles in ((4000, 5000) if shape[1:] == (2,) else (8000, 9000))
    )
    assert_same(two, one, 1e-10, EXACT)
    start = one["ntk"].isel(step=0)  # from which the kernel has moved, if only to come back
    assert max(relative_error(one["ntk"].isel(step=step), start) for step in range(1, 5)) > 1e-3


@pytest.mark.parametrize("rule", of_which_fast(RULES, "fa-half"))
def test_deep_linear_networks_are_exact(rule):
    compare_seeds_and_particles("1-D", rule, 2)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("geometry", [name for name in GEOMETRIES if name != "locally connected"])
def test_all_deep_linear_networks_are_exact(geometry, rule, layers):
    compare_seeds_and_particles(geometry, rule, layers)
    if layers == 2:
        compare_seeds_and_particles(geometry, rule, layers, outputs=2)


# --- what is kept


def test_growth_is_a_share_of_the_capacity_in_use():
    run = wl.train(
        wl.CNN(2, wl.Tanh()),
        images((4, 1)),
        width=wl.Infinite(capacity=60),
        steps=0,
        optimizer=wl.SGD(0.1),
        replicates=1,
    )
    found = configuration(run)
    assert (found["capacity"], found["growth"]) == (60, 12)


# --- what cannot be


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: wl.CNN(2, wl.Tanh(), filter_size=2), ("filter_size", "odd", "2")),
        (lambda: wl.CNN(2, wl.Tanh(), filter_size=0), ("filter_size", "at least 1", "0")),
        (lambda: wl.CNN(2, wl.Tanh(), padding="same"), ("padding", "'same'", "circular, zero")),
        (lambda: wl.CNN(2, wl.Tanh(), pool="global"), ("pool", "'global'", "all")),
        (lambda: wl.CNN(2, wl.Tanh(), filter_scale=0.0), ("filter_scale", "above 0")),
        (lambda: wl.CNN(2, wl.Tanh(), shared=1), ("shared", "True or False", "1")),
        (lambda: wl.MLP(2, wl.Tanh(), branch_scale=0.5), ("branch_scale", "residual=True")),
        (lambda: wl.MLP(2, wl.Tanh(), residual="yes"), ("residual", "'yes'")),
    ],
)
def test_a_network_that_cannot_be(make, words):
    with pytest.raises(wl.ArgumentError) as refusal:
        make()
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((6,), {}, ("x must have shape (samples, positions, channels)", "(6,)", "reshape")),
        ((2, 2, 2, 2), {}, ("x must have shape", "(2, 2, 2, 2)")),
        ((4, 4, 1), dict(filter_size=(3,)), ("filter_size", "2, one for each dimension", "(3,)")),
        ((4, 4, 1), dict(pool=3), ("pool", "3×3", "4×4", "divisor")),
    ],
)
@pytest.mark.parametrize("width", [10, math.inf])
def test_inputs_that_do_not_fit(shape, options, words, width):
    with pytest.raises(wl.ArgumentError) as refusal:
        wl.train(wl.CNN(2, wl.Tanh(), **options), images(shape), width=width, optimizer=wl.SGD(0.1), steps=1)
    for word in words:
        assert word in str(refusal.value)


def test_locally_connected_images_are_told_to_take_networks():
    """More directions than there is room for would be needed, and what is proposed is still too few."""
    random = np.random.default_rng(0)
    images = wl.Task(random.normal(size=(4, 8, 8, 1)), np.array([1.0, -1.0, 1.0, -1.0]))
    net = wl.CNN(2, wl.Tanh(), filter_scale=1 / 3, shared=False)
    with pytest.warns(wl.TruncationWarning, match="neither losses nor kernels are those of the limit") as caught:
        wl.train(net, images, width=wl.Infinite(3000, capacity=1), optimizer=wl.SGD(0.01), steps=2, replicates=1)
    assert "networks of two widths, as 200 and 400 neurons, extrapolated in 1/N" in str(caught[0].message)

"""Minibatches: the same order at every width, finite networks to rounding, infinite width against networks."""

import numpy as np
import pytest
from helpers import (
    RULES,
    assert_matches_reference,
    assert_same,
    grouped,
    of_which_fast,
    reference_for,
    relative_error,
    small_task,
)
from test_agreement import agreement

import widelimit as wl

TRAINING = dict(optimizer=wl.SGD(0.05), steps=8, replicates=2, seed=3, progress=False)


@pytest.mark.parametrize(("samples", "size"), [(6, 2), (7, 3), (5, 4), (5, 5), (4, 1), (9, 8)])
def test_every_sample_comes_once_an_epoch_and_never_twice_in_a_batch(samples, size):
    order = wl.Batches(size, seed=1).order(samples, 60)
    assert order.shape == (60, size)
    assert all(len(set(batch)) == size for batch in order)
    whole = order.ravel()[: 60 * size // samples * samples].reshape(-1, samples)
    assert np.all(np.sort(whole, axis=1) == np.arange(samples))
    # Epochs are shuffled anew, and the seed alone decides.
    assert size == samples or len({tuple(epoch) for epoch in whole}) > 1
    assert np.array_equal(order, wl.Batches(size, seed=1).order(samples, 60))
    assert samples < 3 or not np.array_equal(order, wl.Batches(size, seed=2).order(samples, 60))
    assert np.array_equal(order[:20], wl.Batches(size, seed=1).order(samples, 20))


@pytest.mark.parametrize("record_every", [1, 4])
@pytest.mark.parametrize("rule", RULES)
def test_a_finite_network_to_rounding(rule, record_every):
    """Steps that are recorded look at all samples, others at their batch alone: both learn from the batch."""
    net, task = wl.MLP(2, wl.Tanh(), 1.3), small_task(samples=5, test_samples=2)
    options = dict(momentum=0.6, weight_decay=0.3, step_size=0.05, steps=8)
    run = wl.train(
        net,
        task,
        RULES[rule],
        replicates=2,
        seed=3,
        **grouped(width=17, batch_size=2, record_every=record_every, **options),
    )
    for replicate in range(2):
        network = reference_for(net, task, RULES[rule], 17, seed=3, replicate=replicate)
        expected = network.train(**options, batches=wl.Batches(2, seed=0).order(5, 9))
        expected = {name: array[::record_every] for name, array in expected.items() if name in run}
        assert_matches_reference(run, expected, True, 1e-10, replicate)


def test_classes_and_gates_of_a_batch():
    task = small_task(samples=5, outputs=3, loss=wl.SoftmaxCrossEntropy())
    for net, rule in ((wl.MLP(2, wl.Tanh()), "hebb"), (wl.MLP(2, wl.Gated(wl.ReLU())), "fa-half")):
        run = wl.train(net, task, RULES[rule], width=17, batches=wl.Batches(3), record=wl.Record(every=8), **TRAINING)
        network = reference_for(net, task, RULES[rule], 17, seed=3)
        expected = network.train(step_size=0.05, steps=8, batches=wl.Batches(3, seed=0).order(5, 9))
        expected = {name: array[::8] for name, array in expected.items() if name in run}
        assert_matches_reference(run, expected, False, 1e-10)


@pytest.mark.parametrize(
    "width", [20, pytest.param(wl.Infinite(particles=300), marks=pytest.mark.slow)], ids=["finite", "infinite"]
)
def test_a_batch_of_all_samples_is_the_full_batch(width):
    net, task = wl.MLP(2, wl.Tanh()), small_task(samples=5, test_samples=2)
    options = dict(width=width, record=wl.Record(every=4), **TRAINING)
    full, same = (wl.train(net, task, batches=batches, **options) for batches in (None, wl.Batches(5)))
    assert_same(same, full, 1e-14)


@pytest.mark.parametrize("rule", of_which_fast(["gd", "fa-0", "fa-half", "dfa", "hebb"], "fa-half"))
def test_deep_linear_networks_are_exact(rule):
    """The same for every seed and number of particles, whichever samples were looked at in between."""
    net, task = wl.MLP(2, wl.Linear()), small_task(samples=5, dimension=4, test_samples=2)
    options = dict(optimizer=wl.SGD(0.03, momentum=0.5, weight_decay=0.2), steps=9, replicates=1)
    batches, fewer, more = wl.Batches(2), wl.Infinite(particles=400), wl.Infinite(particles=700)
    one = wl.train(net, task, RULES[rule], width=fewer, batches=batches, record=wl.Record(every=3), **options)
    two = wl.train(net, task, RULES[rule], width=more, batches=batches, seed=1, **options).sel(step=one["step"])
    assert_same(two, one, 1e-10, ["output", "loss", "test_output", "feature_kernel", "pseudo_gradient_kernel", "ntk"])
    full = wl.train(net, task, RULES[rule], width=fewer, **options)
    assert relative_error(full["output"].isel(step=-1), one["output"].isel(step=-1)) > 0.01


CELLS = [
    pytest.param("gradient descent", "tanh", 2, 2.0, marks=pytest.mark.slow),
    pytest.param("feedback alignment, ρ = ½", "relu", 2, 2.0, marks=pytest.mark.slow),
    pytest.param("direct feedback alignment", "tanh", 3, 2.0, marks=pytest.mark.slow),
    pytest.param("Hebbian", "erf", 2, 0.3, marks=pytest.mark.slow),
    pytest.param("gradient descent", "gated", 2, 2.0, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("rule", "nonlinearity", "depth", "richness"), CELLS, ids=str)
def test_infinite_width_is_what_networks_with_the_same_batches_tend_to(rule, nonlinearity, depth, richness):
    rule, nonlinearity = agreement.RULES[rule], agreement.NONLINEARITIES[nonlinearity]
    options = dict(batches=wl.Batches(2, seed=1), record=wl.Record(every=7), momentum=0.5, weight_decay=0.5)
    found = agreement.cell(rule, nonlinearity, depth, richness, **options)
    assert found["K"]["error"] < 0.03
    for name, quantity in found.items():
        # Two recorded times, so that few directions make up all entries: their rms is as likely as a z to be large.
        assert max(abs(quantity["z"]), quantity["rms_z"]) < 4, (name, quantity)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: wl.Batches(0), ("batches.size", "at least 1", "0")),
        (lambda: wl.Batches(6), ("batches.size", "at most 5", "6")),
        (lambda: wl.Batches(2.5), ("batches.size", "2.5")),
        (lambda: wl.Batches(2, seed=-1), ("batches.seed", "-1")),
        (lambda: 2, ("batches", "widelimit.Batches(size=32)", "int")),
    ],
)
def test_a_batch_that_cannot_be(make, words):
    with pytest.raises(wl.ArgumentError) as refusal:
        wl.train(wl.MLP(1, wl.Tanh()), small_task(samples=5), width=10, batches=make(), **TRAINING)
    for word in words:
        assert word in str(refusal.value)

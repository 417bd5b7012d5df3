"""What `Record` promises: chosen kernels, chosen samples, held-out stimuli, means, and what memory has no room for."""

import math

import numpy as np
import pytest
from helpers import RULES, of_which_fast, relative_error, small_task

import widelimit as wl
from widelimit.results.record import KERNELS
from widelimit.simulation import planning

WIDTHS = {"finite": wl.Finite(15), "infinite": wl.Infinite(particles=400)}
CURVES = {
    "output",
    "error",
    "loss",
    "test_output",
    "test_loss",
    "diverged_step",
    "highest_loss",
    "highest_loss_step",
    "input_kernel",
    "target",
    "test_target",
}
OPTIONS = dict(optimizer=wl.SGD(0.05), steps=3, replicates=2)


def run(width, task, record, rule="fa-half", net=None, **options):
    net = wl.MLP(2, wl.Tanh()) if net is None else net
    return wl.train(net, task, RULES[rule], width=WIDTHS[width], record=record, **{**OPTIONS, **options})


@pytest.mark.parametrize("width", WIDTHS)
def test_no_kernels_leave_curves_and_outputs(width):
    task = small_task(outputs=3, test_samples=2)
    everything, curves = (run(width, task, wl.Record(kernels=names)) for names in (None, ()))
    diagnostics = {name for name in everything.data_vars if "basis" in name or "fraction" in name}
    assert set(curves.data_vars) == CURVES | diagnostics
    for name in curves.data_vars:
        assert np.array_equal(curves[name], everything[name]), name


@pytest.mark.parametrize("rule", of_which_fast(["gd", "dfa", "hebb"], "gd"))
@pytest.mark.parametrize("outputs", [None, 2])
def test_chosen_kernels_are_those_of_a_run_with_all(rule, outputs):
    task = small_task(outputs=outputs)
    everything = run("finite", task, None, rule)
    for names in (("ntk",), ("feature_kernel",), ("gradient_kernel", "pseudo_gradient_kernel")):
        chosen = run("finite", task, wl.Record(kernels=names), rule)
        assert {name for name in chosen.data_vars if name.endswith("kernel") or name == "ntk"} == {
            *names,
            "input_kernel",
        }
        for name in names:
            assert np.array_equal(chosen[name], everything[name]), name
        assert wl.results.configuration(chosen)["kernels"] == list(names)


@pytest.mark.parametrize("net", [wl.MLP(2, wl.Tanh()), wl.CNN(2, wl.Tanh())], ids=["mlp", "cnn"])
def test_kernels_of_chosen_samples_are_a_part_of_those_of_all(net):
    random = np.random.default_rng(0)
    shape = (5, 3) if isinstance(net, wl.MLP) else (5, 4, 1)
    task = wl.Task(random.normal(size=shape), random.normal(size=(5, 2)))
    everything = run("finite", task, wl.Record(fields=True), net=net)
    chosen = run("finite", task, wl.Record(samples=(4, 1), fields=True), net=net)
    assert chosen["output"].sizes["sample"] == 5
    assert list(chosen["recorded_sample"].values) == [4, 1]
    for name in ("ntk", "feature_kernel", "gradient_kernel", "pseudo_gradient_kernel"):
        part = everything[name].isel(sample=[4, 1], sample2=[4, 1])
        assert chosen[name].dims == tuple(
            f"recorded_{dim}" if dim in ("sample", "sample2") else dim for dim in everything[name].dims
        )
        assert relative_error(chosen[name].values, part.values) < 1e-13, name
    for name in ("final_preactivation", "final_pre_gradient", "pseudo_gradient_norm"):
        part = everything[name].isel(sample=[4, 1])
        assert relative_error(chosen[name].values, part.values) < 1e-13, name


def test_chosen_samples_at_infinite_width_change_nothing_else():
    task = small_task(samples=5)
    everything, chosen = (run("infinite", task, wl.Record(samples=samples)) for samples in (None, (0, 3)))
    for name in ("output", "loss"):
        assert np.array_equal(chosen[name], everything[name])
    part = everything["feature_kernel"].isel(sample=[0, 3], sample2=[0, 3])
    assert relative_error(chosen["feature_kernel"].values, part.values) < 1e-13


# --- what is recorded on request


@pytest.mark.parametrize("width", WIDTHS)
def test_mean_features_are_averages_over_neurons(width):
    names = ("mean_feature", "feature_kernel")
    found = run(width, small_task(), wl.Record(kernels=names, fields=True), net=wl.MLP(2, wl.ReLU()))
    last = found.isel(step=-1)
    features = math.sqrt(2) * np.maximum(last["final_preactivation"], 0).squeeze()
    assert np.allclose(last["mean_feature"], features.mean("neuron"), rtol=1e-12)
    assert float(last["mean_feature"].min()) > 0.1  # ReLU is not odd


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("outputs", [None, 2])
def test_pseudo_gradients_between_samples(width, outputs):
    names = ("pseudo_gradient_covariance", "gradient_kernel")
    found = run(width, small_task(outputs=outputs), wl.Record(kernels=names), "dfa")
    covariance = found["pseudo_gradient_covariance"]
    flipped = covariance.rename(sample="sample2", sample2="sample")
    if outputs:
        flipped = flipped.rename(output_unit="output_unit2", output_unit2="output_unit")
        diagonal = np.einsum("rtlssuu->rtlsu", covariance.transpose(*covariance.dims).values)
    else:
        diagonal = np.einsum("rtlss->rtls", covariance.values)
    assert np.allclose(covariance, flipped.transpose(*covariance.dims), rtol=1e-12)
    assert np.allclose(diagonal, found["pseudo_gradient_norm"], rtol=1e-12)
    gradient = run(width, small_task(outputs=outputs), wl.Record(kernels=names), "gd")
    assert relative_error(gradient["pseudo_gradient_covariance"], gradient["gradient_kernel"].values) < 1e-12


# --- held-out stimuli


@pytest.mark.parametrize(
    ("width", "net"),
    [
        (width, net)
        for width in WIDTHS
        for net in (
            wl.MLP(2, wl.Tanh()),
            wl.MLP(2, wl.Gated(wl.ReLU())),
            wl.MLP(2, wl.Tanh(), residual=True),
            wl.CNN(2, wl.Tanh()),
        )
        # What a convolution scatters at infinite width is not met a second time.
        if width == "finite" or isinstance(net, wl.MLP)
    ],
)
def test_test_points_that_are_training_points_have_their_kernels(width, net):
    """At every step, all along training; at infinite width they reveal nothing that is not known already."""
    random = np.random.default_rng(1)
    x = random.normal(size=(4, 3) if isinstance(net, wl.MLP) else (4, 4, 1))
    task = wl.Task(x, random.normal(size=4), x)
    size = wl.Finite(12) if width == "finite" else wl.Infinite(1500)
    found = wl.train(net, task, width=size, record=wl.Record(test_kernels=True, fields=True), **OPTIONS)
    tolerance = 1e-12 if width == "finite" else 1e-8
    for name in ("test_feature_kernel", "test_train_feature_kernel"):
        assert relative_error(found[name].values, found["feature_kernel"].values) < tolerance, name
    assert relative_error(found["final_test_preactivation"].values, found["final_preactivation"].values) < tolerance


def test_held_out_stimuli_of_a_finite_network_have_the_kernels_of_their_fields():
    found = run("finite", small_task(test_samples=3), wl.Record(test_kernels=True, fields=True, every=3))
    test, train = (np.tanh(found[f"final_{name}preactivation"].squeeze()) for name in ("test_", ""))
    last = found.isel(step=-1)
    overlaps = np.einsum("rlpn,rlqn->rlpq", test.values, test.values) / 15
    assert np.allclose(last["test_feature_kernel"], overlaps, rtol=1e-12)
    overlaps = np.einsum("rlpn,rlqn->rlpq", test.values, train.values) / 15
    assert np.allclose(last["test_train_feature_kernel"], overlaps, rtol=1e-12)


@pytest.mark.parametrize("rule", of_which_fast(["gd", "fa-half", "dfa"], "fa-half"))
def test_held_out_stimuli_of_deep_linear_networks_are_exact(rule):
    """The same for all seeds and numbers of particles: test points are correlated with one another as they should."""
    task = small_task(dimension=6, test_samples=3)
    net, options = wl.MLP(3, wl.Linear()), {**OPTIONS, "replicates": 1, "record": wl.Record(test_kernels=True)}
    one, two = (wl.train(net, task, RULES[rule], width=wl.Infinite(size), seed=size, **options) for size in (500, 700))
    for name in ("test_feature_kernel", "test_train_feature_kernel", "test_output"):
        assert relative_error(two[name].values, one[name].values) < 1e-10, name
    moved = one["test_feature_kernel"].isel(step=-1) - one["test_feature_kernel"].isel(step=0)
    assert float(np.abs(moved).max()) > 1e-2
    # At the start Φ^ℓ of a linear network is the input kernel.
    expected = task.x_test @ task.x_test.T / 6
    assert relative_error(one["test_feature_kernel"].isel(step=0, replicate=0, layer=2).values, expected) < 1e-10


@pytest.mark.slow
def test_held_out_stimuli_at_infinite_width_agree_with_wide_networks():
    task = small_task(dimension=5, test_samples=3)
    net, options = wl.MLP(2, wl.Tanh(), 1.5), dict(optimizer=wl.SGD(0.1), steps=6)
    record = wl.Record(every=6, kernels=(), test_kernels=True)
    limit = wl.train(net, task, width=wl.Infinite(3000), record=record, replicates=4, **options)
    wide = wl.train(net, task, width=1000, record=record, replicates=12, **options)
    for name in ("test_feature_kernel", "test_train_feature_kernel"):
        apart = wl.observables.discrepancy(limit[name], wide[name], [dim for dim in limit[name].dims[2:]])
        assert float(apart.max()) < 3, name


# --- what memory has no room for


def test_by_default_what_has_no_room_is_left_out_and_said(monkeypatch):
    """Ten outputs: blocks of 10 × 10 for each pair of samples. Less memory for recorded kernels, fewer of them."""
    task = small_task(samples=8, outputs=10)
    kept = {}
    for mebibytes in (1000, 6, 0.5):
        monkeypatch.setattr(planning, "available_memory", lambda size=mebibytes: size * 2**20)
        simulation = wl.initialize(wl.MLP(2, wl.Tanh()), task, width=10, optimizer=wl.SGD(0.1), steps=20)
        assert {*simulation.left_out, *simulation.program.measurement.kernels} == set(KERNELS)
        kept[mebibytes] = simulation.program.measurement.kernels
    assert kept[1000] == ("feature_kernel", "ntk", "pseudo_gradient_kernel", "gradient_kernel")
    assert kept[6] == ("feature_kernel", "ntk")
    assert kept[0.5] == ("feature_kernel",)
    monkeypatch.setattr(planning, "available_memory", lambda: 6 * 2**20)
    with pytest.warns(
        wl.RecordWarning, match=r"Not recorded.*pseudo_gradient_kernel, gradient_kernel.*Record\(kernels"
    ):
        found = wl.train(wl.MLP(2, wl.Tanh()), task, width=10, optimizer=wl.SGD(0.01), steps=20, replicates=1)
    assert "gradient_kernel" not in found
    assert found.sizes["output_unit2"] == 10


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: wl.Record(every=0), ["record.every", "at least 1"]),
        (lambda: wl.Record(kernels=("ntk", "ntkk")), ["record.kernels", "'ntkk'", "'ntk'"]),
        (lambda: wl.Record(kernels="ntk"), ["record.kernels", "('ntk',)"]),
        (lambda: wl.Record(samples=(0, 0)), ["record.samples", "different"]),
        (lambda: wl.Record(samples=(-1,)), ["record.samples"]),
        (lambda: wl.Record(samples=(0.5,)), ["record.samples", "whole numbers"]),
        (lambda: wl.Record(samples=()), ["record.samples"]),
        (lambda: wl.Record(fields="no"), ["record.fields", "True or False"]),
        (lambda: run("finite", small_task(), wl.Record(samples=(4,))), ["record.samples", "no sample 4", "has 4"]),
        (lambda: run("finite", small_task(), wl.Record(test_kernels=True)), ["record.test_kernels", "x_test"]),
        (lambda: run("finite", small_task(), {"every": 2}), ["record", "Record"]),
    ],
)
def test_what_cannot_be_recorded(make, words):
    with pytest.raises(wl.ArgumentError) as refusal:
        make()
    for word in words:
        assert word in str(refusal.value)

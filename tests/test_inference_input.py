"""What recordings of real experiments bring: silent neurons, copied trials, names, unknown times, runs that diverge."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.io
import xarray as xr
from helpers import small_task

import widelimit as wl
from widelimit.checks import ArgumentError
from widelimit.inference import fit, from_distances, from_matlab, from_npz, from_rsatoolbox, from_table
from widelimit.inference.candidates import log_prior
from widelimit.inference.evidence import Law, evidence
from widelimit.inference.laws import times_of
from widelimit.inference.simulated import SourceDivergesError
from widelimit.inference.units import units_of

STIMULI, STEPS = 6, 12
TASK = small_task(STIMULI, 5)
RULES = (wl.GradientDescent(), wl.DirectFeedbackAlignment())


def candidates(rules=RULES, richness=(2.0,), step_size=0.15, steps=STEPS, record=None, **options):
    return wl.Candidates(
        TASK,
        [wl.MLP(2, wl.Tanh(), richness=g) for g in richness],
        list(rules),
        optimizer=wl.SGD(step_size),
        steps=steps,
        record=record or wl.Record(every=4),
        width=wl.Infinite(400, capacity=30),
        **({"replicates": 2} | options),
    )


@pytest.fixture(scope="module")
def usual():
    return candidates()


def recorded(rule=RULES[0], neurons=60, sessions=(0, 6, 12), steps=STEPS, **options):
    source = wl.initialize(
        wl.MLP(2, wl.Tanh(), richness=2.0),
        TASK,
        rule,
        width=400,
        optimizer=wl.SGD(0.15),
        steps=steps,
        record=wl.Record(fields=True, kernels=()),
        seed=3,
    )
    return wl.record(source, neurons=neurons, layer=2, sessions=sessions, **({"noise": 0.3, "seed": 1} | options))


def inferred(recording, among, **options):
    return wl.infer(recording, among, **({"refine": False, "check": 0} | options))


def share(posterior, rule):
    return float(posterior["probability"].values[posterior["rule"].values == rule].sum())


# Runs


@pytest.mark.parametrize("record", [wl.Record(every=5), None])
def test_sessions_at_the_last_step_are_within_the_runs(record):
    among = candidates(steps=13, record=record, rules=RULES[:1])
    posterior = inferred(recorded(sessions=(0, 6, 13), steps=13), among)
    assert json.loads(posterior.attrs["diverged"]) == []
    assert share(posterior, "GradientDescent") > 0.9
    assert among.steps == 13
    with pytest.raises(ArgumentError, match="candidates have 13 steps"):
        inferred(recorded(sessions=(0, 14), steps=14), among)


def test_rules_that_diverge_are_named():
    among = candidates((wl.GradientDescent(), wl.Hebbian()), step_size=0.15)
    among.compute()
    net, rule = among.pairs()[1]
    run = among.runs.of(net, rule)
    among.runs.held[among.runs._name(net, rule)] = run.isel(step=slice(2), step2=slice(2))  # as if it had diverged
    posterior = inferred(recorded(), among)
    assert "diverge before the last session: Hebbian altogether" in posterior.attrs["verdict"]
    assert len(json.loads(posterior.attrs["diverged"])) == 2
    with pytest.raises(ArgumentError, match="all of them diverge"):
        inferred(recorded(), candidates(step_size=1e8))


def test_a_candidate_that_stands_twice_counts_once():
    among = candidates((RULES[0], wl.GradientDescent(), RULES[1]), richness=(0.5, 2.0, 2.0))
    assert len(among.pairs()) == 4
    members = among.members()
    prior = pd.Series(np.exp(log_prior(members))).groupby([member.family for member in members]).sum()
    assert np.allclose(prior, 0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": True}, 'layers must be "all"'),
        ({"layers": None}, 'layers must be "all"'),
        ({"layers": 3}, "layers must be"),
        ({"baselines": None}, "baselines must be a list"),
        ({"baselines": "inputz"}, "unknown name 'inputz'"),
    ],
)
def test_candidates_that_cannot_be_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        candidates(**options)


def test_one_layer_and_one_baseline_need_no_list():
    among = candidates(layers=2, baselines="inputs")
    assert {(member.layer, member.baseline) for member in among.members()} == {(2, ""), (0, "inputs")}


# Times


def test_one_session_can_have_been_at_any_time(usual):
    recording = recorded(RULES[1], neurons=300, sessions=(12,), noise=0.1)
    net, rule = usual.pairs()[0]
    times, prior = times_of(recording.without_times(), usual.runs.of(net, rule), STEPS)
    assert times.min() == 0
    assert times.max() == STEPS
    assert prior.sum() == pytest.approx(1)
    known, unknown = inferred(recording, usual), inferred(recording.without_times(), usual)
    best = unknown.isel(candidate=int(unknown["log_evidence"].values.argmax()))
    assert best["rule"] == "DirectFeedbackAlignment"
    assert float(best["session_step"][0]) > 6
    # A mean over eleven times, of which one is the right one.
    assert abs(float(best["log_evidence"]) - float(known["log_evidence"].max()) + np.log(11)) < np.log(11)


def test_steps_can_be_given_later():
    recording = recorded(sessions=(0, 12))
    assert recording.without_times().with_steps((0, 12)).dataset.identical(recording.dataset.drop_vars("performance"))
    with pytest.raises(ArgumentError, match="steps must hold 2 numbers"):
        recording.with_steps((0, 1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"performance": [50, 70, 100], "measure": "accuracy"}, "between 0 and 1"),
        ({"performance": [1.0, 0.5, -0.1]}, "a loss of 0 or more"),
        ({"steps": [-1, 2, 3]}, "0, before learning, or more"),
        ({"stimuli": [[1, 2], [3], [4]]}, "stimuli must be 3 whole numbers"),
    ],
)
def test_what_cannot_have_been_recorded_is_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        wl.Recording(np.random.default_rng(0).normal(size=(3, 5, 3)), **({"stimuli": range(3)} | options))


# Neurons


def test_neurons_that_never_vary_change_nothing(usual):
    """Without repeats they would be taken for neurons without noise, and noise is one for all."""
    recording = recorded(neurons=30)
    values = recording.responses.values
    silent = np.concatenate([values, np.zeros((3, 1, 60, 6)), np.full((3, 1, 5, 6), 7.0)], axis=2)
    posterior, other = (
        inferred(wl.Recording(v, range(6), steps=(0, 6, 12)), usual, temperature=1.0) for v in (values, silent)
    )
    np.testing.assert_allclose(other["log_evidence"], posterior["log_evidence"], rtol=1e-9)
    assert "Neurons that never vary were left out: 65." in other.attrs["verdict"]
    assert "never vary" not in posterior.attrs["verdict"]


def test_untracked_neurons_that_never_vary_are_left_out():
    values = np.random.default_rng(0).normal(size=(2, 2, 5, 4))
    values[1, :, 2] = 3.0
    units = units_of(wl.Recording(values, range(4), tracked=False))
    assert (units.count, units.constant) == (9, 1)


def test_copies_are_no_repeats(usual):
    """Trials that are the same tell no noise: it is unknown, as in one trial."""
    once = recorded(noise=0.3)
    copied = wl.Recording(np.repeat(once.responses.values, 3, axis=1), range(6), steps=(0, 6, 12))
    assert units_of(copied).noise is None
    one, three = (inferred(each, usual)["log_evidence"].values for each in (once, copied))
    np.testing.assert_allclose(three - three.max(), one - one.max(), atol=1e-3)
    assert share(inferred(recorded(noise=0.0, trials=3), usual), "GradientDescent") > 0.99


def test_noise_that_others_share_in_each_session_is_projected_out():
    random = np.random.default_rng(0)
    clean = random.normal(size=(3, 4, 100, 6))
    shared = 3 * random.normal(size=(3, 4, 1, 6)) * random.normal(size=(3, 1, 100, 1))
    for tracked, count in ((False, 1), (True, 3)):
        left = units_of(wl.Recording(clean + shared, range(6), tracked=tracked), shared_noise=count)
        assert left.count == (297 if not tracked else 97)
        assert left.responses.var() < 1  # in units of the noise: means over four trials, of none but noise


# Whether it fits


def test_a_recording_of_nothing_but_noise_is_judged(usual):
    for seed in range(8):
        values = np.random.default_rng(seed).normal(size=(1, 8, 5, 3))
        posterior = inferred(wl.Recording(values, range(3), steps=(0,)), usual)
        assert np.isfinite(posterior["ceiling_log_evidence"])
        assert float(posterior["probability"].sum()) == pytest.approx(1)
    one = wl.Recording(np.random.default_rng(0).normal(size=(3, 1, 30, 1)), range(1), steps=(0, 6, 12))
    assert np.isfinite(inferred(one, usual)["log_evidence"]).all()


def test_a_law_that_says_nothing_is_noise_alone():
    units = units_of(wl.Recording(np.random.default_rng(0).normal(size=(1, 8, 5, 3)), range(3)))
    law = Law.of(np.zeros((3, 3)))
    assert law.factor.shape == (3, 0)
    assert np.isfinite(evidence(units, law).total)


def test_networks_that_diverge_are_replaced_in_the_check(monkeypatch, usual):
    recording, real = recorded(), fit.features_of

    def faulty(each):
        def features(simulation, sessions, replicate):
            if replicate % each == 0:
                raise SourceDivergesError("source diverges")
            return real(simulation, sessions, replicate)

        return features

    monkeypatch.setattr(fit, "features_of", faulty(3))
    posterior = inferred(recording, usual, check=6, check_width=50)
    assert np.isfinite(posterior["fit_p_value"])
    monkeypatch.setattr(fit, "features_of", faulty(1))
    posterior = inferred(recording, usual, check=6, check_width=50)
    assert np.isnan(posterior["fit_p_value"])
    assert bool(posterior["fits"])
    assert "could not be checked" in posterior.attrs["verdict"]


# Files and tables


def long_table(sessions, stimuli, categorical=False):
    rows = [
        (s, i, p, float(10 * a + b)) for a, s in enumerate(sessions) for i in range(3) for b, p in enumerate(stimuli)
    ]
    table = pd.DataFrame(rows, columns=["session", "neuron", "stimulus", "response"])
    if categorical:
        table["stimulus"] = pd.Categorical(table["stimulus"], categories=stimuli, ordered=True)
        table = table.sample(frac=1, random_state=0)
    return table


def test_names_stand_in_their_order_and_not_in_that_of_the_alphabet():
    days, images = [f"day{n}" for n in (9, 10, 11)], [f"img{n}" for n in (0, 1, 2, 10, 11)]
    recording = from_table(long_table(days, images))
    assert recording.dataset["session"].values.tolist() == days
    assert recording.dataset["stimulus"].values.tolist() == images
    np.testing.assert_array_equal(recording.responses.values[2, 0, 0], 20.0 + np.arange(5))
    assert from_table(long_table(["pre", "mid", "post"], images)).dataset["session"].values.tolist() == [
        "pre",
        "mid",
        "post",
    ]
    odd = ["house", "face", "cat"]
    recording = from_table(long_table([1, 2], odd, categorical=True))
    assert recording.dataset["stimulus"].values.tolist() == odd
    np.testing.assert_array_equal(recording.responses.values[0, 0, 0], np.arange(3.0))
    assert from_table(long_table([3, 1, 2], [4, 2])).dataset["session"].values.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("column", "message"), [("session", "session is missing in row 1"), ("neuron", "not both")])
def test_labels_that_are_missing_or_mixed_are_refused(column, message):
    table = long_table([1, 2], [0, 1])
    table[column] = [None if column == "session" and row == 1 else row for row in range(len(table))]
    if column == "neuron":
        table[column] = table[column].astype(object)
        table.loc[0, column] = "a"
    with pytest.raises(ArgumentError, match=message):
        from_table(table)


def test_rsatoolbox_names_are_counted_too():
    toolbox = pytest.importorskip("rsatoolbox.data.dataset")
    data = toolbox.Dataset(np.arange(8.0).reshape(4, 2), obs_descriptors={"stimulus": ["s10", "s2", "s1", "s3"]})
    recording = from_rsatoolbox([data])
    assert recording.dataset["stimulus"].values.tolist() == ["s1", "s2", "s3", "s10"]
    np.testing.assert_array_equal(recording.responses.values[0, 0, 0], [4, 2, 6, 0])
    with pytest.raises(ArgumentError, match="data must be a dataset"):
        from_rsatoolbox([])


def test_matlab_stimuli_can_be_inputs(tmp_path):
    shown = np.arange(12) % STIMULI
    scipy.io.savemat(tmp_path / "a.mat", {"responses": np.random.default_rng(0).normal(size=(12, 3)), "stimuli": shown})
    recording = from_matlab(tmp_path / "a.mat", shown=np.asarray(TASK.x))
    np.testing.assert_array_equal(recording.dataset["inputs"], np.asarray(TASK.x))
    scipy.io.savemat(tmp_path / "b.mat", {"responses": np.zeros((0, 3)), "stimuli": np.zeros((0, 1))})
    with pytest.raises(ArgumentError, match="without a trial"):
        from_matlab(tmp_path / "b.mat")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"responses": 1.0}, "must hold an array named responses"),
        ({"responses": np.ones((2, 3, 4)), "step": [0, 1]}, "Did you mean 'steps'"),
    ],
)
def test_archives_with_other_contents_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ArgumentError, match=message):
        from_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 0, 0)])
def test_distances_are_between_two_stimuli_at_least(shape):
    with pytest.raises(ArgumentError, match="two stimuli or more"):
        from_distances(np.zeros(shape), 50)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda d: d.expand_dims(time=2), "must have the dimensions session, trial"),
        (lambda d: d.assign(inputs=(("input", "stimulus"), np.ones((5, 4)))), "inputs must have the dimensions"),
        (lambda d: d.assign_attrs(multiplicity="many"), "multiplicity must be"),
        (lambda d: d.assign_attrs(tracked="no"), "tracked must be 1 or 0"),
    ],
)
def test_datasets_of_another_layout_are_refused(changed, message):
    dataset = wl.Recording(np.random.default_rng(0).normal(size=(2, 3, 5, 4)), range(4)).dataset
    with pytest.raises(ArgumentError, match=message):
        wl.Recording.of(changed(dataset))


# Simulated recordings


def test_what_a_simulation_cannot_record_is_refused(usual):
    run = wl.train(
        wl.MLP(2, wl.Tanh()),
        TASK,
        width=50,
        optimizer=wl.SGD(0.1),
        steps=2,
        replicates=2,
        record=wl.Record(fields=True),
    )
    options = {"neurons": 5, "layer": 1, "nonlinearity": wl.Tanh()}
    with pytest.raises(ArgumentError, match="sessions must be the steps"):
        recorded(sessions=5)
    with pytest.raises(ArgumentError, match="replicate must be"):
        wl.record(run, replicate=5, **options)
    with pytest.raises(ArgumentError, match="sessions are those of a simulation"):
        wl.record(run, sessions=(0, 2), **options)
    with pytest.raises(ArgumentError, match="poisson must be"):
        wl.record(run, poisson="x", **options)
    assert isinstance(wl.record(run, replicate=1, **options).dataset, xr.Dataset)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": "a"}, "width must be a whole number"),
        ({"sessions": [[0, 2.5, 6]]}, "sessions must be a whole number"),
        ({"sessions": [[12, 0, 6]]}, "sessions must not fall"),
    ],
)
def test_power_that_cannot_be_looked_for_is_refused(options, message, usual):
    with pytest.raises(ArgumentError, match=message):
        wl.identifiability(usual, **options)

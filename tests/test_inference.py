"""Which rule made a recording: recordings and their files, the likelihood, the posterior, the fit, power."""

import io
import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import scipy.stats
import xarray as xr
from helpers import small_task

import widelimit as wl
from widelimit.inference import from_distances, from_matlab, from_npz, from_rsatoolbox, from_table, read, to_rsatoolbox
from widelimit.inference.candidates import Candidate, log_prior, with_richness
from widelimit.inference.errors import sampling_errors
from widelimit.inference.evidence import Evidence, Law, evidence, log_likelihood_at
from widelimit.inference.fit import Misfit, held_out
from widelimit.inference.laws import law_of, matched, times_of
from widelimit.inference.posterior import Judged, _shares, finer
from widelimit.inference.units import units_of
from widelimit.results import inferred
from widelimit.simulation import train

STIMULI, STEPS = 6, 12


def random_recording(tracked=True, sessions=2, trials=3, neurons=5, stimuli=4, seed=0, **others):
    values = np.random.default_rng(seed).normal(size=(sessions, trials, neurons, stimuli))
    return wl.Recording(values, np.arange(stimuli), tracked=tracked, **others)


@pytest.fixture(scope="module")
def candidates():
    return wl.Candidates(
        small_task(STIMULI, 5),
        [wl.MLP(2, wl.Tanh(), richness=g) for g in (0.5, 2.0)],
        [wl.GradientDescent(), wl.DirectFeedbackAlignment()],
        optimizer=wl.SGD(0.15),
        steps=STEPS,
        record=wl.Record(every=4),
        width=wl.Infinite(400, capacity=30),
    )


def network(rule, richness=2.0, width=150, seed=3):
    return wl.initialize(
        wl.MLP(2, wl.Tanh(), richness=richness),
        small_task(STIMULI, 5),
        rule,
        width=width,
        optimizer=wl.SGD(0.15),
        steps=STEPS,
        record=wl.Record(fields=True, kernels=()),
        seed=seed,
    )


@pytest.fixture(scope="module")
def recording():
    source = network(wl.GradientDescent())
    return wl.record(source, neurons=100, layer=2, sessions=(0, 6, 12), noise=0.2, seed=1)


@pytest.fixture(scope="module")
def posterior(recording, candidates):
    return wl.infer(recording, candidates, refine=False, check=0)


# Recordings


def test_a_recording_is_what_was_given():
    values = np.random.default_rng(0).normal(size=(2, 5, 4))
    values[0, 1, 2] = np.nan
    recording = wl.Recording(values, np.arange(4), targets=np.ones(4), steps=[0, 5], performance=[1.0, 0.5])
    assert recording.responses.dims == ("session", "trial", "neuron", "stimulus")
    np.testing.assert_array_equal(recording.responses.values[:, 0], values)
    assert recording.tracked
    assert recording.neurons == 5
    assert recording.steps.tolist() == [0, 5]
    assert recording.without_times().steps is None


def test_sessions_of_other_neurons():
    first, second = np.ones((3, 4)), np.zeros((2, 5, 4))
    recording = wl.Recording([first, second], list("abcd"))
    assert not recording.tracked
    assert dict(recording.responses.sizes) == {"session": 2, "trial": 2, "neuron": 5, "stimulus": 4}
    assert np.isnan(recording.responses.values[0, 0, 3:]).all()


def test_a_file_holds_all_of_a_recording(tmp_path):
    recording = random_recording(steps=[0, 3], performance=[1.0, 0.2], targets=np.ones(4))
    recording.save(tmp_path / "a.nc")
    with pytest.raises(wl.ArgumentError, match="is a recording, and no run: widelimit infer"):
        wl.load(tmp_path / "a.nc")
    xr.testing.assert_identical(wl.Recording.load(tmp_path / "a.nc").dataset, recording.dataset)
    xr.testing.assert_identical(read(tmp_path / "a.nc").dataset, recording.dataset)
    with pytest.raises(FileExistsError):
        recording.save(tmp_path / "a.nc")


def test_numpy_archives(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.savez(tmp_path / "a.npz", responses=values, stimuli=np.arange(4), steps=[0, 1], tracked=False)
    recording = from_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(recording.responses.values[:, 0], values)
    assert not recording.tracked
    np.savez(tmp_path / "b.npz", responses=np.array([{}], dtype=object))
    with pytest.raises(wl.ArgumentError, match=r"no readable \.npz"):
        from_npz(tmp_path / "b.npz")


def test_matlab_sessions_of_trials_and_cells(tmp_path):
    random = np.random.default_rng(0)
    kept = random.normal(size=(2, 7, 3))
    shown = np.array([[3, 1, 1, 2, 3, 2, 1], [1, 2, 3, 3, 2, 1, 2]])
    for session, cells in enumerate(([10, 20, 30], [30, 40, 10])):
        held = {"responses": kept[session], "stimuli": shown[session], "cells": cells}
        scipy.io.savemat(tmp_path / f"{session}.mat", held)
    recording = from_matlab([tmp_path / "0.mat", tmp_path / "1.mat"])
    assert recording.tracked
    values = recording.responses  # cells 10, 20, 30, 40; stimuli 1, 2, 3
    assert dict(values.sizes) == {"session": 2, "trial": 3, "neuron": 4, "stimulus": 3}
    np.testing.assert_array_equal(values.sel(stimulus=1).values[0, :, 0], kept[0, [1, 2, 6], 0])
    np.testing.assert_array_equal(values.sel(stimulus=3).values[1, :2, 0], kept[1, [2, 3], 2])
    assert np.isnan(values.values[1, :, 1]).all()
    assert not from_matlab([tmp_path / "0.mat", tmp_path / "1.mat"], cells=None).tracked
    (tmp_path / "c.mat").write_bytes(b"nothing of the kind")
    with pytest.raises(wl.ArgumentError, match="no readable MATLAB"):
        from_matlab(tmp_path / "c.mat")


def test_long_tables():
    pandas = pytest.importorskip("pandas")
    recording = random_recording()
    table = recording.responses.to_dataframe("response").reset_index()
    again = from_table(table.sample(frac=1, random_state=0).sort_values("trial"))
    np.testing.assert_array_equal(again.responses.values, recording.responses.values)
    with pytest.raises(wl.ArgumentError, match="lacks neuron"):
        from_table(pandas.DataFrame({"session": [1]}))


def test_rsatoolbox_there_and_back():
    rsatoolbox = pytest.importorskip("rsatoolbox")
    recording = random_recording()
    datasets = to_rsatoolbox(recording)
    again = from_rsatoolbox(datasets)
    np.testing.assert_allclose(again.responses.values, recording.responses.values)
    means = [dataset.get_measurements().reshape(3, 4, 5).mean(axis=0) for dataset in datasets]
    rdms = rsatoolbox.rdm.calc_rdm([rsatoolbox.data.Dataset(mean) for mean in means], method="euclidean")
    np.testing.assert_allclose(rdms.get_matrices(), wl.observables.rdm(recording.responses).values, atol=1e-12)
    assert from_rsatoolbox(rdms, neurons=30).multiplicity == 10


def test_distances_stand_for_responses(candidates, recording):
    """All that the Gaussian likelihood sees of responses is their second moment: distances say as much."""
    still = wl.Recording(recording.responses.values, recording.dataset["stimulus"].values, tracked=False)
    distances = wl.observables.rdm(still.responses).values
    made = from_distances(distances, neurons=100)
    law = law_of(candidates.members()[3], candidates, np.arange(STIMULI), np.array([0.0, 6.0, 12.0]))
    other = law_of(candidates.members()[0], candidates, np.arange(STIMULI), np.array([0.0, 6.0, 12.0]))
    found = [[evidence(units_of(each), one, gains=False).total for one in (law, other)] for each in (still, made)]
    assert found[1][0] - found[1][1] == pytest.approx(found[0][0] - found[0][1], rel=0.1)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_posterior_from_distances(candidates, recording, shuffled, tmp_path):
    """The rule is named and fits, with as many neurons as the distances are of; shuffled, nothing fits."""
    values = recording.responses.values.copy()
    if shuffled:
        for session, random in zip(values, np.random.default_rng(0).spawn(3), strict=True):
            session[:] = session[..., random.permutation(STIMULI)]
    distances = wl.observables.rdm(xr.DataArray(values, dims=recording.responses.dims)).values
    made = from_distances(distances, neurons=100, steps=recording.steps)
    found = wl.infer(made, candidates, refine=False, check=19, check_width=100)
    assert bool(found["fits"]) is not shuffled
    assert np.isnan(found["ceiling_log_evidence"])
    assert not any("held out" in line for line in inferred.lines(found))
    if not shuffled:
        assert inferred.marginal(found, "rule")["GradientDescent"] > 0.5
        from widelimit.cli import main

        wl.save(found, tmp_path / "posterior.nc")
        assert main(["report", str(tmp_path / "posterior.nc")]) == 0


def test_what_is_recorded_of_a_network(recording):
    source = network(wl.GradientDescent())
    whole = wl.record(source, neurons=150, layer=2, sessions=(0, 12), noise=0.0)
    options = {"width": 150, "optimizer": source.optimizer, "steps": STEPS, "seed": 3, "replicates": 1}
    run = wl.train(source.net, source.task, source.rule, record=wl.Record(kernels=("feature_kernel",)), **options)
    values = whole.responses.values[:, 0]
    kernels = np.einsum("snm,snk->smk", values, values) / 150
    expected = run["feature_kernel"].sel(layer=2, replicate=0, step=[0, 12]).values
    np.testing.assert_allclose(kernels, expected, rtol=1e-5)
    assert whole.performance[0] == pytest.approx(1)
    assert whole.performance[1] == pytest.approx(float(run["loss"][0, -1] / run["loss"][0, 0]), rel=1e-5)
    ended = wl.train(source.net, source.task, source.rule, record=wl.Record(every=12, fields=True), **options)
    last = wl.record(ended, neurons=150, layer=2, noise=0.0, nonlinearity=wl.Tanh())
    np.testing.assert_allclose(np.sort(last.responses.values[0, 0, :, 0]), np.sort(values[1, :, 0]), rtol=1e-5)


def test_noise_gains_and_missing_cells_are_as_asked():
    source = network(wl.GradientDescent())
    common = dict(neurons=100, layer=1, sessions=(0, 6), trials=200, seed=2)
    noisy = wl.record(source, noise=0.5, **common).responses
    clean = wl.record(source, noise=0.0, **common).responses
    power = float((clean.isel(trial=0) ** 2).mean())
    assert float(noisy.var("trial").mean()) / power == pytest.approx(0.5, rel=0.05)
    counts = wl.record(source, noise=0.5, poisson=True, **common).responses
    assert float(counts.var("trial").mean()) / power == pytest.approx(0.5, rel=0.15)
    gone = wl.record(source, missing=0.3, **common).responses
    assert float(gone.isnull().mean()) == pytest.approx(0.3, abs=0.04)


# The likelihood


def test_the_evidence_is_that_of_a_multivariate_normal():
    """With one gain, no baseline and noise that is known from nowhere: against scipy, at the scale that was found."""
    random = np.random.default_rng(0)
    root = random.normal(size=(6, 4))
    law = Law.of(root @ root.T, 0.3 * root[:, 0])
    values = random.normal(size=(2, 1, 7, 3))
    values[1, 0, 2, 1] = np.nan
    units = units_of(wl.Recording(values, np.arange(3)), "none")
    found = evidence(units, law, gains=False)
    covariance = law.factor @ law.factor.T
    for unit, response in enumerate(values.transpose(2, 0, 3, 1).reshape(7, 6)):
        seen = np.isfinite(response)
        each = []
        logs = np.log(found.scale) + 0.02 * np.arange(-40, 41)  # the gains that are integrated, of a narrow law
        weights = np.exp(-0.5 * (0.02 * np.arange(-40, 41) / 0.15) ** 2)
        for scale in np.exp(logs):
            matrix = scale * covariance + found.noise * np.eye(6)
            normal = scipy.stats.multivariate_normal(np.sqrt(scale) * law.mean[seen], matrix[np.ix_(seen, seen)])
            each.append(normal.pdf(response[seen]))
        expected = np.log(weights @ each / weights.sum()) + 0.5 * seen.sum() * np.log(2 * np.pi)
        assert found.by_unit[unit] == pytest.approx(expected, abs=1e-3)


def test_a_baseline_changes_nothing():
    recording = random_recording(sessions=3)
    moved = wl.Recording(recording.responses.values + 7 * np.arange(5)[:, None], np.arange(4))
    law = Law.of(np.eye(12) + 0.5)
    assert evidence(units_of(moved), law).total == pytest.approx(evidence(units_of(recording), law).total, abs=1e-8)


@pytest.mark.parametrize("baseline", ["neuron", "session"])
@pytest.mark.parametrize("size", [0.0, 3.0])
def test_neurons_that_do_nothing_are_said(baseline, size):
    values = size * np.random.default_rng(0).normal(size=(1, 1, 5, 1)) * np.ones((2, 1, 1, 4))
    with pytest.raises(wl.ArgumentError, match="differ between stimuli or sessions"):
        units_of(wl.Recording(values, np.arange(4)), baseline)


def test_repeats_tell_the_noise():
    random = np.random.default_rng(0)
    values = random.normal(size=(2, 1, 40, 5)) + 3 * random.normal(size=(2, 30, 40, 5))
    units = units_of(wl.Recording(values, np.arange(5)))
    assert units.noise == 1
    # A mean over 30 trials has the variance of the signal, 1, and 9/30 of noise, in units of a trial's 9.
    assert float((units.responses**2).mean()) == pytest.approx((1 + 0.3) / 9, rel=0.15)


def test_shared_noise_is_projected_out():
    random = np.random.default_rng(0)
    signal = random.normal(size=(2, 1, 12, 5))
    direction = random.normal(size=12)
    shared = 20 * random.normal(size=(2, 6, 1, 5)) * direction[:, None]
    recording = wl.Recording(signal + shared + 0.15 * random.normal(size=(2, 6, 12, 5)), np.arange(5))
    left = units_of(recording, shared_noise=1)
    assert left.count == 11
    noise = units_of(recording).responses.var() / left.responses.var()
    assert noise < 0.01  # in units of the noise that is left, the signal is large


def test_gains_of_their_own_are_found():
    random = np.random.default_rng(0)
    root = random.normal(size=(12, 3))
    features = random.normal(size=(300, 3)) @ root.T
    spread = np.exp(0.55 * random.normal(size=(300, 1)))
    law = Law.of(root @ root.T)
    each = []
    for gain in (1.0, spread):
        values = gain * features + 0.3 * random.normal(size=features.shape)
        units = units_of(wl.Recording(values.reshape(300, 3, 4).transpose(1, 0, 2)[:, None], np.arange(4)), "none")
        each.append(evidence(units, law).spread)
    assert each[0] < 0.2
    assert each[1] == pytest.approx(1.1, abs=0.15)


@pytest.mark.parametrize("gains", [False, True])
def test_scale_spread_and_noise_are_where_the_evidence_is_largest(gains):
    """To far less than a nat: no other setting, however near, says more by any that counts."""
    random = np.random.default_rng(4)
    root = random.normal(size=(12, 12)) * np.exp(-np.arange(12) / 4)
    values = random.normal(size=(300, 12)) @ root.T + 0.4 * random.normal(size=(300, 12))
    values = values * np.exp(0.4 * gains * random.normal(size=(300, 1)))
    units = units_of(wl.Recording(values.reshape(300, 3, 4).transpose(1, 0, 2)[:, None], np.arange(4)), "none")
    law = Law.of(root @ root.T)
    found = evidence(units, law, gains)
    for moved in np.random.default_rng(5).normal(size=(200, 3)):
        scale, spread, noise = np.exp(0.1 * moved) * (found.scale, found.spread, found.noise)
        spread = max(spread, 0.15) if gains else found.spread
        elsewhere = log_likelihood_at(units, law, Evidence(found.by_unit, scale, spread, noise))
        assert elsewhere.sum() < found.total + 0.01


def test_untracked_neurons_count_session_by_session(candidates):
    members = candidates.members()
    law = law_of(members[2], candidates, np.arange(STIMULI), np.array([0.0, 12.0]))
    recording = random_recording(tracked=False, stimuli=STIMULI)
    units = units_of(recording)
    assert units.count == 10
    blocks = xr.DataArray(law.factor @ law.factor.T).values
    blocks[:STIMULI, STIMULI:] = blocks[STIMULI:, :STIMULI] = 0  # what no unit sees
    alone = Law.of(blocks)
    assert evidence(units, alone).total == pytest.approx(evidence(units, law).total, rel=1e-4)


# Candidates and times


def test_the_prior_does_not_depend_on_the_grid():
    task = small_task(4)
    common = dict(optimizer=wl.SGD(0.1), steps=4, baselines=("inputs",))
    rules = [wl.GradientDescent(), wl.FeedbackAlignment(0.0), wl.FeedbackAlignment(1.0)]
    coarse = wl.Candidates(task, [wl.MLP(1, wl.Tanh(), richness=g) for g in (0.5, 2.0)], rules, **common)
    fine = coarse.members() + coarse.members(
        [(wl.MLP(1, wl.Tanh(), richness=g), wl.FeedbackAlignment(0.0)) for g in (0.6, 0.7, 0.8, 1.0)]
    )
    for members in (coarse.members(), fine):
        weights = np.exp(log_prior(members))
        assert weights.sum() == pytest.approx(1)
        for family in ("GradientDescent", "FeedbackAlignment", "inputs"):
            share = weights[[member.family == family for member in members]].sum()
            assert share == pytest.approx(1 / 3)
        rho = weights[[member.correlation == 0 for member in members]].sum()
        assert rho == pytest.approx(1 / 6)
        upper = weights[[member.correlation == 0 and member.richness >= 1 for member in members]].sum()
        assert upper == pytest.approx(1 / 12, rel=0.25)


def test_the_grid_is_made_finer_where_neighbours_differ():
    task = small_task(4)
    nets = [wl.MLP(1, wl.Tanh(), richness=g) for g in (0.5, 1.0, 2.0)]
    grid = wl.Candidates(task, nets, [wl.GradientDescent()], optimizer=wl.SGD(0.1), steps=4, baselines=())
    members = grid.members()
    pairs = finer(members, np.array([-20.0, 0.0, -0.5]), np.array([0.0, 0.6, 0.4]))
    assert [float(net.richness) for net, _ in pairs] == pytest.approx([np.sqrt(0.5)])
    assert not finer(members, np.array([-0.5, 0.0, -0.5]), np.array([0.3, 0.4, 0.3]))
    assert float(with_richness(nets[0], 0.7).richness) == pytest.approx(0.7)


def test_times_are_matched_by_performance(candidates):
    run = candidates.run_of(candidates.members()[0])
    curve = run["loss"].values / run["loss"].values[0]
    recording = random_recording(sessions=3, stimuli=STIMULI, performance=curve[[0, 1, 3]])
    assert matched(recording, run) == pytest.approx(run["step"].values[[0, 1, 3]])
    unknown = random_recording(sessions=4, stimuli=STIMULI)
    warps, prior = times_of(unknown, run, STEPS)
    assert (np.diff(warps, axis=1) >= 0).all()
    assert prior.sum() == pytest.approx(1)
    with pytest.raises(wl.ArgumentError, match="a session is after 99"):
        times_of(random_recording(steps=[0, 99], stimuli=STIMULI), run, STEPS)


def test_a_law_is_the_kernel_of_the_run(candidates):
    member = candidates.members()[1]
    run = candidates.run_of(member)
    law = law_of(member, candidates, np.array([0, 3, 4]), np.array([4.0, 12.0]))
    kernel = run["feature_kernel_two_time"].mean("replicate").sel(layer=2, step=[4, 12], step2=[4, 12]).values
    expected = kernel[..., [0, 3, 4], :][..., [0, 3, 4]].transpose(0, 2, 1, 3).reshape(6, 6)
    np.testing.assert_allclose(law.factor @ law.factor.T, expected * 6 / np.trace(expected), atol=1e-3)


def test_candidates_are_kept_and_found_again(tmp_path, candidates, monkeypatch):
    training = candidates.runs.training
    arguments = dict(optimizer=training.optimizer, steps=STEPS, record=wl.Record(every=4), folder=tmp_path)
    arguments |= dict(width=training.width, layers=[2], baselines=())
    first = wl.Candidates(training.task, candidates.nets[:1], candidates.rules[:1], **arguments)
    first.compute(progress=False)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("widelimit.inference.runs.train", None)
    again = wl.Candidates(training.task, candidates.nets[:1], candidates.rules[:1], **arguments)
    one, other = (each.run_of(each.members()[0]) for each in (first, again))
    xr.testing.assert_allclose(one.drop_attrs(), other.drop_attrs())
    assert [member.layer for member in again.members()] == [2]


def test_candidates_are_points_of_a_sweep(tmp_path, candidates, monkeypatch):
    """Damaged files are computed again, what fails does not stop the others, and what they warn of is said."""
    training = candidates.runs.training
    arguments = dict(optimizer=training.optimizer, steps=STEPS, record=wl.Record(every=4), folder=tmp_path)
    arguments |= dict(width=training.width, baselines=())

    def fails_for_feedback(net, task, rule, **options):
        warnings.warn("is rough", wl.TruncationWarning, stacklevel=2)
        if isinstance(rule, wl.FeedbackAlignment):
            raise wl.ArgumentError("rule: there is no such feedback.")
        return train(net, task, rule, **options)

    monkeypatch.setattr("widelimit.inference.runs.train", fails_for_feedback)
    rules = [wl.FeedbackAlignment(), wl.GradientDescent()]
    made = wl.Candidates(training.task, candidates.nets[:1], rules, **arguments)
    refused = pytest.raises(wl.ArgumentError, match="1 of 2 candidates could not be computed: rule: there is no such")
    with pytest.warns(wl.TruncationWarning, match="is rough"), refused:
        made.compute(progress=False)
    (file,) = tmp_path.glob("*.nc")
    assert len(list(tmp_path.glob("*.failed.json"))) == 1
    whole = wl.load(file)
    file.write_bytes(file.read_bytes()[:2000])
    monkeypatch.setattr("widelimit.inference.runs.train", train)
    made.compute(progress=False)
    assert len(list(tmp_path.glob("*.nc"))) == 2
    assert not list(tmp_path.glob("*.failed.json"))
    xr.testing.assert_identical(whole.drop_attrs(), wl.load(file).drop_attrs())


def test_processes_hand_over_candidates_in_a_folder(candidates):
    training = candidates.runs.training
    with pytest.raises(wl.ArgumentError, match="folder: name one"):
        wl.Candidates(
            training.task, candidates.nets, candidates.rules, optimizer=training.optimizer, steps=STEPS, workers=2
        )


@pytest.mark.slow
def test_candidates_of_several_processes_are_those_of_one(tmp_path, candidates):
    training = candidates.runs.training
    arguments = dict(optimizer=training.optimizer, steps=STEPS, record=wl.Record(every=4), width=training.width)
    several = wl.Candidates(
        training.task, candidates.nets, candidates.rules, folder=tmp_path, workers=2, **arguments, baselines=()
    )
    several.compute(progress=False)
    here = wl.Candidates(training.task, candidates.nets, candidates.rules, **arguments, baselines=())
    for one, other in zip(several.members(), here.members(), strict=True):
        xr.testing.assert_allclose(several.run_of(one).drop_attrs(), here.run_of(other).drop_attrs(), rtol=1e-10)


# The posterior


def test_the_rule_that_made_a_recording(posterior):
    assert float(posterior["probability"].sum()) == pytest.approx(1)
    shares = inferred.marginal(posterior, "rule")
    assert set(shares) == {"GradientDescent", "DirectFeedbackAlignment", "untrained", "inputs"}
    assert shares["GradientDescent"] > 0.9
    by_group = posterior["probability"].groupby("rule").sum()
    assert float(by_group.sel(rule="GradientDescent")) == pytest.approx(shares["GradientDescent"])
    best = posterior.isel(candidate=int(np.argmax(posterior["probability"].values)))
    assert (float(best["richness"]), int(best["layer"]), int(best["depth"])) == (2.0, 2, 2)
    assert str(best["nonlinearity"].values) == "Tanh"
    assert "GradientDescent" in posterior.attrs["verdict"]
    assert posterior["ceiling_log_evidence"] >= posterior["best_held_out"]


@pytest.mark.parametrize(
    ("behind", "error", "scatter", "said"),
    [(2.0, 3.0, 2.0, True), (2.0, 3.0, 9.0, False), (20.0, 3.0, 2.0, False), (0.2, 0.3, 0.1, False)],
)
def test_the_verdict_names_sampling_error_where_that_is_what_decides(posterior, behind, error, scatter, said):
    """Not where the recorded neurons scatter more, where the distance is far larger, and not of less than a nat."""
    other = posterior["rule"].values != "GradientDescent"
    evidence_of = np.where(other, -behind, np.where(np.arange(len(other)) == np.argmax(~other), 0.0, -99.0))
    changed = posterior.assign(
        log_evidence=("candidate", evidence_of),
        log_evidence_error=("candidate", np.full(len(other), error)),
        log_evidence_scatter=("candidate", np.full(len(other), scatter)),
    )
    assert ("more particles or replicates" in inferred.verdict(changed, 0.5, 9)) is said


def test_another_rule_is_named_too(candidates):
    made = wl.record(network(wl.DirectFeedbackAlignment()), neurons=100, layer=2, sessions=(0, 6, 12), noise=0.2)
    shares = inferred.marginal(wl.infer(made, candidates, refine=False, check=0), "rule")
    assert shares["DirectFeedbackAlignment"] > 0.9


def test_the_order_of_neurons_does_not_matter(recording, candidates, posterior):
    dataset = recording.dataset.isel(neuron=np.random.default_rng(0).permutation(100))
    other = wl.infer(wl.Recording.of(dataset), candidates, refine=False, check=0)
    np.testing.assert_allclose(other["log_evidence"], posterior["log_evidence"], rtol=1e-9)


def test_a_posterior_is_saved_shown_and_reported(posterior, tmp_path, capsys):
    from widelimit.cli import main

    wl.save(posterior, tmp_path / "posterior.nc")
    xr.testing.assert_identical(wl.load(tmp_path / "posterior.nc"), posterior)
    assert main(["show", str(tmp_path / "posterior.nc")]) == 0
    assert "made these representations" in capsys.readouterr().out
    assert (tmp_path / "posterior.png").stat().st_size > 10_000
    assert main(["report", str(tmp_path / "posterior.nc")]) == 0
    page = (tmp_path / "posterior.html").read_text(encoding="utf-8")
    assert "Which rule made these representations?" in page
    assert "GradientDescent" in page


@pytest.mark.parametrize("shuffled", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_check_of_the_fit(recording, candidates, shuffled):
    """What one of the candidates made fits; with stimuli shuffled between sessions nothing does."""
    values = recording.responses.values.copy()
    if shuffled:
        for session, random in zip(values, np.random.default_rng(0).spawn(3), strict=True):
            session[:] = session[..., random.permutation(STIMULI)]
    made = wl.Recording(values, np.arange(STIMULI), steps=recording.steps)
    found = wl.infer(made, candidates, refine=False, check=19, check_width=100)
    assert bool(found["fits"]) is not shuffled
    assert ("None of the candidates fits" in found.attrs["verdict"]) is shuffled


def test_held_out_neurons_gain_nothing_by_noise():
    random = np.random.default_rng(0)
    root = random.normal(size=(12, 12))
    law, other = Law.of(root @ root.T), Law.of(np.eye(12))
    values = random.normal(size=(200, 12)) @ root.T + 0.5 * random.normal(size=(200, 12))
    units = units_of(wl.Recording(values.reshape(200, 3, 4).transpose(1, 0, 2)[:, None], np.arange(4)))
    right, wrong = (held_out(units, one, True, np.random.default_rng(0)) for one in (law, other))
    assert right.ceiling - right.best < 20
    assert wrong.ceiling - wrong.best > 200
    assert wrong.ceiling < right.best


def test_the_misfit_is_that_of_the_whitened_covariance():
    """Without baselines, gains or missing cells ‖W − 1‖²; in Gaussian samples (d² − d)/n on average."""
    random = np.random.default_rng(0)
    cells, count, law, found = 6, 400, Law.of(np.eye(6) + 0.5), Evidence(np.zeros(1), 0.7, 0.15, 0.4)
    covariance = 0.7 * law.factor @ law.factor.T + 0.4 * np.eye(cells)
    each = []
    for _ in range(200):
        values = random.normal(size=(count, cells)) @ np.linalg.cholesky(covariance).T
        units = units_of(wl.Recording(values.reshape(count, 2, 3).transpose(1, 0, 2)[:, None], np.arange(3)), "none")
        each.append(Misfit(units, law, found).of(units))
    white = np.linalg.solve(np.linalg.cholesky(covariance), values.T)
    white *= np.sqrt(cells / (white**2).sum(axis=0))
    assert each[-1] == pytest.approx(((white @ white.T / count - np.eye(cells)) ** 2).sum(), rel=1e-9)
    # For |z|² = d, ‖z zᵀ − 1‖² is d² − d.
    expected = (cells**2 - cells) / count
    assert abs(np.mean(each) - expected) < 4 * np.std(each) / np.sqrt(200)


@pytest.mark.parametrize("kind", ["missing", "untracked", "baselines"])
def test_the_misfit_of_what_was_seen(kind):
    """Missing cells, other neurons in each session and baselines are left out: right stays small beside wrong."""
    random = np.random.default_rng(1)
    root = random.normal(size=(12, 5))
    law, other = Law.of(root @ root.T), Law.of(np.eye(12))
    values = random.normal(size=(300, 5)) @ root.T + 0.7 * random.normal(size=(300, 12))
    if kind == "baselines":
        values = values + 9 * random.normal(size=(300, 1))
    values = values.reshape(300, 3, 4).transpose(1, 0, 2)[:, None]
    if kind == "missing":
        values[random.random(values.shape) < 0.3] = np.nan
    units = units_of(wl.Recording(values, np.arange(4), tracked=kind != "untracked"))
    right, wrong = (Misfit(units, one, evidence(units, one)).of(units) for one in (law, other))
    assert wrong > 5 * right


def sampled_run(generator, kernels, particles):
    """A run of which each replicate is a mean over independent Gaussian particles."""
    roots = [np.linalg.cholesky(kernel) for kernel in kernels]
    each = []
    for root in roots:
        x = generator.normal(size=(4, particles, len(root))) @ root.T
        each.append(np.einsum("rsa,rsb->rab", x, x) / particles)
    two_time = np.stack(each, axis=1)[:, :, None, None]  # replicate, layer, step, step2, sample, sample2
    dims = ("replicate", "layer", "step", "step2", "sample", "sample2")
    return xr.Dataset(
        {
            "feature_kernel_two_time": (dims, two_time),
            "mean_feature": (("replicate", "layer", "step", "sample"), np.zeros((*two_time.shape[:3], 8))),
        },
        coords={"layer": [1, 2], "step": [0]},
    )


def test_the_error_of_the_evidence_is_its_scatter():
    """Kernels of independent particles: the jackknife over 4 replicates, against the scatter of many candidates."""
    generator = np.random.default_rng(3)
    kernels = [np.eye(8) + 0.3, np.eye(8) + 0.5]
    values = generator.normal(size=(60, 8)) @ np.linalg.cholesky(kernels[0]).T + 0.7 * generator.normal(size=(60, 8))
    units = units_of(wl.Recording(values.T[None, None].transpose(0, 1, 3, 2), np.arange(8), steps=[0]), "none")
    members = [Candidate(wl.MLP(2, wl.Tanh()), wl.GradientDescent(), layer) for layer in (1, 2)]
    differences, errors = [], []
    for _ in range(60):
        run = sampled_run(generator, kernels, 400)
        training = SimpleNamespace(width=wl.Infinite(400), replicates=4)
        grid = SimpleNamespace(run_of=lambda _, run=run: run, runs=SimpleNamespace(training=training))
        laws = [law_of(member, grid, np.arange(8), np.zeros(1)) for member in members]
        judged = [
            Judged(member, evidence(units, law, False), law, np.zeros(1))
            for member, law in zip(members, laws, strict=True)
        ]
        judge = SimpleNamespace(candidates=grid, units=units, stimuli=np.arange(8))
        error = sampling_errors(judge, judged)
        totals = [each.evidence.total for each in judged]
        assert error[np.argmax(totals)] == 0
        errors.append(error[np.argmin(totals)])
        differences.append(totals[0] - totals[1])
    squares = np.square(errors)
    scatter = np.var(differences, ddof=1)
    uncertain = np.hypot(squares.std(ddof=1) / np.sqrt(60), scatter * np.sqrt(2 / 59))
    assert abs(squares.mean() - scatter) < 4 * uncertain
    assert squares.mean() > 2 * uncertain


@pytest.mark.slow
def test_recovery_is_counted(candidates):
    power = wl.identifiability(candidates, neurons=[80], noise=[0.2], sessions=[3], repetitions=3, width=100)
    assert power["confusion"].dims == ("neurons", "noise", "sessions", "rule", "inferred")
    np.testing.assert_allclose(power["confusion"].sum("inferred"), 1)
    assert float(power["accuracy"].squeeze()) >= 4 / 6
    from widelimit import plots

    assert len(plots.confusion(power).axes) == 2


CONFIGURATION = f"""
[task]
data = "sphere"
samples = {STIMULI}
dimension = 5
[network]
hidden_layers = 2
richness = [0.5, 2.0]
[rule]
name = ["GradientDescent", "FeedbackAlignment"]
correlation = [0.0, 0.5]  # of FeedbackAlignment alone
[width]
particles = 400
capacity = 30
[optimizer]
step_size = 0.15
[record]
every = 4
[run]
steps = {STEPS}
[candidates]
layers = [2]
baselines = ["untrained"]
"""


def test_candidates_of_a_file(tmp_path):
    from widelimit.cli.infer import candidates_of

    path = tmp_path / "candidates.toml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    read_from = candidates_of(path)
    assert [float(net.richness) for net in read_from.nets] == [0.5, 2.0]
    rules = [member.name_of_rule for member in read_from.members() if not member.baseline]
    assert list(dict.fromkeys(rules)) == ["GradientDescent", "FeedbackAlignment, ρ 0", "FeedbackAlignment, ρ 0.5"]
    for before, now, message in (
        ("[candidates]", "[candidate]", "unknown name 'candidate'"),
        ("steps =", "step =", "unknown name 'step'"),
        ("layers = [2]", "layers = [2]\nsteps = 3", r"steps stands in \[candidates\], and belongs in \[run\]"),
        ("[run]", "layers = [2]\n[run]", r"layers stands in \[\w+\], and belongs in \[candidates\]"),
        ("step_size = 0.15", "", "step_size must be a number"),
        ("particles = 400\ncapacity = 30", 'kind = "finite"\nneurons = 10', "of infinite width"),
        ("hidden_layers = 2", "hidden_layers = [2.5]", "hidden_layers must be"),
    ):
        path.write_text(CONFIGURATION.replace(before, now), encoding="utf-8")
        with pytest.raises(wl.ArgumentError, match=message):
            candidates_of(path)


def test_the_command_line(recording, tmp_path, capsys):
    from widelimit.cli import main

    recording.save(tmp_path / "recording.nc")
    text = CONFIGURATION.replace('["GradientDescent", "FeedbackAlignment"]', '["GradientDescent"]')
    (tmp_path / "candidates.toml").write_text(text.replace("correlation", "# correlation"), encoding="utf-8")
    out = tmp_path / "posterior.nc"
    arguments = ["infer", str(tmp_path / "recording.nc"), str(tmp_path / "candidates.toml"), "--out", str(out)]
    assert main([*arguments, "--no-refine", "--check", "0"]) == 0
    assert "log evidence below the best" in capsys.readouterr().out
    found = wl.load(out)
    assert sorted(set(found["rule"].values.tolist())) == ["GradientDescent", "untrained"]
    assert found.sizes["candidate"] == 3
    assert main(arguments) == 2  # it exists
    (tmp_path / "candidates.toml").write_text("[rules]\nname = 3\n", encoding="utf-8")
    assert main([*arguments, "--overwrite"]) == 2
    assert "rules" in capsys.readouterr().err


# Malformed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3)), [0, 1, 2]), "must be an array"),
        ((np.full((2, 3, 4), np.nan), range(4)), "hold no number"),
        ((np.full((2, 3, 4), np.inf), range(4)), "infinite"),
        ((np.zeros((2, 3, 4)), [0, 1]), "stimuli must be 4"),
        ((np.zeros((2, 3, 4)), [0, 1, 1, 2]), "must be different"),
        ((np.zeros((2, 3, 4)), np.zeros((3, 2))), "a row for each of 4"),
        (([np.zeros((3, 4)), np.zeros((3, 5))], range(4)), "the same stimuli"),
        ((np.zeros((2, 3, 4), complex), range(4)), "complex"),
    ],
)
def test_recordings_that_are_none(arguments, message):
    with pytest.raises(wl.ArgumentError, match=message):
        wl.Recording(*arguments)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"steps": [3, 1]}, "must not fall"),
        ({"steps": [0]}, "2 numbers"),
        ({"performance": [0, np.nan]}, "NaN"),
        ({"tracked": "yes"}, "True or False"),
        ({"targets": np.zeros(3)}, "targets must have a row"),
        ({"measure": "reward"}, "unknown name"),
    ],
)
def test_recordings_with_a_mistake(others, message):
    with pytest.raises(wl.ArgumentError, match=message):
        wl.Recording(np.zeros((2, 3, 4)), range(4), **others)


def test_what_infer_refuses(candidates, recording):
    with pytest.raises(wl.ArgumentError, match="99 is no sample"):
        wl.infer(wl.Recording(np.zeros((2, 3, 2)), [0, 99], steps=[0, 1]), candidates)
    with pytest.raises(wl.ArgumentError, match="inputs"):
        wl.infer(wl.Recording(np.ones((2, 3, 2)), np.zeros((2, 7)), steps=[0, 1]), candidates)
    with pytest.raises(wl.ArgumentError, match="Recording"):
        wl.infer(recording.dataset, candidates)
    with pytest.raises(wl.ArgumentError, match="baseline"):
        wl.infer(recording, candidates, baseline="mean")
    with pytest.raises(wl.ArgumentError, match="two trials"):
        wl.infer(recording, candidates, shared_noise=1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": wl.SGD("auto")}, "step size in numbers"),
        ({"layers": [3]}, "layers"),
        ({"baselines": ["best"]}, "unknown name"),
        ({"record": wl.Record(every=50)}, "record.every"),
        ({"width": 100}, "width"),
        ({"steps": 0}, "steps"),
    ],
)
def test_candidates_with_a_mistake(changed, message):
    arguments = dict(optimizer=wl.SGD(0.1), steps=4) | changed
    with pytest.raises(wl.ArgumentError, match=message):
        wl.Candidates(small_task(4), [wl.MLP(2, wl.Tanh())], [wl.GradientDescent()], **arguments)


def test_what_record_refuses():
    source = network(wl.GradientDescent())
    with pytest.raises(wl.ArgumentError, match="different ones are wanted"):
        wl.record(source, neurons=151, layer=1, sessions=(0,))
    with pytest.raises(wl.ArgumentError, match="layer"):
        wl.record(source, neurons=1, layer=3, sessions=(0,))
    with pytest.raises(wl.ArgumentError, match="sessions"):
        wl.record(source, neurons=1, layer=1, sessions=(5, 2))
    with pytest.raises(wl.ArgumentError, match="steps at which"):
        wl.record(source, neurons=1, layer=1)


def test_damaged_files_are_said(tmp_path):
    recording = random_recording()
    recording.save(tmp_path / "a.nc")
    content = (tmp_path / "a.nc").read_bytes()
    (tmp_path / "a.nc").write_bytes(content[:-100])
    with pytest.raises(wl.ArgumentError):
        wl.Recording.load(tmp_path / "a.nc")
    for name in ("a.npz", "a.mat", "a.txt"):
        (tmp_path / name).write_bytes(io.BytesIO(b"x" * 300).getvalue())
        with pytest.raises(wl.ArgumentError):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.nc")


def test_names_of_candidates(candidates):
    names = [member.name for member in candidates.members()]
    assert len(set(names)) == len(names)
    assert {"inputs"} <= set(names)
    for (net, rule), layer in itertools.product(candidates.pairs(), (1, 2)):
        assert f"{type(rule).__name__}, γ0 {float(net.richness):g}, layer {layer} of 2, Tanh" in names


def test_a_rule_that_is_behind_is_made_finer_until_it_gains_no_more():
    """On a coarse grid the right rule may be improbable: its best γ0 lies between two points."""
    members = [
        Candidate(wl.MLP(2, wl.Tanh(), richness=richness), rule, layer=1)
        for rule in (wl.GradientDescent(), wl.DirectFeedbackAlignment())
        for richness in (0.5, 2.0)
    ]

    def judged(*totals):
        found = [Evidence(np.full(10, total / 10), 1.0, 0.15, 1.0) for total in totals]
        return [Judged(member, each, None, np.zeros(1)) for member, each in zip(members, found, strict=True)]

    bags, reached = np.ones((3, 10)), {}
    first = _shares(judged(10.0, 12.0, 100.0, 102.0), reached, bags, None)
    assert first[:2].sum() == pytest.approx(1)  # 90 nats behind, and nothing is known yet of what it can gain
    still = _shares(judged(10.0, 60.0, 100.0, 102.0), reached, bags, None)
    assert still[:2].sum() == pytest.approx(1)  # 42 behind, after it has gained 48
    done = _shares(judged(10.0, 62.0, 100.0, 102.0), reached, bags, None)
    assert done[:2].sum() == 0  # 40 behind, after it has gained 2
    assert done[2:].sum() == pytest.approx(1)


@pytest.mark.slow
def test_a_truth_between_coarse_points_is_found():
    """Of γ0 in {0.4, 2.5} feedback alignment explains gradient descent with γ0 = 1.2 best; between them it does not."""
    task = wl.datasets.digits(samples=8, classes=(3, 8))
    candidates = wl.Candidates(
        task,
        nets=[wl.MLP(2, wl.Tanh(), richness=richness) for richness in (0.4, 2.5)],
        rules=[
            wl.GradientDescent(),
            wl.DirectFeedbackAlignment(),
            wl.FeedbackAlignment(0.0),
            wl.FeedbackAlignment(1.0),
        ],
        optimizer=wl.SGD(0.06),
        steps=30,
        record=wl.Record(every=6),
        width=wl.Infinite(800, capacity=48),
    )
    network = wl.initialize(
        wl.MLP(2, wl.Tanh(), richness=1.2),
        task,
        width=500,
        optimizer=wl.SGD(0.06),
        steps=30,
        record=wl.Record(fields=True),
    )
    recording = wl.record(network, neurons=200, layer=2, sessions=(0, 6, 12, 18, 24, 30), noise=0.5)
    posterior = wl.infer(recording, candidates, check=0)
    assert float(posterior["probability"].groupby("rule").sum().sel(rule="GradientDescent")) > 0.9
    best = posterior.isel(candidate=int(np.argmax(posterior["probability"].values)))
    assert int(best["layer"]) == 2
    assert 1.0 < float(best["richness"]) < 1.5

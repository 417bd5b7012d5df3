"""`limit`: its estimates, errors and choices on runs of a known law, and on real ones."""

import itertools
import math
import re
import time
import warnings

import numpy as np
import pytest
import xarray as xr
from helpers import small_task

import widelimit as wl
from widelimit.checks import ArgumentError
from widelimit.ensembles import limit_search, routes
from widelimit.ensembles.levels import Level, Spread
from widelimit.ensembles.quantities import Quantities
from widelimit.results import configuration, summary

TASK = small_task(3, 4)
NET = wl.MLP(2, wl.Tanh())
TRUTH = np.stack([np.eye(3) * (1 + 0.1 * step) + 1 for step in range(4)])


class Law:
    """Runs in the place of training: a known limit, its corrections a/N and b/N², and Gaussian scatter."""

    def __init__(self, shift=1.0, curvature=0.0, spread=20.0, particles=0.5, seconds=None, bias=0.0):
        self.shift, self.curvature, self.spread = shift, curvature, spread
        self.particles, self.bias = particles, bias
        self.seconds = seconds or {}
        self.calls = []
        self.event = lambda call: None

    def __call__(self, *, width, replicates, seed, **_):
        infinite = isinstance(width, wl.Infinite)
        self.calls.append((width, replicates))
        self.event(len(self.calls))
        time.sleep(replicates * self.seconds.get("deferred" if infinite else "networks", 0.0))
        random, n = np.random.default_rng(seed), width.size
        scale = self.particles if infinite else self.spread
        values = TRUTH + np.sqrt(scale / n) * random.normal(size=(replicates, *TRUTH.shape))
        if infinite:
            values = values + self.bias / n * TRUTH
        else:
            values = values + (self.shift / n + self.curvature / n**2) * TRUTH
        loss = ("replicate", "step"), values[:, :, 0, 0]
        run = xr.Dataset({"ntk": (("replicate", "step", "sample", "sample2"), values), "loss": loss})
        return run.assign_coords(step=np.arange(4), time=("step", 0.1 * np.arange(4)), replicate=np.arange(replicates))


def limited(monkeypatch, law, **options):
    monkeypatch.setattr(limit_search, "train", law)
    return wl.limit(NET, TASK, **{"optimizer": wl.SGD(0.1), "steps": 3, "accuracy": 0.01} | options)


def without_room(law, below, above=10**6):
    """The same, where so few particles have no room for the basis, and there is no memory for so many."""

    def refused(*, width, **options):
        if isinstance(width, wl.Infinite) and not below <= width.size <= above:
            raise ArgumentError("width.particles: no room")
        return law(width=width, **options)

    return refused


def forgetting(law):
    """The same, of which deferred weights warn that they forget what they learn."""

    def truncated(**options):
        if isinstance(options["width"], wl.Infinite):
            warnings.warn("what was learned is forgotten", wl.TruncationWarning, stacklevel=1)
        return law(**options)

    return truncated


def networks_first(monkeypatch, pace):
    """Networks are not expected to be far dearer, and a run of deferred weights is to take so many seconds."""
    monkeypatch.setattr(limit_search, "networks_over_deferred", lambda *problem: 1.0)
    monkeypatch.setattr(limit_search.Search, "_predicted_pace", lambda search, level: pace)


def error_of(result, name="ntk"):
    return np.linalg.norm(result[name].mean("replicate") - TRUTH) / np.linalg.norm(TRUTH)


def about(result):
    return configuration(result)["limit"]


# --- errors


def level(law, width, count, seed=0):
    made = Level(
        wl.Finite(width),
        lambda width, replicates, seed: law(width=width, replicates=replicates, seed=seed),
        Quantities.of("ntk"),
        together=1,
        seed=seed,
    )
    made.add(count)
    return made


def test_the_error_that_is_said_holds_in_95_of_100_cases():
    """Extrapolated networks, few of them: the bound on the error counts that the variance is estimated too."""
    law, within, shares = Law(shift=3.0), [], []
    for seed in range(150):
        route = routes.extrapolated(level(law, 40, 6, seed), level(law, 80, 6, seed))
        error = np.linalg.norm(route.estimate.mean("ntk") - TRUTH.ravel()) / np.linalg.norm(TRUTH)
        within.append(error < route.accuracy("ntk").error)
        shares.append(error / route.accuracy("ntk").standard_error)
    assert 0.9 <= np.mean(within) <= 0.995
    assert np.mean(np.square(shares)) == pytest.approx(1, rel=0.15)


def test_one_direction_is_as_uncertain_as_students_t():
    assert routes.quantile(1.0, 5.0) == pytest.approx(2.571**2, rel=1e-3)
    assert routes.quantile(1.0, math.inf) == pytest.approx(1.96**2, rel=1e-3)
    assert routes.quantile(1e4, math.inf) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("directions", [1, 4, 20])
def test_directions_of_scatter_are_counted(directions):
    random = np.random.default_rng(0)
    spread = Spread()
    for _ in range(32):
        spread.add(np.repeat(random.normal(size=directions), 3))
    assert spread.directions == pytest.approx(directions, rel=0.5)
    assert spread.variance == pytest.approx(3 * directions, rel=0.5)


def test_what_is_left_of_the_bias_is_seen():
    """−b/(N M) of widths N and M, from three widths; a/N of a single one."""
    law = Law(shift=5.0, curvature=40.0, spread=1e-6)
    narrower, narrow, wide = (level(law, width, 4) for width in (20, 40, 80))
    route = routes.extrapolated(narrow, wide, narrower)
    assert route.accuracy("ntk").bias == pytest.approx(40 / (40 * 80), rel=0.1)
    error = route.estimate.mean("ntk") - TRUTH.ravel()
    assert route.bias is not None
    np.testing.assert_allclose(route.bias.mean("ntk"), error, atol=1e-3)
    law = Law(shift=5.0, spread=1e-6)
    route = routes.single(level(law, 80, 4), level(law, 40, 4))
    assert route.accuracy("ntk").bias == pytest.approx(5 / 80, rel=0.1)


def test_a_bias_that_is_chance_is_not_counted():
    route = routes.extrapolated(*(level(Law(), width, 8) for width in (40, 80, 20)))
    assert route.accuracy("ntk").counted_bias == 0
    assert route.accuracy("ntk").bias_error > 0


# --- what is run, and what comes of it


@pytest.mark.parametrize(("accuracy", "told"), [(0.02, True), (0.2, False)])
def test_a_bias_that_could_hide_is_told(monkeypatch, accuracy, told):
    result = limited(monkeypatch, Law(spread=2000.0, particles=4.0), accuracy=accuracy)
    assert about(result)["quantities"]["ntk"]["bias_error"] == pytest.approx(0.045, rel=0.4)
    assert ("bias of ntk was seen to" in about(result)["why"]) == told


def test_the_accuracy_is_reached_nine_times_of_ten(monkeypatch):
    errors = []
    for seed in range(10):
        result = limited(monkeypatch, Law(shift=3.0, spread=2.0, particles=0.5), seed=seed, accuracy=0.02)
        assert about(result)["quantities"]["ntk"]["achieved"] <= 0.02
        errors.append(error_of(result))
    assert np.sum(np.array(errors) < 0.02) >= 9


def test_replicates_are_the_estimate_and_its_error(monkeypatch):
    result = limited(monkeypatch, Law(spread=2.0), accuracy=0.03)
    error = np.linalg.norm(wl.observables.standard_error(result["ntk"])) / np.linalg.norm(TRUTH)
    assert error == pytest.approx(about(result)["quantities"]["ntk"]["standard_error"], rel=0.4)
    assert result.sizes["replicate"] in (2, 4, 8, 16)


@pytest.mark.parametrize(("dear", "route"), [("deferred", "networks"), ("networks", "deferred")])
def test_the_cheaper_way_is_taken(monkeypatch, dear, route):
    # Of a variance at which both need some tens of replicates; the first runs alone would not do.
    law = Law(spread=0.5, particles=20.0, seconds={dear: 0.05})
    networks_first(monkeypatch, pace=0.0)
    result = limited(monkeypatch, law, accuracy=0.01)
    assert route in about(result)["route"]
    assert error_of(result) < 0.02
    assert "Expected to take" in about(result)["why"] or "as accurate" in about(result)["why"]


def test_what_would_take_longer_than_the_other_way_is_not_tried(monkeypatch):
    networks_first(monkeypatch, pace=1e4)
    law = Law(spread=2.0)
    result = limited(monkeypatch, law, accuracy=0.05)
    assert all(isinstance(width, wl.Finite) for width, _ in law.calls)
    assert "would take about" in about(result)["why"]


def test_what_is_far_dearer_by_its_multiplications_is_not_tried(monkeypatch):
    law = Law(spread=2.0, particles=0.5)
    result = limited(monkeypatch, law, accuracy=0.02)
    assert all(isinstance(width, wl.Infinite) for width, _ in law.calls)
    assert "by their multiplications" in about(result)["why"]
    assert about(result)["quantities"]["ntk"]["achieved"] <= 0.02
    assert error_of(result) < 0.03


def test_it_is_tried_all_the_same_where_a_trial_is_little_of_what_is_left(monkeypatch):
    """And taken, where it turns out the cheaper way."""
    law = Law(spread=2.0, particles=500.0, seconds={"deferred": 0.03})
    result = limited(monkeypatch, law, accuracy=0.01)
    assert "networks" in about(result)["route"]
    assert "Expected to take" in about(result)["why"]
    assert error_of(result) < 0.02


def test_deferred_weights_that_forget_are_left_for_networks(monkeypatch):
    result = limited(monkeypatch, forgetting(Law(spread=2.0)), accuracy=0.03)
    assert "networks" in about(result)["route"]
    assert "ruled out" in about(result)["why"]


def test_a_large_bias_makes_networks_wider(monkeypatch):
    networks_first(monkeypatch, pace=1e4)
    result = limited(monkeypatch, Law(shift=5.0, curvature=800.0, spread=0.05), accuracy=0.02)
    assert "200 and 400" in about(result)["route"]
    assert error_of(result) < 0.04


def test_truncation_rules_deferred_weights_out(monkeypatch):
    networks_first(monkeypatch, pace=0.0)
    result = limited(monkeypatch, forgetting(Law(spread=2.0)), accuracy=0.03)
    assert "networks" in about(result)["route"]
    assert "ruled out" in about(result)["why"]


def test_two_ways_that_disagree_are_told(monkeypatch):
    networks_first(monkeypatch, pace=0.0)
    law = Law(spread=0.01, particles=0.01, shift=1.0)
    true = law.__call__

    def off(**options):
        result = true(**options)
        return result * 1.1 if isinstance(options["width"], wl.Infinite) else result

    with pytest.warns(wl.LimitWarning, match="apart"):
        limited(monkeypatch, off, accuracy=0.01)


def test_the_time_budget_ends_it_and_says_what_was_reached(monkeypatch):
    law = Law(spread=50.0, particles=5e4, seconds={"networks": 0.002, "deferred": 0.05})
    with pytest.warns(wl.LimitWarning, match="was not reached, because the time budget"):
        result = limited(monkeypatch, law, accuracy=1e-4, time_budget=2.0)
    said = about(result)
    assert said["quantities"]["ntk"]["achieved"] > 1e-4
    assert configuration(result)["seconds"] < 6
    assert error_of(result) < 2 * said["quantities"]["ntk"]["achieved"]


def test_an_interruption_keeps_what_there_is(monkeypatch):
    law = Law(spread=50.0, particles=5e4)
    partial = law(width=wl.Finite(10), replicates=2, seed=0)

    def event(call):
        if call == 8:
            raise wl.TrainingInterrupted(partial, 143)

    law.event = event
    law.calls.clear()
    with pytest.raises(wl.TrainingInterrupted) as caught:
        limited(monkeypatch, law, accuracy=1e-4)
    assert caught.value.code == 143
    assert about(caught.value.result)["stopped"] == "interrupted"
    assert np.isfinite(caught.value.result["ntk"]).all()


def test_all_that_diverges_is_kept_up_to_there(monkeypatch):
    law = Law()

    def diverging(**options):
        result = law(**options)
        warnings.warn("2 of 2 replicates diverged", wl.DivergenceWarning, stacklevel=1)
        result["ntk"][:, 2:] = np.nan
        return result.assign(diverged_step=("replicate", np.full(result.sizes["replicate"], 2)))

    with pytest.warns(wl.DivergenceWarning, match="diverged"):
        result = limited(monkeypatch, diverging)
    assert result.sizes["step"] == 2
    assert np.isfinite(result["ntk"]).all()
    assert about(result)["stopped"] == "runs diverged"


def test_several_quantities_and_functions_are_all_within_the_accuracy(monkeypatch):
    result = limited(monkeypatch, Law(spread=1.0), of=("ntk", "loss"), accuracy=0.04)
    assert list(about(result)["quantities"]) == ["ntk", "loss"]
    assert all(one["achieved"] <= 0.04 for one in about(result)["quantities"].values())
    trace = lambda run: run["ntk"].sum(("sample", "sample2"))  # noqa: E731
    result = limited(monkeypatch, Law(spread=1.0), of=trace, accuracy=0.04)
    np.testing.assert_allclose(result["quantity"], trace(result), rtol=1e-10)


# --- real runs


@pytest.fixture(scope="module")
def real():
    task = small_task(4, 3, outputs=2, test_samples=2)
    net, optimizer = wl.MLP(1, wl.Tanh()), wl.SGD(0.1)
    record = wl.Record(every=2, kernels=("ntk", "feature_kernel"), samples=(0, 2))
    options = {"optimizer": optimizer, "steps": 4, "batches": wl.Batches(3), "record": record}
    result = wl.limit(net, task, wl.DirectFeedbackAlignment(), **options, accuracy=0.08, of=("output", "ntk"), seed=2)
    return net, task, options, result


def test_a_real_limit_is_that_of_train(real):
    """Two outputs, minibatches, some samples and steps recorded; against many more replicates of deferred weights."""
    net, task, options, result = real
    reference = wl.train(net, task, wl.DirectFeedbackAlignment(), **options, replicates=8, seed=50)
    for name in ("output", "ntk"):
        expected = reference[name].mean("replicate")
        error = float(((result[name].mean("replicate") - expected) ** 2).sum() / (expected**2).sum()) ** 0.5
        assert error < 0.1, name
        assert result[name].dims == reference[name].dims
    assert set(result.data_vars) <= set(reference.data_vars)


def test_a_result_is_described_compared_and_saved(real, tmp_path):
    *_, result = real
    path = wl.save(result, tmp_path / "limit.nc")
    xr.testing.assert_identical(wl.load(path), result)
    assert float(wl.compare(result, result)["ntk"].sel(measure="relative").max()) == 0
    lines = "\n".join(summary.lines(result))
    assert "limit by" in lines
    assert re.search(r"error +output at most .*, ntk at most .* of its size", lines)


def test_a_limit_that_was_not_reached_says_so_wherever_it_is_shown(monkeypatch):
    from widelimit import report

    def diverging(**options):
        warnings.warn("1 of 1 replicates diverged", wl.DivergenceWarning, stacklevel=1)
        return Law()(**options)

    with pytest.warns(wl.DivergenceWarning):
        result = limited(monkeypatch, diverging)
    assert summary.shortfall(result) == [("NOT REACHED", "the accuracy, because runs diverged")]
    assert "NOT REACHED" in "\n".join(summary.lines(result))
    assert "did not reach the accuracy, because runs diverged." in report.page(result)
    reached = limited(monkeypatch, Law(spread=0.1, particles=0.1))
    assert summary.shortfall(reached) == []


def test_the_exit_code_of_a_limit_that_is_not_reached(monkeypatch, tmp_path):
    from widelimit.cli import main

    monkeypatch.setattr(limit_search, "train", Law(spread=50.0, particles=50.0))
    configured = tmp_path / "run.toml"
    task = '[task]\ndata = "sphere"\nsamples = 3\ndimension = 4\n'
    configured.write_text(f"{task}[run]\nsteps = 3\n[optimizer]\nstep_size = 0.1\n")
    options = ["--time-budget", "0.01", "--accuracy", "0.0001", "--out", str(tmp_path / "limit.nc")]
    assert main(["limit", str(configured), *options]) == 5


@pytest.mark.slow
def test_a_result_is_shown_and_drawn(real, tmp_path):
    from widelimit import report
    from widelimit.cli import main

    *_, result = real
    report.page(result)
    assert main(["show", str(wl.save(result, tmp_path / "limit.nc"))]) == 0


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": 0}, "accuracy must be"),
        ({"accuracy": "1 %"}, "accuracy must be"),
        ({"accuracy": 2}, "accuracy must be"),
        ({"time_budget": 0}, "time_budget"),
        ({"of": "kernel"}, "unknown name"),
        ({"of": []}, "of must be"),
        ({"of": wl.Tanh}, "of must be"),
        ({"of": "test_ntk"}, "unknown name|needs test points"),
        ({"of": "mean_feature", "record": wl.Record()}, "record.kernels lacks mean_feature"),
        ({"of": "feature_kernel_two_time", "record": wl.Record()}, "two_time"),
        ({"record": 3}, "record must be"),
        ({"progress": 1}, "progress"),
        ({"seed": -1}, "seed"),
        ({"steps": 1.5}, "steps"),
        ({"optimizer": 0.1}, "optimizer"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_what_cannot_serve_is_refused_before_any_run(monkeypatch, options, message):
    law = Law()
    with pytest.raises(wl.ArgumentError, match=message):
        limited(monkeypatch, law, **options)
    assert not law.calls


@pytest.mark.parametrize("function", [lambda run: 3.0, lambda run: run["loss"].mean(), lambda run: run["ntk"].values])
def test_a_function_that_gives_no_replicates_is_refused(monkeypatch, function):
    with pytest.raises(wl.ArgumentError, match="keeps the dimension replicate"):
        limited(monkeypatch, Law(), of=function)


def test_without_a_time_budget_nothing_is_left_short(monkeypatch):
    """Calls of a fixed size are made also where fewer replicates are missing."""
    networks_first(monkeypatch, pace=1e4)
    for seed in range(3):
        result = limited(monkeypatch, Law(spread=3.0), accuracy=0.03, seed=seed)
        assert about(result)["stopped"] == ""
        assert about(result)["quantities"]["ntk"]["achieved"] <= 0.03


def test_seeds_of_batches_differ(monkeypatch):
    law, seeds = Law(spread=5.0), []
    monkeypatch.setattr(limit_search, "train", lambda **options: seeds.append(options["seed"]) or law(**options))
    wl.limit(NET, TASK, optimizer=wl.SGD(0.1), steps=3, accuracy=0.02)
    assert len(set(seeds)) == len(seeds) > 2
    assert all(a != b for a, b in itertools.pairwise(seeds))


def test_bias_is_seen_beside_more_particles_where_fewer_have_no_room(monkeypatch):
    """As with a hundred samples, whose bases fill more than half of what so many particles hold."""
    law = Law(bias=100.0, spread=2000.0)
    result = limited(monkeypatch, without_room(law, below=2000))
    found = configuration(result)["limit"]
    sizes = {level["particles"]: level["replicates"] for level in found["levels"] if "particles" in level}
    assert set(sizes) == {2000, 3000}
    assert all(sizes.values())
    about = found["quantities"]["ntk"]
    assert abs(about["bias"] - 100 / 2000) < 4 * about["bias_error"] + 1e-3


def test_networks_are_taken_where_deferred_weights_have_no_memory(monkeypatch):
    options = {"optimizer": wl.SGD(0.1), "steps": 3}
    infinite, network = (
        wl.plan(NET, TASK, width=width, replicates=2, **options).needed for width in (wl.Infinite(1000), 200)
    )
    assert 1.7 * network < infinite
    monkeypatch.setattr("widelimit.memory.available_memory", lambda: infinite / 1.7)
    result = wl.limit(NET, TASK, accuracy=0.3, **options)
    asked = about(result)
    assert asked["route"].startswith("networks")
    assert re.search("Deferred weights.* ruled out.*of memory and", asked["why"])
    monkeypatch.setattr("widelimit.memory.available_memory", lambda: 1e4)
    with pytest.raises(ArgumentError, match="of memory and"):
        wl.limit(NET, TASK, accuracy=0.3, **options)


def test_a_bias_that_cannot_be_seen_is_not_known(monkeypatch):
    result = limited(monkeypatch, without_room(Law(spread=2000.0), below=2000, above=2000))
    found = configuration(result)["limit"]
    assert found["route"].startswith("deferred")
    assert {level.get("particles") for level in found["levels"]} <= {2000, None}
    assert math.isnan(float(found["quantities"]["ntk"]["bias"]))
    assert "bias was not looked for" in found["why"]


@pytest.mark.slow
def test_a_hundred_samples():
    task = wl.datasets.digits(samples=100, classes=(3, 8))
    problem = {"optimizer": wl.SGD(0.008), "steps": 8}
    result = wl.limit(wl.MLP(2, wl.Tanh()), task, wl.DirectFeedbackAlignment(), accuracy=0.03, **problem)
    networks = wl.train(
        wl.MLP(2, wl.Tanh()),
        task,
        wl.DirectFeedbackAlignment(),
        width=2000,
        replicates=8,
        **problem,
        record=wl.Record(kernels=("ntk",)),
    )
    error = result["ntk"].mean("replicate") - networks["ntk"].mean("replicate")
    assert float(np.linalg.norm(error) / np.linalg.norm(networks["ntk"].mean("replicate"))) < 0.04

"""Distances between two results: known answers by NumPy, what chance does, what theory says, and the command."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xarray as xr
from helpers import small_task

import widelimit as wl
from widelimit.cli import main
from widelimit.cli.compare import lines
from widelimit.results import distances
from widelimit.results.registry import COMPARED

MEASURES = ["absolute", "relative", "chance", "standard_errors"]
SAMPLES, UNITS, LAYERS, STEPS = 3, 2, 2, 4


def made(seed, replicates, *, steps=range(STEPS), step_size=0.5, scale=1.0):
    """A result of random numbers, made without this library; without replicates if `replicates` is None."""
    random = np.random.default_rng(seed)
    lead = {} if replicates is None else {"replicate": replicates}
    time = {"step": len(steps)}
    pairs = {"sample": SAMPLES, "sample2": SAMPLES, "output_unit": UNITS, "output_unit2": UNITS}
    shapes = {
        "loss": time,
        "output": {**time, "sample": SAMPLES, "output_unit": UNITS},
        "feature_kernel": {**time, "layer": LAYERS, "sample": SAMPLES, "sample2": SAMPLES},
        "ntk": {**time, **pairs},
        "feature_kernel_two_time": {
            "layer": LAYERS,
            **time,
            "step2": len(steps),
            "sample": SAMPLES,
            "sample2": SAMPLES,
        },
    }
    data = {
        name: (tuple(lead | sizes), scale * random.normal(1.0, 1.0, tuple((lead | sizes).values())))
        for name, sizes in shapes.items()
    }
    coordinates = {"step": list(steps), "time": ("step", step_size * np.array(steps)), "layer": [1, 2]}
    shared = {"target": (("sample", "output_unit"), np.ones((SAMPLES, UNITS)))}
    return xr.Dataset(data | shared, coordinates)


def by_hand(a, b, axes):
    """The four measures of two arrays (replicate, ...), or (...) of what has none, with sums over `axes`."""
    means, squared_errors = [], []
    for values, replicates in (a, b):
        if replicates is None:
            means.append(values)
            squared_errors.append(np.zeros_like(values))
        else:
            mean = sum(values) / replicates
            means.append(mean)
            squared_errors.append(sum((one - mean) ** 2 for one in values) / (replicates - 1) / replicates)
    apart, chance = (means[0] - means[1]) ** 2, squared_errors[0] + squared_errors[1]
    norm = (means[1] ** 2).sum(axes)
    return [
        np.sqrt(apart.mean(axes)),
        np.sqrt(apart.sum(axes) / norm),
        np.sqrt(chance.sum(axes) / norm),
        np.sqrt(apart.sum(axes) / chance.sum(axes)),
    ]


def times(factor, run):
    """A result all of whose quantities are multiplied, of the same task."""
    return run.assign({name: factor * run[name] for name in COMPARED if name in run})


# The axes, without the replicate, that are summed over at each time, and the one that is the time.
AXES = {
    "loss": ((), 0),
    "output": ((1, 2), 0),
    "feature_kernel": ((2, 3), 0),
    "ntk": ((1, 2, 3, 4), 0),
    "feature_kernel_two_time": ((2, 3, 4), 1),
}


@pytest.mark.parametrize("replicates", [(5, 3), (5, None), (None, 4)])
@pytest.mark.parametrize("name", list(AXES))
def test_the_measures_are_those_of_their_definition(name, replicates):
    a, b = made(0, replicates[0]), made(1, replicates[1])
    axes, time = AXES[name]
    sides = [(one[name].values, count) for one, count in zip((a, b), replicates, strict=True)]
    found = wl.compare(a, b)[name]
    assert found["measure"].values.tolist() == MEASURES
    assert np.array_equal(found["time"], 0.5 * np.arange(STEPS))
    order = ("layer", "step") if name == "feature_kernel_two_time" else ("step", "layer")
    found = found.transpose("measure", *order, missing_dims="ignore")
    assert np.allclose(found, by_hand(*sides, axes), rtol=1e-12, atol=0)
    over_run = wl.compare(a, b, over_run=True)[name]
    assert "step" not in over_run.dims
    assert "step" not in over_run.coords
    assert np.allclose(over_run, by_hand(*sides, tuple(sorted({*axes, time}))), rtol=1e-12, atol=0)


def test_the_distance_over_the_run_is_the_root_of_the_paper_s():
    a, b = made(0, 5), made(1, None)
    over = ("step", "sample", "sample2", "output_unit", "output_unit2")
    expected = wl.observables.distance(a["ntk"].mean("replicate"), b["ntk"], over)
    assert float(wl.compare(a, b, over_run=True)["ntk"].sel(measure="relative")) ** 2 == pytest.approx(float(expected))


def test_a_result_is_at_no_distance_from_itself(short_run):
    found = wl.compare(short_run, short_run)
    assert set(found) == {name for name in COMPARED if name in short_run}
    assert len(found) == 10
    for values in found.values():
        assert (values.sel(measure=["absolute", "relative", "standard_errors"]) == 0).all()


@pytest.mark.parametrize("over_run", [False, True])
def test_a_known_perturbation_is_found(short_run, over_run):
    # Every entry of every replicate times 1.03; the error of the mean grows by the same factor.
    found, own = (wl.compare(times(factor, short_run), short_run, over_run=over_run) for factor in (1.03, 0))
    for name in ("ntk", "feature_kernel"):
        assert np.allclose(found[name].sel(measure="relative"), 0.03, rtol=1e-12)
        # At the distance of all of b the chance is that of b alone, which the factor changes to √(1 + 1.03²).
        ratio = found[name].sel(measure="chance") / own[name].sel(measure="chance")
        assert np.allclose(ratio, np.sqrt(1 + 1.03**2), rtol=1e-12)
        assert np.allclose(own[name].sel(measure="relative"), 1, rtol=1e-12)


def test_zeros_are_at_no_distance_and_infinitely_far_from_others():
    zero = made(0, None) * 0
    assert (wl.compare(zero, zero)["ntk"] == 0).all()
    found = wl.compare(made(0, None).assign(target=zero["target"]), zero)["ntk"]
    assert np.isfinite(found.sel(measure="absolute")).all()
    assert np.isinf(found.sel(measure=["relative", "standard_errors"])).all()
    assert (found.sel(measure="chance") == 0).all()


# --- times


def test_steps_are_matched_by_time_and_not_by_number():
    a, b = made(0, 3, steps=range(0, 9, 2), step_size=0.1), made(1, 4, steps=range(0, 7), step_size=0.3)
    # 0, 0.2, 0.4, 0.6, 0.8 and 0, 0.3, ..., 1.8: 0 and 0.6, of which 3 × 0.2 and 2 × 0.3 differ in their last bit
    assert 6 * 0.1 != 2 * 0.3
    found = wl.compare(a, b)
    assert np.allclose(found["time"], [0, 0.6])
    assert "step" not in found.coords
    sides = (a["ntk"].values[:, [0, 3]], 3), (b["ntk"].values[:, [0, 2]], 4)
    assert np.allclose(found["ntk"], by_hand(*sides, (1, 2, 3, 4)), rtol=1e-12)
    two_time = (
        (a["feature_kernel_two_time"].values[:, :, [0, 3]][:, :, :, [0, 3]], 3),
        (b["feature_kernel_two_time"].values[:, :, [0, 2]][:, :, :, [0, 2]], 4),
    )
    expected = by_hand(*two_time, (2, 3, 4))
    assert np.allclose(found["feature_kernel_two_time"].transpose("measure", "layer", "step"), expected, rtol=1e-12)


def test_times_just_apart_are_not_the_same():
    a, b = made(0, 3), made(1, 3)
    near = b.assign_coords(time=("step", b["time"].values * (1 + 1e-7)))
    assert wl.compare(a, near)["time"].values.tolist() == [0]
    assert wl.compare(a, b.assign_coords(time=("step", b["time"].values * (1 + 1e-12)))).sizes["step"] == STEPS


def test_recorded_more_rarely_is_the_same_run():
    options = {"width": 12, "replicates": 2, "seed": 3, "optimizer": wl.SGD(0.05)}
    net, task = wl.MLP(2, wl.Tanh()), small_task(test_samples=2)
    often, rarely = (wl.train(net, task, steps=6, record=wl.Record(every=each), **options) for each in (1, 3))
    found = wl.compare(often, rarely)
    assert found["step"].values.tolist() == [0, 3, 6]
    assert (found.sel(measure="relative").to_array() < 1e-12).all()


def test_half_the_step_size_is_half_as_far_from_gradient_flow():
    # Euler steps: the error is of first order in the step size.
    net, task, times = wl.MLP(1, wl.Linear()), wl.Task(np.sqrt(2) * np.eye(2), [1.0, -0.5]), [0, 0.2, 0.4]
    flow = wl.theory.two_layer(targets=[1.0, -0.5], richness=1.0, times=[*times, math.inf])
    coarse, fine = (wl.theory.linear(net, task, optimizer=wl.SGD(0.4 / steps), steps=steps) for steps in (40, 80))
    far, near = (wl.compare(one, flow, over_run=True) for one in (coarse, fine))
    for name in ("output", "feature_kernel", "ntk"):
        assert near[name].sel(measure="absolute").item() > 1e-6
        ratio = far[name].sel(measure="absolute") / near[name].sel(measure="absolute")
        assert ratio.item() == pytest.approx(2, rel=0.03)
    assert wl.compare(flow, flow)["time"].values.tolist() == [0, 0.2, 0.4, math.inf]


def test_static_kernels_are_the_same_at_all_times():
    net, task = wl.MLP(2, wl.Linear()), small_task()
    lazy = wl.theory.lazy(net, task, optimizer=wl.SGD(0.1), steps=3)
    rich = wl.theory.linear(net, task, optimizer=wl.SGD(0.05), steps=6)
    found = wl.compare(rich, lazy)
    assert found["feature_kernel"].dims == ("measure", "step", "layer")
    moving, static = rich["feature_kernel"].values[::2], lazy["feature_kernel"].values
    apart, own = ((moving - static) ** 2).sum((2, 3)), (static**2).sum((1, 2))
    assert np.allclose(found["feature_kernel"].sel(measure="relative"), np.sqrt(apart / own), rtol=1e-12)
    over_run = wl.compare(rich, lazy, over_run=True)["feature_kernel"].sel(measure="relative")
    assert np.allclose(over_run, np.sqrt(apart.sum(0) / (4 * own)), rtol=1e-12)
    assert wl.compare(lazy, lazy)["ntk"].sizes == {"measure": 4, "step": 4}


def test_one_time_can_be_selected_before(short_run):
    last = short_run.isel(step=-1)
    found, expected = wl.compare(times(1.1, last), last), wl.compare(times(1.1, short_run), short_run)
    xr.testing.assert_allclose(found, expected.isel(step=[-1]), rtol=1e-12)


# --- what chance does


@pytest.mark.slow
def test_two_ensembles_of_the_same_networks_differ_by_chance():
    net, task = wl.MLP(2, wl.Tanh()), small_task(3, 3)
    options = {"width": 16, "optimizer": wl.SGD(0.1), "steps": 2, "record": wl.Record(every=2), "replicates": 500}
    names = ["output", "feature_kernel", "ntk"]
    first, second = (wl.train(net, task, seed=seed, **options)[names] for seed in (0, 1))
    size, pairs = 10, 50
    squares = []
    for start in range(0, pairs * size, size):
        group = {"replicate": slice(start, start + size)}
        found = wl.compare(first.isel(group), second.isel(group), over_run=True)
        squares.append(found.sel(measure="standard_errors") ** 2)
    # The mean of squares is 1 for many directions, and that of Student's t, ν/(ν − 2), for a single one.
    freedom = 2 * (size - 1)
    for name in names:
        values = np.array([one[name].mean().item() for one in squares])
        error = values.std(ddof=1) / np.sqrt(pairs)
        assert error < 0.25, name
        assert 1 - 3.5 * error < values.mean() < freedom / (freedom - 2) + 3.5 * error, name


def test_chance_is_the_distance_that_means_have_by_chance():
    # Normal numbers of different variances on the two sides: E|ā − b̄|² = Σ(σ_a²/n_a + σ_b²/n_b). Every step is a try.
    tries, entries = 400, (6, 6)
    random = np.random.default_rng(0)
    dims = ("replicate", "step", "sample", "sample2")
    a, b = (
        xr.Dataset(
            {"ntk": (dims, random.normal(0, sigma, (replicates, tries, *entries)))},
            {"time": ("step", np.arange(tries))},
        )
        for replicates, sigma in ((12, 1.0), (6, 2.0))
    )
    found = (wl.compare(a, b)["ntk"] ** 2).mean("step")
    # A standard error of √(2/36/400), and the scatter of s² in the denominator, which adds 0.011.
    assert found.sel(measure="standard_errors").item() == pytest.approx(1.011, abs=0.04)
    assert found.sel(measure="absolute").item() == pytest.approx(1 / 12 + 4 / 6, rel=0.04)


@pytest.fixture(scope="module")
def theory_and_networks():
    """Theory, and networks of the same and of a larger richness."""
    task = small_task(6, 6, test_samples=2)
    options = {"optimizer": wl.SGD(0.05), "steps": 20, "record": wl.Record(every=4)}
    theory = wl.train(wl.MLP(2, wl.Tanh()), task, width=wl.Infinite(particles=1500), replicates=4, **options)
    network, rich = (
        wl.train(wl.MLP(2, wl.Tanh(), richness=richness), task, width=300, replicates=16, seed=1, **options)
        for richness in (1.0, 2.0)
    )
    return theory, network, rich


def test_networks_are_within_error_of_theory_and_another_richness_is_not(theory_and_networks):
    theory, network, rich = theory_and_networks
    same, other = (wl.compare(one, theory, over_run=True).sel(measure="standard_errors") for one in (network, rich))
    assert set(same) == set(other) == {name for name in COMPARED if name in theory}
    for name in same:
        assert (same[name] < 3).all(), name
        assert (same[name] > 0.1).all(), name
        assert (other[name] > 5).all(), name


@pytest.fixture(scope="module")
def linear():
    """A deep linear network: solved exactly, trained at infinite width, and in the lazy limit."""
    net, task, rule = wl.MLP(2, wl.Linear()), small_task(4, 4, test_samples=2), wl.FeedbackAlignment(0.5)
    exact = wl.theory.linear(net, task, rule, optimizer=wl.SGD(0.05), steps=4)
    run = wl.train(
        net,
        task,
        rule,
        width=wl.Infinite(particles=300),
        optimizer=wl.SGD(0.05),
        steps=4,
        replicates=2,
        record=wl.Record(two_time=True),
    )
    return exact, run, wl.theory.lazy(net, task, rule, times=[0, 0.1, 0.2])


def test_the_exact_solution_of_a_linear_network(linear):
    exact, run, _ = linear
    for over_run in (False, True):
        relative = wl.compare(run, exact, over_run=over_run).sel(measure="relative")
        assert {"feature_kernel_two_time", "pseudo_gradient_kernel_two_time", "test_output"} <= set(relative)
        for name, values in relative.items():
            assert (values < 1e-9).all(), name
    assert wl.compare(exact, exact)["ntk"].sel(measure="standard_errors").max() == 0


def test_a_single_replicate_has_no_known_error(short_run):
    found = wl.compare(short_run.isel(replicate=[0]), short_run)
    assert found.sel(measure=["chance", "standard_errors"]).to_array().isnull().all()
    assert found.sel(measure=["absolute", "relative"]).to_array().notnull().all()


# --- divergence


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_replicates_that_diverged_drop_out(value):
    a, b = made(0, 4), made(1, 3)
    whole = a["ntk"].values.copy()
    a["ntk"][2:, 1:] = value  # two are left from step 1
    a["ntk"][1, 3:] = value  # and one from step 3
    found = wl.compare(a, b)["ntk"]
    other = b["ntk"].values
    for step, left in ((0, 4), (1, 2), (2, 2)):
        expected = by_hand((whole[:left, step], left), (other[:, step], 3), (0, 1, 2, 3))
        assert np.allclose(found.isel(step=step), expected, rtol=1e-12), step
    assert found.isel(step=3).isnull().all()
    # Over the run: sums over the steps that count, of which each has its own replicates.
    over_run = wl.compare(a, b, over_run=True)["ntk"]
    assert over_run.sel(measure="absolute").item() == pytest.approx(
        np.sqrt((found.sel(measure="absolute").isel(step=slice(3)) ** 2).mean().item())
    )
    norm = (other.mean(0) ** 2).sum((1, 2, 3, 4))[:3]
    for measure in ("relative", "chance"):
        expected = np.sqrt((found.sel(measure=measure).values[:3] ** 2 * norm).sum() / norm.sum())
        assert over_run.sel(measure=measure).item() == pytest.approx(expected)
    ratio = over_run.sel(measure="relative") / over_run.sel(measure="chance")
    assert over_run.sel(measure="standard_errors").item() == pytest.approx(ratio.item())


def test_a_single_network_counts_until_it_diverges():
    a, b = made(0, 1), made(1, None)
    a["ntk"][:, 2:] = np.nan
    found = wl.compare(a, b)["ntk"].sel(measure="relative")
    assert found.notnull().values.tolist() == [True, True, False, False]
    b["ntk"][:] = np.nan
    assert wl.compare(a, b)["ntk"].isnull().all()
    assert wl.compare(a, b, over_run=True)["ntk"].isnull().all()


# --- refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.isel(sample=[0, 1], sample2=[0, 1]), ("target", "sample 3", "sample 2")),
        (lambda b: b.isel(output_unit=0, output_unit2=0), ("target", "output_unit 2")),
        (lambda b: b.isel(layer=[0]), ("feature_kernel", "layer 2", "layer 1")),
        (lambda b: b.assign_coords(layer=[2, 3]), ("layers [1 2]", "layers [2 3]")),
        (lambda b: b.assign(target=b["target"] * [1, -1]), ("target", "differs by up to 2")),
        (lambda b: b.assign_coords(time=b["time"] + 0.1), ("4 times from 0 to 1.5", "4 times from 0.1 to 1.6")),
        (lambda b: b.assign_coords(time=b["time"] + 0.1).isel(step=[1]), ("no recorded time", "one time, 0.6")),
        (lambda b: b.drop_vars(list(AXES)), ("no quantity", "b has target")),
        (lambda b: b.isel(step2=[0, 1]), ("feature_kernel_two_time", "step2")),
        (lambda b: b.isel(step=-1), ("feature_kernel_two_time", "step2")),
        (lambda b: b.drop_vars("time"), ("b must be a result",)),
        (lambda b: b.isel(step=[]), ("b must be a result",)),
        (lambda b: b["ntk"], ("b must be a Dataset", "DataArray")),
    ],
)
def test_what_cannot_be_compared_is_refused(change, words):
    with pytest.raises(wl.ArgumentError) as refusal:
        wl.compare(made(0, 3), change(made(1, 3)))
    for word in words:
        assert word in str(refusal.value), refusal.value


def test_other_inputs_are_refused(short_run):
    other = short_run.assign(input_kernel=short_run["input_kernel"] * 1.01)
    with pytest.raises(wl.ArgumentError, match=r"input_kernel .* differs by up to"):
        wl.compare(short_run, other)
    rounded = short_run.assign(input_kernel=short_run["input_kernel"].astype("float32"))
    assert wl.compare(short_run, rounded)["ntk"].sel(measure="absolute").max() == 0


def test_other_test_points_are_refused_and_the_remedy_works(short_run):
    for other in (short_run.isel(test_sample=[0]), short_run.assign(test_target=-short_run["test_target"])):
        with pytest.raises(wl.ArgumentError, match="not of test points") as refusal:
            wl.compare(short_run, other)
        remedy = str(refusal.value).split("pass ")[1].rstrip(".")
        found = wl.compare(eval(remedy, {"a": short_run}), other)
        assert "ntk" in found
        assert not any(str(name).startswith("test_") for name in found)


def test_losses_of_two_kinds_are_not_compared(short_run):
    told = json.loads(short_run.attrs["configuration"])
    other = short_run.assign_attrs(configuration=json.dumps(told | {"loss": {"type": "Logistic"}}))
    assert set(wl.compare(short_run, short_run)) - set(wl.compare(short_run, other)) == {"loss", "test_loss"}


def test_results_of_several_runs_are_refused_until_one_is_picked(short_run):
    many = wl.combine({"gradient descent": {math.inf: times(2, short_run), 12.0: short_run}}, ("rule", "width"))
    with pytest.raises(
        wl.ArgumentError, match=r"a holds the rules gradient descent and the widths inf, 12.0"
    ) as refusal:
        wl.compare(many, short_run)
    pick = str(refusal.value).split("for example ")[1].split(", which")[0]
    picked = eval(pick, {"a": many, "math": math})
    assert picked["width"] == math.inf
    with pytest.raises(wl.ArgumentError, match="b holds the widths"):
        wl.compare(short_run, many.sel(rule="gradient descent"))
    found = wl.compare(many.sel(rule="gradient descent", width=12.0), short_run)
    assert found["ntk"].sel(measure="relative").max() < 1e-6  # kept in single precision
    assert json.loads(found.attrs["configuration_a"])["width"] == 12
    assert np.allclose(wl.compare(picked, short_run)["ntk"].sel(measure="relative"), 1, rtol=1e-6)


# --- the command


def refused(capsys, *arguments):
    assert main(["compare", *map(str, arguments)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    return said[0]


def cells(printed, name):
    """The numbers in the row of a quantity."""
    row = next(line for line in printed.splitlines() if line.startswith(name))
    return row[len(name) :].split()


def test_the_command_prints_what_the_function_finds(tmp_path, capsys, theory_and_networks):
    theory, _, rich = theory_and_networks
    a, b, out = tmp_path / "a.nc", tmp_path / "b.nc", tmp_path / "apart.nc"
    wl.save(rich, a)
    wl.save(theory, b)
    assert main(["compare", str(a), str(b), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    head = printed.splitlines()
    assert head[0].startswith(f"a  {a}: MLP(hidden_layers=2, nonlinearity=Tanh(), richness=2) by GradientDescent()")
    assert head[0].endswith("at width 300, 16 replicates")
    assert head[1].endswith("at infinite width (1500 particles), 4 replicates")
    absolute, relative, chance, errors, step, time, worst = cells(printed, "eNTK K")
    run, steps = wl.compare(rich, theory, over_run=True)["ntk"], wl.compare(rich, theory)["ntk"]
    expected = run.values * [1, 100, 100, 1]
    assert np.allclose([float(text) for text in (absolute, relative, chance, errors)], expected, rtol=6e-3)
    along = steps.sel(measure="standard_errors")
    place = int(along.argmax("step"))
    assert (step, time) == (str(int(steps["step"][place])), f"({float(steps['time'][place]):.4g})")
    assert float(worst) == pytest.approx(float(along[place]), rel=6e-3)
    assert "over 6 times from 0 to 1" in printed
    kernels = [line.split("Φ^ℓ")[-1].split() for line in head if "Φ^ℓ" in line]
    assert kernels[0][0] == "1"
    saved = xr.load_dataset(out, engine="h5netcdf")
    xr.testing.assert_identical(saved.drop_attrs(deep=False), wl.compare(rich, theory).drop_attrs(deep=False))
    assert saved.attrs["file_a"] == str(a)
    assert json.loads(saved.attrs["configuration_a"])["net"]["richness"] == 2
    assert saved["measure"].attrs == distances.MEASURES
    assert "--overwrite" in refused(capsys, a, b, "--out", out)
    assert main(["compare", str(a), str(b), "--out", str(out), "--overwrite"]) == 0
    assert "what this command reads" in refused(capsys, a, b, "--out", a, "--overwrite")
    assert wl.load(a).sizes == rich.sizes


def test_the_command_says_why_there_are_no_standard_errors(tmp_path, capsys, short_run):
    one, many = tmp_path / "one.nc", tmp_path / "many.nc"
    wl.save(short_run.isel(replicate=[0]), one)
    wl.save(short_run, many)
    assert main(["compare", str(one), str(many)]) == 0
    printed = capsys.readouterr().out
    assert "a has one replicate: its standard error is unknown" in printed
    assert cells(printed, "eNTK K")[2:4] == ["–", "–"]
    assert "same seed and width" in printed
    assert main(["compare", str(one), str(one)]) == 0
    assert "a and b have one replicate each: their" in capsys.readouterr().out


def test_the_command_on_exact_results(tmp_path, capsys, linear):
    files = {name: tmp_path / f"{name}.nc" for name in ("exact", "run", "lazy")}
    for path, result in zip(files.values(), linear, strict=True):
        wl.save(result, path)
    assert main(["compare", str(files["exact"]), str(files["lazy"])]) == 0
    printed = capsys.readouterr().out
    assert "Neither a nor b has replicates" in printed
    relative, chance, errors, worst, there = cells(printed, "eNTK K")[1:]
    assert float(relative) > 1
    assert (chance, errors, worst, there) == ("0", "∞", "0.2", "∞")
    assert "by FeedbackAlignment(correlation=0.5) at infinite width, theory.lazy" in printed
    assert main(["compare", str(files["run"]), str(files["exact"])]) == 0
    printed = capsys.readouterr().out
    assert cells(printed, "eNTK K")[3:] == ["rounding"]
    assert "(rounding: a relative distance below 1e-09" in printed


def test_the_worst_time_is_never_one_of_mere_rounding():
    a, b = (made(seed, 4)[["ntk", "target"]] for seed in (0, 1))
    # At the first time both sides are exact, and 1e-14 apart: tens of standard errors, and nothing.
    a["ntk"][:, 0], b["ntk"][:, 0] = 1.0, 1.0 + 1e-14
    a["ntk"][0, 0] += 1e-15
    a["ntk"][:, 2] += 5.0
    at_times = wl.compare(a, b)
    assert at_times["ntk"].sel(measure="standard_errors").argmax("step") == 0
    row = lines(at_times, wl.compare(a, b, over_run=True))[-1]
    assert row.split()[-3:-1] == ["2", "(1)"]


def test_the_command_tells_of_a_divergence(tmp_path, capsys, short_run):
    broken = short_run.assign(
        {name: short_run[name].where(short_run["step"] < 3) for name in ("loss", "ntk", "feature_kernel")}
    ).assign(diverged_step=("replicate", [3, 3, 3]))
    a, b = wl.save(broken, tmp_path / "a.nc"), wl.save(short_run, tmp_path / "b.nc")
    assert main(["compare", str(a), str(b)]) == 0
    printed = capsys.readouterr().out
    assert "a DIVERGED  3 of 3 replicates, the first at step 3" in printed
    assert "Left out: 2 of these times" in printed


def test_the_command_refuses_in_one_sentence(tmp_path, capsys, short_run):
    a = wl.save(short_run, tmp_path / "a.nc")
    assert "no file" in refused(capsys, a, tmp_path / "none.nc")
    assert "does not exist" in refused(capsys, a, a, "--out", tmp_path / "none" / "d.nc")
    many = wl.save(wl.combine({"one": {12.0: short_run}}, ("rule", "width")), tmp_path / "many.nc")
    assert "pick one run" in refused(capsys, many, a)
    other = wl.save(short_run.isel(sample=[0, 1], sample2=[0, 1]), tmp_path / "other.nc")
    assert "not of one task and depth" in refused(capsys, other, a)

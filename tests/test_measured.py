"""Results of arrays that were measured elsewhere, and of some samples: how they are labelled, and what takes them."""

import json

import numpy as np
import pytest
import xarray as xr
from helpers import small_task

import widelimit as wl
from widelimit import plots
from widelimit.cli import main
from widelimit.results import summary
from widelimit.results.registry import VARIABLES

T, L, P, C, R = 3, 2, 5, 4, 6
TIME = [0.0, 0.5, 1.0]


def ones(*shape):
    return np.ones(shape)


# --- which axis is which


@pytest.mark.parametrize(
    ("arrays", "dims"),
    [
        ({"feature_kernel": ones(R, T, L, P, P)}, {"feature_kernel": "replicate step layer sample sample2"}),
        ({"feature_kernel": ones(T, L, P, P)}, {"feature_kernel": "step layer sample sample2"}),
        ({"feature_kernel": ones(L, P, P)}, {"feature_kernel": "layer sample sample2"}),
        ({"loss": ones(T)}, {"loss": "step"}),
        ({"ntk": ones(R, T, P, P)}, {"ntk": "replicate step sample sample2"}),
        # Whether there are output units is seen from the lengths, here or in another array.
        ({"ntk": ones(P, P, C, C)}, {"ntk": "sample sample2 output_unit output_unit2"}),
        ({"ntk": ones(T, P, P, C, C)}, {"ntk": "step sample sample2 output_unit output_unit2"}),
        ({"output": ones(T, P, C)}, {"output": "step sample output_unit"}),
        ({"output": ones(R, T, P)}, {"output": "replicate step sample"}),
        ({"output": ones(T, T, P), "target": ones(P)}, {"output": "replicate step sample", "target": "sample"}),
        (
            {"output": ones(T, T, P), "target": ones(T, P)},
            {"output": "step sample output_unit", "target": "sample output_unit"},
        ),
        ({"final_preactivation": ones(R, L, P, 7)}, {"final_preactivation": "replicate layer sample neuron"}),
        (
            {"final_preactivation": ones(R, L, P, 9, 7)},
            {"final_preactivation": "replicate layer sample position neuron"},
        ),
        ({"mean_feature": ones(T, L, P), "test_loss": 0.5}, {"mean_feature": "step layer sample", "test_loss": ""}),
        (
            {"test_train_feature_kernel": ones(T, L, 2, P), "test_feature_kernel": ones(T, L, 2, 2)},
            {
                "test_train_feature_kernel": "step layer test_sample sample",
                "test_feature_kernel": "step layer test_sample test_sample2",
            },
        ),
        (
            {"ntk": xr.DataArray(ones(P, P, T), dims=("sample2", "sample", "step"))},
            {"ntk": "step sample sample2"},
        ),
    ],
)
def test_axes_are_those_of_the_table(arrays, dims):
    result = wl.result(time=TIME, **arrays)
    assert {name: " ".join(values.dims) for name, values in result.data_vars.items()} == dims
    for name, values in result.data_vars.items():
        assert values.attrs["long_name"] == VARIABLES[name].meaning
    assert np.array_equal(result["time"], TIME)


def test_a_named_array_is_brought_into_order():
    kernel = np.random.default_rng(0).normal(size=(P, P, T))
    result = wl.result(time=TIME, ntk=xr.DataArray(kernel, dims=("sample2", "sample", "step")))
    assert np.array_equal(result["ntk"], kernel.transpose(2, 1, 0))


def test_coordinates_and_configuration():
    result = wl.result(
        time=TIME,
        step=[0, 10, 20],
        feature_kernel=ones(R, T, L, P, P),
        configuration={"rule": "Adam", "width": np.inf, "net": {"type": "ResNet", "depth": 18}},
    )
    assert result["step"].values.tolist() == [0, 10, 20]
    assert result["layer"].values.tolist() == [1, 2]
    assert result["replicate"].values.tolist() == list(range(R))
    assert wl.results.configuration(result)["width"] == "inf"
    single = wl.result(time=2.0, loss=1)
    assert single.sizes["step"] == 1
    assert single["loss"].dtype == np.float64


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"feature_kernal": ones(T)}, ("'feature_kernel'",)),
        ({}, ("at least one variable",)),
        (
            {"feature_kernel": ones(T, L, P, P + 1)},
            ("feature_kernel", "(3, 2, 5, 6)", "(replicate, step, layer, sample, sample2)", "step = 3"),
        ),
        ({"loss": ones(R, T + 1)}, ("loss", "(6, 4)", "(replicate, step)", "step = 3")),
        ({"loss": ones(2, R, T)}, ("loss", "(2, 6, 3)", "replicate, step may be missing")),
        ({"target": ones(P), "ntk": ones(T, P + 1, P + 1)}, ("ntk", "(3, 6, 6)", "sample = 5")),
        ({"ntk": ones(T, P, P, C, C + 1)}, ("ntk", "output_unit2")),
        ({"output": ones(T, T, P)}, ("output", "(replicate, step, sample) or (step, sample, output_unit)", "target")),
        ({"ntk": xr.DataArray(ones(P, P), dims=("sample", "other"))}, ("ntk", "'other'", "sample2")),
        ({"loss": ["a", "b", "c"]}, ("loss", "real numbers")),
        ({"loss": [[1.0], [1.0, 2.0]]}, ("loss", "array of real numbers")),
        ({"loss": ones(T) * 1j}, ("loss", "real numbers", "complex")),
        ({"time": [[0.0]], "loss": 1}, ("time", "(1, 1)")),
        ({"time": [], "loss": 1}, ("time", "(0,)")),
        ({"time": "now", "loss": 1}, ("time", "str")),
        ({"step": [0, 1], "loss": ones(T)}, ("step", "as many as there are times (3)")),
        ({"configuration": 3, "loss": ones(T)}, ("configuration",)),
        ({"recorded_samples": [1, 1], "ntk": ones(2, 2)}, ("recorded_samples", "different")),
        ({"recorded_samples": [0, 5], "ntk": ones(2, 2), "target": ones(P)}, ("no sample 5", "target has 5")),
        ({"recorded_samples": [0, 3], "ntk": ones(3, 3)}, ("ntk", "recorded_sample = 2")),
    ],
)
def test_what_cannot_be_labelled_is_refused(arrays, words):
    with pytest.raises(wl.ArgumentError) as refusal:
        wl.result(**{"time": TIME, **arrays})
    for word in words:
        assert word in str(refusal.value), refusal.value


# --- what takes them


@pytest.fixture(scope="module")
def run():
    return wl.train(
        wl.MLP(L, wl.Tanh()), small_task(P, 3), width=20, optimizer=wl.SGD(0.1), steps=2, replicates=3, progress=False
    )


def part(run, *names):
    """Some arrays of a run, measured elsewhere as it were."""
    return wl.result(time=run["time"].values, **{name: run[name].values for name in names})


PARTS = {
    "a loss": ("loss",),
    "a kernel": ("feature_kernel",),
    "a kernel and targets": ("ntk", "target"),
    "gradients": ("gradient_kernel",),
    "all of these": ("loss", "output", "target", "ntk", "feature_kernel"),
}


@pytest.mark.parametrize("names", PARTS.values(), ids=PARTS)
def test_a_part_of_a_run_is_saved_compared_shown_and_drawn(names, run, tmp_path, capsys):
    result = part(run, *names)
    path, whole = wl.save(result, tmp_path / "part.nc"), wl.save(run, tmp_path / "run.nc")
    xr.testing.assert_identical(wl.load(path), result)
    distances = wl.compare(result, run)
    assert set(distances) == set(names) - {"target"}
    assert all((distances[name].sel(measure="absolute") == 0).all() for name in distances)
    assert main(["show", str(path)]) == 0
    assert (tmp_path / "part.png").exists()
    assert main(["compare", str(path), str(whole)]) == 0
    printed = capsys.readouterr().out
    assert "without a configuration" in printed
    assert "replicates: 3" in printed
    if names == PARTS["all of these"]:
        for words in ("training loss", "task alignment of K", "task alignment of Φ^2"):
            assert words in printed


def test_what_cannot_be_drawn_is_said(tmp_path, capsys):
    path = wl.save(wl.result(time=TIME, mean_feature=ones(T, L, P)), tmp_path / "part.nc")
    assert main(["show", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "holds" in printed
    assert "No picture: result holds no losses or kernels to draw, but mean_feature." in printed
    assert not list(tmp_path.glob("*.png"))


def test_a_configuration_of_one_s_own_is_printed():
    result = wl.result(time=TIME, loss=ones(1, T), configuration={"net": "ResNet-18", "rule": "Adam", "width": 64})
    text = summary.lines(result)
    assert text[0].split(maxsplit=1) == ["trained", "ResNet-18 by Adam at width 64"]
    assert text[1].split(maxsplit=1) == ["recorded", "times up to 1, replicates: 1"]
    assert plots.run(result)._suptitle.get_text() == "Adam, ResNet-18, width 64"


def test_a_foreign_dataset_is_told_how_to_become_a_result(tmp_path):
    path = wl.save(xr.Dataset({"loss": ("step", [1.0])}, {"time": ("step", [0.0])}), tmp_path / "bare.nc")
    with pytest.raises(wl.ArgumentError, match=r"widelimit\.result"):
        wl.load(path)


def test_observables_say_what_they_lack(run):
    with pytest.raises(wl.ArgumentError, match="pseudo_gradient_norm"):
        wl.observables.gradient_alignment(part(run, "gradient_kernel"))


# --- kernels of some samples


@pytest.fixture(scope="module")
def some(run):
    """The same run, of which the kernels of three samples were recorded."""
    chosen = [4, 0, 1]
    pairs = {
        name: run[name].isel(sample=chosen, sample2=chosen).values
        for name in ("ntk", "feature_kernel", "gradient_kernel", "pseudo_gradient_kernel")
    }
    norm = run["pseudo_gradient_norm"].isel(sample=chosen).values
    others = {name: run[name].values for name in ("loss", "output", "target", "input_kernel")}
    when = {"time": run["time"].values, "step": run["step"].values}
    return wl.result(**when, recorded_samples=chosen, pseudo_gradient_norm=norm, **pairs, **others)


def test_kernels_of_some_samples_say_of_which(some, tmp_path):
    assert some["ntk"].dims == ("replicate", "step", "recorded_sample", "recorded_sample2")
    assert some["output"].dims == ("replicate", "step", "sample")
    assert some["recorded_sample"].values.tolist() == some["recorded_sample2"].values.tolist() == [4, 0, 1]
    xr.testing.assert_identical(wl.load(wl.save(some, tmp_path / "some.nc")), some)
    assert wl.results.expanded(some)["ntk"].dims == some["ntk"].dims


def test_observables_of_some_samples(some, run):
    chosen = {"sample": [4, 0, 1]}
    for name in ("ntk", "feature_kernel"):
        kernel, target = run[name].isel(chosen | {"sample2": [4, 0, 1]}), run["target"].isel(chosen)
        expected = wl.observables.alignment(kernel, target)
        xr.testing.assert_allclose(wl.observables.alignment(some[name], some["target"]), expected, rtol=1e-13)
    whole = run.isel(chosen | {"sample2": [4, 0, 1]})
    expected = wl.observables.gradient_alignment(whole)
    xr.testing.assert_allclose(wl.observables.gradient_alignment(some), expected, rtol=1e-13)


def test_a_result_of_the_recorded_samples_alone(some, run):
    alone, whole = wl.results.of_recorded_samples(some), run.isel(sample=[4, 0, 1], sample2=[4, 0, 1])
    for name in ("ntk", "feature_kernel", "output", "target", "input_kernel"):
        assert alone[name].dims == whole[name].dims
        assert np.array_equal(alone[name], whole[name])
    assert wl.results.of_recorded_samples(run) is run


def test_comparing_the_samples_that_both_have(some, run):
    for a, b in ((some, run), (run, some), (some, some)):
        distances = wl.compare(a, b)
        assert {"ntk", "feature_kernel", "output", "pseudo_gradient_norm"} <= set(distances)
        assert (distances.sel(measure="absolute").to_array() == 0).all()
    other = wl.result(
        time=run["time"].values, recorded_samples=[2, 4], ntk=run["ntk"].values[..., [2, 4], :][..., [2, 4]]
    )
    assert wl.compare(some, other)["ntk"].sel(measure="absolute").max() == 0
    elsewhere = wl.result(time=TIME, recorded_samples=[2, 3], ntk=ones(2, 2))
    with pytest.raises(wl.ArgumentError, match="none in common"):
        wl.compare(some.assign_coords(time=("step", TIME)), elsewhere)


def test_some_samples_are_shown_and_drawn(some, tmp_path, capsys):
    path = wl.save(some, tmp_path / "some.nc")
    assert main(["show", str(path)]) == 0
    printed = capsys.readouterr().out
    for words in ("5 samples, kernels of 3 of them", "task alignment of K", "gradient alignment"):
        assert words in printed


def test_a_run_records_some_samples(run):
    options = {"width": 20, "optimizer": wl.SGD(0.1), "steps": 2, "replicates": 3, "progress": False}
    record = wl.Record(samples=(4, 0, 1), two_time=True, fields=True)
    few = wl.train(wl.MLP(L, wl.Tanh()), small_task(P, 3), record=record, **options)
    assert few["recorded_sample"].values.tolist() == [4, 0, 1]
    for name in ("ntk", "feature_kernel", "feature_kernel_two_time", "final_preactivation", "pseudo_gradient_norm"):
        assert "recorded_sample" in few[name].dims
        assert "sample" not in few[name].dims
    assert wl.compare(few, run).sel(measure="relative").to_array().max() < 1e-12


# --- what is recorded of one step


def test_one_step_is_a_result_too(run, tmp_path):
    step = run.isel(step=1)
    assert summary.lines(step)[1].split(maxsplit=1)[1].startswith("step 1 of 2 (time 0.1, step size 0.1), 5 samples")
    assert wl.results.expanded(step)["ntk"].sizes["step"] == 1
    plots.run(step).savefig(tmp_path / "step.png")
    assert json.loads(step.attrs["configuration"])["steps"] == 2

"""The result of a run: its schema, its file, its configuration, and what is kept when a run does not finish."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import xarray as xr
from helpers import assert_same, small_task
from reference import LOSSES

import widelimit as wl
from widelimit import files
from widelimit.results import DIMENSIONS, SCHEMA, VARIABLES, configuration
from widelimit.simulation import grouping, training

TRAINED = [
    "output",
    "error",
    "loss",
    "test_output",
    "test_loss",
    "feature_kernel",
    "gradient_kernel",
    "pseudo_gradient_kernel",
    "pseudo_gradient_norm",
    "ntk",
    "diverged_step",
    "highest_loss",
    "highest_loss_step",
    "input_kernel",
    "target",
    "test_target",
]
POSITIONS = [f"{name}_kernel_positions" for name in ("feature", "gradient", "pseudo_gradient")]
FULL = ["feature_kernel_two_time", "pseudo_gradient_kernel_two_time", "final_preactivation", "final_pre_gradient"]
REQUESTED = [
    "pseudo_gradient_covariance",
    "mean_feature",
    "test_feature_kernel",
    "test_train_feature_kernel",
    "final_test_preactivation",
]
DEFERRED = [f"{way}_{what}" for way in ("forward", "backward") for what in ("basis_size", "dropped_fraction")]
DEFERRED += ["unlearned_fraction", "unrecognised_fraction"]
THEORY = [
    "ntk_term",
    "test_ntk",
    "regression_coefficient",
    "gradient_kernel_two_time",
    "pseudo_gradient_covariance_two_time",
    *(f"response_{name}" for name in "abcd"),
    "residual",
    *(f"{name}_covariance" for name in ("feature_kernel", "gradient_kernel", "feature_gradient", "ntk")),
]


@pytest.fixture(scope="module")
def infinite_run():
    net, task = wl.MLP(2, wl.Tanh()), small_task()
    return wl.train(
        net,
        task,
        optimizer=wl.SGD(0.05),
        steps=4,
        replicates=2,
        width=wl.Infinite(particles=200),
        record=wl.Record(two_time=True, fields=True),
    )


# --- the schema


def test_the_schema_is_written_out():
    assert set(VARIABLES) == {*TRAINED, *POSITIONS, *FULL, *DEFERRED, *THEORY, *REQUESTED}


def test_scalar_tasks_have_no_unit_dimensions(short_run):
    assert set(short_run.data_vars) == set(TRAINED)
    for name, values in short_run.data_vars.items():
        assert values.dims == tuple(dim for dim in DIMENSIONS[name] if dim not in ("output_unit", "output_unit2")), name
        assert values.attrs["long_name"] == VARIABLES[name].meaning


def test_tasks_with_classes_have_unit_dimensions(short_multiclass_run):
    assert set(short_multiclass_run.data_vars) == {*TRAINED, *FULL}
    for name, values in short_multiclass_run.data_vars.items():
        assert values.dims == tuple(dim for dim in DIMENSIONS[name] if dim not in ("position", "position2")), name
    sizes = dict(short_multiclass_run.sizes)
    assert sizes == {
        **{"replicate": 2, "step": 5, "step2": 5, "layer": 2, "sample": 4, "sample2": 4},
        **{"output_unit": 3, "output_unit2": 3, "neuron": 12, "test_sample": 2},
    }


def test_one_column_of_targets_keeps_its_unit_dimension(net):
    task = small_task(outputs=1)
    run = wl.train(net, task, width=5, optimizer=wl.SGD(0.1), steps=0, replicates=1)
    assert run["output"].dims == DIMENSIONS["output"]
    assert run.sizes["output_unit"] == 1


def test_infinite_width_adds_diagnostics(infinite_run):
    absent = {"test_output", "test_loss", "test_target"}
    assert set(infinite_run.data_vars) == {*TRAINED, *FULL, *DEFERRED} - absent
    assert infinite_run.sizes["matrix"] == 1
    assert infinite_run.sizes["neuron"] == 200
    sizes = infinite_run["forward_basis_size"]
    assert np.all(sizes.isel(step=0) == 4)
    assert np.all(sizes.diff("step") >= 0)
    assert np.all((infinite_run["forward_dropped_fraction"] >= 0) & (infinite_run["forward_dropped_fraction"] < 0.1))


def test_coordinates(short_run):
    assert short_run["step"].values.tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(short_run["time"], 0.05 * np.arange(5), rtol=1e-15)
    assert short_run["layer"].values.tolist() == [1, 2]
    assert short_run["replicate"].values.tolist() == [0, 1, 2]


def test_targets_and_losses_are_those_of_the_task(short_run, short_multiclass_run):
    scalar, classes = small_task(test_samples=2), small_task(outputs=3, loss=wl.SoftmaxCrossEntropy(), test_samples=2)
    assert np.array_equal(short_run["target"], scalar.y[:, 0])
    assert np.array_equal(short_run["test_target"], scalar.y_test[:, 0])
    squared = 0.5 * (short_run["test_output"] - scalar.y_test[:, 0]) ** 2
    assert np.allclose(short_run["test_loss"], squared.sum("test_sample"), rtol=1e-12, atol=0)
    value, _ = LOSSES["SoftmaxCrossEntropy"]
    expected = value(short_multiclass_run["test_output"].values, classes.y_test).sum(axis=-1)
    assert np.allclose(short_multiclass_run["test_loss"], expected, rtol=1e-12, atol=0)


def test_two_time_kernels_contain_the_equal_time_ones(infinite_run, short_multiclass_run):
    for run in (infinite_run, short_multiclass_run):
        for name in ("feature_kernel", "pseudo_gradient_kernel"):
            steps = xr.DataArray(range(5), dims="step")
            diagonal = run[f"{name}_two_time"].isel(step=steps, step2=steps).transpose(*run[name].dims)
            assert np.allclose(diagonal, run[name], rtol=1e-10, atol=1e-12)


def test_no_training_records_initialisation_alone(net, task):
    run = wl.train(net, task, width=5, optimizer=wl.SGD(0.1), steps=0, replicates=1)
    assert run["step"].values.tolist() == [0]
    assert np.all(run["output"] == 0)


# --- units


LOSS_NAMES = ("SquaredError", "Logistic")
DEPEND_ON_THE_LOSS = ("loss", "test_loss", "highest_loss")


@pytest.mark.parametrize(
    ("loss", "units"),
    [
        ({"type": "SquaredError"}, ("y²", "y")),
        ({"type": "Logistic"}, ("nats", "1")),
        ({"type": "SoftmaxCrossEntropy"}, ("nats", "1")),
        ({"type": "AbsoluteError"}, ("y² or nats", "y or 1")),
        (None, ("y² or nats", "y or 1")),
    ],
)
@pytest.mark.parametrize("name", VARIABLES)
def test_files_say_what_every_variable_is(name, loss, units, tmp_path):
    array = xr.DataArray(np.ones([2] * len(DIMENSIONS[name])), dims=DIMENSIONS[name])
    result = wl.result(time=[0.0, 0.1], configuration={} if loss is None else {"loss": loss}, **{name: array})
    read = wl.load(wl.save(result, tmp_path / "one.nc"))
    assert read[name].attrs["long_name"] == VARIABLES[name].meaning
    own = {**dict.fromkeys(DEPEND_ON_THE_LOSS, units[0]), "error": units[1]}.get(name, VARIABLES[name].unit)
    assert read[name].attrs["units"] == own
    assert read["time"].attrs == {"long_name": "step × step size", "units": "time"}


@pytest.mark.parametrize("loss", [wl.SquaredError(), wl.Logistic()])
def test_the_units_of_runs_are_those_of_their_loss(loss):
    task, net = small_task(3, 2, loss=loss, test_samples=2), wl.MLP(1, wl.Tanh())
    finite, infinite = (
        wl.train(net, task, width=width, optimizer=wl.SGD(0.05), steps=1, replicates=2)
        for width in (5, wl.Infinite(particles=40))
    )
    lazy = wl.theory.lazy(net, task, optimizer=wl.SGD(0.05), steps=1)
    both = wl.combine({"a": finite, "b": infinite})
    for result in (finite, infinite, lazy, both, both.sel(run="a")):
        units = {str(name): values.attrs["units"] for name, values in result.data_vars.items()}
        assert not [name for name, unit in units.items() if " or " in unit]
        assert units["test_loss"] == units["loss"] == ("y²" if isinstance(loss, wl.SquaredError) else "nats")
        assert result["time"].attrs["units"] == "time"


def test_runs_of_different_losses_have_both_units():
    runs = [wl.result(time=0.0, loss=[1.0], configuration={"loss": {"type": name}}) for name in LOSS_NAMES]
    both = wl.combine(dict(zip(LOSS_NAMES, runs, strict=True)), "name")
    assert both["loss"].attrs == {"long_name": VARIABLES["loss"].meaning, "units": "y² or nats"}
    assert runs[0]["loss"].attrs["units"] == "y²"


# --- the configuration


def test_configuration(short_multiclass_run, infinite_run):
    found = configuration(short_multiclass_run)
    net = {"type": "MLP", "hidden_layers": 2, "nonlinearity": {"type": "Tanh"}, "richness": 1.0}
    assert found["net"] == {**net, "residual": False, "branch_scale": 1.0}
    assert found["rule"] == {"type": "FeedbackAlignment", "correlation": 0.5}
    assert found["loss"] == {"type": "SoftmaxCrossEntropy"}
    expected = {"width": 12, "step_size": 0.05, "steps": 4, "replicates": 2, "seed": 1, "samples": 4, "test_samples": 2}
    assert expected.items() <= found.items()
    assert {"momentum": 0.0, "weight_decay": 0.0, "centred": True, "precision": "float64"}.items() <= found.items()
    assert "particles" not in found
    assert found["seconds"] > 0
    infinite = configuration(infinite_run)
    assert infinite["width"] == "inf"
    assert infinite["particles"] == 200
    assert {"capacity", "tolerance", "growth"} <= set(infinite)


def test_attributes(short_run):
    assert short_run.attrs["schema"] == SCHEMA
    versions = json.loads(short_run.attrs["versions"])
    assert set(versions) == {"widelimit", "jax", "numpy", "scipy", "xarray"}
    assert versions["numpy"] == np.__version__


# --- files


@pytest.mark.parametrize("name", ["short_run", "short_multiclass_run", "infinite_run"])
def test_round_trip(name, request, tmp_path):
    run = request.getfixturevalue(name)
    path = wl.save(run, tmp_path / "run.nc")
    xr.testing.assert_identical(wl.load(path), run)
    assert [file.name for file in tmp_path.iterdir()] == ["run.nc"]


def test_an_existing_file_is_not_overwritten_unasked(short_run, tmp_path):
    path = tmp_path / "run.nc"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        wl.save(short_run, path)
    assert path.read_text() == "precious"
    wl.save(short_run, path, overwrite=True)
    xr.testing.assert_identical(wl.load(path), short_run)


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "interrupt"])
def test_a_failed_save_leaves_the_old_file(short_run, tmp_path, monkeypatch, failure):
    path = wl.save(short_run, tmp_path / "run.nc")
    old = path.read_bytes()

    def fail(handle):
        raise failure

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(type(failure)):
        wl.save(short_run.isel(replicate=[0]), path, overwrite=True)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["run.nc"]


def test_saving_into_a_missing_folder(short_run, tmp_path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        wl.save(short_run, tmp_path / "nowhere" / "run.nc")


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*run\.nc"):
        wl.load(tmp_path / "run.nc")


def write_text(path):
    path.write_text("not a file of this kind")


def write_other_netcdf(path):
    xr.Dataset({"a": ("b", [1.0])}).to_netcdf(path, engine="h5netcdf")


def write_other_hdf5(path):
    with h5py.File(path, "w") as file:
        file["a"] = [1.0]


def write_later_schema(path):
    xr.Dataset(attrs={"schema": SCHEMA + 1}).to_netcdf(path, engine="h5netcdf")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_text, "not a readable NetCDF file"),
        (write_other_netcdf, "not a run that widelimit wrote"),
        (write_other_hdf5, "not a run that widelimit wrote|not a readable NetCDF file"),
        (write_later_schema, "newer than 1; update widelimit"),
    ],
)
def test_loading_a_foreign_file(write, message, tmp_path):
    path = tmp_path / "run.nc"
    write(path)
    with pytest.raises(wl.ArgumentError, match=message):
        wl.load(path)


# --- runs that do not finish


def interrupt_after(monkeypatch, records):
    """Ctrl-C once that many records have been kept in all."""
    add, kept = training.Recording.add, []

    def add_or_stop(self, *arguments):
        if len(kept) == records:
            raise KeyboardInterrupt
        kept.append(None)
        add(self, *arguments)

    monkeypatch.setattr(training.Recording, "add", add_or_stop)


def test_interrupted_training_keeps_what_it_had(net, task, monkeypatch, tmp_path):
    monkeypatch.setattr(grouping, "replicates_together", lambda *arguments: 1)
    options = {"width": 10, "optimizer": wl.SGD(0.1), "steps": 4, "seed": 2}
    whole = wl.train(net, task, replicates=3, **options)
    interrupt_after(monkeypatch, 7)
    with pytest.raises(wl.TrainingInterrupted) as caught:
        wl.train(net, task, replicates=3, **options)
    assert isinstance(caught.value, KeyboardInterrupt)
    kept = caught.value.result
    assert kept.sizes["replicate"] == 2
    names = ["output", "loss", "ntk", "test_output"]
    assert_same(kept.isel(replicate=[0]), whole.isel(replicate=[0]), 0.0, names)
    assert_same(kept.isel(replicate=[1], step=[0, 1]), whole.isel(replicate=[1], step=[0, 1]), 0.0, names)
    assert np.all(np.isnan(kept["ntk"].isel(replicate=1, step=slice(2, None))))
    xr.testing.assert_identical(wl.load(wl.save(kept, tmp_path / "kept.nc")), kept)


def test_training_interrupted_before_the_first_record(net, task, monkeypatch, tmp_path):
    interrupt_after(monkeypatch, 0)
    with pytest.raises(wl.TrainingInterrupted) as caught:
        wl.train(net, task, width=10, optimizer=wl.SGD(0.1), steps=4)
    kept = caught.value.result
    assert kept.sizes["step"] == 0
    assert configuration(kept)["width"] == 10
    wl.save(kept, tmp_path / "kept.nc")


def test_replicates_that_diverge_earlier_are_filled_with_nan():
    with pytest.warns(wl.DivergenceWarning):
        run = wl.train(
            wl.MLP(2, wl.Linear()), small_task(), wl.Hebbian(), width=8, optimizer=wl.SGD(0.05), steps=60, replicates=4
        )
    steps = run["diverged_step"].values
    assert len(set(steps)) > 1, "all diverged at once, so nothing was filled"
    longest = np.where(steps < 0, 61, steps)
    assert run.sizes["step"] == longest.max()
    for replicate, end in enumerate(longest):
        for name in ("loss", "output", "ntk"):
            values = run[name].isel(replicate=replicate)
            assert np.all(np.isfinite(values.isel(step=slice(0, end))))
            assert np.all(np.isnan(values.isel(step=slice(end, None))))


def test_a_run_that_is_not_finite_from_the_start_says_so():
    """The loss of targets this large overflows in single precision."""
    task = wl.Task(small_task().x, np.full(4, 1e25))
    with pytest.warns(wl.TaskWarning), pytest.warns(wl.DivergenceWarning, match="the first at step 0"):
        run = wl.train(
            wl.MLP(1, wl.Linear()),
            task,
            width=4,
            optimizer=wl.SGD(0.1),
            steps=3,
            centred=False,
            precision="float32",
        )
    assert run.sizes["step"] == 0


def test_importing_changes_no_precision(net, task):
    import jax.numpy as jnp

    wl.train(net, task, width=5, optimizer=wl.SGD(0.1), steps=0, replicates=1)
    assert jnp.ones(1).dtype == np.float32


def test_a_basis_too_small_is_told(net, task):
    with pytest.warns(wl.TruncationWarning, match="did not fit in its basis"):
        wl.train(
            wl.MLP(2, wl.Linear()),
            task,
            width=wl.Infinite(particles=400, capacity=2),
            optimizer=wl.SGD(0.1),
            steps=2,
            replicates=1,
        )


def test_a_convolution_that_forgets_is_told_what_would_do():
    images = wl.Task(np.random.default_rng(0).normal(size=(3, 4, 2)), np.array([1.0, -1.0, 1.0]))
    options = dict(optimizer=wl.SGD(0.05), steps=3, replicates=1)
    said = r"8 directions for 3 samples of 4 positions. Pass Infinite\(1000, capacity=32\)"
    with pytest.warns(wl.TruncationWarning, match=said):
        run = wl.train(wl.CNN(2, wl.Tanh(), 2.0), images, width=wl.Infinite(particles=1000, capacity=8), **options)
    assert 0.05 < run["forward_dropped_fraction"].mean("step").max() < 0.1
    assert run["unlearned_fraction"].max() > 0.02
    advised = wl.train(wl.CNN(2, wl.Tanh(), 2.0), images, width=wl.Infinite(1000, capacity=32), **options)
    assert advised["unlearned_fraction"].max() < 0.003


# --- results of deterministic theory, which have no replicates


@pytest.fixture(scope="module")
def deterministic():
    return wl.theory.linear(wl.MLP(2, wl.Linear()), small_task(), optimizer=wl.SGD(0.05), steps=4)


def test_theory_can_be_subtracted_from_a_run_with_replicates(deterministic):
    run = wl.train(
        wl.MLP(2, wl.Linear()),
        small_task(),
        optimizer=wl.SGD(0.05),
        steps=4,
        replicates=3,
        width=wl.Infinite(particles=200),
    )
    difference = run["ntk"] - deterministic["ntk"]
    assert difference.dims == run["ntk"].dims
    assert difference.shape == run["ntk"].shape
    assert np.abs(difference).max() < 1e-9


def test_deterministic_theory_is_its_own_mean_without_error(deterministic):
    assert wl.observables.mean(deterministic["ntk"]).equals(deterministic["ntk"])
    assert not wl.observables.standard_error(deterministic["ntk"]).values.any()
    assert wl.observables.alignment(deterministic["ntk"], deterministic["target"]).dims == ("step",)


def test_a_result_can_be_expanded_to_the_full_schema(deterministic):
    lazy = wl.theory.lazy(wl.MLP(2, wl.Tanh()), small_task(), times=[0.0, 1.0, 2.0])
    for result in (deterministic, lazy):
        wide = wl.results.expanded(result)
        for name in ("output", "loss", "feature_kernel", "ntk"):
            assert wide[name].dims == tuple(
                dim for dim in DIMENSIONS[name] if dim not in ("output_unit", "output_unit2")
            )
            assert np.array_equal((wide[name] - result[name]).values, np.zeros(wide[name].shape))
        assert wide["target"].dims == ("sample",)
    assert lazy["ntk"].dims == ("sample", "sample2")

"""Several runs as one result: by which times, with which labels and configurations, and how they are taken apart."""

import math

import numpy as np
import pytest
import xarray as xr
from helpers import small_task

import widelimit as wl
from widelimit.cli import main
from widelimit.results import apart, configuration

NET, TASK = wl.MLP(2, wl.Linear()), small_task(4, 3, test_samples=2)


def trained(**options):
    defaults = {"width": 12, "optimizer": wl.SGD(0.05), "steps": 4, "replicates": 3, "progress": False}
    return wl.train(NET, TASK, **{**defaults, **options})


@pytest.fixture(scope="module")
def often():
    return trained()


@pytest.fixture(scope="module")
def rarely():
    """The same networks with half the step size, recorded more rarely, with fewer replicates."""
    return trained(optimizer=wl.SGD(0.025), steps=8, record=wl.Record(every=4), replicates=2)


@pytest.fixture(scope="module")
def exact():
    return wl.theory.lazy(NET, TASK, times=[0.0, 0.1, 0.3])


def test_runs_by_their_labels(often, tmp_path):
    runs = {0.5: often, 1.0: often.assign(ntk=2 * often["ntk"])}
    both = wl.combine(runs, "richness")
    assert both["richness"].values.tolist() == [0.5, 1.0]
    assert both["ntk"].dims == ("richness", *often["ntk"].dims)
    assert np.array_equal(both["step"], often["step"])
    assert np.array_equal(both["time"], often["time"])
    xr.testing.assert_identical(both["target"], often["target"])
    for label, run in runs.items():
        selected = both.sel(richness=label)
        assert np.array_equal(selected["ntk"], run["ntk"])
        assert configuration(selected) == configuration(run)
        assert wl.compare(selected, run)["ntk"].sel(measure="absolute").max() == 0
    assert wl.observables.alignment(both["ntk"], both["target"]).dims == ("richness", "replicate", "step")
    xr.testing.assert_identical(wl.load(wl.save(both, tmp_path / "both.nc")), both)


def test_a_list_is_numbered_and_what_is_missing_is_nan(often, rarely):
    both = wl.combine([often, rarely])
    assert both["run"].values.tolist() == [0, 1]
    assert np.allclose(both["time"], [0, 0.05, 0.1, 0.15, 0.2])
    assert "step" not in both.coords  # they number the same times otherwise
    second = both.sel(run=1)
    assert second["ntk"].isel(replicate=0).notnull().any(["sample", "sample2"]).values.tolist() == [1, 0, 1, 0, 1]
    assert second["ntk"].isel(replicate=2).isnull().all()
    assert np.array_equal(second["ntk"].isel(replicate=[0, 1], step=[0, 2, 4]), rarely["ntk"])
    error = wl.observables.standard_error(second["loss"].isel(step=4))
    assert float(error) == pytest.approx(float(wl.observables.standard_error(rarely["loss"].isel(step=-1))))


def test_exact_theory_keeps_the_error_zero(often, exact):
    both = wl.combine({"theory": exact, "networks": often}, "what")
    theory = both.sel(what="theory")
    at = np.flatnonzero(np.isin(np.round(both["time"], 9), [0.0, 0.1, 0.3]))
    assert len(at) == 3
    assert wl.observables.standard_error(theory["output"].isel(step=at)).max() < 1e-15
    assert np.allclose(theory["output"].isel(step=at).mean("replicate"), exact["output"])
    assert np.allclose(theory["ntk"].isel(step=at).mean(["replicate", "step"]), exact["ntk"])
    assert configuration(theory)["solver"] == "theory.lazy"


def test_apart_gives_back_what_was_put_together(often, rarely, exact):
    runs = {"often": often, "rarely": rarely, "exact": exact}
    pieces = apart(wl.combine(runs))
    assert list(pieces) == [(name,) for name in runs]
    for (name,), piece in pieces.items():
        assert set(piece.data_vars) == set(runs[name].data_vars)
        assert configuration(piece) == configuration(runs[name])
        assert wl.compare(piece, runs[name]).sel(measure="absolute").to_array().max() < 1e-12
    assert pieces[("rarely",)].sizes["replicate"] == 2
    assert pieces[("rarely",)].sizes["step"] == 3


def test_two_dimensions_and_a_run_that_there_is_not(often):
    grid = {"GD": {math.inf: often, 12: often}, "DFA": {12: often}}
    result = wl.combine(grid, ("rule", "width"))
    assert result["width"].values.tolist() == [math.inf, 12.0] or result["width"].values.tolist() == [12.0, math.inf]
    assert configuration(result.sel(rule="DFA"))["dims"] == ["width"]
    assert configuration(result.sel(rule="DFA", width=12)) == configuration(often)
    assert configuration(result.sel(rule="DFA", width=math.inf)) == {}
    assert result["loss"].sel(rule="DFA", width=math.inf).isnull().all()
    assert set(apart(result)) == {("GD", math.inf), ("GD", 12.0), ("DFA", 12.0)}


def test_two_time_kernels_move_with_their_times(often):
    long, short = (trained(steps=steps, record=wl.Record(two_time=True), replicates=1) for steps in (3, 2))
    both = wl.combine({"short": short, "long": long})
    assert both["step2"].values.tolist() == [0, 1, 2, 3]
    kernel = both["feature_kernel_two_time"].sel(run="short")
    assert np.array_equal(kernel.isel(step=slice(3), step2=slice(3)), short["feature_kernel_two_time"])
    assert kernel.isel(step2=3).isnull().all()


def test_a_kernel_kept_once_for_all_outputs_has_blocks_beside_one_that_has_them():
    kernel, blocks = np.arange(4.0).reshape(2, 2), np.ones((2, 2, 3, 3))
    once = wl.result(time=0, ntk=xr.DataArray(kernel, dims=("sample", "sample2")))
    both = wl.combine([once, wl.result(time=0, ntk=blocks)])
    assert both["ntk"].dims == ("run", "sample", "sample2", "output_unit", "output_unit2")
    assert np.array_equal(both["ntk"], [kernel[..., None, None] * np.eye(3), blocks])


def test_the_command_line_shows_each(often, rarely, tmp_path, capsys):
    path = wl.save(wl.combine({"often": often, "rarely": rarely}), tmp_path / "both.nc")
    assert main(["show", str(path)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "--- run often",
        "--- run rarely",
        "times up to 0.2, step size 0.025",
        "replicates: 2",
        "several runs, along run",
    ):
        assert words in printed
    assert main(["compare", str(path), str(path)]) == 2
    assert "a holds the runs often, rarely; pick one run, for example a.sel(run='often')" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("runs", "dim", "words"),
    [
        ([], "run", "at least one result"),
        ({"a": {}}, ("rule", "width"), "at least one result"),
        ("often", "run", "a list of results; got Dataset"),
        ([1], "run", "must be a Dataset"),
        (["often"], ("rule", "width"), "got Dataset"),
        (["often"], "layer", "must be new"),
        (["often"], ("run", "run"), "must be new"),
        (["often", "other task"], "run", "their target .* differs"),
        (["often", "other size"], "run", "of one task"),
        (["often", "fields", "wide fields"], "run", r"neuron is 12 long .*drop_vars\(\['final_pre"),
        (["some", "other some"], "run", "the same samples"),
        (["often", "one step"], "run", r"isel\(step=\[-1\]\)"),
    ],
)
def test_what_cannot_be_combined_is_refused(runs, dim, words, often):
    fields = wl.Record(fields=True)
    made = {
        "often": lambda: often,
        "other task": lambda: often.assign(target=-often["target"]),
        "other size": lambda: often.isel(sample=[0, 1], sample2=[0, 1]),
        "fields": lambda: trained(record=fields, steps=0),
        "wide fields": lambda: trained(record=fields, steps=0, width=13),
        "some": lambda: trained(record=wl.Record(samples=(0, 1)), steps=0),
        "other some": lambda: trained(record=wl.Record(samples=(1, 2)), steps=0),
        "one step": lambda: often.isel(step=-1),
    }
    if isinstance(runs, list):
        runs = [made[name]() if isinstance(name, str) else name for name in runs]
    elif isinstance(runs, str):
        runs = made[runs]()
    with pytest.raises(wl.ArgumentError, match=words):
        wl.combine(runs, dim)


def test_runs_of_all_samples_and_of_some_are_not_one():
    task, net = small_task(6, 5), wl.MLP(1, wl.Tanh())
    options = {"width": 20, "optimizer": wl.SGD(0.02), "steps": 1, "replicates": 1}
    whole = wl.train(net, task, **options)
    some = wl.train(net, task, record=wl.Record(samples=(3, 1)), **options)
    with pytest.raises(wl.ArgumentError, match="of chosen ones in some of them"):
        wl.combine({"whole": whole, "some": some}, "kept")

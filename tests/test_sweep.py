"""Sweeps: what points are called, what is kept and found again, how results open, and workers that die."""

import base64
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import swept
import xarray as xr
from helpers import flipped, launched, small_configuration, small_task

import widelimit as wl
from widelimit import interrupts, memory
from widelimit.cli import main
from widelimit.ensembles import cluster, grid, index
from widelimit.ensembles.identity import program
from widelimit.ensembles.sweep import memory_size
from widelimit.report import explorer
from widelimit.report.explorer import MOST_BYTES, _Bounds
from widelimit.simulation import step

TANH, RELU = wl.Tanh(), wl.ReLU()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "sweep"


def here(function=swept.decay, **options):
    """A sweep in this process."""
    return wl.sweep(function, workers=0, **options)


def states(sweep):
    return [point.status for point in sweep.points]


# --- What dimensions are called


@pytest.mark.parametrize(
    ("arguments", "dims"),
    [
        ({"seed": [0, 1]}, {"seed": (0, 1)}),
        ({"width": [100, math.inf]}, {"width": (100, math.inf)}),
        ({"width": [wl.Finite(100), wl.Infinite(1000)]}, {"width": (100, math.inf)}),
        ({"width": [wl.Infinite(500), wl.Infinite(1000)]}, {"particles": (500, 1000)}),
        ({"net": [wl.MLP(2, TANH, richness=g) for g in (0.3, 1.0)]}, {"richness": (0.3, 1.0)}),
        ({"net": [wl.MLP(2, TANH), wl.MLP(2, RELU)]}, {"nonlinearity": ("Tanh", "ReLU")}),
        ({"net": [wl.MLP(2, wl.ReLU(g)) for g in (1.0, 2.0)]}, {"gain": (1.0, 2.0)}),
        (
            {"net": [wl.MLP(depth, TANH, richness=g) for depth in (1, 2) for g in (0.3, 1.0)]},
            {"hidden_layers": (1, 2), "richness": (0.3, 1.0)},
        ),
        (
            {"net": [wl.MLP(1, TANH, richness=0.3), wl.MLP(2, TANH, richness=1.0)]},
            {"net": ("hidden_layers=1, richness=0.3", "hidden_layers=2, richness=1")},
        ),
        ({"rule": [wl.GradientDescent(), wl.Hebbian()]}, {"rule": ("GradientDescent", "Hebbian")}),
        ({"rule": [None, wl.Hebbian()]}, {"rule": ("None", "Hebbian")}),
        ({"rule": [wl.FeedbackAlignment(r) for r in (0.0, 0.5)]}, {"correlation": (0.0, 0.5)}),
        (
            {"rule": [wl.GradientDescent(), wl.FeedbackAlignment(0.0), wl.FeedbackAlignment(0.5)]},
            {"rule": ("GradientDescent", "FeedbackAlignment(correlation=0)", "FeedbackAlignment(correlation=0.5)")},
        ),
        ({"optimizer": [wl.SGD(0.1), wl.SGD(0.2)]}, {"step_size": (0.1, 0.2)}),
        ({"batches": [wl.Batches(2), wl.Batches(4)]}, {"batches_size": (2, 4)}),
        ({"record": [wl.Record(1), wl.Record(5)]}, {"record_every": (1, 5)}),
        ({"task": [small_task(4), small_task(6)]}, {"samples": (4, 6)}),
        ({"task": [small_task(4), small_task(4, seed=1)]}, {"task": (0, 1)}),
        ({"task": {"first": small_task(4), "other": small_task(4, seed=1)}}, {"task": ("first", "other")}),
        ({"precision": ["float32", "float64"]}, {"precision": ("float32", "float64")}),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else None,
)
def test_dimensions_are_called_by_what_differs(arguments, dims):
    made = grid.product(arguments)
    assert made.dims == dims
    assert len({point.name for point in made.points}) == math.prod(map(len, dims.values())) or "net" in dims


def test_a_grid_is_the_product_of_its_lists():
    made = grid.product({"a": [1, 2], "b": ["x", "y", "z"], "c": 5})
    assert [point.arguments for point in made.points][:2] == [{"a": 1, "b": "x", "c": 5}, {"a": 1, "b": "y", "c": 5}]
    assert len(made.points) == 6
    assert made.points[-1].name == "a=2, b=z"


def test_points_may_be_listed():
    rules = [wl.GradientDescent(), wl.Hebbian(), wl.Hebbian(1)]
    made = grid.listed([{"rule": rule, "seed": seed} for seed, rule in enumerate(rules)], {"steps": 3})
    assert made.dims == {"point": (0, 1, 2)}
    assert made.along_points["seed"] == (0, 1, 2)
    assert made.along_points["rule"][0] == "GradientDescent"
    assert [point.arguments["steps"] for point in made.points] == [3, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"rate": 1.0}, "nothing to sweep"),
        ({"rate": []}, "rate is an empty list"),
        ({"rate": [1.0, 2, 1]}, "lists one thing twice"),
        ({"rate": [1.0], "sed": 1}, "takes no argument sed"),
        ({"seed": [1]}, "rate"),
        ({"rate": [1.0], "seed": [object(), 1]}, "cannot look into an object"),
        ({"rate": [1.0], "points": [{"rate": 2.0}]}, "name in each point"),
        ({"points": []}, "must be a list of dictionaries"),
        ({"rate": [1.0], "memory": "lots"}, "4 GiB"),
        ({"rate": [1.0], "scheduler": "here"}, "address such as"),
        ({"rate": [1.0], "retry": 3}, "retry must be True or False"),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_runs(folder, arguments, sentence):
    options = {"workers": 0} | ({"workers": None} if "scheduler" in arguments else {})
    with pytest.raises(wl.ArgumentError, match=sentence):
        wl.sweep(swept.decay, out=folder, **options, **arguments)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("function", "sentence"), [(3, "function must be one"), (lambda rate: rate, "top of a module")]
)
def test_functions_have_to_be_known_by_name(folder, function, sentence):
    with pytest.raises(wl.ArgumentError, match=sentence):
        here(function, out=folder, rate=[1.0])


def test_dimensions_of_a_result_are_taken(folder):
    with pytest.raises(wl.ArgumentError, match="cannot be called layer"):
        grid.product({"layer": [1, 2]})


@pytest.mark.parametrize(("given", "size"), [("4 GiB", 2**32), ("100mb", 1e8), ("2k", 2000), (5, 5.0), (None, None)])
def test_sizes_of_memory(given, size):
    assert memory_size(given) == size


def test_points_that_differ_in_numbers_alone_share_a_program():
    task, net = small_task(), wl.MLP(2, TANH)
    base = {"net": net, "task": task, "optimizer": wl.SGD(0.1), "steps": 3, "rule": wl.FeedbackAlignment(0.0)}
    same = [
        {"net": wl.MLP(2, TANH, richness=3)},
        {"rule": wl.FeedbackAlignment(0.5)},
        {"optimizer": wl.SGD(0.2, 0.0, 0.1)},
        {"seed": 5},
        {"task": small_task(seed=3)},
    ]
    other = [
        {"net": wl.MLP(3, TANH)},
        {"rule": wl.GradientDescent()},
        {"optimizer": wl.SGD(0.1, momentum=0.5)},
        {"task": small_task(5)},
        {"width": 100},
        {"steps": 4},
    ]
    first = program(wl.train, base)
    assert all(program(wl.train, base | change) == first for change in same)
    assert all(program(wl.train, base | change) != first for change in other)


# --- What is kept, and what is done again


def test_a_sweep_is_kept_point_by_point(folder):
    sweep = here(out=folder, rate=[0.5, 1.0], seed=[0, 1, 2])
    assert states(sweep) == ["done"] * 6
    assert len(list(folder.glob("*.nc"))) == 6
    held = wl.load(sweep.points[0].file)
    expected = swept.decay(0.5)
    assert np.array_equal(held["loss"], expected["loss"])
    assert "6 done" in str(sweep)
    assert "rate=0.5, seed=2" in str(sweep)


def test_what_is_there_is_not_computed_again(folder, monkeypatch):
    here(out=folder, rate=[0.5, 1.0])
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.nc")}
    sweep = here(out=folder, rate=[0.5, 1.0, 2.0])
    assert states(sweep) == ["done"] * 3
    assert {path: path.stat().st_mtime_ns for path in written} == written
    # A default that is spelled out, and a whole number in the place of another type, are the same call.
    again = here(out=folder, rate=[1], seed=0)
    assert again.points[0].file == sweep.points[1].file


def test_damaged_files_are_computed_again(folder):
    sweep = here(out=folder, rate=[0.5, 1.0])
    path = sweep.points[0].file
    whole = path.read_bytes()
    for damaged in [*flipped(whole, 3), whole[:-7], whole[: len(whole) // 2], b""]:
        path.write_bytes(damaged)
        assert states(here(out=folder, rate=[0.5, 1.0], dry_run=True)) == ["to do", "done"]
        here(out=folder, rate=[0.5, 1.0])
        assert np.array_equal(wl.load(path)["loss"], swept.decay(0.5)["loss"])
    shutil.copy(sweep.points[1].file, path)  # whole, and of another point
    assert states(here(out=folder, rate=[0.5, 1.0], dry_run=True)) == ["to do", "done"]


def test_a_failed_point_stops_no_other(folder):
    with pytest.warns(wl.SweepWarning, match=r"2 of 3 points \(rate=13; rate=-1\) failed"):
        sweep = here(out=folder, rate=[13, 1.0, -1.0])
    assert states(sweep) == ["failed", "done", "failed"]
    assert [point.outcome.reason for point in sweep.having("failed")] == [
        "ZeroDivisionError: an unlucky rate",
        "rate must be at least 0; got -1.0.",
    ]
    opened = sweep.open()
    assert opened["status"].values.tolist() == ["done" if rate == 1 else "failed" for rate in opened["rate"].values]
    assert bool(opened["loss"].sel(rate=13).isnull().all())
    assert not bool(opened["loss"].sel(rate=1).isnull().any())


def test_what_failed_is_tried_again_where_that_is_asked(folder, monkeypatch):
    calls = []

    def mended(function):
        def called(rate, seed=0, samples=3, steps=4, layers=2, replicates=2):
            calls.append(rate)
            return function(1.0)

        return called

    with pytest.warns(wl.SweepWarning):
        here(out=folder, rate=[13, 1.0])
    changed = mended(swept.decay)
    changed.__module__, changed.__qualname__, changed.__name__ = "swept", "decay", "decay"
    with pytest.warns(wl.SweepWarning):
        here(changed, out=folder, rate=[13, 1.0])
    assert calls == []
    sweep = here(changed, out=folder, rate=[13, 1.0], retry=True)
    assert calls == [13]
    assert states(sweep) == ["done", "done"]
    assert not list(folder.glob("*.failed.json"))


def test_what_points_warn_of_is_said_once(folder):
    for _ in range(2):  # also of points that were computed before
        with pytest.warns(
            wl.RisingLossWarning, match=r"2 of 3 points \(rate=101; rate=102\): the rate is large"
        ) as said:
            here(out=folder, rate=[1, 101, 102])
        assert len([each for each in said if each.category is wl.RisingLossWarning]) == 1


def test_what_is_no_result_has_failed(folder):
    with pytest.warns(wl.SweepWarning, match="must return an xarray.Dataset; it returned float"):
        here(swept.no_result, out=folder, rate=[1.0, 2.0])


def test_a_dry_run_writes_nothing(folder):
    sweep = here(out=folder, rate=[0.5, 1.0], dry_run=True)
    assert states(sweep) == ["to do", "to do"]
    assert sweep.estimate.left == 2
    assert "only points of train can be planned" in str(sweep)
    assert not folder.exists()
    here(out=folder, rate=[0.5])
    assert states(here(out=folder, rate=[0.5, 1.0], dry_run=True)) == ["done", "to do"]


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ({"rate": [1.0], "seed": 1}, "seed is 0.0 in all of its points, and 1.0"),
        ({"rate": [1.0], "seed": [0, 1]}, "over rate, and this is one over rate, seed"),
        ({"points": [{"rate": 1.0}]}, "over rate, and this is one over point"),
    ],
)
def test_sweeps_that_are_no_parts_of_one_grid_do_not_share_a_folder(folder, second, sentence):
    here(out=folder, rate=[0.5, 1.0])
    before = (folder / index.NAME).read_bytes()
    with pytest.raises(wl.ArgumentError, match=f"holds another sweep.*{re.escape(sentence)}"):
        here(out=folder, **second)
    assert (folder / index.NAME).read_bytes() == before


def test_parts_of_one_grid_share_a_folder(folder):
    here(out=folder, rate=[2.0, 0.5], seed=[0])
    here(out=folder, rate=[1.0], seed=[0, 1])
    opened = wl.open_sweep(folder)
    assert opened["rate"].values.tolist() == [0.5, 1.0, 2.0]
    assert opened["status"].sel(seed=1).values.tolist() == ["to do", "done", "to do"]


def test_arrays_that_look_alike_are_not_one_point(folder):
    first, second = np.zeros(2000), np.zeros(2000)
    second[1000] = 5
    with pytest.raises(wl.ArgumentError, match="x: two of what is listed would both be called"):
        here(swept.total, out=folder, x=[first, second])
    here(swept.total, out=folder, x={"first": first, "second": second})
    assert wl.open_sweep(folder)["loss"].isel(step=0, replicate=0).values.tolist() == [0, 5]


def test_functions_are_labelled_by_their_names(folder):
    here(swept.applied, out=folder, g=[swept.square, math.cos])
    assert wl.open_sweep(folder)["g"].values.tolist() == ["square", "cos"]


@pytest.mark.parametrize("name", ["seconds", "point"])
def test_what_opened_sweeps_say_of_points_is_taken(folder, name):
    with pytest.raises(wl.ArgumentError, match=f"cannot be called {name}"):
        here(swept.decay, out=folder, rate=1.0, **{name: [1, 2]})


def test_a_result_that_holds_what_is_swept_has_failed(folder):
    assert states(here(swept.named_alike, out=folder, rho=[1.0, 2.0])) == ["failed", "failed"]


def test_numbers_that_differ_in_the_last_digits_are_two_points(folder):
    here(out=folder, rate=[0.12345671, 0.5])
    here(out=folder, rate=[0.12345672, 0.6])
    opened = wl.open_sweep(folder)
    assert opened["rate"].values.tolist() == [0.12345671, 0.12345672, 0.5, 0.6]
    assert (opened["status"] == "done").all()
    assert np.isfinite(opened["loss"]).all()


def test_a_setting_that_is_only_called_like_a_dimension_has_to_be_the_same(folder, task):
    run = {"net": wl.MLP(1, TANH), "task": task, "width": 10, "optimizer": wl.SGD(0.01), "steps": 1, "replicates": 1}
    wl.sweep(wl.train, out=folder, workers=0, progress=False, seed=[0], batches=wl.Batches(2, seed=0), **run)
    with pytest.raises(wl.ArgumentError, match=r"batches\.seed is 0\.0 in all of its points, and 7\.0"):
        wl.sweep(wl.train, out=folder, workers=0, progress=False, seed=[1], batches=wl.Batches(2, seed=7), **run)


def test_a_list_of_points_may_go_on_with_what_was_the_same_so_far(folder):
    first = [{"rate": 1.0, "seed": 5}, {"rate": 2.0, "seed": 5}]
    here(out=folder, points=first)
    here(out=folder, points=[*first, {"rate": 3.0, "seed": 6}])
    assert wl.open_sweep(folder)["seed"].values.tolist() == [5, 5, 6]


@pytest.mark.parametrize("out", [None, 3])
def test_a_folder_has_to_be_named(out):
    with pytest.raises(wl.ArgumentError, match="out must name a folder"):
        here(out=out, rate=[1.0])


def test_a_longer_list_of_points_goes_on(folder):
    first = [{"rate": 1.0, "seed": 0}, {"rate": 2.0, "seed": 5}]
    here(out=folder, points=first)
    here(out=folder, points=[*first, {"rate": 3.0, "seed": 1}])
    opened = wl.open_sweep(folder)
    assert opened["rate"].dims == ("point",)
    assert opened["seed"].values.tolist() == [0, 5, 1]
    with pytest.raises(wl.ArgumentError, match="begins otherwise"):
        here(out=folder, points=first[::-1])


def test_indices_that_are_damaged_are_refused(folder):
    here(out=folder, rate=[1.0, 2.0])
    path = folder / index.NAME
    whole = path.read_text()
    broken = json.loads(whole)
    broken["points"] = {"../../x": [0]}
    for text in ["", "[]", whole[:-20], json.dumps({"schema": 1}), json.dumps(broken)]:
        path.write_text(text)
        with pytest.raises(wl.ArgumentError, match="is damaged"):
            wl.open_sweep(folder)
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(wl.ArgumentError, match="newer"):
        wl.open_sweep(folder)


def test_folders_without_a_sweep_are_refused(tmp_path):
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(wl.ArgumentError, match="holds no sweep"):
            wl.open_sweep(place)
    (tmp_path / "file").write_text("")
    with pytest.raises(wl.ArgumentError, match="is a file; name a folder"):
        here(out=tmp_path / "file", rate=[1.0])
    with pytest.raises(FileNotFoundError, match="create it first"):
        here(out=tmp_path / "a" / "b", rate=[1.0])
    with pytest.warns(wl.SweepWarning):
        here(out=tmp_path / "bad", rate=[-1.0, -2.0])
    with pytest.raises(wl.ArgumentError, match="None of the 2 points"):
        wl.open_sweep(tmp_path / "bad")


def test_memory_is_limited_within():
    before = memory.available_memory()
    with memory.limited(2**30):
        assert memory.available_memory() < 2**30
    assert memory.available_memory() > 0.5 * before


def test_an_interrupted_sweep_keeps_what_is_done(folder, monkeypatch):
    def interrupted(rate, seed=0):
        if rate == 2:
            raise KeyboardInterrupt
        return swept.decay(rate)

    interrupted.__module__, interrupted.__qualname__ = "swept", "interrupted"
    with pytest.raises(KeyboardInterrupt) as caught:
        here(interrupted, out=folder, rate=[1, 2, 3])
    assert caught.value.kept.startswith("1 of 3 points")
    assert wl.open_sweep(folder)["status"].values.tolist() == ["done", "to do", "to do"]


def test_a_sweep_that_a_signal_ends_within_a_point_says_what_it_keeps(folder, monkeypatch):
    """Compiled code looks at no signals: the command ends at once, and what was computed before is not forgotten."""
    never, number = threading.Event(), signal.SIGTERM

    def busy(rate, seed=0):
        if rate == 2:
            os.kill(os.getpid(), number)
            never.wait()
        return swept.decay(rate)

    busy.__module__, busy.__qualname__ = "swept", "busy"
    monkeypatch.setattr(swept, "busy", busy, raising=False)
    for rates in ([1, 2, 3], [1, 2]):  # the second finds what the first has left
        with pytest.raises(interrupts.Interrupted) as caught:
            interrupts.run(lambda rates=rates: here(busy, out=folder, rate=rates))
        assert caught.value.kept.startswith(f"1 of {len(rates)} points")
    never.set()


# --- Results


def test_labels_of_results_are_kept_and_met_by_label(folder):
    here(swept.at_widths, out=folder, rate=[0.5, 1.0], widths=[(20, 40)])
    here(swept.at_widths, out=folder, rate=[0.5, 1.0], widths=[(40, 80)])
    opened = wl.open_sweep(folder)
    assert opened["width"].values.tolist() == [20, 40, 80]
    first, second = (opened["loss"].sel(rate=1.0).isel(widths=place) for place in (0, 1))
    assert np.array_equal(first.sel(width=40), swept.at_widths(1.0)["loss"].sel(width=40))
    assert np.array_equal(first.sel(width=40), second.sel(width=40))
    assert first.sel(width=80).isnull().all()
    assert second.sel(width=20).isnull().all()


def corrected(folder):
    """A sweep of fluctuations, whose results have their quantities along `measure`, and one of its points by itself."""
    net, task = [wl.MLP(1, wl.Linear(), richness=g) for g in (0.5, 1.0)], wl.datasets.sphere(3, 4)
    here(wl.theory.two_layer_fluctuations, out=folder, net=net, task=task, optimizer=wl.SGD(0.1), steps=3)
    return wl.theory.two_layer_fluctuations(net[1], task, optimizer=wl.SGD(0.1), steps=3)


def test_swept_corrections_are_used_as_single_ones_are(folder):
    single, opened = corrected(folder), wl.open_sweep(folder).sel(richness=1.0)
    for measure in ("limit", "shift", "variance"):
        assert np.array_equal(opened["ntk"].sel(measure=measure), single["ntk"].sel(measure=measure))
    wanted = wl.width_for(0.1, of="ntk", corrections=single)
    assert wl.width_for(0.1, of="ntk", corrections=opened) == wanted


def kernel_on_page(page, point, name):
    """What the script of the page reads of a kernel: (frame, row, column)."""
    described = data_of(page)["points"][point]
    kernel, size = described["kernels"][name], len(described["samples"])
    numbers = np.frombuffer(base64.b64decode(kernel["data"]), "<i2") * kernel["scale"]
    return numbers.reshape(kernel["frames"], size, size)


def test_the_page_of_swept_corrections_shows_the_limit(folder):
    single = corrected(folder)
    page = explorer(folder)
    shown, limit = kernel_on_page(page, 1, "ntk"), single["ntk"].sel(measure="limit").values
    samples = data_of(page)["points"][1]["samples"]
    assert np.allclose(shown, limit[:, samples][:, :, samples], atol=1e-3)
    assert "Of expansions in 1/N the limit is shown" in page


def test_what_a_page_has_no_place_for_is_said(folder):
    here(swept.at_widths, out=folder, rate=[0.5, 1.0])
    page = explorer(folder)
    data = data_of(page)
    assert data["points"][0]["kernels"] == {}
    assert "loss" not in data["quantities"]
    assert "What results hold along width is not shown" in page


def test_opened_sweeps_hold_what_points_hold(folder):
    here(out=folder, rate=[0.5, 1.0], seed=[0, 1])
    opened = wl.open_sweep(folder)
    assert opened["loss"].dims == ("rate", "seed", "replicate", "step")
    assert opened["target"].dims == ("sample",)
    assert opened["time"].dims == ("step",)
    assert opened["loss"].chunks is not None, "read when needed"
    one = opened.sel(rate=1.0, seed=1)
    assert np.array_equal(one["loss"], swept.decay(1.0, 1)["loss"])
    assert wl.results.configuration(one)["rate"] == 1.0
    assert np.array_equal(wl.results.apart(opened)[0.5, 1]["ntk"], swept.decay(0.5, 1)["ntk"])
    path = wl.save(opened, folder / "all.nc")
    assert np.array_equal(wl.load(path)["loss"], opened["loss"])


def test_points_of_other_lengths_are_filled_with_nan(folder):
    here(out=folder, steps=[2, 4], layers=[1, 3], rate=1.0)
    opened = wl.open_sweep(folder)
    assert opened.sizes["step"] == 5
    assert opened.sizes["layer"] == 3
    short = opened.sel(steps=2, layers=1)
    assert np.array_equal(short["loss"].isel(step=slice(3)), swept.decay(1.0, steps=2, layers=1)["loss"])
    assert bool(short["loss"].isel(step=slice(3, None)).isnull().all())
    assert bool(short["feature_kernel"].sel(layer=3).isnull().all())


def test_points_may_have_times_of_their_own(folder):
    here(swept.at_times, out=folder, scale=[0.5, 1.0])
    opened = wl.open_sweep(folder)
    assert opened["time"].dims == ("scale", "step")
    assert opened["time"].sel(scale=0.5).values.tolist() == [0.0, 0.5, 1.0]
    assert wl.results.apart(opened)[0.5,]["time"].dims == ("step",)


def test_points_of_other_shapes_are_a_tree(folder):
    here(out=folder, samples=[2, 5], rate=[0.5, 1.0])
    opened = wl.open_sweep(folder)
    assert isinstance(opened, xr.DataTree)
    assert set(opened.children) == {"samples=2", "samples=5"}
    node = opened["samples=5"].to_dataset()
    assert node["ntk"].dims == ("rate", "replicate", "step", "sample", "sample2")
    assert np.array_equal(node["ntk"].sel(rate=0.5), swept.decay(0.5, samples=5)["ntk"])
    assert node["samples"] == 5


def test_without_dask_results_are_read_at_once(folder, monkeypatch):
    here(out=folder, rate=[0.5, 1.0])
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "dask" else real(name, *rest))
    opened = wl.open_sweep(folder)
    assert opened["loss"].chunks is None
    assert np.array_equal(opened["loss"].sel(rate=1.0), swept.decay(1.0)["loss"])


def test_without_distributed_a_sentence_says_so(folder, monkeypatch):
    real = importlib.util.find_spec
    fake = lambda name, *rest: None if name == "distributed" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", fake)
    with pytest.raises(wl.ArgumentError, match=r"widelimit\[distributed\], or pass workers=0"):
        wl.sweep(swept.decay, out=folder, rate=[0.5, 1.0])


def test_runs_of_train_compile_once_and_are_what_train_returns(folder, task):
    nets = [wl.MLP(2, TANH, richness=g) for g in (0.3, 1.0, 3.0)]
    common = {"task": task, "optimizer": wl.SGD(0.05), "steps": 3, "width": 8, "replicates": 2}
    before = step.compiled_advance_together._cache_size()
    sweep = here(wl.train, out=folder, net=nets, rule=[wl.FeedbackAlignment(r) for r in (0.2, 0.5)], **common)
    assert step.compiled_advance_together._cache_size() - before == 1
    assert [point.outcome.compilations for point in sweep.points[1:]] == [0] * 5
    opened = sweep.open()
    expected = wl.train(nets[1], rule=wl.FeedbackAlignment(0.5), **common)
    one = opened.sel(richness=1.0, correlation=0.5)
    assert all(np.array_equal(one[name], expected[name]) for name in expected.data_vars)
    # Which correlation aligns K fastest with the task at each γ0: the one-liner of the documentation.
    aligned = wl.observables.alignment(opened["ntk"], opened["target"]).mean("replicate")
    fastest = aligned.diff("step").mean("step").idxmax("correlation")
    assert fastest.dims == ("richness",)
    each = aligned.isel(step=-1) - aligned.isel(step=0)
    assert fastest.values.tolist() == [0.2 if each[i, 0] > each[i, 1] else 0.5 for i in range(3)]


def test_what_points_warn_of_differently_is_said_of_the_first_alone(folder, task):
    options = {"net": wl.MLP(2, wl.Linear()), "task": task, "steps": 8, "width": 8, "replicates": 1}
    with pytest.warns(wl.DivergenceWarning, match=r"2 of 2 points .*: Of the first: .* at step"):
        sweep = here(wl.train, out=folder, optimizer=[wl.SGD(1e3), wl.SGD(1e9)], **options)
    page = wl.report.explorer(folder)
    reached = [point["loss"].dropna("step")["step"].values[-1] for point in map(results_of, sweep.points)]
    for point, last in zip(sweep.points, reached, strict=True):
        assert f"{point.name} (diverged after step {last})" in page


def results_of(point):
    return wl.load(point.file).isel(replicate=0)


def test_diverged_points_are_kept_as_such(folder, task):
    with pytest.warns(wl.DivergenceWarning, match=r"1 of 2 points \(step_size=1e\+06\)"):
        sweep = here(
            wl.train,
            out=folder,
            net=wl.MLP(2, wl.Linear()),
            task=task,
            optimizer=[wl.SGD(0.01), wl.SGD(1e6)],
            steps=6,
            width=8,
            replicates=1,
        )
    assert states(sweep) == ["done", "diverged"]
    opened = sweep.open()
    assert bool(opened["loss"].sel(step_size=1e6).isel(step=-1).isnull().all())
    assert float(opened["loss"].sel(step_size=0.01).isel(step=-1, replicate=0)) > 0


# --- On the command line


def grid_file(folder, swept_table, steps=2):
    path = folder / "grid.toml"
    path.write_text(small_configuration(steps, step_size=0.05, tables=f"[sweep]\n{swept_table}"))
    return path


def test_a_grid_on_the_command_line(tmp_path, capsys):
    path = grid_file(tmp_path, '"network.richness" = [0.3, 1]\n"run.seed" = [0, 1]')
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out), "--workers", "0", "--run.steps", "3"]) == 0
    assert "richness (2) × seed (2): 4 done" in capsys.readouterr().out
    opened = wl.open_sweep(out)
    assert opened["loss"].sizes["step"] == 4
    assert opened["richness"].values.tolist() == [0.3, 1.0]
    assert main(["sweep", str(path), "--out", str(out), "--dry-run", "--run.steps", "3"]) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert main(["report", str(out)]) == 0
    assert "sweep-data" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_choices_that_are_swept_leave_the_options_of_others_aside(tmp_path, capsys):
    text = '"rule.name" = ["GradientDescent", "FeedbackAlignment"]'
    path = grid_file(tmp_path, text)
    path.write_text(path.read_text() + '\n[rule]\nname = "FeedbackAlignment"\ncorrelation = 0.5\n')
    assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--workers", "0", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "rule=FeedbackAlignment" in printed
    assert "2 to do, with 2 programs to compile" in printed
    assert "about" in printed


@pytest.mark.slow
def test_points_on_the_command_line(tmp_path, capsys):
    listed = 'points = [{ "width.kind" = "infinite", "width.particles" = 50 }, { "width.neurons" = 8 }]'
    path = grid_file(tmp_path, listed)
    out = tmp_path / "out"
    assert main(["sweep", str(path), "--out", str(out), "--workers", "0"]) == 0
    assert wl.open_sweep(out).sizes["point"] == 2


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", r"has no table \[sweep\]"),
        ('"network.richness" = 3', "must be a list"),
        ('"network.richness" = []', "must be a list"),
        ('"network.richness" = ["much"]', "network.richness must be a number; got 'much'"),
        ('"network.richnes" = [1]', "Did you mean 'richness'"),
        ('"net.richness" = [1]', "unknown name 'net'"),
        ("richness = [1]", 'must be the dotted name of an option, as "network.richness"'),
        ("steps = [1]", 'must be the dotted name of an option, as "run.steps"'),
        ('"network.steps" = [1]', r"steps stands in \[network\], and belongs in \[run\]"),
        ('"network.richness" = [1.0]\n[sweep.network]\nrichness = [2.0]', "network.richness is given twice"),
        ('"network.richness" = [1, 1.0]', "lists one value twice"),
        ('"network.richness" = [-1, 1]', "richness must be a finite number at least 0|richness must be"),
        ('"rule.name" = ["GradientDescent", "Hebian"]', "Did you mean 'Hebbian'"),
        ('"rule.correlation" = [0.0, 0.5]', "belongs to rule.name FeedbackAlignment"),
        ("points = [3]", "must be a list of tables"),
        ('points = []\n"run.seed" = [1]', "beside them"),
    ],
)
def test_grids_that_cannot_be_are_refused_before_anything_runs(tmp_path, capsys, table, sentence):
    path = grid_file(tmp_path, table)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--workers", "0"]) == 2
    assert re.search(sentence, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_flag_cannot_set_what_is_swept(tmp_path, capsys):
    path = grid_file(tmp_path, '"run.seed" = [0, 1]')
    assert main(["sweep", str(path), "--run.seed", "3", "--workers", "0"]) == 2
    assert "leave out the flag" in capsys.readouterr().err


@pytest.mark.slow
def test_points_that_fail_or_diverge_are_seen_in_the_exit_code(tmp_path, capsys):
    path = grid_file(tmp_path, '"optimizer.step_size" = [0.01, 1e9]', steps=8)
    assert (
        main(["sweep", str(path), "--out", str(tmp_path / "out"), "--workers", "0", "--network.nonlinearity", "Linear"])
        == 3
    )
    path = grid_file(tmp_path, '"optimizer.weight_decay" = [0.01, 1e9]')
    assert main(["sweep", str(path), "--out", str(tmp_path / "other"), "--workers", "0"]) in (1, 2)


# --- The page


def data_of(page):
    text = re.search(r'<script type="application/json" id="sweep-data">(.*?)</script>', page, re.S)[1]
    return json.loads(
        text.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&").replace("\\u0027", "'")
    )


def test_the_page_of_a_sweep(folder):
    with pytest.warns(wl.SweepWarning):
        here(out=folder, rate=[0.5, 1.0, 13], seed=[0, 1])
    page = explorer(folder)
    data = data_of(page)
    assert [dim["name"] for dim in data["dims"]] == ["rate", "seed"]
    assert [point["status"] for point in data["points"]].count("failed") == 2
    assert "an unlucky rate" in page
    point = next(point for point in data["points"] if point["at"] == [1, 1])
    curve = np.frombuffer(base64.b64decode(point["curves"]["training loss"]), "<f4").reshape(2, -1)
    expected = swept.decay(1.0, 1)["loss"]
    assert curve[0] == pytest.approx(expected.mean("replicate").values, rel=1e-6)
    assert curve[1] == pytest.approx(wl.observables.standard_error(expected).values, rel=1e-4)
    assert {"ntk", "feature_kernel/1", "feature_kernel/2"} == set(data["kernels"])
    assert main(["report", str(folder), str(folder)]) == 2


def test_a_page_is_within_its_size(folder):
    here(out=folder, seed=list(range(12)), rate=1.0, samples=60, steps=30, replicates=1)
    page = explorer(folder)
    assert len(page.encode()) < MOST_BYTES
    assert "Of up to 60 samples, kernels show" in page


@pytest.mark.parametrize("points", [1, 60, 1000, 4000])
@pytest.mark.parametrize("images", [1, 13, 40])
@pytest.mark.parametrize("samples", [4, 12, 500])
def test_what_a_page_shows_is_bounded(points, images, samples):
    curves = images + 5
    bounds = _Bounds.of(points, curves, images, samples)
    kernels = points * images * bounds.frames * bounds.samples**2 * 8 / 3
    drawn = points * curves * 2 * bounds.times * 16 / 3
    assert bounds.times >= 2
    assert kernels + (drawn if points < 4000 or images < 40 else 0) < 0.9 * MOST_BYTES
    assert bounds.frames or points * images > 1000


@pytest.mark.slow
def test_the_page_in_a_browser(folder):
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium is installed")
    with pytest.warns(wl.SweepWarning):
        here(out=folder, rate=[0.5, 1.0, 13], seed=[0, 1])
    path = folder / "page.html"
    path.write_text(explorer(folder, title="<b>A & B</b>"), encoding="utf-8")
    complaints = []
    with driver.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_context(offline=True).new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(path.as_uri())
        assert tab.locator("h1").text_content() == "<b>A & B</b>"
        tab.locator("#quantity").select_option(label="training loss")
        cells = tab.locator("#heat rect")
        assert cells.count() == 6
        tab.locator("#time").fill("0")
        cells.nth(1).hover()  # rate 0.5, seed 1: the loss is 2 + 0.0005 ± 0.0005 at the start
        assert tab.locator("#heat-value").text_content() == "rate 0.5, seed 1: training loss = 2.00050 ± 0.00050"
        cells.nth(4).hover()
        assert "failed. ZeroDivisionError" in tab.locator("#heat-value").text_content()
        cells.nth(3).click()
        assert tab.locator("#dim-0").input_value() == "1"
        assert tab.locator("#images canvas").count() == 2
        assert tab.locator("#panels svg").count() >= 2
        browser.close()
    assert complaints == []


# --- On a cluster


def test_workers_that_die_lose_one_point_which_is_done_again(tmp_path, folder):
    """Two processes; one is killed while it computes, and one point takes more memory than it may."""
    marks = tmp_path / "marks"
    marks.mkdir()
    out = run_in_thread(
        lambda: wl.sweep(
            swept.slow, out=folder, workers=2, rate=[1.0, 2.0, 3.0, 4.0, 5.0], folder=str(marks), waits_at=(2.0,)
        )
    )
    kill_at(marks / "2.pid")
    sweep = out()
    assert states(sweep) == ["done"] * 5
    killed = (marks / "2.pid").read_text()
    assert not sweep.points[1].outcome.worker.endswith(f":{killed}")
    opened = sweep.open()
    assert all(np.array_equal(opened["loss"].sel(rate=r), swept.decay(r)["loss"]) for r in (1.0, 2.0, 5.0))


@pytest.mark.parametrize("order", [("new", "old"), ("old", "new")])
def test_the_last_point_of_a_program_goes_to_the_worker_that_has_it(order):
    """Whichever worker is asked first: one that has come in the place of another is not to keep it from the old one."""

    class Client:
        def submit(self, compute, job, *_, **__):
            return job.digest

    job = types.SimpleNamespace(digest="a", program="p")
    means = cluster.Means(workers=2)
    dispatch = cluster._Dispatch(Client(), [job], Path("folder"), means, watch=None, local=None)
    dispatch.pending, dispatch.program = {"p": [job]}, {"old": "p"}
    dispatch._hand_out(list(order))
    assert list(dispatch.running.values()) == [(job, "old")]


class DeadConnection:
    """A client, and what it promises, whose scheduler has died just now."""

    status, key = "finished", "point"

    def submit(self, *_, **__):
        return self

    def result(self, timeout=None):
        raise OSError("Stream is closed")

    cancel = result


def test_a_scheduler_that_dies_between_two_looks_is_said(tmp_path):
    """A point is reported as finished, and its outcome cannot be fetched any more."""
    job = types.SimpleNamespace(digest="a", program="p")
    means, dead = cluster.Means(scheduler="tcp://10.0.0.1:1"), DeadConnection()
    dispatch = cluster._Dispatch(dead, [job], tmp_path, means, watch=None, local=None)
    with pytest.raises(wl.ArgumentError, match=r"at tcp://10\.0\.0\.1:1 is gone\. 3 points"):
        dispatch._outcome(dead, job, 3)
    (tmp_path / index.NAME).write_text("{}")
    with pytest.raises(wl.ArgumentError, match="is gone"):
        dispatch._check_folder("worker")
    dispatch.running[dead] = job, "worker"
    assert dispatch._recover(dead) is job  # the next look at the workers says that there is no scheduler
    assert dispatch.pending == {"p": [job]}


def test_a_worker_that_does_not_answer_is_said(tmp_path, monkeypatch):
    def late(self, timeout=None):
        raise TimeoutError

    monkeypatch.setattr(DeadConnection, "result", late)
    (tmp_path / index.NAME).write_text("{}")
    means = cluster.Means(scheduler="tcp://10.0.0.1:1")
    dispatch = cluster._Dispatch(DeadConnection(), [], tmp_path, means, watch=None, local=None)
    with pytest.raises(wl.ArgumentError, match="has not answered within 120 s"):
        dispatch._check_folder("worker")


def run_in_thread(work):
    """A function that waits for what the work returns."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    return lambda: future.result(timeout=240)


def kill_at(mark, number=signal.SIGKILL):
    """Kill the process that a point has named, once it has."""
    limit = time.monotonic() + 120
    while not (mark.exists() and mark.read_text()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.kill(int(mark.read_text()), number)


@pytest.mark.slow
def test_a_point_that_takes_too_much_memory_fails_and_the_others_do_not(tmp_path, folder):
    with pytest.warns(wl.SweepWarning, match="workers died with this point"):
        sweep = wl.sweep(
            swept.greedy, out=folder, workers=1, memory="900 MiB", points=[{"rate": 1.0}], folder=str(tmp_path)
        )
    assert states(sweep) == ["failed"]
    assert "900.0 MiB" in sweep.points[0].outcome.reason


SCRIPT = """
import sys, swept, widelimit as wl
options = {{"scheduler": sys.argv[1]}} if len(sys.argv) > 1 else {{"workers": 2}}
wl.sweep(swept.slow, out={out!r}, rate=[float(rate) for rate in range(1, 9)], folder={folder!r}, seconds=0.4, **options)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_killed_goes_on(tmp_path, folder, number):
    import psutil

    script = tmp_path / "script.py"  # without a guard for __main__, which workers do not run
    script.write_text(SCRIPT.format(out=str(folder), folder=str(tmp_path)))
    process = launched([sys.executable, str(script)], tmp_path)
    try:
        limit = time.monotonic() + 120
        while len(list(folder.glob("*.nc")) if folder.exists() else []) < 2:
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.wait(60)
    finally:
        process.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, "workers end with their sweep"
    done = {path: path.stat().st_mtime_ns for path in folder.glob("*.nc")}
    assert 2 <= len(done) < 8
    again = here(swept.slow, out=folder, rate=[float(r) for r in range(1, 9)], folder=str(tmp_path), seconds=0.4)
    assert states(again) == ["done"] * 8
    assert {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.slow
def test_a_scheduler_that_dies_loses_nothing_that_is_done(tmp_path, folder):
    scheduler = launched(
        [
            *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1"),
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(tmp_path / "where.json")),
        ],
        tmp_path,
    )
    worker = None
    try:
        limit = time.monotonic() + 60
        while not (tmp_path / "where.json").exists():
            assert time.monotonic() < limit
            time.sleep(0.1)
        time.sleep(0.5)
        address = json.loads((tmp_path / "where.json").read_text())["address"]
        worker = launched(
            [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"],
            tmp_path,
        )
        out = run_in_thread(
            lambda: wl.sweep(
                swept.slow,
                out=folder,
                rate=[float(r) for r in range(1, 9)],
                folder=str(tmp_path),
                seconds=0.5,
                scheduler=address,
            )
        )
        while len(list(folder.glob("*.nc")) if folder.exists() else []) < 2:
            assert time.monotonic() < limit + 120
            time.sleep(0.05)
        scheduler.kill()
        with pytest.raises(wl.ArgumentError, match="is gone"):
            out()
    finally:
        scheduler.kill()
        if worker is not None:
            worker.kill()
    assert len(wl.open_sweep(folder)["status"]) == 8
    again = here(swept.slow, out=folder, rate=[float(r) for r in range(1, 9)], folder=str(tmp_path), seconds=0.5)
    assert states(again) == ["done"] * 8


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_said(folder):
    with pytest.raises(wl.ArgumentError, match=r"There is no scheduler at tcp://127\.0\.0\.1:9"):
        wl.sweep(swept.decay, out=folder, rate=[1.0], scheduler="tcp://127.0.0.1:9")

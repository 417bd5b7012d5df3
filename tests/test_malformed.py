"""Whatever is handed in: a legal result, or an `ArgumentError` that says what is wrong; never a raw exception.

Each example hands one function its valid arguments with some of them replaced by something else.
"""

import contextlib
import functools
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import widelimit as wl
from widelimit import plots, report, results
from widelimit.results import summary
from widelimit.results.legal import intact

EXAMPLES = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ARRAYS = [
    np.zeros(0),
    np.zeros((0, 3)),
    np.zeros((3, 0)),
    np.zeros(()),
    np.zeros((2, 2, 2, 2, 2)),
    np.full(4, np.nan),
    np.full((4, 3), np.inf),
    np.array([1, 2, 3]),
    np.array([True, False]),
    np.array([1j, 2]),
    np.array(["a", "b"]),
    np.array(["2020-01-01"], dtype="M8[D]"),
    np.array([None, 1], dtype=object),
    np.zeros(3, dtype=[("a", "f8")]),
    np.ma.array([1.0, 2.0], mask=[True, False]),
    np.float32(3),
    np.int64(2),
    np.array(1e300),
]
OTHERS = [
    object(),
    wl.Tanh,
    wl.Tanh(),
    wl.SquaredError(),
    wl.SGD(0.1),
    len,
    {},
    {"a": 1},
    {1, 2},
    range(3),
    xr.Dataset(),
    ...,
]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.integers(-3, 8),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.one_of(st.floats(), st.text(max_size=2), st.none()), max_size=4),
    st.tuples(st.integers(-2, 4), st.integers(-2, 4)),
    st.sampled_from(ARRAYS),
    st.sampled_from(OTHERS),
)

X, Y = np.eye(4, 3) + 0.1, np.array([1.0, -1.0, 1.0, -1.0])
TASK, NET = wl.Task(X, Y, X[:2], Y[:2]), wl.MLP(1, wl.Tanh())


def first_step(**arguments):
    """`initialize`, without the run that it makes ready."""
    return wl.initialize(**arguments)


CALLS = {
    "Task": (wl.Task, {"x": X, "y": Y, "x_test": X, "y_test": Y, "loss": wl.SquaredError()}),
    "MLP": (
        wl.MLP,
        {"hidden_layers": 2, "nonlinearity": wl.Tanh(), "richness": 1.0, "residual": True, "branch_scale": 0.5},
    ),
    "CNN": (
        wl.CNN,
        {
            "hidden_layers": 2,
            "nonlinearity": wl.Tanh(),
            "filter_size": 3,
            "padding": "zero",
            "filter_scale": 1.0,
            "pool": "all",
            "shared": True,
        },
    ),
    "ReLU": (wl.ReLU, {"gain": 1.0}),
    "Gated": (wl.Gated, {"shape": wl.ReLU()}),
    "SGD": (wl.SGD, {"step_size": 0.1, "momentum": 0.5, "weight_decay": 0.1}),
    "Batches": (wl.Batches, {"size": 2, "seed": 0}),
    "Record": (
        wl.Record,
        {"every": 1, "kernels": ("ntk",), "samples": (0, 1), "test_kernels": True, "two_time": False},
    ),
    "Infinite": (wl.Infinite, {"particles": 100, "capacity": 8, "tolerance": 0.1, "growth": 2}),
    "Finite": (wl.Finite, {"neurons": 10}),
    "FeedbackAlignment": (wl.FeedbackAlignment, {"correlation": 0.5}),
    "Hebbian": (wl.Hebbian, {"error_power": 1}),
    "sphere": (wl.datasets.sphere, {"samples": 3, "dimension": 2, "test_samples": 1, "seed": 0, "loss": None}),
    "digits": (wl.datasets.digits, {"samples": 4, "test_samples": 2, "classes": (0, 1), "seed": 0}),
    "from_npz": (wl.datasets.from_npz, {"file": "nowhere.npz"}),
    "scaled": (wl.scaled, {"x": X, "centre": True}),
    "result": (wl.result, {"time": [0.0, 1.0], "loss": np.ones((1, 2)), "feature_kernel": np.ones((1, 2, 1, 3, 3))}),
    "initialize": (
        first_step,
        {
            "net": NET,
            "task": TASK,
            "rule": wl.GradientDescent(),
            "width": 10,
            "optimizer": wl.SGD(0.1),
            "steps": 2,
            "batches": wl.Batches(2),
            "record": wl.Record(),
            "seed": 0,
            "centred": True,
            "precision": "float64",
            "replicates": 1,
        },
    ),
}
HUGE = {"samples", "test_samples", "dimension", "particles", "neurons", "replicates", "steps", "width", "capacity"}
"""Sizes: a valid one that is large is no mistake, and takes long."""


def is_large(value):
    return isinstance(value, (int, float)) and abs(value) > 1000


@pytest.mark.parametrize("name", CALLS)
@EXAMPLES
@given(data=st.data())
def test_arguments(name, data):
    function, valid = CALLS[name]
    replaced = data.draw(st.lists(st.sampled_from(sorted(valid)), min_size=1, max_size=2, unique=True))
    junk = {argument: data.draw(JUNK) for argument in replaced}
    if any(argument in HUGE and is_large(value) for argument, value in junk.items()):
        return
    with warnings.catch_warnings(), contextlib.suppress(wl.ArgumentError, FileNotFoundError):
        warnings.simplefilter("ignore")
        function(**valid | junk)


@functools.cache
def run():
    options = dict(width=8, optimizer=wl.SGD(0.05), steps=2, replicates=2, record=wl.Record(fields=True))
    return wl.train(wl.MLP(2, wl.Tanh()), TASK, **options)


def without(draw, result):
    names = draw(st.lists(st.sampled_from(sorted(result.variables)), min_size=1, max_size=4, unique=True))
    return result.drop_vars(names)


def renamed(draw, result):
    dim = draw(st.sampled_from(sorted(result.sizes)))
    return result.rename_dims({dim: "other"}) if dim not in result.coords else result.rename({dim: "other"})


def of_other_type(draw, result):
    name = draw(st.sampled_from(sorted(result.data_vars)))
    kind = draw(st.sampled_from(["U5", "complex128", "object", "bool", "int64", "M8[ns]"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return result.assign({name: result[name].fillna(0).astype(kind)})


def emptied(draw, result):
    dim = draw(st.sampled_from(sorted(result.sizes)))
    return result.isel({dim: slice(0, draw(st.integers(0, 1)))})


def selected(draw, result):
    return result.isel({draw(st.sampled_from(sorted(result.sizes))): 0})


def holed(draw, result):
    name = draw(st.sampled_from(sorted(result.data_vars)))
    return result.assign({name: result[name] * draw(st.sampled_from([np.nan, np.inf, 0.0, 1e300]))})


def mislabelled(draw, result):
    name, text = draw(st.sampled_from(["configuration", "versions", "schema"])), draw(JUNK)
    return result.assign_attrs({name: text})


def configured(draw, result):
    junk = draw(
        st.sampled_from(["[]", "{", '{"net": 3}', '{"rule": null, "width": {}}', '{"runs": {}, "dims": 3}', '"x"'])
    )
    return result.assign_attrs(configuration=junk)


def transposed(draw, result):
    return result.transpose(*draw(st.permutations(sorted(result.sizes))))


def timed(draw, result):
    time = draw(st.sampled_from([[np.nan, 0, 1], [2, 1, 0], [0, 0, 0], ["a", "b", "c"]]))
    return result.assign_coords(time=("step", time))


DAMAGES = [without, renamed, of_other_type, emptied, selected, holed, mislabelled, configured, transposed, timed]


def drawn(result):
    import matplotlib.pyplot as plt

    plt.close(plots.run(result))


USES = {
    "lines": lambda result, path: summary.lines(result),
    "final": lambda result, path: summary.final(result),
    "expanded": lambda result, path: results.expanded(result),
    "alignment": lambda result, path: wl.observables.alignment(
        result.get("ntk", run()["ntk"]), result.get("target", run()["target"])
    ),
    "task_alignments": lambda result, path: wl.observables.task_alignments(result),
    "gradient_alignment": lambda result, path: wl.observables.gradient_alignment(result),
    "test_error": lambda result, path: wl.observables.test_error(result),
    "compare": lambda result, path: wl.compare(result, run()),
    "compared": lambda result, path: wl.compare(run(), result),
    "combine": lambda result, path: wl.combine({"a": run(), "b": result}, "rule"),
    "page": lambda result, path: report.page(result),
    "plots": lambda result, path: drawn(result),
    "save": lambda result, path: wl.load(wl.save(result, path / "run.nc", overwrite=True)),
}


@pytest.mark.parametrize(
    "use", [pytest.param(use, marks=pytest.mark.slow if use in ("page", "save", "compare") else ()) for use in USES]
)
@settings(EXAMPLES, max_examples=40)
@given(data=st.data())
def test_results(use, data, tmp_path_factory):
    result = run()
    for damage in data.draw(st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=2)):
        try:
            result = damage(data.draw, result)
        except Exception:  # what cannot be made is no case
            return
    with warnings.catch_warnings(), contextlib.suppress(wl.ArgumentError):
        warnings.simplefilter("ignore")
        USES[use](result, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("wrong", [ValueError("a"), KeyError("b"), AttributeError("c")], ids=lambda wrong: str(wrong))
def test_a_fault_of_the_library_is_not_said_to_be_that_of_a_result(wrong, monkeypatch, tmp_path):
    def fail(*arguments):
        raise wrong

    loaded = wl.load(wl.save(run(), tmp_path / "run.nc"))
    monkeypatch.setattr(summary, "setting", fail)
    for result in (run(), loaded, run().isel(replicate=0)):
        with pytest.raises(type(wrong)) as caught:
            summary.lines(result)
        assert caught.value is wrong
    by_name = run().assign_attrs(configuration='{"net": "mine", "rule": {}, "loss": {}}')
    nan = run().assign(loss=run()["loss"] * np.nan)
    for cut in (run().isel(step=0), run().drop_vars("target"), run().drop_vars("time"), by_name, nan):
        with pytest.raises(wl.ArgumentError, match="lines cannot take"):
            summary.lines(cut)


def test_what_is_trained_and_solved_is_intact():
    options = dict(optimizer=wl.SGD(0.05), steps=2, replicates=2)
    for record in (wl.Record(fields=True, two_time=True), wl.Record(samples=(0, 1), test_kernels=True)):
        assert intact(wl.train(wl.MLP(1, wl.Tanh()), TASK, width=8, record=record, **options))
    many = wl.Task(X, np.eye(4, 3))
    assert intact(wl.train(wl.MLP(1, wl.Tanh()), many, width=8, **options))
    assert intact(wl.theory.linear(wl.MLP(2, wl.Linear()), TASK, optimizer=wl.SGD(0.05), steps=2))

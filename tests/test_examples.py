"""The studies under examples/, by what their cores must give."""

import dataclasses
import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

import widelimit as wl

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.slow
def test_the_left_end_of_the_generalisation_study_is_the_lazy_limit(example):
    """Test outputs at small richness are those of theory.lazy within their own sampling noise."""
    study = example("generalisation")
    plan = study.Plan(samples=6, test_samples=20, particles=800, replicates=4, steps=8, record_every=4)
    for rule in ("gradient descent", "feedback alignment, ρ = ½"):
        rich, lazy = wl.train(**study.call(plan, rule, 0.02, 0), progress=False), study.lazy(plan, rule, 0)
        measured, exact = (study.measure(plan, run) for run in (rich, lazy))
        assert measured["test loss"].shape == exact["test loss"].shape == (3,)
        apart = (rich["test_output"].mean("replicate") - lazy["test_output"].isel(step=slice(0, 9, 4))).values
        noise = rich["test_output"].std("replicate", ddof=1).values / 2
        assert np.sqrt(np.mean(apart[1:] ** 2)) < 3 * np.sqrt(np.mean(noise[1:] ** 2))
        assert exact["train loss"][-1] < 0.9 * exact["train loss"][0]


@pytest.mark.slow
def test_alignment_starts_from_the_feedback_correlation_in_convolutional_networks(example):
    """corr(g, g̃) of layer ℓ is ρ^(L + 1 − ℓ) at the start, up to fluctuations of order 1/√N."""
    study = example("feedback_in_cnns")
    plan = study.Plan(samples=4, test_samples=4, width=150, steps=0, replicates=4, correlations=(0.5,))
    for rule, expected in (("ρ = 0.5", (0.25, 0.5)), ("DFA", (0.0, 0.0)), ("GD", (1.0, 1.0))):
        found = study.measure(plan, wl.train(**study.call(plan, "convolutional", rule, 0), progress=False))
        for layer, value in zip((1, 2), expected, strict=True):
            assert abs(found[f"initial alignment {layer}"] - value) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generalisation", "feedback_in_cnns"])
def test_a_study_is_a_sweep_whose_runs_are_found_again(example, tmp_path, name):
    """Every call is one point, none of them twice, and what is kept is read and not computed again."""
    study, studies = example(name), sys.modules["studies"]
    fewest = {"generalisation": {"richness": (1.0,)}, "feedback_in_cnns": {"correlations": (0.0,)}}[name]
    calls = study.calls(dataclasses.replace(study.QUICK, draws=1, **fewest))
    assert name != "generalisation" or {richness for _, richness, _ in calls} == {1.0}  # the lazy limit is not kept
    few = dict(itertools.islice(calls.items(), 2))
    small = {each: call | {"steps": 1, "width": 4, "record": wl.Record()} for each, call in few.items()}
    first = studies.kept(small, tmp_path, workers=0)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.nc")}
    assert len(files) == 2
    again = studies.kept(small, tmp_path, workers=0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.nc")} == files
    for each, call in small.items():
        assert again(each).identical(first(each))
        np.testing.assert_array_equal(again(each)["loss"], wl.train(**call, progress=False)["loss"])

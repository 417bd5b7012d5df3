"""A rule written outside the package: direct random target projection (Frenkel, Lefebvre & Bol 2021)."""

import math

import numpy as np
import pytest
from helpers import assert_agree_statistically, assert_matches_reference, reference_for, small_task

import widelimit as wl


class RandomTargetProjection(wl.Rule):
    """δ^ℓ_μ = ϕ'(h^ℓ_μ) ⊙ Σ_c y_{μc} z̃^ℓ_c: targets, not errors, are projected to each layer."""

    @property
    def linear_in_error(self):
        return False

    def feedback(self, draw):
        return {layer: draw.vectors(layer) for layer in draw.layers}

    def pseudo_gradient(self, view, layer, above):
        return view.derivatives[layer] * (view.targets @ view.feedback[layer])


NET = wl.MLP(2, wl.Tanh(), 1.5)


@pytest.mark.parametrize("outputs", [None, 3])
def test_finite_width(outputs):
    task, rule = small_task(outputs=outputs, test_samples=2), RandomTargetProjection()
    run = wl.train(NET, task, rule, width=200, step_size=0.05, steps=5, momentum=0.5, replicates=1, seed=2)
    reference = reference_for(NET, task, rule, 200, seed=2, rule_name="drtp")
    assert_matches_reference(run, reference.train(step_size=0.05, steps=5, momentum=0.5), task.scalar, 1e-10)


@pytest.mark.parametrize("outputs", [None, 2])
def test_infinite_width_is_what_wide_networks_tend_to(outputs):
    task = small_task(outputs=outputs)
    options = {"step_size": 0.1, "steps": 6, "record_every": 3}
    rule = RandomTargetProjection()
    limit = wl.train(NET, task, rule, width=math.inf, particles=2000, replicates=8, **options)
    wide = wl.train(NET, task, rule, width=1000, replicates=24, seed=1, **options)
    for name in ("output", "feature_kernel", "ntk"):
        last = {"step": slice(1, None)}
        assert_agree_statistically(wide[name].isel(last), limit[name].isel(last).values, resolution=0.03)
    start, end = (limit["feature_kernel"].isel(step=step).mean("replicate").values for step in (0, -1))
    assert np.max(np.abs(end - start)) > 0.1, "features have hardly moved"

"""The two-layer model in closed form: infinite-width training tends to it, and it has the fixed points it should."""

from __future__ import annotations

import math

import numpy as np
import pytest

import widelimit as wl

RICHNESS, TARGETS, TIME = 1.5, 4 / 3 * np.array([1.0, -0.5, 1.0]), 0.8
RULES = {
    "gd": wl.GradientDescent(),
    "fa-0": wl.FeedbackAlignment(0.0),
    "fa-half": wl.FeedbackAlignment(0.5),
    "fa-1": wl.FeedbackAlignment(1.0),
    "fa-opposed": wl.FeedbackAlignment(-0.5),
    "dfa": wl.DirectFeedbackAlignment(),
    "hebb": wl.Hebbian(),
}
MOVING = ["output", "error", "loss", "feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk"]


def trained(rule, steps):
    """Four moments of infinite-width training, which is exact for linear networks at any number of particles."""
    task = wl.Task(math.sqrt(3) * np.eye(3), TARGETS)
    run = wl.train(
        wl.MLP(1, wl.Linear(), RICHNESS),
        task,
        rule,
        optimizer=wl.SGD(TIME / steps),
        steps=steps,
        record=wl.Record(every=steps // 4),
        width=wl.Infinite(particles=100),
        replicates=1,
    )
    return run.isel(replicate=0)


@pytest.mark.parametrize("rule", RULES)
def test_training_tends_to_it_at_first_order(rule):
    coarse, fine = trained(RULES[rule], 200), trained(RULES[rule], 400)
    theory = wl.theory.two_layer(RULES[rule], targets=TARGETS, richness=RICHNESS, times=fine["time"].values)
    for name in [*MOVING, "pseudo_gradient_norm"]:
        errors = [np.linalg.norm(run[name].values - theory[name].values) for run in (coarse, fine)]
        size = np.linalg.norm(theory[name].values)
        assert errors[1] < 0.02 * size, name
        if errors[0] > 1e-9 * size:
            assert abs(math.log2(errors[0] / errors[1]) - 1) < 0.05, name
        else:
            assert name == "pseudo_gradient_norm", f"{name} does not move"
    assert theory["ntk"].dims == fine["ntk"].dims


@pytest.mark.parametrize("rule", RULES)
def test_infinite_time_is_where_it_goes(rule):
    late = wl.theory.two_layer(RULES[rule], targets=TARGETS, richness=RICHNESS, times=[60.0, math.inf])
    for name in MOVING:
        assert np.allclose(late[name][0], late[name][1], rtol=1e-8, atol=1e-8), name
    assert np.allclose(late["output"][1], TARGETS, atol=1e-12)


def test_fixed_points_solve_the_paper_s_equations():
    gamma, y = np.geomspace(0.01, 100, 9), 1.7
    descent = wl.theory.two_layer_fixed_point(target=y, richness=gamma)["feature_kernel_change"].values
    assert np.allclose((1 + descent) ** 2, 1 + gamma**2 * y**2, rtol=1e-12)
    for rho in (-1.0, 0.0, 0.5, 1.0):
        found = wl.theory.two_layer_fixed_point(wl.FeedbackAlignment(rho), target=y, richness=gamma)
        a = np.sqrt(found["feature_kernel_change"].values)
        assert np.allclose(a**3 / 2 + (1 + rho) * a, gamma * y, rtol=1e-9)
        assert np.allclose(found["pseudo_gradient_kernel"], rho + a**2 / 2, rtol=1e-9)
    hebb = wl.theory.two_layer_fixed_point(wl.Hebbian(), target=y, richness=gamma)
    error, kernel = hebb["repelling_error"].values, 1 + hebb["feature_kernel_change"].values
    assert np.allclose(kernel + gamma * error * (y - error), 0, atol=1e-8 * kernel.max())
    assert np.all(error[0] < 0)
    assert np.all(error[1] > y), "training starts between the two, and ends at Δ = 0"


@pytest.mark.parametrize(
    ("rule", "small", "large"),
    [
        ("gd", 2, 1),
        ("fa-0", 2, 2 / 3),
        ("fa-half", 2, 2 / 3),
        ("fa-1", 2, 2 / 3),
        ("hebb", 1, 1),
    ],
)
def test_exponents(rule, small, large):
    """ΔH against γ0 on a doubly logarithmic plot, and the prefactors."""
    far = 1e9 if rule == "hebb" else 1e6
    ends = {}
    for name, gamma in (("small", np.array([1e-5, 2e-5])), ("large", np.array([far, 2 * far]))):
        ends[name] = wl.theory.two_layer_fixed_point(RULES[rule], target=1.3, richness=gamma)
    slopes = {name: np.diff(np.log(end["feature_kernel_change"].values))[0] / math.log(2) for name, end in ends.items()}
    assert abs(slopes["small"] - small) < 1e-3
    assert abs(slopes["large"] - large) < 1e-3
    for name, end in ends.items():
        law = end[f"{name}_richness"].values
        assert np.allclose(law, end["feature_kernel_change"].values, rtol=1e-3), name


def test_one_sample_may_be_a_number():
    one = wl.theory.two_layer(targets=2.0, richness=1.0, times=[0.0, 0.5])
    assert one["output"].shape == (2, 1)
    several = wl.theory.two_layer(targets=[0.0, 2.0], richness=1.0, times=[0.0, 0.5])
    assert np.allclose(several["output"][:, 1], one["output"][:, 0])
    assert np.allclose(several["output"][:, 0], 0)


def test_nothing_moves_without_a_target():
    still = wl.theory.two_layer(wl.FeedbackAlignment(0.0), targets=[0.0, 0.0], richness=1.0, times=[0.0, 1.0, math.inf])
    assert not still["output"].values.any()
    assert np.allclose(still["feature_kernel"], np.eye(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": np.ones((2, 2))}, r"targets must be a number or have shape \(P,\); got shape \(2, 2\)"),
        ({"targets": [np.nan]}, "targets holds 1 value"),
        ({"richness": 0.0}, "richness must be a finite number above 0"),
        ({"times": []}, "times must be one or more increasing numbers"),
        ({"times": [1.0, 0.5]}, "times must be one or more increasing numbers"),
        ({"times": [-1.0]}, "none below 0"),
        ({"times": "soon"}, "times must be numbers"),
        ({"rule": wl.Hebbian(1)}, r"covers Hebbian\(error_power=2\); got error_power=1"),
        ({"rule": "gd"}, "rule must be a Rule"),
    ],
)
def test_bad_input(change, message):
    arguments = {"rule": None, "targets": 1.0, "richness": 1.0, "times": [1.0]} | change
    with pytest.raises(wl.ArgumentError, match=message):
        wl.theory.two_layer(arguments.pop("rule"), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": 0.0}, "target must be a finite number above 0"),
        ({"richness": [1.0, -1.0]}, "richness must be positive"),
        ({"richness": []}, "richness must be positive"),
    ],
)
def test_bad_input_of_fixed_points(change, message):
    with pytest.raises(wl.ArgumentError, match=message):
        wl.theory.two_layer_fixed_point(**({"target": 1.0, "richness": 1.0} | change))


@pytest.mark.parametrize("rule", ["gd", "fa-0", "hebb"])
def test_strong_richness_takes_no_longer(rule):
    """Where the flow has settled it is not integrated on, however fast it would still relax."""
    found = wl.theory.two_layer(RULES[rule], targets=[1.0, -0.5], richness=1e5, times=[0.0, 50.0, math.inf])
    assert np.allclose(found["output"][1:], [1.0, -0.5], rtol=1e-9)
    assert np.allclose(found["feature_kernel"][1], found["feature_kernel"][2], rtol=1e-9)


@pytest.mark.parametrize(
    ("rule", "exact"),
    [
        (wl.GradientDescent(), lambda g: g**2 / 2),
        (wl.FeedbackAlignment(0.5), lambda g: (g / 1.5) ** 2),
        (wl.Hebbian(), lambda g: g - g**2 / 6),
    ],
)
def test_small_changes_keep_their_digits(rule, exact):
    """At γ0 = 10⁻⁸ ΔH is below the rounding of H itself."""
    strengths = np.array([1e-8, 1e-6])
    found = wl.theory.two_layer_fixed_point(rule, target=1.0, richness=strengths)["feature_kernel_change"]
    assert np.allclose(found, exact(strengths), rtol=1e-9)

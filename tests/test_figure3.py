"""Estimators of Fig. 3 against computations that share no code with them."""

import math

import numpy as np
import pytest
import xarray as xr

import widelimit as wl
from widelimit.paper import figure3

KERNEL = ("replicate", "step", "layer", "sample", "sample2")


def test_correlation_is_the_mean_cosine():
    random = np.random.default_rng(0)
    sizes = (2, 3, 2, 4)  # replicates, steps, layers, samples
    g = random.normal(size=(*sizes, 30))
    # Norms that differ between samples, which a ratio of sums would weigh.
    pseudo = 0.5 * g + random.normal(size=(*sizes, 30)) * np.array([0.1, 1.0, 3.0, 10.0])[:, None]
    overlap = lambda a, b: np.einsum("...mi,...ni->...mn", a, b) / 30  # noqa: E731
    run = xr.Dataset(
        {
            "gradient_kernel": (KERNEL, overlap(g, g)),
            "pseudo_gradient_kernel": (KERNEL, overlap(g, pseudo)),
            "pseudo_gradient_norm": (KERNEL[:-1], (pseudo**2).mean(axis=-1)),
        }
    )
    cosines = (g * pseudo).sum(-1) / (np.linalg.norm(g, axis=-1) * np.linalg.norm(pseudo, axis=-1))
    assert np.allclose(figure3._correlation(run).transpose("replicate", "step"), cosines.mean(axis=(2, 3)))
    assert abs(float((figure3._correlation(run) - figure3._weighted_correlation(run)).mean())) > 0.1


def test_correlation_is_one_where_the_rule_sends_the_gradient():
    run = wl.train(
        wl.MLP(2, wl.Tanh()),
        wl.datasets.sphere(4, 6),
        width=30,
        optimizer=wl.SGD(0.05),
        steps=3,
        replicates=2,
        progress=False,
    )
    assert np.allclose(figure3._correlation(run), 1.0)


def test_separation_and_rank():
    y = np.array([1.0, -1.0, 1.0, -1.0])
    # Within classes 3, between them −2, 5 on the diagonal.
    kernel = np.where(np.equal.outer(y, y), 3.0, -2.0) + 2.0 * np.eye(4)
    run = xr.Dataset(
        {
            "ntk": (("replicate", "step", "sample", "sample2"), kernel[None, None]),
            "feature_kernel": (KERNEL, np.stack([np.eye(4), np.outer(y, y) + 0.25 * np.eye(4)])[None, None]),
            "target": ("sample", y),
        }
    )
    assert figure3._separation(run).item() == pytest.approx(1.0)
    assert figure3._leading_share(run).item() == pytest.approx(4.25 / 5)
    assert figure3._leading_share(run).dims == ("replicate", "step")
    # yᵀ(yyᵀ + I/4)y = 17, |yyᵀ + I/4|_F² = 12 + 4 · 1.25², |y|² = 4.
    assert figure3._feature_alignment(run).item() == pytest.approx(17 / (4 * math.sqrt(18.25)))


def test_halving_time():
    time = np.linspace(0.0, 3.0, 301)
    loss = np.stack([4 * np.exp(-rate * time) for rate in (0.5, 2.0)])
    run = xr.Dataset({"loss": (("replicate", "step"), loss)}, coords={"time": ("step", time)})
    assert np.allclose(figure3._halving_time(run), [math.log(2) / 0.5, math.log(2) / 2.0], atol=1e-4)


def noisy(random, limit, replicates, scale):
    values = limit + scale * random.normal(size=(replicates, *limit.shape))
    coordinates = {"replicate": np.arange(replicates), "step": np.arange(0, 4 * len(limit), 4)}
    return xr.DataArray(values, dims=("replicate", "step", "sample", "sample2"), coords=coordinates)


def test_the_error_of_networks_is_without_that_of_the_theory():
    """Networks and a theory whose errors are known, the latter as large as the former."""
    random = np.random.default_rng(1)
    limit = random.normal(size=(5, 4, 4)) + 3.0
    theory = noisy(random, limit, 8, math.sqrt(8 / 400))
    # The theory has recorded steps that the networks have not.
    theory = xr.concat([theory, (theory + 100).assign_coords(step=theory["step"] + 1)], "step").sortby("step")
    counts = {100: 60, 400: 60, 1600: 30}
    found = figure3._relative_errors(
        theory, {width: noisy(random, limit, n, width**-0.5) for width, n in counts.items()}
    )
    assert found.dims == ("width", "replicate")
    assert list(found.count("replicate").values) == list(counts.values())
    mean, error = figure3._averaged(found)
    expected = 1 / np.array(list(counts)) / np.mean(limit**2)
    # What the one theory is off by is common to all networks: 80 numbers, of variance 1/400 each.
    shared = expected[1] * np.sqrt(2 / 80) + np.sqrt(4 * expected * expected[1] / 80 / np.array(list(counts.values())))
    assert np.all(np.abs(mean.values - expected) < 3.5 * np.hypot(error.values, shared))
    assert figure3._noise(theory.sel(step=[0, 4, 8, 12, 16])) == pytest.approx(expected[1], rel=0.3)


def test_the_exponent_and_its_error():
    """Squares with heavy tails at few networks: exponents scatter as they say."""
    random = np.random.default_rng(2)
    widths, counts = [100, 400, 1600, 4000], [40, 40, 20, 8]
    scores = []
    for _ in range(200):
        each = [random.chisquare(2, size=n) / width for width, n in zip(widths, counts, strict=True)]
        padded = np.full((4, 40), np.nan)
        for row, values in zip(padded, each, strict=True):
            row[: len(values)] = values
        found = figure3._exponent(xr.DataArray(padded, dims=("width", "replicate"), coords={"width": widths}))
        scores.append((found.value + 1) / found.error)
    # Means of few squares are skewed, which moves the logarithm of the last by −1/16, half of its standard error.
    assert abs(np.mean(scores)) < 0.4
    assert np.std(scores) == pytest.approx(1.0, abs=0.2)


def test_scaled_errors_pool_the_networks_of_all_widths():
    errors = xr.DataArray(
        [[1.0, 2.0, 3.0], [4.0, np.nan, np.nan]], dims=("width", "replicate"), coords={"width": [10, 5]}
    )
    assert sorted(figure3._scaled(errors).values) == [10.0, 20.0, 20.0, 30.0]
    assert figure3._scaled(errors).dims == ("replicate",)

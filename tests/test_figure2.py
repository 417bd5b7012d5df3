"""Estimators of Fig. 2 against computations that share no code with them."""

import numpy as np
import pytest
import xarray as xr

import widelimit as wl
from widelimit.paper import claims, figure2, widths
from widelimit.paper.estimates import Estimate

DEPTHS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def angles():
    return figure2._kernels_of_angle(figure2.Parameters(angles=31))


def relu_kernels(theta, depth):
    """Φ^0..Φ^L and G^1..G^{L+1} at an angle, by the arc-cosine formulas (Cho & Saul 2009)."""
    features, slopes, angle = [np.cos(theta)], [], theta
    for _ in range(depth):
        slopes.append(1 - angle / np.pi)
        features.append((np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi)
        angle = np.arccos(np.minimum(features[-1], 1.0))
    return features, [np.prod(slopes[layer:], axis=0) for layer in range(depth + 1)]


def test_kernels_of_angle_are_those_of_the_arc_cosine_formulas(angles):
    theta = angles["angle"].values
    far = theta > 0.01  # arccos loses half the digits near 1

    def tangent(depth, rho):
        features, gradients = relu_kernels(theta, depth)
        terms = [rho ** (depth - layer) * gradients[layer] * features[layer] for layer in range(depth + 1)]
        return np.sum(terms, axis=0)

    for rho in angles["rho"].values:
        assert np.allclose(angles["correlation"].sel(rho=rho)[far], tangent(4, rho)[far], rtol=0, atol=1e-10)
    for depth in DEPTHS:
        assert np.allclose(angles["depth"].sel(hidden=depth)[far], tangent(depth, 0.5)[far], rtol=0, atol=1e-10)


def test_the_cusp_is_the_one_sided_slope(angles):
    """Φ^ℓ has no cusp and G^{ℓ+1} the slope −(L − ℓ)/π, so −K'(0+)/K(0) = Σ_k k ρ^k / π Σ_k ρ^k."""
    for rho in angles["rho"].values:
        powers = rho ** np.arange(5)
        expected = np.arange(5) @ powers / np.pi / powers.sum()
        assert abs(figure2._cusp(angles["correlation"].sel(rho=rho)).value - expected) < 1e-5
    for depth in DEPTHS:
        assert abs(figure2._cusp(angles["gated"].sel(hidden=depth)).value - depth / np.pi) < 1e-5


def test_squared_errors_are_those_of_networks_in_numpy():
    """The leading order, put together for the figure, against networks in NumPy; feedback that is independent."""
    given = figure2.Parameters(samples=3, dimension=6)
    runs = figure2._runs(given)
    found = {f"{kind}-2-layers-0": runs[f"{kind}-2-layers-0"]() for kind in ("lazy", "fluctuations")}
    theory = found["lazy-2-layers-0"]
    x, width, count = wl.datasets.sphere(3, 6).x, 400, 300
    random, errors = np.random.default_rng(5), []
    for _ in range(count):
        first, middle, readout = (random.normal(size=size) for size in ((width, 6), (width, width), width))
        back, top = random.normal(size=(width, width)), random.normal(size=width)
        h1 = first @ x.T / np.sqrt(6)
        f1, d1 = np.sqrt(2) * np.maximum(h1, 0), np.sqrt(2) * (h1 > 0)
        h2 = middle @ f1 / np.sqrt(width)
        f2, d2 = np.sqrt(2) * np.maximum(h2, 0), np.sqrt(2) * (h2 > 0)
        g2, p2 = d2 * readout[:, None], d2 * top[:, None]
        g1, p1 = d1 * (middle.T @ g2) / np.sqrt(width), d1 * (back.T @ p2) / np.sqrt(width)
        kernel = (f2.T @ f2 + (g2.T @ p2) * (f1.T @ f1) / width) / width + (g1.T @ p1) / width * (x @ x.T / 6)
        errors.append(np.sum((kernel - theory["ntk"].values) ** 2) / np.sum(theory["ntk"].values ** 2))
    predicted = float(widths.leading_order(found["fluctuations-2-layers-0"], "ntk"))
    measured, error = width * np.mean(errors), width * np.std(errors, ddof=1) / np.sqrt(count)
    assert error < 0.1 * predicted
    assert abs(measured - predicted) < 3.5 * error


def test_exponents_and_where_the_leading_order_holds():
    random = np.random.default_rng(0)
    wide = [100, 200, 400, 800]
    values = xr.DataArray(
        random.exponential(size=(2000, 4)) / np.array(wide), dims=("replicate", "width"), coords={"width": wide}
    )
    found = widths.exponent(values)
    assert abs(found.value + 1) < 3 * found.error < 0.06
    assert widths.where_leading(4, (50, 74, 76, 100)) == [76, 100]
    # The variance (1 + 5/N)^L − 1 between two widths, by hand.
    assert widths.bend(1, (10, 100)) < 1e-12
    slope = np.log((1.05**3 - 1) / (1.025**3 - 1)) / np.log(2)
    assert widths.bend(3, (100, 200)) == pytest.approx(slope - 1)


def test_the_error_of_a_mean_square_is_its_scatter():
    """Products of factors drawn in NumPy, whose tails are still light enough to be sampled."""
    random, width, layers, count = np.random.default_rng(3), 200, 4, 400
    active = random.binomial(width, 0.5, size=(2000, count, layers))
    products = np.prod(2 * random.chisquare(active) / width, axis=-1)
    found = np.mean((products - 1) ** 2, axis=1)
    assert widths.error_of_mean_square(layers, width, count) == pytest.approx(found.std() / found.mean(), rel=0.15)
    assert widths.error_of_mean_square(8, 20, count) > 1


def test_networks_of_different_widths_share_no_random_numbers():
    task = wl.datasets.sphere(2, 5)
    first, second = (
        widths.random_networks(wl.MLP(1, wl.ReLU()), task, None, width, 100)["feature_kernel"].isel(layer=0)
        for width in (10, 11)
    )
    pair = [kernel.isel(sample=0, sample2=0).values for kernel in (first, second)]
    assert abs(np.corrcoef(pair)[0, 1]) < 4 / np.sqrt(100)


def test_several_numbers_with_one_value():
    found = {"a": Estimate(1.0, 0.1), "b": Estimate(1.5, 0.1)}
    claim = claims.all_equal("s", found, 1.0)
    assert (claim.measured, claim.verdict) == (1.5, claims.FAILS)
    assert claims.all_equal("s", found, 1.0, within=0.25).verdict == claims.HOLDS


def test_steps_with_errors_of_their_own_decide_an_order():
    levels = [Estimate(1.0, 1.0), Estimate(2.0, 1.0)]
    assert claims.ascending("s", levels).verdict == claims.OPEN
    sure = claims.ascending("s", levels, steps=[Estimate(1.0, 0.1)])
    assert (sure.verdict, sure.measured) == (claims.HOLDS, 1.0)
    assert claims.descending("s", levels, steps=[Estimate(1.0, 0.1)]).verdict == claims.FAILS

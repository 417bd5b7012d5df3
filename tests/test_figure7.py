"""Estimators of Fig. 7 against computations that share no code with them."""

import numpy as np
import pytest
import xarray as xr

import widelimit as wl
from widelimit.paper import figure7
from widelimit.results import observables


def relu_networks(width, layers, count, seed=0):
    """Φ^ℓ and G^ℓ of ReLU networks on one sample, (network, layer), in NumPy."""
    random = np.random.default_rng(seed)
    features, gradients = np.empty((count, layers)), np.empty((count, layers))
    for network in range(count):
        weights = [random.normal(size=(width, width)) / np.sqrt(width) for _ in range(layers - 1)]
        h = [random.normal(size=width)]
        for matrix in weights:
            h.append(matrix @ (np.sqrt(2) * np.maximum(h[-1], 0)))
        z = random.normal(size=width)
        for layer in range(layers)[::-1]:
            features[network, layer] = np.mean(2 * np.maximum(h[layer], 0) ** 2)
            g = np.sqrt(2) * (h[layer] > 0) * z
            gradients[network, layer] = np.mean(g**2)
            z = weights[layer - 1].T @ g if layer else z
    return features, gradients


def as_result(features, gradients):
    def kernel(values):
        return ("replicate", "layer", "sample", "sample2"), values[:, :, None, None]

    layers = np.arange(1, features.shape[1] + 1)
    return xr.Dataset(
        {"feature_kernel": kernel(features), "gradient_kernel": kernel(gradients)}, coords={"layer": layers}
    )


@pytest.fixture(scope="module")
def networks():
    return relu_networks(8, 3, 4000)


@pytest.mark.parametrize("symbol", figure7._KERNELS)
def test_steps_multiply_to_the_walk(networks, symbol):
    features, gradients = networks
    walk = figure7._walk(as_result(*networks), symbol)
    assert np.array_equal(walk.values, features if symbol == "Φ" else gradients[:, ::-1])
    steps = figure7._ratios(as_result(*networks), symbol)
    alive = features[:, -1] > 0
    assert 0 < np.sum(~alive) < 100
    assert np.all(np.isnan(steps.values[~alive]))
    assert np.allclose(np.cumprod(steps.values[alive], axis=1), walk.values[alive])


@pytest.mark.parametrize("symbol", figure7._KERNELS)
def test_chained_variances_follow_the_exact_law(networks, symbol):
    """Networks in NumPy at a width where the leading order is off by two thirds."""
    found = figure7._chained(figure7._ratios(as_result(*networks), symbol))
    mean, error = observables.mean(found).values, observables.standard_error(found).values
    exact = np.array([(1 + 5 / 8) ** distance - 1 for distance in (1, 2, 3)])
    # Networks that are silent are left out: a fraction 2^-8 for each layer.
    assert np.all(abs(mean - exact) < 3.5 * error + 0.015 * exact)
    assert np.all(error < 0.06 * exact)
    assert exact[2] > 1.7 * 15 / 8


def test_the_error_of_a_chained_variance_is_its_scatter():
    """Steps drawn anew 400 times: the estimate has no bias, and its standard error is its standard deviation."""
    random = np.random.default_rng(1)
    steps = xr.DataArray(random.exponential(size=(400, 200, 3)), dims=("again", "replicate", "distance"))
    found = figure7._chained(steps)
    estimates = found.mean("replicate").values
    error = np.sqrt(np.mean(observables.standard_error(found).values ** 2, axis=0))
    exact = 2.0 ** np.array([1, 2, 3]) - 1  # exponential variables have variance 1
    assert np.all(abs(estimates.mean(axis=0) - exact) < 4 * estimates.std(axis=0) / 20)
    assert np.allclose(error, estimates.std(axis=0), rtol=0.2)


def test_products_have_the_covariance_as_mean():
    random = np.random.default_rng(2)
    values = xr.DataArray(random.normal(size=(50, 3)), dims=("replicate", "distance"))
    products = figure7._products(values).mean("replicate").transpose("distance", "distance2")
    assert np.allclose(products, values.values.T @ values.values / 50)


def test_layers_and_laws_by_distance():
    theory = wl.theory.fluctuations(wl.MLP(3, wl.ReLU()), wl.datasets.sphere(1, 4), width=10)
    least = np.minimum.outer([1, 2, 3], [1, 2, 3])
    for symbol in figure7._KERNELS:
        assert np.allclose(figure7._leading_order(theory, symbol), 0.5 * least)
    assert [figure7._layer_at("G", distance, 6) for distance in (1, 6)] == [6, 1]
    assert figure7._layer_at("Φ", 2, 6) == 2
    distance, width = xr.DataArray([1, 2], dims="distance"), xr.DataArray([10, 100], dims="width")
    assert np.allclose(figure7._exact_law(distance, width), [[0.5, 0.05], [1.25, 0.1025]])

"""Observables against their formulas, written out with loops."""

import numpy as np
import pytest
import xarray as xr

import widelimit as wl
from widelimit.results import observables

random = np.random.default_rng(0)


def labelled(values, *dims):
    return xr.DataArray(values, dims=dims)


def test_mean_and_standard_error():
    values = labelled(random.normal(size=(5, 3)), "replicate", "step")
    assert np.allclose(observables.mean(values), values.values.sum(axis=0) / 5, rtol=1e-14)
    expected = [np.sqrt(sum((v - column.mean()) ** 2 for v in column) / 4 / 5) for column in values.values.T]
    assert np.allclose(observables.standard_error(values), expected, rtol=1e-12)


def test_standard_error_counts_only_what_is_there():
    values = random.normal(size=(5, 2))
    values[3:, 1] = np.nan
    found = observables.standard_error(labelled(values, "replicate", "step"))
    assert np.isclose(found[0], values[:, 0].std(ddof=1) / np.sqrt(5), rtol=1e-12)
    assert np.isclose(found[1], values[:3, 1].std(ddof=1) / np.sqrt(3), rtol=1e-12)


def test_standard_error_of_one_replicate_is_unknown():
    found = observables.standard_error(labelled(np.ones((1, 3)), "replicate", "step"))
    assert found.dims == ("step",)
    assert np.all(np.isnan(found))


def test_relative_standard_error():
    values = random.normal(size=(5, 3, 2)) + 1
    found = observables.relative_standard_error(labelled(values, "replicate", "sample", "step"), "sample")
    error, mean = values.std(axis=0, ddof=1) / np.sqrt(5), values.mean(axis=0)
    assert np.allclose(found, np.linalg.norm(error, axis=0) / np.linalg.norm(mean, axis=0), rtol=1e-12)
    single = observables.relative_standard_error(labelled(values[:1], "replicate", "sample", "step"), "sample")
    assert np.isnan(single).all()


def test_alignment_of_one_output():
    kernel, y = random.normal(size=(2, 4, 4)), random.normal(size=4)
    found = observables.alignment(labelled(kernel, "step", "sample", "sample2"), labelled(y, "sample"))
    expected = [y @ k @ y / (np.sqrt(np.sum(k**2)) * (y @ y)) for k in kernel]
    assert found.dims == ("step",)
    assert np.allclose(found, expected, rtol=1e-13)


def test_alignment_is_one_for_the_perfect_kernel_and_minus_one_for_its_negative():
    y = random.normal(size=4)
    for sign in (1, -1):
        kernel = labelled(sign * 3 * np.outer(y, y), "sample", "sample2")
        assert np.isclose(observables.alignment(kernel, labelled(y, "sample")), sign, rtol=1e-13)


def test_alignment_of_a_kernel_of_samples_with_classes():
    kernel, y = random.normal(size=(4, 4)), random.normal(size=(4, 3))
    found = observables.alignment(labelled(kernel, "sample", "sample2"), labelled(y, "sample", "output_unit"))
    outer = y @ y.T
    assert np.isclose(found, np.sum(kernel * outer) / np.sqrt(np.sum(kernel**2) * np.sum(outer**2)), rtol=1e-13)


def test_alignment_of_a_kernel_with_blocks():
    kernel, y = random.normal(size=(4, 4, 3, 3)), random.normal(size=(4, 3))
    found = observables.alignment(
        labelled(kernel, "sample", "sample2", "output_unit", "output_unit2"), labelled(y, "sample", "output_unit")
    )
    matrix, vector = kernel.transpose(0, 2, 1, 3).reshape(12, 12), y.reshape(12)
    expected = vector @ matrix @ vector / (np.linalg.norm(matrix) * (vector @ vector))
    assert np.isclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("name", ["short_run", "short_multiclass_run"])
def test_alignments_of_a_run(name, request):
    run = request.getfixturevalue(name)
    for kernel in ("ntk", "feature_kernel"):
        found = observables.alignment(run[kernel], run["target"])
        assert {"replicate", "step"} <= set(found.dims)
        assert not {"sample", "sample2", "output_unit", "output_unit2"} & set(found.dims)
        assert np.all(np.abs(found) <= 1 + 1e-12)


def test_gradient_alignment_is_one_for_gradient_descent(short_run):
    found = observables.gradient_alignment(short_run)
    assert found.dims == ("replicate", "step", "layer")
    assert np.allclose(found, 1, rtol=1e-12)


def test_gradient_alignment_by_loops(short_multiclass_run):
    run = short_multiclass_run
    found = observables.gradient_alignment(run)
    g, mixed, norm = (run[n] for n in ("gradient_kernel", "pseudo_gradient_kernel", "pseudo_gradient_norm"))
    for step in (0, 4):
        for layer in (0, 1):
            at = {"replicate": 1, "step": step, "layer": layer}
            pairs = [(p, c) for p in range(4) for c in range(3)]
            own = sum(float(g.isel(at).values[p, p, c, c]) for p, c in pairs)
            cross = sum(float(mixed.isel(at).values[p, p, c, c]) for p, c in pairs)
            pseudo = sum(float(norm.isel(at).values[p, c]) for p, c in pairs)
            assert np.isclose(found.isel(at), cross / np.sqrt(own * pseudo), rtol=1e-12)
    assert np.all(np.abs(found) < 1)


def test_distance():
    a, b = random.normal(size=(2, 3, 4))
    found = observables.distance(labelled(a, "step", "sample"), labelled(b, "step", "sample"), "sample")
    assert np.allclose(found, np.sum((a - b) ** 2, axis=1) / np.sum(b**2, axis=1), rtol=1e-13)
    both = observables.distance(labelled(a, "step", "sample"), labelled(b, "step", "sample"), ("step", "sample"))
    assert np.isclose(both, np.sum((a - b) ** 2) / np.sum(b**2), rtol=1e-13)


def test_classification_error_by_sign():
    output = labelled([[0.3, -2.0, 0.1], [0.3, 2.0, -0.1]], "step", "sample")
    assert np.allclose(observables.classification_error(output, labelled([1.0, -1.0, 1.0], "sample")), [0, 2 / 3])


def test_classification_error_by_largest_output():
    output = labelled([[0.3, 0.1, 0.2], [0.1, 0.3, 0.2], [0.1, 0.2, 0.3]], "test_sample", "output_unit")
    target = labelled([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]], "test_sample", "output_unit")
    assert np.isclose(observables.classification_error(output, target), 1 / 3)


@pytest.mark.parametrize("outputs", [(), ("output_unit",)])
def test_the_error_of_a_diverged_replicate_is_unknown(outputs):
    shape = (2, 3) + (2,) * len(outputs)
    target = xr.DataArray(np.ones(shape[1:]), dims=("sample", *outputs))
    values = np.ones(shape)
    values[1] = np.nan
    output = xr.DataArray(values, dims=("replicate", "sample", *outputs))
    found = observables.classification_error(output, target).values
    assert found[0] == 0
    assert np.isnan(found[1])


def test_dissimilarities_and_similarities_of_representations():
    random = np.random.default_rng(0)
    responses = random.normal(size=(2, 1, 30, 5))
    distances = observables.rdm(responses)
    flat = responses[0, 0]
    assert float(distances[0, 1, 3]) == pytest.approx(((flat[:, 1] - flat[:, 3]) ** 2).mean())
    assert float(observables.rdm(responses, "correlation")[1, 0, 2]) == pytest.approx(
        1 - np.corrcoef(responses[1, 0, :, 0], responses[1, 0, :, 2])[0, 1]
    )
    kernel = flat.T @ flat / 30
    np.testing.assert_allclose(observables.rdm_of_kernel(kernel), distances[0], atol=1e-12)
    centring = np.eye(5) - 0.2
    np.testing.assert_allclose(observables.kernel_of_rdm(distances[0]), centring @ kernel @ centring, atol=1e-12)
    other = responses[1, 0].T @ responses[1, 0] / 30
    a, b = centring @ kernel @ centring, centring @ other @ centring
    expected = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    assert float(observables.cka(kernel, other)) == pytest.approx(expected)
    assert float(observables.cka(kernel, 3 * kernel, debiased=True)) == pytest.approx(1)
    # Bures: the largest correlation that a rotation of neurons reaches is the nuclear norm of the cross-covariance.
    cross = np.linalg.svd(responses[0, 0] @ responses[1, 0].T, compute_uv=False).sum()
    norm = np.linalg.norm(responses[0, 0]) * np.linalg.norm(responses[1, 0])
    assert float(observables.bures(kernel, other)) == pytest.approx(cross / norm)
    assert float(observables.participation_ratio(np.eye(5), centred=False)) == pytest.approx(5)
    assert float(observables.participation_ratio(np.eye(5))) == pytest.approx(4)
    values = responses[:, 0].transpose(0, 2, 1)
    two_time = np.einsum("tmn,skn->tsmk", values, values) / 30
    expected = (values[0] * values[1]).sum() / (np.linalg.norm(values[0]) * np.linalg.norm(values[1]))
    assert float(observables.drift(two_time)[0, 1]) == pytest.approx(1 - expected)


def test_crossnobis_has_no_bias_and_debiased_cka_is_nothing_by_chance():
    random = np.random.default_rng(0)
    noise = random.normal(size=(4, 4000, 3))
    biased, without = (float(observables.rdm(noise, name)[0, 1]) for name in ("squared_euclidean", "crossnobis"))
    assert biased == pytest.approx(0.5, rel=0.1)
    assert without == pytest.approx(0, abs=0.05)
    with pytest.raises(wl.ArgumentError, match="two trials"):
        observables.rdm(noise[:1], "crossnobis")
    draws = random.normal(size=(200, 2, 10, 5))
    kernels = draws @ draws.transpose(0, 1, 3, 2)
    alignments = observables.cka(kernels[:, 0], kernels[:, 1], debiased=True).values
    assert abs(alignments.mean()) < 4 * alignments.std() / np.sqrt(200)
    assert float(observables.cka(kernels[:, 0], kernels[:, 1]).mean()) > 0.3

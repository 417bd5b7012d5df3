"""Corrections in 1/N: their regression, two-layer linear theory against NumPy, and each against the other."""

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from helpers import of_which_fast, small_task

import widelimit as wl
from widelimit.ensembles.expansion import Samples, bootstrapped

LINEAR = wl.MLP(1, wl.Linear(), 1.3)
SGD = wl.SGD(0.12, momentum=0.3, weight_decay=0.05)
KINDS = {
    "gd": wl.GradientDescent(),
    "fa-half": wl.FeedbackAlignment(0.5),
    "dfa": wl.DirectFeedbackAlignment(),
    "hebb": wl.Hebbian(),
    "hebb-1": wl.Hebbian(error_power=1),
}


def theory(task, rule, steps=6, **options):
    return wl.theory.two_layer_fluctuations(LINEAR, task, rule, **{"optimizer": SGD, "steps": steps} | options)


def networks(task, kind, width, count, steps, seed=0, batches=None):
    """f, loss, Φ and K of many two-layer linear networks, trained in NumPy all at once: (network, step, ...)."""
    random = np.random.default_rng(seed)
    x, y = task.x, task.y
    samples, dimension = x.shape
    outputs = y.shape[1]
    first = random.normal(size=(count, width, dimension))
    readout = random.normal(size=(count, outputs, width))
    rho = {"fa-half": 0.5}.get(kind, 0.0)
    frozen = rho * readout + np.sqrt(1 - rho**2) * random.normal(size=readout.shape)
    moved = [np.zeros_like(first), np.zeros_like(readout)]
    gamma, size, momentum, keep = 1.3, 0.12, 0.3, 1 - 0.12 * 0.05
    order = None if batches is None else batches.order(samples, steps + 1)
    recorded, start = [], None
    for step in range(steps + 1):
        h = np.einsum("rnd,md->rnm", first, x) / np.sqrt(dimension)
        f = np.einsum("rcn,rnm->rmc", readout, h) / (gamma * width)
        start = f if start is None else start
        error = y - (f - start)
        kernel = np.einsum("rnm,rnk->rmk", h, h) / width
        sent = {"gd": readout}.get(kind, frozen)
        if kind.startswith("hebb"):
            power = 1 if kind == "hebb-1" else 2
            local = np.einsum("rmc->rm", error**power)[:, None] * h
            across = np.einsum("rcn,rnk->rck", readout, h)[:, 0] / width * error[:, :, 0] ** (power - 1)
            across = np.broadcast_to(across[:, None, :], kernel.shape)
        else:
            across = np.broadcast_to(
                (np.einsum("rn,rn->r", readout[:, 0], sent[:, 0]) / width)[:, None, None], kernel.shape
            )
        recorded.append(
            {
                "output": f - start,
                "loss": 0.5 * (error**2).sum(axis=(1, 2)),
                "feature_kernel": kernel,
                "ntk": kernel + across * (x @ x.T / dimension),
            }
        )
        if order is not None:
            mask = np.zeros((samples, 1))
            mask[order[step]] = 1
            error = mask * error
            if kind.startswith("hebb"):
                local = np.einsum("rmc->rm", error**power)[:, None] * h
        if not kind.startswith("hebb"):
            local = np.einsum("rmc,rcn->rnm", error, sent)
        change = [
            np.einsum("rnm,md->rnd", local, x) / np.sqrt(dimension),
            np.einsum("rmc,rnm->rcn", error, h),
        ]
        moved = [momentum * v + size * gamma * c for v, c in zip(moved, change, strict=True)]
        first, readout = keep * first + moved[0], keep * readout + moved[1]
    return {name: np.stack([each[name] for each in recorded], axis=1) for name in recorded[0]}


# --- theory against networks


@pytest.mark.parametrize("kind", of_which_fast(KINDS, "gd", "hebb"))
def test_two_layer_theory_is_the_leading_order_of_networks(kind):
    """Mean shift and variance, extrapolated from two widths with no library code at all, in standard errors.

    The mean of a kernel at the start is known, so that its deviation there is taken away from those that follow.
    """
    task, steps, counts = small_task(3, 4, outputs=1), 6, {25: 16000, 50: 8000}
    solved = theory(task, KINDS[kind], steps)
    runs = {width: networks(task, kind, width, count, steps, seed=width) for width, count in counts.items()}
    for name in ("output", "loss", "feature_kernel", "ntk"):
        expected = solved[name].squeeze(drop=True).transpose("measure", "step", ...)
        limit, shift, variance = (expected.sel(measure=m).values for m in ("limit", "shift", "variance"))
        means, spreads, errors, spread_errors = [], [], [], []
        for width, count in counts.items():
            values = runs[width][name].reshape(count, *limit.shape)
            moved = values - values[:, :1]
            means.append(width * (moved.mean(axis=0) - (limit - limit[:1])))
            errors.append(width * moved.std(axis=0, ddof=1) / np.sqrt(count))
            spreads.append(width * values.var(axis=0, ddof=1))
            fourth = ((values - values.mean(axis=0)) ** 4).mean(axis=0)
            spread_errors.append(width * np.sqrt(np.maximum(fourth - values.var(axis=0) ** 2, 0) / count))
        for found, error, wanted, what in (
            (2 * means[1] - means[0], np.hypot(2 * errors[1], errors[0]), shift, "shift"),
            (2 * spreads[1] - spreads[0], np.hypot(2 * spread_errors[1], spread_errors[0]), variance, "variance"),
        ):
            # What extrapolation leaves is of order 1/N², a hundredth or so.
            room = 4.5 * error + 0.04 * np.abs(wanted).max()
            worst = np.max(np.abs(found - wanted) / np.maximum(room, 1e-12))
            assert worst < 1, f"{name}, {what}: {worst:.2f} of what is allowed"
            assert np.median(error) < 0.5 * np.abs(wanted).max(), f"{name}, {what}: nothing is resolved"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [None, 2])
def test_its_limit_is_that_of_the_solver_of_linear_networks(kind, outputs):
    task, slow = small_task(4, 3, outputs=outputs, test_samples=2), wl.SGD(0.05, 0.3, 0.05)  # Hebb diverges faster
    solved = theory(task, KINDS[kind], optimizer=slow).sel(measure="limit")
    linear = wl.theory.linear(LINEAR, task, KINDS[kind], optimizer=slow, steps=6)
    for name in ("output", "test_output", "loss", "feature_kernel", "gradient_kernel", "pseudo_gradient_kernel", "ntk"):
        np.testing.assert_allclose(solved[name].values, linear[name].values, atol=1e-11, err_msg=name)


def test_minibatches_and_outputs_are_those_of_networks():
    task, batches = small_task(4, 3, outputs=2), wl.Batches(2, seed=3)
    solved = theory(task, wl.GradientDescent(), batches=batches)
    count = 4000
    found = networks(task, "gd", 100, count, 6, batches=batches)["output"]
    error = found.std(axis=0, ddof=1) / np.sqrt(count)
    expected = (solved["output"].sel(measure="limit") + solved["output"].sel(measure="shift") / 100).values
    assert np.all(np.abs(found.mean(axis=0) - expected) <= 4.5 * error + 1e-3)
    variance = solved["output"].sel(measure="variance").values
    np.testing.assert_allclose(100 * found.var(axis=0), variance, atol=0.12 * variance.max())


def test_at_the_start_kernels_scatter_as_a_wishart_matrix():
    task = small_task(3, 5)
    solved = theory(task, wl.GradientDescent(), steps=0)
    gram = task.x @ task.x.T / 5
    expected = np.outer(np.diag(gram), np.diag(gram)) + gram**2
    np.testing.assert_allclose(solved["feature_kernel"].sel(measure="variance", step=0, layer=1), expected, atol=1e-12)
    np.testing.assert_allclose(solved["feature_kernel"].sel(measure="shift"), 0, atol=1e-12)
    initial = wl.theory.fluctuations(LINEAR, task, width=1)
    diagonal = np.einsum("abab->ab", initial["ntk_covariance"].values)
    np.testing.assert_allclose(solved["ntk"].sel(measure="variance", step=0), diagonal, atol=1e-10)


def test_rich_training_lowers_the_variance():
    """Of K relative to its square, and of f over the run; the paper's Fig. 5 task."""
    task = wl.Task(2 * np.eye(4), np.array([1.0, -1.0, 1.0, 1.0]))
    kernels, outputs = [], []
    for richness in (0.1, 1.0, 3.0):
        net = wl.MLP(1, wl.Linear(), richness)
        solved = wl.theory.two_layer_fluctuations(net, task, optimizer=wl.SGD(0.05), steps=40)
        last = solved["ntk"].isel(step=-1)
        kernels.append(float(last.sel(measure="variance").sum() / (last.sel(measure="limit") ** 2).sum()))
        outputs.append(float(solved["output"].sel(measure="variance").mean()))
    assert kernels[1] < 0.5 * kernels[0]
    assert kernels[2] < 0.5 * kernels[1]
    assert outputs[2] < 0.6 * outputs[1] < 0.6 * outputs[0]


def test_a_run_that_diverges_keeps_the_steps_before():
    with pytest.warns(wl.DivergenceWarning, match="diverged at step"):
        solved = theory(small_task(4, 3), wl.GradientDescent(), steps=300, optimizer=wl.SGD(3.0))
    assert 1 < solved.sizes["step"] < 300
    assert np.isfinite(solved["output"]).all()


# --- the regression


def drawn(widths, count, seed, shift, curvature, spread, error=0.0):
    random = np.random.default_rng(seed)
    limit = np.linspace(-1, 1, 5)
    runs = [limit + shift / n + curvature / n**2 + np.sqrt(spread / n) * random.normal(size=(count, 5)) for n in widths]
    anchor = limit + error * random.normal(size=(8, 5))
    return Samples(anchor, runs, widths)


def test_coefficients_and_their_errors_are_right():
    """Over repetitions, the estimates scatter about the truth as their errors say, that of the limit among them."""
    shift, spread = np.array([3.0, -2.0, 0.0, 1.0, 5.0]), np.array([1.0, 2.0, 0.5, 1.0, 3.0])
    deviations = {"shift": [], "variance": [], "curvature": []}
    for seed in range(60):
        found = bootstrapped(drawn((50, 100, 200), 60, seed, shift, 0.0, spread, 0.003), 100, seed)
        deviations["shift"].append((found.shift - shift) / found.shift_error)
        deviations["variance"].append((found.variance - spread) / found.variance_error)
        deviations["curvature"].append(found.curvature / found.curvature_error)
    for name, values in deviations.items():
        values = np.array(values)
        assert abs(values.mean()) < 0.3, name
        assert 0.85 < values.std() < 1.25, name


@pytest.mark.parametrize(("widths", "count"), [((400,), 4), ((200, 400), 4), ((400,), 8), ((100, 200, 400), 16)])
def test_two_errors_hold_as_often_with_few_networks(widths, count):
    """Entries are beyond two standard errors as often as by a normal law, 4.6 %, however few networks there are."""
    random, entries = np.random.default_rng(count), 3000
    limit = np.ones(entries)
    runs = [limit + random.normal(size=(count, entries)) / np.sqrt(width) for width in widths]
    for anchor in (limit[None], limit + 0.02 * random.normal(size=(4, entries))):
        found = bootstrapped(Samples(anchor, runs, widths), 60, 0)
        for value, error, true, least in (
            (found.shift, found.shift_error, 0.0, 0.03),
            (found.variance, found.variance_error, 1.0, 0.03),
            (found.curvature, found.curvature_error, 0.0, 0.02),
            (found.variance_curvature, found.variance_curvature_error, 0.0, 0.0),
        ):
            if np.isfinite(value).all():
                assert least <= np.mean(np.abs(value - true) > 2 * error) < 0.065


def test_errors_of_covariances_hold_as_often_with_few_networks():
    random = np.random.default_rng(0)
    beyond = []
    for seed in range(600):
        runs = [random.normal(size=(4, 1, 2)) / np.sqrt(width) for width in (200, 400)]
        value, error = Samples(np.zeros((1, 1, 2)), runs, (200, 400)).covariance(30, seed)
        beyond.append(np.abs(value - np.eye(2))[0] > 2 * error[0])
    shares = np.mean(beyond, axis=0)
    assert np.all(np.diag(shares) < 0.08)
    assert np.all(np.diag(shares) > 0.02)
    assert shares[0, 1] < 0.08


def test_the_next_order_is_seen_and_told():
    found = bootstrapped(drawn((20, 40, 80), 4000, 0, 2.0, 60.0, 0.5), 100, 0)
    assert np.all(np.abs(found.curvature - 60) < 4 * found.curvature_error)
    assert np.all(found.curvature > 5 * found.curvature_error)


def test_one_width_has_no_check_and_says_so():
    found = bootstrapped(drawn((50,), 50, 0, 1.0, 0.0, 1.0), 50, 0)
    assert np.isnan(found.curvature).all()
    assert np.isfinite(found.shift).all()


# --- corrections


@pytest.fixture(scope="module")
def measured():
    task = small_task(3, 4)
    vectors = np.stack([np.outer(task.y[:, 0], task.y[:, 0]), np.eye(3)])
    return task, wl.corrections(
        LINEAR,
        task,
        optimizer=wl.SGD(0.15),
        steps=5,
        widths=(40, 80),
        replicates=240,
        limit=wl.theory.linear(LINEAR, task, optimizer=wl.SGD(0.15), steps=5),
        directions={"ntk": vectors},
        of=("output", "loss", "feature_kernel", "ntk"),
        seed=1,
        resamples=100,
    )


def test_corrections_of_networks_are_those_of_the_theory(measured):
    task, found = measured
    solved = wl.theory.two_layer_fluctuations(LINEAR, task, optimizer=wl.SGD(0.15), steps=5)
    for name in ("output", "loss", "feature_kernel", "ntk"):
        for measure in ("shift", "variance"):
            value, error = (found[name].sel(measure=m) for m in (measure, f"{measure}_error"))
            expected = solved[name].sel(measure=measure)
            scale = float(abs(expected).max())
            # 4 standard errors of each entry, and the next order in 1/N.
            assert float((abs(value - expected) - 4 * error).max()) < 0.1 * scale, f"{name}, {measure}"
            if measure == "variance" or name in ("output", "loss"):  # the shift of a kernel is small beside its spread
                assert float(error.max()) < 0.5 * scale, f"{name}, {measure}"


def test_projections_are_sums_of_entries(measured):
    task, found = measured
    vector = np.outer(task.y[:, 0], task.y[:, 0])
    for measure in ("limit", "shift", "curvature"):
        expected = (found["ntk"].sel(measure=measure) * vector).sum(("sample", "sample2"))
        np.testing.assert_allclose(found["ntk_projection"].sel(measure=measure, direction=0), expected, atol=1e-10)
    diagonal = np.einsum("sdd->sd", found["ntk_projection_covariance"].values)
    np.testing.assert_allclose(diagonal, found["ntk_projection"].sel(measure="variance"), rtol=1e-10)
    assert found["ntk_projection_covariance_error"].shape == (6, 2, 2)


def test_corrections_are_saved_and_read_back(measured, tmp_path):
    _, found = measured
    xr.testing.assert_identical(wl.load(wl.save(found, tmp_path / "c.nc")), found)


def test_width_for_solves_what_it_says(measured):
    task, found = measured
    solved = wl.theory.two_layer_fluctuations(LINEAR, task, optimizer=wl.SGD(0.15), steps=5)
    part = {m: solved["ntk"].sel(measure=m) for m in ("limit", "shift", "variance")}
    for accuracy, count in ((0.1, 1), (0.02, 30), (0.01, math.inf)):
        width = wl.width_for(accuracy, of="ntk", corrections=solved, networks=count)
        of = lambda n, count=count: float(  # noqa: E731
            ((part["shift"] / n) ** 2 + part["variance"] / n / count).sum() / (part["limit"] ** 2).sum()
        )
        assert of(width) <= accuracy**2 * (1 + 1e-9)
        assert of(width - 1) > accuracy**2
    with pytest.warns(wl.ExpansionWarning):
        many = wl.width_for(0.02, of="ntk", corrections=found, networks=1000)
    one = wl.width_for(0.02, of="ntk", corrections=found)
    assert one > many
    assert one == pytest.approx(wl.width_for(0.02, of="ntk", corrections=solved), rel=0.2)


def test_width_for_is_seldom_too_small_with_few_networks():
    """From the errors of many draws of four networks whose shift and variance are known."""
    random, limit, shift, widths = np.random.default_rng(5), np.ones(3), np.array([6.0, 0.0, 3.0]), (200, 400)
    exact, few = [], []

    def width(expansion, count):
        names = ("limit", "shift", "shift_error", "variance", "variance_error")
        values = np.stack([getattr(expansion, name) for name in names])
        dataset = xr.Dataset({"quantity": (("measure", "entry"), values)}, coords={"measure": list(names)})
        return wl.width_for(0.05, of="quantity", corrections=dataset, networks=count)

    for _ in range(100):
        runs = [limit + shift / n + random.normal(size=(4, 3)) / np.sqrt(n) for n in widths]
        found = bootstrapped(Samples(limit[None], runs, widths), 20, 0)
        few.append([width(found, count) for count in (1, 20, math.inf)])
    for count in (1, 20, math.inf):
        size = np.sum(limit**2)
        inverse = np.linspace(1e-4, 0.05, 100000)
        good = (np.sum(shift**2) * inverse**2 + 3 * inverse / count) <= 0.05**2 * size
        exact.append(1 / inverse[good].max())
    assert np.all(np.mean(np.array(few) < np.array(exact), axis=0) < 0.2)


def test_width_for_knows_rounding_from_a_limit():
    """Trained on zero, outputs are made of rounding, and losses of its squares; what is small and real is told."""
    task, net = small_task(3, 4), wl.MLP(2, wl.Tanh())
    options: dict[str, Any] = {
        "optimizer": wl.SGD(0.1),
        "steps": 3,
        "widths": (50, 100),
        "replicates": 4,
        "progress": False,
    }
    zero = wl.corrections(net, wl.Task(task.x, 0 * task.y), **options)
    for name in ("output", "loss"):
        with pytest.raises(wl.ArgumentError, match="is zero at infinite width"):
            wl.width_for(0.1, of=name, corrections=zero)
    assert wl.width_for(0.1, of="ntk", corrections=zero) > 10
    small = wl.Task(task.x, 1e-10 * task.y)
    solved = wl.theory.two_layer_fluctuations(LINEAR, small, optimizer=wl.SGD(0.1), steps=3)
    for name in ("output", "loss"):
        assert wl.width_for(0.1, of=name, corrections=solved) > 1


def test_width_for_refuses_a_limit_that_is_not_told_from_zero():
    values = [[1e-3], [8e-4], [1.0], [1.0]]
    names = ["limit", "limit_error", "shift", "variance"]
    found = xr.Dataset({"quantity": (("measure", "entry"), values)}, coords={"measure": names})
    with pytest.raises(wl.ArgumentError, match="not told from zero"):
        wl.width_for(0.1, of="quantity", corrections=found)


def test_width_for_warns_below_what_was_measured(measured):
    _, found = measured
    with pytest.warns(wl.ExpansionWarning, match="fewer than the 40"):
        wl.width_for(0.9, of="ntk", corrections=found)


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": ()}, "widths must be numbers"),
        ({"widths": (50, 50)}, "different from one another"),
        ({"widths": (50, 1)}, "widths must be"),
        ({"widths": 50}, "widths must be numbers"),
        ({"replicates": 2}, "replicates"),
        ({"resamples": 3}, "resamples"),
        ({"of": "ntks"}, "Did you mean 'ntk'"),
        ({"of": ()}, "of must be"),
        ({"of": "test_output"}, "needs test points"),
        ({"record": wl.Record(kernels=())}, "record.kernels lacks"),
        ({"limit": 3}, "limit must be"),
        ({"limit": xr.Dataset()}, "recorded steps"),
        ({"directions": 3}, "directions must be"),
        ({"directions": {"loss": np.ones(2)}, "of": "ntk"}, "unknown name"),
        ({"directions": {"ntk": np.ones((2, 3))}, "of": "ntk"}, "must have the shape"),
    ],
)
def test_what_cannot_serve_is_refused(options, message):
    task = small_task(3, 4)
    given = {"limit": wl.theory.linear(LINEAR, task, optimizer=wl.SGD(0.1), steps=1)} | options
    with pytest.raises(wl.ArgumentError, match=message):
        wl.corrections(LINEAR, task, optimizer=wl.SGD(0.1), steps=1, **given)


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (wl.MLP(2, wl.Linear()), {}, "one hidden layer"),
        (wl.MLP(1, wl.Tanh()), {}, "one hidden layer"),
        (LINEAR, {"rule": wl.KolenPollack()}, "covers"),
        (LINEAR, {"rule": wl.Hebbian(error_power=0)}, "error_power"),
        (LINEAR, {"optimizer": wl.SGD("auto")}, "number"),
    ],
)
def test_theory_refuses_what_it_does_not_cover(net, options, message):
    with pytest.raises(wl.ArgumentError, match=message):
        wl.theory.two_layer_fluctuations(net, small_task(3, 4), **{"optimizer": wl.SGD(0.1), "steps": 1} | options)


def test_width_for_refuses(measured):
    _, found = measured
    for options, message in (
        ({"accuracy": 0}, "accuracy"),
        ({"corrections": 3}, "corrections must be"),
        ({"corrections": xr.Dataset()}, "measure"),
        ({"of": "error"}, "unknown name"),
        ({"networks": 0}, "networks"),
    ):
        with pytest.raises(wl.ArgumentError, match=message):
            wl.width_for(**{"accuracy": 0.1, "corrections": found, "of": "ntk"} | options)

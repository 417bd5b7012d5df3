"""Over which devices a run is spread: the replicates of a group, and at infinite width the particles of each layer.

A step is one program for all devices. Arrays are laid out over a mesh with the axes `replicate` and `particle`, and the
compiler finds what devices have to tell one another: averages over particles, which are sums of small matrices
(kernels, coordinates), and nothing else, since a particle's own numbers are computed where it is. Replicates tell one
another nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .. import checks
from ..checks import ArgumentError
from ..threads import not_put_aside
from .state import Settings, State

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Devices:
    """The devices that a run may use, of all processes that belong together (`jax.distributed`)."""

    each: tuple[Any, ...]

    @classmethod
    def of(cls, number: int | None) -> Devices:
        """The first so many devices; all unless given, or the one that `jax.default_device` names.

        **Raises:** `ArgumentError` if there are fewer.
        """
        there = jax.devices()
        if number is None:
            chosen = getattr(jax.config, "jax_default_device") is not None  # noqa: B009
            return cls(tuple(jnp.zeros(()).devices()) if chosen else tuple(there))
        number = checks.integer("devices", number, at_least=1)
        if number > len(there):
            raise ArgumentError(f"devices: there are {len(there)} ({there[0].platform}); got {number}. Pass fewer.")
        return cls(tuple(there[:number]))

    def __len__(self) -> int:
        return len(self.each)

    def shares(self, replicates: int, particles: int | None) -> tuple[int, int, int]:
        """Into how many parts the replicates of a group and the particles of a layer are divided, and how often all of
        it is computed.

        Parts are equal, so that devices are left idle where nothing else divides; of several processes, each of which
        must have a part, the devices that are left compute copies. `particles` is None in a network of finite width,
        whose replicates are the only thing that is divided.
        """
        if len({device.process_index for device in self.each}) == 1:
            by_replicate = _divisor(replicates, len(self))
            return by_replicate, _divisor(particles or 1, len(self) // by_replicate), 1
        by_replicate = math.gcd(replicates, len(self))
        by_particle = math.gcd(particles or 1, len(self) // by_replicate)
        return by_replicate, by_particle, len(self) // (by_replicate * by_particle)

    def spread(
        self, settings: Settings, state: State, replicates: int, particles: int | None
    ) -> tuple[Settings, State]:
        """The settings and the state of a group, laid out over the devices; as they are where there is one device."""
        if len(self) == 1:
            return settings, state
        if jax.process_count() > 1 and self.each[0].platform == "cpu":
            not_put_aside()
        shares = self.shares(replicates, particles)
        mesh = Mesh(np.array(self.each[: math.prod(shares)]).reshape(shares), ("replicate", "particle", "copy"))

        everywhere = NamedSharding(mesh, PartitionSpec())

        def divided(leaf: Any) -> jax.Array:
            """An array of the state, divided by replicate, and by particle along its last axis of as many."""
            shape = np.shape(leaf)
            if 0 in shape:  # of which there is nothing to divide, and a step returns it undivided
                return _placed(leaf, everywhere)
            first = int(replicates > 1 and len(shape) > 0)  # the step is one number for all replicates
            axes: list[str | None] = ["replicate"] * first + [None] * (len(shape) - first)
            among = [axis for axis in range(first, len(shape)) if shape[axis] == particles]
            if among:
                axes[among[-1]] = "particle"
            return _placed(leaf, NamedSharding(mesh, PartitionSpec(*axes)))

        return jax.tree.map(lambda leaf: _placed(leaf, everywhere), settings), jax.tree.map(divided, state)


def on_host(tree: Tree) -> Tree:
    """The same tree with all arrays on the host, whole in each process, wherever their parts are."""

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(whole, tree)


def _divisor(number: int, most: int) -> int:
    """The largest number of equal parts, up to `most`, that so many things can be divided into."""
    return next(parts for parts in range(min(number, most), 0, -1) if number % parts == 0)


def _placed(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    # Every process has drawn the whole of it, from the same seed, and keeps its own part.
    held = np.asarray(leaf)
    return jax.make_array_from_callback(held.shape, sharding, lambda index: held[index])

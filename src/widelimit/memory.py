"""How much memory there is, and the refusal of what needs more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from . import formatting
from .checks import ArgumentError

try:
    import resource
except ImportError:  # not on Windows
    resource = None

_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")

# Limit, use, and the line of memory.stat with the file cache that is given back on demand: version 2, then version 1.
_UNIFIED = ("memory.max", "memory.current", "inactive_file")
_LEGACY = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


_limits: list[float] = []  # of this process, in bytes, those that are in force


@contextlib.contextmanager
def limited(size: float) -> Iterator[None]:
    """A context in which this process is to take no more than so many bytes in all, with what it has taken before."""
    _limits.append(size)
    try:
        yield
    finally:
        _limits.remove(size)


def available_memory() -> float:
    """Bytes that this process may still take: the least of what the machine has, its control groups leave to a
    container, `ulimit` (of addresses, -v, and of data, -d) allows, and [`limited`] leaves.
    """
    return float(max(min([psutil.virtual_memory().available, *_left_by_groups(), *_left_by_limits()]), 0))


def require_memory(needed: float, *, parts: Mapping[str, float], remedy: str, what: str = "This run needs") -> None:
    """Refuse what needs more memory than there is, in a sentence that says what takes it and what to do.

    **Arguments:** `needed`, in bytes; `parts`, how much of it is for what; `remedy`, a sentence or two; `what`, subject
    and verb.

    **Raises:** `ArgumentError`.
    """
    available = available_memory()
    if needed > available:
        purposes = ", ".join(f"{formatting.memory(size)} for {purpose}" for purpose, size in parts.items())
        raise ArgumentError(
            f"{what} about {formatting.memory(needed)} of memory and {formatting.memory(available)} are free: "
            f"{purposes}. {remedy}"
        )


def _left_by_groups() -> Iterator[float]:
    """What each control group of this process leaves, from its own up to the root (Linux)."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (_GROUPS / "memory", _LEGACY) if controllers else (_GROUPS, _UNIFIED)
        group = root / path.strip("/")
        # Within a container the path may be that of the host, of which only the root is mounted.
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(root))):
            room = _room(folder, *names)
            if room is not None:
                yield room


def _room(folder: Path, limit: str, use: str, cache: str) -> float | None:
    """What a control group leaves, None where it has no limit."""
    try:
        room = int((folder / limit).read_text()) - int((folder / use).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return None
    return room + int(statistics.get(cache, 0))


def _left_by_limits() -> Iterator[float]:
    """What the limits of this process leave."""
    if _limits:
        yield min(_limits) - psutil.Process().memory_info().rss
    if resource is None:
        return
    taken = psutil.Process().memory_info()
    for limit, use in (("RLIMIT_AS", taken.vms), ("RLIMIT_DATA", getattr(taken, "data", 0))):
        soft, _ = resource.getrlimit(getattr(resource, limit))
        if soft != resource.RLIM_INFINITY:
            yield soft - use

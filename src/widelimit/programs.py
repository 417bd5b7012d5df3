"""Room for compiled programs: a process that trains many different networks must not run out of memory maps."""

from __future__ import annotations

from pathlib import Path

import jax

_MAPS, _LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


def make_room() -> None:
    """Forget all compiled programs if they take half of the memory maps that Linux gives to a process.

    Each takes some, a run of a new shape a few hundred, and beyond the limit (65530 unless set otherwise) the compiler
    ends the process by a segmentation fault. What is needed again is compiled again.
    """
    try:
        used, limit = _MAPS.read_bytes().count(b"\n"), int(_LIMIT.read_text())
    except OSError:  # not Linux
        return
    if used > limit // 2:
        jax.clear_caches()

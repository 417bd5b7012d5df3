"""How much memory there is."""

from __future__ import annotations

import math
import os


def available_memory() -> float:
    """Bytes of memory that a run may take, or infinity where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + _reclaimable()
    except (ValueError, OSError, AttributeError):
        return math.inf


def _reclaimable() -> int:
    """Memory that the system holds as cache and gives back on demand (Linux)."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.split()[1].isdigit()}
    except OSError:
        return 0
    return max(sizes.get("MemAvailable", 0) - sizes.get("MemFree", 0), 0)

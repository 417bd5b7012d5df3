"""What every command says in the same way: sentences on the standard error, and exit codes."""

from __future__ import annotations

import sys

FAULT = 1
MISTAKE = 2
DIVERGED = 3
INTERRUPTED = 130


def say(sentence: str) -> None:
    """Print one sentence on the standard error, where it does not mix with results."""
    print(f"widelimit: {sentence}", file=sys.stderr, flush=True)

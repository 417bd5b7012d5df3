"""What every command says in the same way: sentences on the standard error, and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from ..faults import DivergenceWarning

FAULT = 1
MISTAKE = 2
DIVERGED = 3
RESCUED = 4
UNREACHED = 5
INTERRUPTED = 130


def say(sentence: str) -> None:
    """Print one sentence on the standard error, where it does not mix with results."""
    try:
        print(f"widelimit: {sentence}", file=sys.stderr, flush=True)
    except OSError:  # where nothing can be said, the exit code is left
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Let a stream that is closed or full go nowhere: the interpreter writes what is left of it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def warnings_said() -> Iterator[list[warnings.WarningMessage]]:
    """Collect every warning raised within, and say each when the work is done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield caught
    for warning in caught:
        say(str(warning.message))


def diverged(caught: list[warnings.WarningMessage]) -> bool:
    """Whether one of the warnings tells of a divergence."""
    return any(issubclass(warning.category, DivergenceWarning) for warning in caught)

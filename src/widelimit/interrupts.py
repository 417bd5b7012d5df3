"""Signals that end a run: seen between two pieces of work, where what has been done can be kept.

By itself Python raises `KeyboardInterrupt` wherever it happens to be, and one that is raised within a callback of C
code is printed and lost. Here the first signal is noted, and [`Watch.check`] raises; a second one raises at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(KeyboardInterrupt):
    """A signal has asked the process to end; `code` is the exit code of a process that one has ended."""

    def __init__(self, number: int):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.code = 128 + number


class Watch:
    """Notes the first signal that comes."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise Interrupted(number)
        self.number = number


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """A context in which a signal waits for the next `check`, and a second one does not.

    One that no check has seen by the end stands in `number`.

    Watched are Ctrl-C where Python's own handler has it, and whatever [`raised`] has. In threads other than the main
    one, which get no signals, nothing is changed.
    """
    watch = Watch()
    with _handled(watch._note, (signal.default_int_handler, _raise)):
        yield watch


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """A context in which SIGTERM and SIGHUP, which schedulers and closed terminals send, are as Ctrl-C: `Interrupted`.

    A signal that the process was told to ignore, as `nohup` does, is ignored.
    """
    with _handled(_raise, (signal.default_int_handler, signal.SIG_DFL)):
        yield


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


@contextlib.contextmanager
def _handled(handler, replaced: tuple) -> Iterator[None]:
    """A context with a handler in the place of some others."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in _ENDING:
            number = getattr(signal, name, None)  # there is no SIGHUP on Windows
            if number is not None and signal.getsignal(number) in replaced:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

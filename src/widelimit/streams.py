"""Standard streams of a process that are closed or full."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from . import interrupts


def open_closed() -> None:
    """Let each standard stream that the process was started without go nowhere; called before any file is opened.

    What is opened first gets the lowest descriptor that is free: without this it would be a file of the command's,
    into which compiled code then writes what it says on the standard error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)  # as standard streams are, for processes that are started
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))


class OutputError(OSError):
    """The standard output cannot be written to; `kept` says in a sentence what there is in files, if anything."""

    def __init__(self, reason: OSError):
        super().__init__(reason.errno, reason.strerror)
        self.kept = interrupts.told()


class Output:
    """The standard output, whose errors are told from those of files."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with _told_apart():
            return self._stream.write(text)

    def flush(self) -> None:
        with _told_apart():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # whoever reads it has seen enough, which is no error
        raise
    except OSError as error:
        raise OutputError(error) from error

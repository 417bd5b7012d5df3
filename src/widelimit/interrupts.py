"""Signals that end a run: seen between two pieces of work, where what has been done can be kept.

By itself Python raises `KeyboardInterrupt` wherever it happens to be, and one that is raised within a callback of C
code is printed and lost. Here the first signal is noted, and [`Watch.check`] raises; a second one raises at once.

The command line goes further: [`run`] gives a command a thread of its own, in which no signal raises anything, while
the main thread looks at signals also where compiled code is busy for seconds. Until there is something to keep, a
signal ends the command at once; from then on ([`hold`]) the command is waited for.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FrameType

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
_LOOK = 0.05  # seconds between two looks at signals
_TWICE = 1.0  # seconds within which a second signal is the first, which `timeout` and terminals send twice
_STACK = 1 << 24


class Interrupted(KeyboardInterrupt):
    """A signal has asked the process to end; `code` is the exit code of a process that one has ended.

    `kept` says in a sentence what there is in files, where there is something.
    """

    def __init__(self, number: int, kept: str = ""):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.code = 128 + number
        self.kept = kept


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

    Watched are Ctrl-C where Python's own handler has it, and whatever [`raised`] has. Within [`run`] it is the watch of
    the command; in other threads but the main one, which get no signals, nothing is changed.
    """
    session = _session.get()
    if session is not None:
        yield session
        return
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


def ignore() -> None:
    """Let no signal disturb the end of the process: its exit code is settled."""
    for name in _ENDING:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class _Session(Watch):
    """The watch of a command that has a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = ""
        self.saving = threading.RLock()
        self._keeping = threading.Lock()
        self._holds = self._seen = self._hurried = False
        self._hold_after: int | None = None
        self._noted_at = 0.0

    def check(self) -> None:
        if self.number is not None:
            self.hold()  # from here on it is the command that ends, unless the main thread has ended it by now
            self._seen = True
            raise Interrupted(self.number)
        if self._hold_after is not None:
            self._hold_after -= 1
            if self._hold_after < 0:
                self.hold()

    def hold(self, pieces: int = 0) -> None:
        if pieces:
            self._hold_after = pieces
        elif not self._holds:
            self._hold_after = None
            self._keeping.acquire()
            self._holds = True

    def let_go(self, kept: str) -> None:
        self.kept = kept
        self._hold_after = None
        if self._holds:
            self._holds = False
            self._keeping.release()

    def may_end(self) -> bool:
        """Whether a signal has come and nothing would be lost; nothing is begun to be kept or saved after that."""
        if self.number is None or not (self._hurried or self._may_drop()):
            return False
        if self.saving.acquire(blocking=False):
            return True
        if not self._hurried:
            self._keeping.release()
        return False

    def _may_drop(self) -> bool:
        return not self._seen and self._keeping.acquire(blocking=False)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number, self._noted_at = number, time.monotonic()
        elif time.monotonic() - self._noted_at > _TWICE:
            self._hurried = True


_session: ContextVar[_Session | None] = ContextVar("session", default=None)


def run(work: Callable[[], int]) -> int:
    """What `work()` returns or raises, from a thread of its own; the main thread waits, and looks at signals.

    The first signal makes [`Watch.check`] raise within `work`. Until there is something to keep it raises at once,
    whatever `work` is doing, and `work` is left to itself: the process is to end. A second signal, more than a second
    after the first, does so too, unless a file is being written. In a thread other than the main one, `work` is called
    as it is.

    **Raises:** `Interrupted`, also if `work` returned 0 and had not seen the signal; whatever `work` raises.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    session, codes, errors = _Session(), [], []

    def working() -> None:
        _session.set(session)
        try:
            codes.append(work())
        except BaseException as error:
            errors.append(error)

    before = threading.stack_size(_STACK)  # where a main thread may grow without limit, another one gets too little
    try:
        thread = threading.Thread(target=working, name="widelimit", daemon=True)
        with _handled(session._note, (signal.default_int_handler, signal.SIG_DFL, _raise)):
            thread.start()
            while thread.is_alive():
                thread.join(_LOOK)
                if session.may_end() and thread.is_alive():
                    raise Interrupted(session.number or 0, session.kept)
    finally:
        threading.stack_size(before)
    if errors:
        if session.number is not None and isinstance(errors[0], KeyboardInterrupt):
            raise Interrupted(session.number, getattr(errors[0], "kept", "") or session.kept) from errors[0]
        raise errors[0]
    if session.number is not None and codes[0] == 0:
        raise Interrupted(session.number, session.kept)
    return codes[0]


def hold(pieces: int = 0) -> None:
    """From now on there is something to keep, or after as many pieces of work between two checks; only within [`run`].

    A signal then waits for the next [`Watch.check`], or for [`kept`].
    """
    session = _session.get()
    if session is not None:
        session.hold(pieces)


def kept(sentence: str) -> None:
    """All that there was to keep is in files, as the sentence says: a signal ends the command at once."""
    session = _session.get()
    if session is not None:
        session.let_go(sentence)


def so_far(sentence: str) -> None:
    """What is in files by now, as the sentence says, for an interruption to tell; what is held stays so.

    What was said before stands if the sentence is empty.
    """
    session = _session.get()
    if session is not None and sentence:
        session.kept = sentence


def told() -> str:
    """What there is in files by now, as [`kept`] or [`so_far`] have last said it within [`run`]."""
    session = _session.get()
    return "" if session is None else session.kept


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """A context that no signal cuts short within [`run`]."""
    session = _session.get()
    with contextlib.nullcontext() if session is None else session.saving:
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

"""Compiled programs kept on disk, so that a second `widelimit train` does not compile what the first one did.

A compiled program is code that runs with the user's rights. It is therefore read from a folder alone that nobody else
can have written to: one that is the user's own, that others cannot write to, and that no link stands for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .messages import say

SWITCH = "WIDELIMIT_COMPILATION_CACHE"
"""The environment variable: "off", or the absolute path of another folder."""

MOST_BYTES = 256 * 2**20
"""What the programs of one jaxlib on one kind of processor may take; those that were used longest ago go first."""

_LEAST_SECONDS = 0.1  # to compile; reading a program takes some hundredths
_UNUSED_DAYS = 30
_REJECTED = "rejected"
_TROUBLE = "persistent compilation cache"  # jax's warnings of an entry that it cannot read or write
_OFF = ("off", "0", "false", "no")
_SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@dataclass(frozen=True)
class Place:
    """Where compiled programs are kept, or why they are not."""

    folder: Path | None
    reason: str = ""
    asked_for: bool = True
    """Whether the user's own settings have it so, and need not be told."""

    def described(self) -> str:
        """This in words."""
        if self.folder is None:
            return f"not kept: {self.reason}"
        size = sum(file.stat().st_size for file in self.folder.glob("*-cache")) if self.folder.is_dir() else 0
        return f"kept in {self.folder}, {size / 2**20:.1f} MiB of at most {MOST_BYTES >> 20} MiB"


def place() -> Place:
    """Where compiled programs are kept in this environment; nothing is made or changed."""
    import jax
    import platformdirs
    from jaxlib.version import __version__ as release

    switch = os.environ.get(SWITCH, "").strip()
    if switch.lower() in _OFF:
        return Place(None, f"{SWITCH} is {switch}.")
    if not getattr(jax.config, "jax_enable_compilation_cache"):  # noqa: B009
        return Place(None, "jax's own cache is switched off (JAX_ENABLE_COMPILATION_CACHE).")
    own = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
    if own:
        return Place(None, f"jax keeps them by itself in {own} (JAX_COMPILATION_CACHE_DIR).")
    if sys.platform == "darwin" and tuple(map(int, release.split(".")[:2])) < (0, 10):
        return Place(None, f"jaxlib {release} crashes on reading them on macOS; 0.10 does not.")
    root = Path(switch) if switch else platformdirs.user_cache_path("widelimit") / "compiled"
    if not root.is_absolute():
        return Place(None, f"{SWITCH} must be off or an absolute path; got {switch!r}.", False)
    # Links above it, as of a home on another disk, are the user's own if the folders that they lead to are.
    root = root.parent.resolve() / root.name
    folder = root / f"jaxlib-{release}-{_processor()}"
    for each in (*reversed(root.parents), root, folder):
        reason = _unsafe(each, strict=each in (root, folder))
        if reason:
            reason = f"{each} {reason}; compiled programs are code, and are read from a private folder only."
            return Place(None, reason, False)
    if (folder / _REJECTED).exists():
        return Place(None, f"jaxlib did not read back what it had written; remove {folder} to try again.")
    return Place(folder)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """A context in which jax reads and writes compiled programs in their [`place`], if there is one.

    Settings of jax are as before afterwards. A folder that cannot be used is said in a line, and stops no run.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    chosen = place()
    if chosen.folder is not None:
        chosen = _made(chosen.folder)
    folder = chosen.folder
    if folder is None:
        if not chosen.asked_for:
            say(f"Compiled programs are not kept: {chosen.reason}")
        yield
        return
    before, show = {name: getattr(jax.config, name) for name in _SETTINGS}, warnings.showwarning
    failures: list[str] = []

    def shown(message: Warning | str, *where: Any, **options: Any) -> None:
        if _TROUBLE in str(message):
            failures.append(str(message))
        else:
            show(message, *where, **options)

    try:
        for name, value in zip(_SETTINGS, (str(folder), MOST_BYTES, _LEAST_SECONDS), strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        warnings.showwarning = shown
        yield
    finally:
        warnings.showwarning = show
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if failures:
            _give_up(folder, failures)


def _give_up(folder: Path, failures: list[str]) -> None:
    """Say once that the cache failed, and see to it that the next command does not meet the same."""
    reason = failures[0].split("': ", 1)[-1].splitlines()[0][:200].rstrip(".")
    say(f"Compiled programs could not be kept or read back, and were compiled anew ({reason}).")
    with contextlib.suppress(OSError):
        if any(" reading " in failure and "RuntimeError" in failure for failure in failures):
            (folder / _REJECTED).touch()
        elif any(" reading " in failure for failure in failures):
            for entry in folder.glob("*-cache"):
                entry.unlink()


def _unsafe(folder: Path, strict: bool) -> str:
    """Why others could put programs into a folder, or below it if not `strict`; nothing if they cannot."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return ""  # it will be made
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return "is a link" if stat.S_ISLNK(status.st_mode) else "is no folder"
    if not hasattr(os, "getuid"):  # on Windows a user's folders are private by default
        return ""
    others = status.st_mode & (0o022 if strict else 0o002)
    if others and (strict or not status.st_mode & stat.S_ISVTX):
        return "can be written to by other users"
    if status.st_uid not in ((os.getuid(),) if strict else (os.getuid(), 0)):
        return "belongs to another user"
    return ""


def _made(folder: Path) -> Place:
    """The folder as it is made, tidied, or why that cannot be."""
    try:
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, exist_ok=True)
        os.utime(folder)
        _tidy(folder)
    except (OSError, NotImplementedError) as error:  # a full disk, a read-only one, one without locks
        return Place(None, f"{folder} cannot be written to ({getattr(error, 'strerror', None) or error}).", False)
    return Place(folder)


def _tidy(folder: Path) -> None:
    """Remove what an interrupted process left half written, and the folders of releases that are no longer used."""
    import filelock

    try:
        with filelock.FileLock(folder / ".lockfile", timeout=1):  # jax's own, which it holds while it writes
            for entry in folder.glob("*-cache"):
                if not entry.with_name(entry.name.removesuffix("cache") + "atime").exists():
                    entry.unlink()
    except filelock.Timeout:
        return
    for other in folder.parent.glob("jaxlib-*"):
        if not other.is_symlink() and time.time() - other.stat().st_mtime > _UNUSED_DAYS * 86400:
            shutil.rmtree(other, ignore_errors=True)


def _processor() -> str:
    """A digest of what the processor can do: programs that were compiled for another one may not run on this."""
    text = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        names = ("vendor_id", "model name", "cpu family", "model", "stepping", "flags", "Features", "isa")
        text += "".join(line for line in first.splitlines() if line.split(":")[0].strip() in names)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

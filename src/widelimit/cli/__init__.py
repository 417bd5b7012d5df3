"""The command line `widelimit`: train, limit, resume, sweep, show, report, compare, infer, figure, demo and doctor.

Exit codes: 0 done; 1 the doctor found a fault, or points of a sweep failed; 2 a mistake in what was asked for, a file
that could not be read or written, or a plan that does not fit in memory; 3 the run diverged, and what came before is
saved; 4 a file that was named could not be written, and what it was to hold is in another that is named; 129, 130 and
143 stopped by SIGHUP, Ctrl-C and SIGTERM, and what there was to keep is saved.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import tyro

from .. import __version__, streams
from ..checks import ArgumentError
from ..interrupts import run
from . import destinations
from .messages import INTERRUPTED, MISTAKE, say, silence

COMMANDS = {
    "train": "Train a network and save what it went through.",
    "limit": "Find the infinite-width limit to a stated accuracy, by whichever way to it is cheapest, and save it.",
    "resume": "Go on with a run from the file in which it kept itself (--run.checkpoint), and save what it went "
    "through.",
    "sweep": "Train at every point of a grid of settings, on as many processes as there are, and save each point.",
    "show": "Print what a run was and what came of it, and draw it.",
    "compare": "Say how far two saved runs of one task lie apart: networks from theory, one rule or solver from "
    "another.",
    "report": "Write a self-contained HTML page about one saved run, several beside each other, or a sweep.",
    "infer": "Say which learning rule made a recording of neurons, among candidates, and whether any of them fits.",
    "demo": "Train two classes of handwritten digits by five rules, at infinite width and in networks of 1000 neurons.",
    "figure": "Compute figures of the paper, measure what their captions claim, and draw them.",
    "doctor": "Say which versions and devices there are, and check for faults that some releases of jax have.",
}
"""What each command does, as its own help begins; the commands themselves are imported when they run."""

_LOGGED = "TF_CPP_MIN_LOG_LEVEL"

_DESCRIPTION = """The learning dynamics of deep networks under any learning rule, at finite and at infinite width.

Start with `widelimit demo`. `widelimit COMMAND --help` lists what a command can be told, and
`widelimit --version` says which release this is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the entry point of `widelimit`.

    A mistake of the user's is one sentence on the standard error and the exit code 2, without a traceback.

    **Arguments:** `arguments`, without the name of the program; those of this process unless given.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    # The words of this library hold Greek letters, which a terminal of another encoding shall not choke on.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # XLA says of each compiled program that it reads back, at length and as an error, that it is another processor's,
    # because of preferences that no processor lists. What does go wrong there is raised.
    if os.environ.get(_LOGGED, "1") == "1":  # which jax itself sets, also for the processes that it starts
        os.environ[_LOGGED] = "3"
    with contextlib.redirect_stdout(cast(Any, streams.Output(sys.stdout))):
        return _code(arguments)


def _code(arguments: list[str]) -> int:
    """Run one command, and say in a sentence what went wrong; returns the exit code."""
    try:
        if arguments == ["--version"]:
            return _printed(_version)
        if arguments[0] not in COMMANDS:
            return _printed(lambda: _help(arguments))
        return run(lambda: _printed(lambda: _run(*arguments)))
    except (ArgumentError, FileNotFoundError, FileExistsError) as error:
        say(str(error))
        return MISTAKE
    except BrokenPipeError:
        # Whoever read the output has stopped, as in `widelimit show run.nc | head`; the interpreter shall not complain.
        silence(sys.stdout)
        return 0
    except streams.OutputError as error:
        silence(sys.stdout)
        say(f"The standard output cannot be written to: {error.strerror}{f'; {error.kept}' if error.kept else '.'}")
        return MISTAKE
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            silence(sys.stdout)
        say(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
        return MISTAKE
    except KeyboardInterrupt as interruption:
        kept = getattr(interruption, "kept", "")
        say(f"Interrupted; {kept}" if kept else "Interrupted before there was anything to keep.")
        return getattr(interruption, "code", INTERRUPTED)


def _printed(work: Callable[[], int]) -> int:
    """What `work` returns, once all that it printed is written: what it is written to may be full, too."""
    try:
        code = work()
    except SystemExit:  # in which a help ends
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _version() -> int:
    print(f"widelimit {__version__}")
    return 0


def _help(arguments: list[str]) -> int:
    """The help that was asked for, or what is wrong with a command that there is none of: both end the program."""
    empty = {name: dataclasses.make_dataclass(name, (), namespace={"__doc__": does}) for name, does in COMMANDS.items()}
    tyro.extras.subcommand_cli_from_dict(empty, prog="widelimit", description=_DESCRIPTION, args=arguments[:1])
    return 0


def _run(name: str, *arguments: str) -> int:
    if name in ("train", "limit") and not {"-h", "--help", "--plan"} & set(arguments):
        # A file that is in the way is seen before the options are read, for which jax has to be imported.
        output, _ = tyro.cli(destinations.Output, prog=f"widelimit {name}", args=arguments, return_unknown_args=True)
        destinations.check(output.out, output.overwrite)
    if name in ("train", "limit", "sweep"):
        return importlib.import_module(f".{name}", __name__).run(arguments)
    command = getattr(importlib.import_module(f".{name}", __name__), name.capitalize())
    return tyro.cli(command, prog=f"widelimit {name}", args=arguments).run()


__all__ = ["COMMANDS", "main"]

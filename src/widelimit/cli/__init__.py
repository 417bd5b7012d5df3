"""The command line `widelimit`: train, show, report, compare, figure, demo and doctor.

Exit codes: 0 done; 1 the doctor found a fault; 2 a mistake in what was asked for; 3 the run diverged, and what came
before is saved; 130 interrupted, and what was recorded is saved.
"""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Sequence

import tyro

from ..checks import ArgumentError
from .compare import Compare
from .demo import Demo
from .doctor import Doctor
from .figure import Figure
from .messages import INTERRUPTED, MISTAKE, say
from .report import Report
from .show import Show
from .train import Train, with_configuration

_COMMANDS = {
    "train": Train,
    "show": Show,
    "doctor": Doctor,
    "demo": Demo,
    "figure": Figure,
    "compare": Compare,
    "report": Report,
}

_DESCRIPTION = """The learning dynamics of deep networks under any learning rule, at finite and at infinite width.

Start with `widelimit demo`."""


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
    try:
        command = _parse(arguments)
        return command.run()
    except (ArgumentError, FileNotFoundError, FileExistsError) as error:
        say(str(error))
        return MISTAKE
    except BrokenPipeError:
        # Whoever read the output has stopped, as in `widelimit show run.nc | head`; the interpreter shall not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        say(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
        return MISTAKE
    except KeyboardInterrupt:
        say("Interrupted before there was anything to keep.")
        return INTERRUPTED


def _parse(arguments: list[str]) -> Train | Show | Doctor | Demo | Figure | Compare | Report:
    command = tyro.extras.subcommand_cli_from_dict(
        {name: kind for name, kind in _COMMANDS.items()},
        prog="widelimit",
        description=textwrap.dedent(_DESCRIPTION),
        args=arguments,
    )
    if isinstance(command, Train) and command.config is not None:
        # What the file says is the default that flags override, so the flags are read once more on top of it.
        command = tyro.cli(Train, prog="widelimit train", args=arguments[1:], default=with_configuration(command))
    return command


__all__ = ["main"]

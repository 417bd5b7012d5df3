"""`widelimit`, and `python -m widelimit`: the command line."""

from __future__ import annotations

import contextlib
import os
import sys

from .interrupts import ignore, raised
from .streams import open_closed


def main() -> int:
    """Run the command line, and return its exit code; Ctrl-C is one line, also while the program is being imported."""
    open_closed()
    with raised():
        try:
            from .cli import main as command_line

            code = command_line()
        except KeyboardInterrupt as interruption:
            print("widelimit: Interrupted before there was anything to keep.", file=sys.stderr)
            code = getattr(interruption, "code", 130)
    ignore()
    if code > 128:
        # A computation that still runs in another thread crashes while the interpreter takes itself apart.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())

"""`widelimit`, and `python -m widelimit`: the command line."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line, and return its exit code; Ctrl-C is one line, also while the program is being imported."""
    try:
        from .cli import main as command_line

        code = command_line()
    except KeyboardInterrupt:
        print("widelimit: Interrupted before there was anything to keep.", file=sys.stderr)
        code = 130
    if code > 128:
        # A computation that still runs in another thread crashes while the interpreter takes itself apart.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())

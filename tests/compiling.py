"""How the fast set compiles: tests are many small programs, most of whose time would be compilation."""

import os
import subprocess
import sys

_FLAG = "--xla_cpu_use_fusion_emitters=false"


def compile_quickly() -> None:
    """Have XLA's older code generator compile, which is thrice as quick where nothing is optimised.

    Said in the environment, for workers and for commands that tests start. A flag that an XLA does not know ends its
    process, so that another one is asked first.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG in flags:
        return
    environment = {**os.environ, "XLA_FLAGS": f"{flags} {_FLAG}".strip()}
    asked = [sys.executable, "-c", "import jax; jax.jit(lambda x: x + 1)(1)"]
    if subprocess.run(asked, env=environment, capture_output=True, check=False).returncode == 0:
        os.environ["XLA_FLAGS"] = environment["XLA_FLAGS"]

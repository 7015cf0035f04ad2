"""Commands, run in this process or in one of their own.

In this one they are quicker, since starting an interpreter takes longer than what most of them do. But they cannot run
where an event loop does, and a gateway may not have heard of what they changed when they come back.
"""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from rowgate.cli.main import run


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str


def run_command(*arguments: str, variables: Mapping[str, str], stdin: str = "") -> Done:
    """Runs ``rowgate`` with these arguments and environment variables, through its entry point."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["rowgate", *arguments]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
        patch.dict(os.environ, variables, clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
    return Done(status, out.getvalue(), err.getvalue())


def run_apart(*arguments: str, variables: Mapping[str, str], stdin: str = "") -> Done:
    """The same in a process of its own, as people run it."""
    done = subprocess.run(
        [sys.executable, "-m", "rowgate", *arguments],
        input=stdin, capture_output=True, text=True, timeout=60, env=dict(variables),
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)

"""Commands run in this process: starting an interpreter for each takes longer than what they do."""

import io
import os
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
        patch.object(sys, "stdin", io.StringIO(stdin)),
        patch.dict(os.environ, variables, clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
    return Done(status, out.getvalue(), err.getvalue())

"""A program in a terminal of its own, where Ctrl-C is a key that somebody presses."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from types import TracebackType
from typing import Final, Self

CTRL_C: Final = "\x03"
SECONDS: Final = 20.0


class Terminal:
    """Use it in a ``with``; the program is ended with it."""

    def __init__(self, *command: str, **environment: str) -> None:
        self.seen = ""
        self._read = 0
        self._keyboard, screen = pty.openpty()
        try:
            # setsid makes the terminal the program's own, so that the key reaches it as a signal.
            self._process = subprocess.Popen(
                ["setsid", "--wait", "--ctty", *command],
                stdin=screen, stdout=screen, stderr=screen, env={**os.environ, **environment},
            )  # fmt: skip
        finally:
            os.close(screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        os.close(self._keyboard)  # the terminal hangs up
        self._process.wait(SECONDS)

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._keyboard, keys.encode())

    def wait_for(self, text: str, times: int = 1) -> str:
        """Waits until the screen has shown ``text`` so often since the last wait; gives what it has shown since."""
        deadline = time.monotonic() + SECONDS
        while self.seen.count(text, self._read) < times:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._keyboard], [], [], left)[0]:
                raise AssertionError(f"{text!r} did not come: {self.seen[self._read :]!r}")
            self.seen += os.read(self._keyboard, 65536).decode()
        new = self.seen[self._read :]
        self._read = len(self.seen)
        return new

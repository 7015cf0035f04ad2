"""Fuzzes one target in this process with atheris, until time is up or a promise breaks.

``python -m tests.fuzz.one_target NAME FOLDER [libFuzzer's arguments]``; ``tests.fuzz`` starts it. What Rowgate does is
instrumented, so that inputs which lead somewhere new are kept. What breaks a promise is written to FOLDER.
"""

from __future__ import annotations

import logging
import sys
from hashlib import sha1
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rowgate"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Runs until libFuzzer ends the process."""
    name, folder, *arguments = sys.argv[1:]
    target = TARGETS[name]
    logging.getLogger("rowgate").setLevel(logging.CRITICAL)  # what is refused is told a hundred thousand times

    def try_out(data: bytes) -> None:
        try:
            target.try_out(data)
        except BaseException:
            (Path(folder) / f"broken-{sha1(data, usedforsecurity=False).hexdigest()}").write_bytes(data)
            raise

    atheris.Setup([f"fuzz {name}", f"-artifact_prefix={folder}/", *arguments], try_out)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

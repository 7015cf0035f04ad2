"""``python -m tests.attacks.wire`` tries every row on both servers and prints those to which something else came back.

For whoever adds a row: leave its answer empty, run this, and judge what it says before it goes into the row.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.attacks.wire.fronts import expected, outcomes_on
from tests.attacks.wire.rows import TLS_ATTACKS, WEBSOCKET_ATTACKS, WIRE_ATTACKS
from tests.servers import Embedded18, PlainPostgres


def main() -> int:
    """Runs them; exit status 1 where a row is not what was seen."""
    what = {attack.id: attack.what for attack in (*WIRE_ATTACKS, *TLS_ATTACKS, *WEBSOCKET_ATTACKS)}
    differing = 0
    for make in (Embedded18, PlainPostgres):
        server = make()
        try:
            server.start()
            with tempfile.TemporaryDirectory() as folder:
                seen = outcomes_on(server, Path(folder))
        finally:
            server.remove()
        for key, answer in expected().items():
            if seen[key] != answer:
                differing += 1
                told = f"the row says {answer!r}, seen was {seen[key]!r}: {what[key.partition(' ')[0]]}"
                sys.stdout.write(f"{server.major_version}: {key}: {told}\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

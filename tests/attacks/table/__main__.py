"""``python -m tests.attacks.table`` runs every attack on both servers and prints the rows that say something else.

For whoever adds a row: leave its ways empty, run this, and look at what it says before it goes into the row.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.attacks.table.attack import Way
from tests.attacks.table.fields import fields_on
from tests.attacks.table.rows import ATTACKS
from tests.servers import Embedded18, PlainPostgres, TestServer

VERSIONS = (15, 18)


def outcomes_on(server: TestServer, folder: Path) -> dict[tuple[str, Way], bool]:
    """Whether each attack gains something, each way."""
    with fields_on(server, folder) as fields:
        return {(attack.id, way): field.try_out(attack) for way, field in fields.items() for attack in ATTACKS}


def ways_of(number: str, outcomes: dict[int, dict[tuple[str, Way], bool]]) -> Iterator[str]:
    """The ways as a row spells them."""
    for letter in dict.fromkeys(way.letter for way in Way):
        ways = [way for way in Way if way.letter == letter]
        versions = [version for version in VERSIONS if any(outcomes[version][number, way] for way in ways)]
        if len(versions) == len(VERSIONS):
            yield letter
        else:
            yield from (f"{letter}{version}" for version in versions)


def main() -> int:
    """Runs them; exit status 1 where a row is not what was seen."""
    outcomes = {}
    for make in (PlainPostgres, Embedded18):
        server = make()
        try:
            server.start()
            with tempfile.TemporaryDirectory() as folder:
                outcomes[server.major_version] = outcomes_on(server, Path(folder))
        finally:
            server.remove()
    differing = 0
    for attack in ATTACKS:
        seen = " ".join(ways_of(attack.id, outcomes))
        if seen != attack.through:
            differing += 1
            sys.stdout.write(f"{attack.id}: the row says {attack.through!r}, seen was {seen!r}: {attack.steps}\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

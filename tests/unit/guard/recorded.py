"""What real clients send, as it was recorded.

The files in ``session_texts`` were recorded from the log of Postgres 15 and 18, on which the clients ran their
start-up, their introspection and what they do between transactions; DBeaver's queries were put together by hand. A text
begins after a line ``--- client: occasion``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent / "session_texts"


class Recorded(NamedTuple):
    """One text and where it comes from."""

    id: str
    title: str
    sql: str


def read(path: Path) -> list[Recorded]:
    """The texts of one file in order."""
    texts: list[Recorded] = []
    title, lines = "", []
    for line in [*path.read_text("utf-8").splitlines(), "--- "]:
        if line.startswith("--- "):
            if title:
                texts.append(Recorded(f"{path.stem}-{len(texts) + 1:03}", title, "\n".join(lines).strip()))
            title, lines = line.removeprefix("--- "), []
        else:
            lines.append(line)
    return texts


OPEN: Final = [text for path in sorted(FOLDER.glob("*.sql")) if path.stem != "refused" for text in read(path)]
"""Those that pass."""
REFUSED: Final = read(FOLDER / "refused.sql")
"""Those that are refused on purpose."""

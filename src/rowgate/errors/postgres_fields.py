"""The fields of Postgres's errors by the names that they have in JSON. Says nothing of what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# PostgreSQL 18, section 54.8: the field codes of ErrorResponse.
JSON_NAMES: Final[Mapping[str, str]] = MappingProxyType({
    "message": "M",
    "code": "C",
    "detail": "D",
    "hint": "H",
    "position": "P",
    "internalPosition": "p",
    "internalQuery": "q",
    "severity": "S",
    "where": "W",
    "table": "t",
    "column": "c",
    "schema": "s",
    "dataType": "d",
    "constraint": "n",
    "file": "F",
    "line": "L",
    "routine": "R",
})  # fmt: skip
"""Name in JSON to field code, in the order in which an answer has them."""

OWN_ROUTINE: Final = "rowgate:"
"""What ``routine`` begins with in an error of Rowgate's own; its stable code follows."""

"""The targets, one module for each kind of bytes that comes from outside."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import backend, http, pgwire, sql, tokens, websocket

TARGETS: dict[str, Target] = {
    module.TARGET.name: module.TARGET for module in (http, pgwire, backend, tokens, sql, websocket)
}

"""The fuzzing targets hold over their seeds and over what was found before; and each sees a defect that is put in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from rowgate.gateway.websocket_frames import FrameCutter
from rowgate.guard import CLIENT, FunctionCatalog, Guard
from rowgate.identity.keyset import VerificationKey
from rowgate.pgwire import messages
from rowgate.pgwire.scram import ScramExchange
from rowgate.pgwire.server import connection_protocol
from rowgate.pgwire.server.state_table import MESSAGES, Kind, State
from tests.fuzz import targets
from tests.fuzz.target import BrokenPromise, cut_anywhere
from tests.fuzz.targets import TARGETS
from tests.fuzz.targets.http import post
from tests.unit.gateway.test_websocket_front import BINARY, frame
from tests.unit.identity.forge import sign
from tests.unit.pgwire.server.streams import STARTUP

FINDINGS = Path(targets.__file__).parents[1] / "findings"


@pytest.mark.parametrize("name", TARGETS)
def test_the_promises_hold(name: str) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())
    assert len(seeds) >= 10
    for data in [*seeds, *(path.read_bytes() for path in sorted((FINDINGS / name).glob("*")))]:
        target.try_out(data)


def test_every_finding_belongs_to_a_target() -> None:
    assert {path.name for path in FINDINGS.iterdir()} <= set(TARGETS)


@pytest.mark.parametrize("size", [0, 1, 2, 100, 5000])
def test_pieces_are_the_whole(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    assert b"".join(cut_anywhere(data)) == data
    assert cut_anywhere(data) == cut_anywhere(data)


def breaks(name: str, data: bytes) -> None:
    with pytest.raises(BrokenPromise):
        TARGETS[name].try_out(data)


def test_a_guard_with_a_hole_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = FunctionCatalog.default()
    holed = dataclasses.replace(catalog, allowed=catalog.allowed | {"set_config"})
    monkeypatch.setattr(targets.sql, "GUARD", Guard(CLIENT, holed))
    breaks("sql", b"select set_config('role', a, true) from t")


def test_a_verdict_with_a_gap_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Guard.check
    monkeypatch.setattr(Guard, "check", lambda guard, sql: msgspec.structs.replace(check(guard, sql), tables=()))
    breaks("sql", b"select 1 from t")


def test_a_defect_behind_the_http_front_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.http, "decode", lambda *arguments, **options: 1 // 0)
    breaks("http", post(b'{"query":"select 1"}'))


def test_a_front_that_reads_other_requests_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.http, "by_another_parser", lambda data: [(b"POST", b"/sql", b"another")])
    breaks("http", post(b'{"query":"select 1"}'))


def test_a_session_before_its_login_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {state: dict(row) for state, row in connection_protocol._ROWS.items()}
    rows[State.AWAITING_PASSWORD][Kind.QUERY] = MESSAGES[State.READY][Kind.QUERY]
    monkeypatch.setattr(connection_protocol, "_ROWS", rows)
    breaks("pgwire", b"\0" + STARTUP + messages.query(b"select 1"))


def test_a_server_that_proves_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = next(iter(TARGETS["backend"].seeds()))
    forged = whole.replace(targets.backend.server_proof(), b"v=" + bytes(44))
    TARGETS["backend"].try_out(forged)
    monkeypatch.setattr(ScramExchange, "verify", lambda exchange, server_final: None)
    breaks("backend", whole.replace(targets.backend.server_proof()[2:], b"A" * 44))


def test_a_token_that_nobody_signed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    token = sign("EdDSA", payload={"iss": "https://issuer.example", "sub": "x", "exp": 1_900_000_000}).encode()
    breaks("tokens", b"T" + token)  # it verifies, and the target's seeds do not know it
    head, _, _ = token.rpartition(b".")
    TARGETS["tokens"].try_out(b"T" + head + b".eA")
    monkeypatch.setattr(VerificationKey, "verifies", lambda key, algorithm, signing_input, signature: True)
    breaks("tokens", b"T" + head + b".eA")


def test_frames_that_are_cut_wrongly_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    fragment = FrameCutter._fragment

    def unturned(cutter: FrameCutter, payload: bytes) -> bytes:
        mask = cutter._mask
        cut = fragment(cutter, payload)
        cutter._mask = mask
        return cut

    monkeypatch.setattr(FrameCutter, "_fragment", unturned)
    breaks("websocket", frame(BINARY, bytes(range(200)) * 3))

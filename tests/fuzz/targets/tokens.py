"""What says who somebody is: tokens, logout tokens, calls of webhooks, key sets, and the JSON in them.

The first byte of an input chooses its kind: ``T`` a token as it is; ``E`` and ``S`` header and payload, on a line each,
which are signed here with a real key (EdDSA, ES256); ``L`` the payload of a logout token; ``C`` and ``A`` the body of a
webhook's call, genuine by its secret; ``W`` such a call that is not; ``K`` a key set; ``J`` a JSON object.

Promised: nothing but a refusal of the error tree is raised, and none shows the token; whatever verifies was signed by
the key that its header names, with that key's algorithm, for a registered issuer, before it expired, and is the user
that its payload says to every parser; whatever revokes was genuine and names whom it revokes.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import math
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from typing import Any, TypeVar

from rowgate.errors import KeySetUnavailable, NoticeRefused, RowgateError, TokenRefused
from rowgate.identity.compact import parse_compact
from rowgate.identity.keyset import parse_key_set
from rowgate.identity.logout_token import LOGOUT_TYPES, read_logout_token
from rowgate.identity.principal import Principal
from rowgate.identity.provider import ALGORITHMS
from rowgate.identity.strict_json import DEEPEST, UnsoundJson, parse_object
from rowgate.identity.verify import TokenVerifier
from rowgate.identity.webhooks import Webhook, read_call
from tests.fuzz.target import Target, hold
from tests.unit.identity.forge import ISSUER, NOW, Bench, bench, claims, encode, key_set_document, provider, sign
from tests.unit.identity.test_logout_token import logout
from tests.unit.identity.test_webhooks import AUTH0, CLERK, KEY, event, signed

LEEWAY = 30.0
OTHER_ISSUER = "https://clerk.example"
SIGNERS = {ord("E"): "EdDSA", ord("S"): "ES256"}
T = TypeVar("T")
_loop = asyncio.new_event_loop()


def now(awaitable: Awaitable[T]) -> T:
    """Its result; nothing here waits for anybody."""

    async def run() -> T:
        return await awaitable

    return _loop.run_until_complete(run())


@cache
def _bench() -> Bench:
    strict = provider(
        name="clerk", kind="clerk", issuer=OTHER_ISSUER, audiences=("app",), client_ids=("app",),
        authorized_parties=("https://app.example",), jwks_url="https://clerk.example/jwks.json",
    )  # fmt: skip
    made = bench(provider(client_ids=()), strict, leeway=LEEWAY, cache_size=0)
    made.documents.by_url["https://clerk.example/jwks.json"] = key_set_document()
    return made


def verifier() -> TokenVerifier:
    """With two providers whose keys are known: one that asks for little, one that asks for much."""
    return _bench().verifier


@cache
def genuine() -> frozenset[bytes]:
    """The signing inputs of all tokens that the seeds sign: nobody else's may ever verify."""
    return frozenset(seed[1:].rpartition(b".")[0] for seed in _signed_tokens())


def try_out(data: bytes) -> None:
    """See above."""
    if data:
        reader = READERS.get(data[0])
        if reader is not None:
            reader(data[0], data[1:])


def _refusal(problem: RowgateError, secret: str) -> None:
    said = f"{problem.message} {problem.detail} {problem.hint}"
    hold(problem.status < 500, f"{problem.code} is the bearer's doing")
    hold(len(secret) < 40 or secret not in said, "a refusal does not show the token")


def raw(kind: int, data: bytes) -> None:
    """A token as it came."""
    token = data.decode("latin-1")
    try:
        principal = now(verifier().verify(token))
    except TokenRefused as problem:
        _refusal(problem, token)
        return
    hold(data.rpartition(b".")[0] in genuine(), "only what was signed verifies")
    _is_sound(principal, parse_compact(token).claims)


def signed_here(kind: int, data: bytes) -> None:
    """A token whose signature holds, whatever it says."""
    algorithm = SIGNERS[kind]
    header, _, payload = data.partition(b"\n")
    token = sign(algorithm, header=header, payload=payload)
    try:
        principal = now(verifier().verify(token))
    except TokenRefused as problem:
        _refusal(problem, token)
        return
    said = json.loads(header)
    hold(said.get("alg") == said.get("kid") == algorithm, f"the key of {algorithm} signs for itself, not for {said}")
    hold(principal.claims_json == payload, "the claims are the payload")
    _is_sound(principal, json.loads(payload))


def _is_sound(principal: Principal, said: dict[str, Any]) -> None:
    hold(principal.subject and principal.subject == said["sub"], "the subject is the one of the payload")
    hold(principal.issuer == said["iss"] and said["iss"] in (ISSUER, OTHER_ISSUER), "the issuer is registered")
    hold(said["exp"] + LEEWAY > NOW and principal.expires_at <= said["exp"] + LEEWAY, "it has not expired")
    hold(said.get("nbf", 0) <= NOW + LEEWAY and said.get("iat", 0) <= NOW + LEEWAY, "it has begun")
    hold("events" not in said, "it is no notice")
    hold(set(principal.roles) <= {"authenticated", "anonymous"} and principal.roles, "the roles are the provider's")
    if said["iss"] == OTHER_ISSUER:
        audience = said.get("aud")
        hold("app" in ([audience] if isinstance(audience, str) else audience or ()), "the audience is ours")
        hold(said.get("azp", "https://app.example") == "https://app.example", "the party is ours")
    hold(principal.claims == said, "Postgres reads what was verified")


def logged_out(kind: int, data: bytes) -> None:
    """A logout token whose signature holds."""
    token = sign("EdDSA", header={"alg": "EdDSA", "kid": "EdDSA", "typ": "logout+jwt"}, payload=data)
    ours = provider(client_ids=("app",))
    try:
        notice = read_logout_token(parse_compact(token, types=LOGOUT_TYPES), ours, now=NOW, leeway=LEEWAY)
    except (TokenRefused, NoticeRefused) as problem:
        _refusal(problem, token)
        return
    said = json.loads(data)
    hold({one.value for one in notice.revocations} <= {said.get("sub"), said.get("sid")}, "it revokes whom it names")
    hold(notice.revocations and notice.token_id == said["jti"], "it counts once")
    hold(NOW < notice.expires_at <= NOW + 3600 + 2 * LEEWAY, "it is remembered for as long as it counts")
    try:
        now(verifier().verify(token))
    except TokenRefused:
        return
    hold(False, "a logout token is nobody's credential")


def clerk_call(kind: int, data: bytes) -> None:
    """A call that Svix signed."""
    _call(CLERK, signed(data), data)


def auth0_call(kind: int, data: bytes) -> None:
    """A call with Auth0's secret."""
    _call(AUTH0, {b"authorization": b"a-secret-of-auth0"}, data)


def _call(webhook: Webhook, headers: dict[bytes, bytes], body: bytes) -> None:
    try:
        call = read_call(webhook, headers, body, now=NOW)
    except NoticeRefused as problem:
        _refusal(problem, body.decode("latin-1"))
        return
    hold(call.expires_at > NOW and call.message_id, "a call is remembered")
    for row in call.revocations:
        hold(row.provider == webhook.provider, "a webhook speaks for its own provider")
        hold(row.value in _texts_of(body), "a call revokes whom it names")
        hold(row.issued_before is None or row.issued_before <= NOW, "nothing that is to come is revoked")


def _texts_of(body: bytes) -> set[object]:
    """Every text in the JSON documents of a body."""
    found: set[object] = set()
    for text in (body, *body.splitlines()):
        try:
            pending = [json.loads(text)]
        except (ValueError, RecursionError):
            continue
        while pending:
            item = pending.pop()
            if isinstance(item, dict | list):
                pending.extend(item.values() if isinstance(item, dict) else item)
            elif isinstance(item, str):
                found.add(item)
    return found


def forged_call(kind: int, data: bytes) -> None:
    """Headers, one on each line, an empty line, and a body: whatever is not signed is refused."""
    head, _, body = data.partition(b"\n\n")
    headers = dict(line.partition(b": ")[::2] for line in head.split(b"\n"))
    content = b".".join((headers.get(b"svix-id", b""), headers.get(b"svix-timestamp", b""), body))
    right = b"v1," + base64.b64encode(hmac.digest(KEY, content, "sha256"))
    for webhook in (CLERK, AUTH0):
        try:
            read_call(webhook, headers, body, now=NOW)
        except NoticeRefused as problem:
            if webhook is AUTH0 or b"signature" not in str(problem).encode():
                continue
            hold(right not in headers.get(b"svix-signature", b"").split(b" "), "what is signed is genuine")
        else:
            secret = headers.get(b"authorization", b"").removeprefix(b"Bearer ") == b"a-secret-of-auth0"
            is_signed = right in headers.get(b"svix-signature", b"").split(b" ")
            hold(secret if webhook is AUTH0 else is_signed, "only what is genuine counts")


def key_set(kind: int, data: bytes) -> None:
    """A document in the place of a key set."""
    try:
        found = parse_key_set(data)
    except KeySetUnavailable:
        return
    for key_id, key in found.keys.items():
        hold(key.key_id == key_id and key.algorithms and set(key.algorithms) <= set(ALGORITHMS), "a key can verify")
        hold(not key.verifies(key.algorithms[0], b"x", b"y"), "a key verifies no nonsense")
    hold(len(found.fingerprint) == len(found.keys), "keys tell themselves apart")


def json_object(kind: int, data: bytes) -> None:
    """What passes as a sound object is one to every parser, and Postgres can hold it."""
    try:
        found = parse_object(data)
    except UnsoundJson:
        return
    hold(json.loads(data) == found, "others read the same")
    pending: list[tuple[object, int]] = [(found, 1)]
    while pending:
        item, depth = pending.pop()
        hold(depth <= DEEPEST + 1, "it is not deep")
        if isinstance(item, dict):
            pending.extend((name, depth) for name in item)
        if isinstance(item, dict | list):
            pending.extend((one, depth + 1) for one in (item.values() if isinstance(item, dict) else item))
        elif isinstance(item, str):
            hold("\0" not in item and item.encode() is not None, "Postgres can hold its texts")
        elif isinstance(item, float):
            hold(math.isfinite(item), "its numbers are numbers")


READERS: dict[int, Callable[[int, bytes], None]] = {
    ord("T"): raw, ord("E"): signed_here, ord("S"): signed_here, ord("L"): logged_out, ord("C"): clerk_call,
    ord("A"): auth0_call, ord("W"): forged_call, ord("K"): key_set, ord("J"): json_object,
}  # fmt: skip


@cache
def _signed_tokens() -> tuple[bytes, ...]:
    tokens = [sign(algorithm) for algorithm in ALGORITHMS]
    tokens.append(
        sign("ES256", payload=claims(iss=OTHER_ISSUER, aud="app", azp="https://app.example", client_id="app"))
    )
    return tuple(b"T" + token.encode() for token in tokens)


def seeds() -> Iterable[bytes]:
    """Sound tokens and notices, and the ways of forging them that the tests know."""
    yield from _signed_tokens()
    none = encode(b'{"alg":"none","kid":"RS256"}')
    yield f"T{none}.{encode(json.dumps(claims()).encode())}.eA".encode()
    bodies = [
        claims(), claims(iss=OTHER_ISSUER, aud=["app", "x"], azp="https://app.example", client_id="app", sts="active"),
        claims(jti="1", sid="s", org_id="org_1", org_role="admin", act={"sub": "x"}, o={"id": "org_2", "rol": "a"}),
        claims(exp=NOW - 60), claims(sub=""), claims(aud=7), claims(exp=1e308, nbf=-1),
    ]  # fmt: skip
    for body in bodies:
        for kind, algorithm in SIGNERS.items():
            header = {"alg": algorithm, "kid": algorithm, "typ": "JWT"}
            yield bytes((kind,)) + json.dumps(header).encode() + b"\n" + json.dumps(body).encode()
        yield b"J" + json.dumps(body).encode()
    yield b'E{"alg":"ES256","kid":"ES256"}\n{}'
    yield b'E{"alg":"EdDSA","kid":"EdDSA","crit":["b64"],"b64":false,"jwk":{}}\n{"sub":"a","sub":"b"}'
    yield b"L" + json.dumps(logout()).encode()
    yield b"L" + json.dumps(logout(sid=..., exp=...)).encode()
    for kind in ("session.revoked", "user.deleted", "user.updated", "user.created"):
        body = event(kind, id="sess_1", banned=True)
        yield b"C" + body
        yield b"W" + b"\n".join(b"%b: %b" % header for header in signed(body).items()) + b"\n\n" + body
    log = {"data": {"type": "slo", "user_id": "auth0|1", "session_id": "s", "date": "2027-01-15T08:00:00.000Z"}}
    stream = {"specversion": "1.0", "type": "user.deleted", "data": {"object": {"user_id": "auth0|1"}}}
    for body in (log, stream, [log, log["data"]]):
        yield b"A" + json.dumps(body).encode()
    yield b"A" + json.dumps(log).encode() + b"\n" + json.dumps(log["data"]).encode()
    yield b"Wauthorization: Bearer a-secret-of-auth0\n\n{}"
    document = json.loads(key_set_document())
    for key in document["keys"]:
        yield b"K" + json.dumps({"keys": [key]}).encode()
    yield (
        b"K"
        + json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "h"}, None, {"kty": "RSA", "kid": "1"}]}).encode()
    )


TARGET = Target(
    "tokens",
    try_out,
    seeds,
    (
        b'"alg":', b'"kid":', b'"typ":"JWT"', b'"crit":', b'"none"', b'"HS256"', b'"ES256"', b'"EdDSA"', b'"RS256"',
        b'"sub":', b'"exp":', b'"nbf":', b'"iat":', b'"aud":', b'"azp":', b'"iss":', b'"events":', b'"org_id":',
        b'"o":', b"\\u0000", b"\\ud800", b"1e400", b"1e-400", b"-0", b"NaN", b"Infinity", b"true", b"null", b"[[[[[[[[",
        b"]", b'"keys":[', b'"kty":"RSA"', b'"kty":"EC"', b'"crv":"P-256"', b'"x":', b'"n":', b'"e":"AQAB"',
        b'"use":"sig"',
        b'"type":', b'"data":', b'"user_id":', b'"session_id":', b'"date":', b'"object":', b"\n", b"svix-id: ",
        b"=", b".",
    ),
)  # fmt: skip

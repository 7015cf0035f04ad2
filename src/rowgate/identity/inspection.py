"""Every check of a token at once, for people who want to know why it is refused: what passed, what failed, and why.

The checks are those of a gateway, from ``compact``, ``verify`` and ``claims``. A gateway stops at the first that fails;
this module goes on as far as the parts of the token let it. It never fetches anything itself, and a token is never part
of what it says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rowgate.errors import RowgateError
from rowgate.identity.claim_rules import value_at
from rowgate.identity.claims import CLAIM_CHECKS, Moment, iso, principal_of
from rowgate.identity.compact import (
    HEADER_CHECKS,
    TOKEN_TYPES,
    CompactToken,
    Parts,
    compact_token,
    key_id_of,
    key_unnamed,
    shown,
    take_apart,
)
from rowgate.identity.keyset import VerificationKey
from rowgate.identity.principal import Principal
from rowgate.identity.provider import Provider
from rowgate.identity.revocation import RevocationSet
from rowgate.identity.verify import authorize, check_listed, check_signature, check_suits, provider_of

Verdict = Literal["passed", "failed", "unchecked"]

_DATES: Final = frozenset({"exp", "nbf", "iat"})


class KeySource:
    """Where keys come from: ``key`` gives the key of a ``kid``, ``only_key_id`` the ``kid`` of a set of one."""

    def __init__(
        self,
        key: Callable[[Provider, str], Awaitable[VerificationKey]],
        only_key_id: Callable[[Provider], str | None],
    ) -> None:
        self.key = key
        self.only_key_id = only_key_id


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended. ``seen`` is what was looked at; ``refusal`` is what a gateway would say, where it failed."""

    check: str
    verdict: Verdict
    seen: str = ""
    refusal: RowgateError | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """All outcomes, in the order of a gateway's checks, and whose token it is where it passed them all."""

    outcomes: tuple[Outcome, ...]
    provider: Provider | None = None
    principal: Principal | None = field(default=None, repr=False)

    @property
    def accepted(self) -> bool:
        """Whether a gateway would take it."""
        return all(outcome.verdict == "passed" for outcome in self.outcomes)


async def inspect(
    token: str,
    providers: Mapping[str, Provider],
    keys: KeySource,
    *,
    now: float,
    leeway: float,
    assumed: Provider | None = None,
    role: str | None = None,
    revocations: RevocationSet | None = None,
) -> Inspection:
    """Every check of ``token`` against ``providers`` (by issuer).

    Where ``iss`` names none of them, the rest is checked against ``assumed``. ``role`` is the Postgres role that it is
    to be used for, None for any; ``revocations`` are those in force, where they are known. Raises nothing for whatever
    is wrong with the token, its provider or its keys.
    """
    findings = _Findings()
    parts = findings.of("shape", lambda: take_apart(token), lambda made: _shape(token, made))
    if parts is None:
        return Inspection(tuple(findings.outcomes))
    for check in HEADER_CHECKS:
        findings.of(check.name, _bound(check.judge, parts.header, TOKEN_TYPES), _seen(parts.header, check.members))
    if "kid" in parts.header:
        findings.of("kid", _bound(key_id_of, parts.header), _seen(parts.header, ("kid",)))
    provider = findings.of(
        "issuer",
        lambda: provider_of(parts.claims, providers),
        lambda found: f"iss {shown(parts.claims['iss'])}, the provider {found.name}",
        otherwise=f"{assumed.name} has {', '.join(map(shown, assumed.issuers))}" if assumed else "",
    )
    provider = provider or assumed
    parsed = None
    if provider is None:
        for name in ("algorithm of the provider", "key", "algorithm of the key", "signature"):
            findings.skip(name, "no provider is known")
    else:
        parsed = await _check_key(findings, parts, provider, keys)
        moment = Moment(now, leeway)
        for claim_check in CLAIM_CHECKS:
            judge = _bound(claim_check.judge, parts.claims, provider, moment)
            findings.of(claim_check.name, judge, _seen(parts.claims, claim_check.claims(provider)))
    principal = None
    if provider is not None and parsed is not None and findings.all_passed:
        principal = principal_of(parsed, provider, now=now, leeway=leeway)
        if revocations is not None:
            findings.of("revocation", _bound(revocations.check, principal), f"{len(revocations)} in force")
        if role is not None:
            findings.of("role", _bound(authorize, principal, role), role)
    return Inspection(tuple(findings.outcomes), provider, principal if findings.all_passed else None)


class _Findings:
    """Collects outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    @property
    def all_passed(self) -> bool:
        return all(outcome.verdict == "passed" for outcome in self.outcomes)

    def of(
        self, name: str, judge: Callable[[], Any], seen: str | Callable[[Any], str] = "", otherwise: str = ""
    ) -> Any:
        """What ``judge`` gives; None, and a failure among the outcomes, where it raises.

        ``seen`` is what was looked at, or makes it of the result; ``otherwise`` stands for it where there is none.
        """
        try:
            result = judge()
        except RowgateError as refusal:
            self.outcomes.append(Outcome(name, "failed", seen if isinstance(seen, str) else otherwise, refusal))
            return None
        self.outcomes.append(Outcome(name, "passed", seen if isinstance(seen, str) else seen(result)))
        return result

    def skip(self, name: str, reason: str) -> None:
        self.outcomes.append(Outcome(name, "unchecked", reason))

    def fail(self, name: str, refusal: RowgateError) -> None:
        self.outcomes.append(Outcome(name, "failed", "", refusal))


async def _check_key(findings: _Findings, parts: Parts, provider: Provider, keys: KeySource) -> CompactToken | None:
    """The checks from the key to the signature; the token where its header can be used."""
    algorithm = parts.header.get("alg")
    if isinstance(algorithm, str):
        findings.of("algorithm of the provider", lambda: check_listed(algorithm, provider), algorithm)
    else:
        findings.skip("algorithm of the provider", "the header has no alg")
    key = None
    try:
        key_id = key_id_of(parts.header) if "kid" in parts.header else keys.only_key_id(provider)
        if key_id is None:
            raise key_unnamed(None)
        key = await keys.key(provider, key_id)
        findings.outcomes.append(Outcome("key", "passed", f"kid {shown(key_id)}, {key.key_type}"))
    except RowgateError as refusal:
        findings.fail("key", refusal)
    if key is None or not isinstance(algorithm, str):
        findings.skip("algorithm of the key", "there is no key or no alg")
        findings.skip("signature", "there is no key or no alg")
        return None
    parsed = compact_token(parts, key.key_id)
    findings.of("algorithm of the key", lambda: check_suits(parsed, provider, key), ", ".join(key.algorithms))
    findings.of("signature", lambda: check_signature(parsed, provider, key), f"{len(parts.signature)} bytes")
    return parsed


def _bound(judge: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: judge(*arguments)


def _shape(token: str, parts: Parts) -> str:
    return f"three parts, {len(token)} characters, {len(parts.claims)} claims"


def _seen(members: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The members of an unverified header or payload that a check looks at, short and printable."""
    found = []
    for name in names:
        value = members[name] if name in members else value_at(members, name.split("."))
        if value is not None:
            found.append(f"{name} {_value(name, value)}")
    return ", ".join(found) or (f"no {' or '.join(names)}" if names else "nothing to check")


def _value(name: str, value: Any) -> str:
    if name in _DATES and isinstance(value, int | float) and not isinstance(value, bool):
        return iso(value)
    if isinstance(value, list):
        return ", ".join(shown(entry) for entry in value[:8])
    return str(value).lower() if isinstance(value, bool) else shown(value)

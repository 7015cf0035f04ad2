"""Admission: how much one subject, one organization and one endpoint may ask at once, and in a second.

The limits stand in the gateway, where a client cannot lift them. Turns in the queue are the pool's; sizes are the
front's and the connection's. Never waits: a request has its place at once or is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from math import ceil
from typing import Final

from rowgate.errors import ConcurrencyExceeded, RateExceeded
from rowgate.gateway.rates import TokenBuckets
from rowgate.identity.principal import Principal
from rowgate.settings import Settings

BYTES_OF_A_STATEMENT: Final = 16 * 1024
"""So much of a result costs Postgres and the gateway about what a quick statement does, 50 to 80 µs together."""


def party_of(principal: Principal | None) -> Hashable:
    """Whose turn a request takes in the pool: the subject's of one provider; None for anonymous requests."""
    return None if principal is None else (principal.provider, principal.subject)


class Places:
    """Counts the requests under way for each key; keys with none take no memory."""

    def __init__(self, most: int, whose: str, setting: str) -> None:
        self._most = most
        self._whose = whose
        self._setting = setting
        self._under_way: dict[Hashable, int] = {}

    def take(self, key: Hashable) -> None:
        """Raises ConcurrencyExceeded where all places are taken."""
        count = self._under_way.get(key, 0)
        if count >= self._most:
            raise ConcurrencyExceeded(
                f"too many requests of this {self._whose} are under way",
                detail=f"at most {self._most} at once",
                hint=f"Wait for earlier requests to end, or raise {self._setting}.",
            )
        self._under_way[key] = count + 1

    def give_back(self, key: Hashable) -> None:
        """Gives a place back."""
        count = self._under_way[key] - 1
        if count:
            self._under_way[key] = count
        else:
            del self._under_way[key]


class Limits:
    """All limits of admission, for requests and sessions together. ``clock`` is in seconds and never goes back."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._subjects = Places(settings.subject_concurrency, "subject", "subject_concurrency")
        self._organizations = _places(settings.organization_concurrency, "organization", "organization_concurrency")
        self._endpoints = _places(settings.endpoint_concurrency, "endpoint", "endpoint_concurrency")
        rates = {
            "subject": settings.subject_rate,
            "organization": settings.organization_rate,
            "endpoint": settings.endpoint_rate,
        }
        self._rates = {
            name: TokenBuckets(rate, settings.rate_burst_seconds) for name, rate in rates.items() if rate is not None
        }
        self.has_rates = bool(self._rates)

    def admit(self, principal: Principal | None, endpoint: str) -> None:
        """Takes a place for one request, to be given back by ``leave`` with the same arguments.

        Raises ConcurrencyExceeded.
        """
        if self._endpoints is not None:
            self._endpoints.take(endpoint)
        if principal is None:
            return
        subject = (principal.provider, principal.subject)
        try:
            self._subjects.take(subject)
            if self._organizations is not None and principal.membership.organization is not None:
                self._admit_member(self._organizations, subject, principal)
        except ConcurrencyExceeded:
            if self._endpoints is not None:
                self._endpoints.give_back(endpoint)
            raise

    def leave(self, principal: Principal | None, endpoint: str) -> None:
        """Gives a place back."""
        if self._endpoints is not None:
            self._endpoints.give_back(endpoint)
        if principal is None:
            return
        self._subjects.give_back((principal.provider, principal.subject))
        if self._organizations is not None and principal.membership.organization is not None:
            self._organizations.give_back((principal.provider, principal.membership.organization))

    def spend(self, principal: Principal | None, endpoint: str, statements: int = 1) -> None:
        """Counts so many statements against every rate. Raises RateExceeded, with the seconds to wait."""
        now = self._clock()
        for name, key in self._keys(principal, endpoint):
            wait = self._rates[name].spend(key, statements, now)
            if wait:
                raise self._exceeded(name, wait)

    def check_debt(self, principal: Principal | None, endpoint: str) -> None:
        """For what was counted and has waited since: raises RateExceeded where other results meanwhile cost so much
        that a rate's bucket owes."""
        now = self._clock()
        for name, key in self._keys(principal, endpoint):
            wait = self._rates[name].owes(key, now)
            if wait:
                raise self._exceeded(name, wait)

    def charge(self, principal: Principal | None, endpoint: str, size: int) -> bool:
        """Counts a result of ``size`` bytes against every rate: each whole 16 KiB of it as one more statement. Whether
        that leaves one of them owing."""
        statements = size // BYTES_OF_A_STATEMENT
        owes = False
        if statements:
            now = self._clock()
            for name, key in self._keys(principal, endpoint):
                self._rates[name].charge(key, statements, now)
                owes = owes or self._rates[name].owes(key, now) > 0
        return owes

    def _exceeded(self, name: str, wait: float) -> RateExceeded:
        return RateExceeded(
            f"too many statements of this {name} in a short time",
            detail=f"{self._rates[name].quota} in {self._rates[name].window} s",
            hint=f"Try again in {ceil(wait)} s, or raise {name}_rate.",
            retry_after=ceil(wait),
        )

    def headers(self, principal: Principal | None, endpoint: str) -> Sequence[tuple[bytes, bytes]]:
        """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4)."""
        now = self._clock()
        policies, states = [], []
        for name, key in self._keys(principal, endpoint):
            buckets = self._rates[name]
            remaining, seconds = buckets.remaining(key, now)
            policies.append(f'"{name}";q={buckets.quota};w={buckets.window}')
            states.append(f'"{name}";r={remaining};t={seconds}')
        if not policies:
            return ()
        return ((b"RateLimit-Policy", ", ".join(policies).encode()), (b"RateLimit", ", ".join(states).encode()))

    def _admit_member(self, organizations: Places, subject: Hashable, principal: Principal) -> None:
        try:
            organizations.take((principal.provider, principal.membership.organization))
        except ConcurrencyExceeded:
            self._subjects.give_back(subject)
            raise

    def _keys(self, principal: Principal | None, endpoint: str) -> list[tuple[str, Hashable]]:
        """The rates that hold for a request, and whose bucket it is."""
        keys: list[tuple[str, Hashable]] = []
        if principal is not None:
            keys.append(("subject", (principal.provider, principal.subject)))
            if principal.membership.organization is not None:
                keys.append(("organization", (principal.provider, principal.membership.organization)))
        keys.append(("endpoint", endpoint))
        return [(name, key) for name, key in keys if name in self._rates]


def _places(most: int | None, whose: str, setting: str) -> Places | None:
    return None if most is None else Places(most, whose, setting)

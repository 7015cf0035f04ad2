"""The key sets of all providers, kept fresh beside the requests rather than in their way.

A key that is at hand is handed out at once; renewing happens in the background. Only a token whose ``kid`` nobody has
seen, or the very first token of a provider, waits for the network, and a flood of such tokens causes one fetch in
``UNKNOWN_KEY_PAUSE`` seconds. This module never lets one provider's key answer for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from rowgate.errors import KeySetUnavailable, RowgateError, TokenKeyUnknown
from rowgate.identity.compact import shown
from rowgate.identity.fetcher import Fetcher
from rowgate.identity.keyset import KeySet, VerificationKey, parse_key_set
from rowgate.identity.provider import Provider

SHORTEST_LIFE: Final = 60.0
LONGEST_LIFE: Final = 3600.0
DEFAULT_LIFE: Final = 300.0
RENEW_AFTER: Final = 0.8
"""The part of its life after which a set in use is renewed, so that it does not expire under load."""

UNKNOWN_KEY_PAUSE: Final = 5.0
FAILURE_PAUSE: Final = 1.0
LONGEST_STALE: Final = 86_400.0
"""Seconds for which a set outlives its provider's last answer, when the provider is down. After that nobody can say
whether the keys are still the provider's."""

Clock = Callable[[], float]


@dataclass(slots=True)
class _Entry:
    """What is known of one URL. Times are those of the clock, in seconds."""

    key_set: KeySet | None = None
    fetched_at: float = float("-inf")
    life: float = DEFAULT_LIFE
    attempted_at: float = float("-inf")
    failure: RowgateError | None = None
    flight: asyncio.Task[None] | None = None


class KeySetCache:
    """Key sets by URL, each fetched by at most one task at a time.

    ``fetcher`` is the way to the network, ``clock`` gives seconds that never go back by much (``time.time`` will do).
    Belongs to one event loop.
    """

    def __init__(self, fetcher: Fetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._static: dict[str, KeySet] = {}
        self._listeners: list[Callable[[], None]] = []
        self._flights: set[asyncio.Task[None]] = set()

    def on_withdrawal(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called whenever a renewed set lacks a key that its predecessor had."""
        self._listeners.append(listener)

    def peek(self, provider: Provider, key_id: str) -> VerificationKey | None:
        """The key if it is at hand, without waiting; starts a renewal in the background when one is due.

        None where the key is not at hand, or where nobody asked for so long that the set must be renewed before it
        can be trusted again. Needs a running event loop.
        """
        if provider.key_set:
            return self._static_set(provider).keys.get(key_id)
        entry = self._entries.get(provider.jwks_url)
        if entry is None or entry.key_set is None:
            return None
        age = self._age(entry)
        if age > LONGEST_LIFE and (entry.failure is None or age > LONGEST_STALE):
            return None
        if age > entry.life * RENEW_AFTER and self._may_attempt(entry):
            self._take_off(provider.jwks_url, entry)
        return entry.key_set.keys.get(key_id)

    async def key(self, provider: Provider, key_id: str) -> VerificationKey:
        """The key that ``key_id`` names in the provider's own set.

        Raises TokenKeyUnknown where the set has no such key, KeySetUnavailable where there is no set.
        """
        key = self.peek(provider, key_id)
        if key is not None:
            return key
        if provider.key_set:
            raise _unknown(provider, key_id, self._static_set(provider), None)
        url = provider.jwks_url
        entry = self._entries.setdefault(url, _Entry())
        if self._may_attempt(entry):
            await _landing(self._take_off(url, entry))
        key_set = entry.key_set
        if key_set is None or self._age(entry) > LONGEST_STALE:
            raise _unavailable(provider, entry.failure)
        found = key_set.keys.get(key_id)
        if found is None:
            raise _unknown(provider, key_id, key_set, entry.failure)
        return found

    async def key_set(self, provider: Provider) -> KeySet:
        """The provider's set as it is now, fetched if it is not at hand. Raises KeySetUnavailable."""
        if provider.key_set:
            return self._static_set(provider)
        entry = self._entries.setdefault(provider.jwks_url, _Entry())
        if entry.key_set is None and self._may_attempt(entry):
            await _landing(self._take_off(provider.jwks_url, entry))
        if entry.key_set is None:
            raise _unavailable(provider, entry.failure)
        return entry.key_set

    async def renew(self, provider: Provider) -> KeySet:
        """The provider's set, fetched now whatever is at hand. Tokens of a key that is gone are refused from then on.

        Raises KeySetUnavailable; what is at hand stays then.
        """
        if provider.key_set:
            return self._static_set(provider)
        entry = self._entries.setdefault(provider.jwks_url, _Entry())
        if entry.flight is not None:  # it may have been answered before the keys changed
            await _landing(entry.flight)
        await _landing(self._take_off(provider.jwks_url, entry))
        if entry.key_set is None or entry.failure is not None:
            raise _unavailable(provider, entry.failure)
        return entry.key_set

    def fetched_at(self, provider: Provider) -> float | None:
        """When the set that is at hand came, by the clock; None where none was fetched."""
        entry = self._entries.get(provider.jwks_url)
        return None if entry is None or entry.key_set is None else entry.fetched_at

    def retain(self, providers: Iterable[Provider]) -> None:
        """Forget the sets of all other providers. A fetch that is under way for one of them ends unheard."""
        kept = {provider.jwks_url for provider in providers}
        self._entries = {url: entry for url, entry in self._entries.items() if url in kept}
        self._static.clear()

    def only_key_id(self, provider: Provider) -> str | None:
        """The ``kid`` of the one key of a provider whose key set is kept in the registry; None where it is another.

        A token need not name the key where the operator gave just one.
        """
        keys = self._static_set(provider).keys if provider.key_set else {}
        return next(iter(keys)) if len(keys) == 1 else None

    def _static_set(self, provider: Provider) -> KeySet:
        key_set = self._static.get(provider.key_set)
        if key_set is None:
            key_set = self._static[provider.key_set] = parse_key_set(provider.key_set.encode())
        return key_set

    async def close(self) -> None:
        """End all background work; whoever waits for a key is told that there is none. The sets are forgotten."""
        self._entries.clear()
        flights = list(self._flights)
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _age(self, entry: _Entry) -> float:
        """Seconds since the set came. A clock that was set back makes it due for renewal, not young for ever."""
        age = self._clock() - entry.fetched_at
        return age if age >= 0 else entry.life

    def _may_attempt(self, entry: _Entry) -> bool:
        if entry.flight is not None:
            return True
        pause = FAILURE_PAUSE if entry.key_set is None else UNKNOWN_KEY_PAUSE
        return not 0 <= self._clock() - entry.attempted_at < pause

    def _take_off(self, url: str, entry: _Entry) -> asyncio.Task[None]:
        """The flight that is under way, or a new one."""
        if entry.flight is None:
            entry.attempted_at = self._clock()
            entry.flight = asyncio.get_running_loop().create_task(self._fly(url, entry))
            self._flights.add(entry.flight)
            entry.flight.add_done_callback(self._flights.discard)
        return entry.flight

    async def _fly(self, url: str, entry: _Entry) -> None:
        """Fetch and keep. Never raises a refusal: it is kept in the entry for whoever waits, or for nobody."""
        try:
            document = await self._fetcher.fetch(url)
            key_set = parse_key_set(document.body)
        except RowgateError as error:
            entry.failure = error
        except Exception as error:  # a fetcher that breaks its word must not cost the set that is at hand
            entry.failure = KeySetUnavailable(
                "Fetching the provider's key set failed unexpectedly.", detail=type(error).__name__
            )
        else:
            previous, entry.key_set = entry.key_set, key_set
            entry.fetched_at = self._clock()
            life = DEFAULT_LIFE if document.max_age is None else float(document.max_age)
            entry.life = min(max(life, SHORTEST_LIFE), LONGEST_LIFE)
            entry.failure = None
            if previous is not None and not previous.fingerprint <= key_set.fingerprint:
                for listener in self._listeners:
                    listener()
        finally:
            entry.attempted_at = self._clock()
            entry.flight = None


async def _landing(flight: asyncio.Task[None]) -> None:
    """Wait until the flight is over, however it ends. A waiter that is cancelled leaves it flying for the others."""
    await asyncio.wait({flight})


def _unavailable(provider: Provider, failure: RowgateError | None) -> KeySetUnavailable:
    message = f"The key set of the provider {provider.name} is not at hand."
    if failure is None:
        return KeySetUnavailable(message)
    return KeySetUnavailable(
        message,
        detail=f"{failure.message} {failure.detail or ''}".rstrip(),
        hint=failure.hint,
        http_status=failure.http_status if isinstance(failure, KeySetUnavailable) else None,
    )


def _unknown(provider: Provider, key_id: str, key_set: KeySet, failure: RowgateError | None) -> TokenKeyUnknown:
    skipped = next((key.reason for key in key_set.skipped if key.key_id == key_id), None)
    if skipped:
        return TokenKeyUnknown(
            f"The token is signed with a key of the provider {provider.name} that Rowgate does not use.",
            detail=f"kid {shown(key_id)} is in the key set, but {skipped}",
        )
    known = ", ".join(shown(name) for name in list(key_set.keys)[:8]) or "no usable key"
    return TokenKeyUnknown(
        f"The key set of the provider {provider.name} has no key of this kid.",
        detail=f"expected one of {known}, got {shown(key_id)}"
        + (f"; the set could not be renewed: {failure.message}" if failure else ""),
    )

"""Admission: how many requests one subject may have under way at once.

The limit stands in the gateway, where a client cannot lift it. Queue places and times are the pool's; sizes are the
front's and the connection's. Never waits: a request has its place at once or is refused.
"""

from __future__ import annotations

from rowgate.errors import ConcurrencyExceeded


class SubjectLimits:
    """Counts the requests under way for each subject; subjects with none take no memory."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._under_way: dict[str, int] = {}

    def admit(self, subject: str) -> None:
        """Takes a place for one request, to be given back by ``leave``. Raises ConcurrencyExceeded."""
        count = self._under_way.get(subject, 0)
        if count >= self._concurrency:
            raise ConcurrencyExceeded(
                "too many requests of this subject are under way", detail=f"at most {self._concurrency} at once"
            )
        self._under_way[subject] = count + 1

    def leave(self, subject: str) -> None:
        """Gives a place back."""
        count = self._under_way[subject] - 1
        if count:
            self._under_way[subject] = count
        else:
            del self._under_way[subject]

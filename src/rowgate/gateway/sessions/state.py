"""What belongs to one session and must never stay on a shared backend: its settings and its prepared statements.

A setting that a transaction has made for the session counts when the transaction commits. Never sends anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rowgate.guard.sessions.statement import SessionSetting, SessionStatement
from rowgate.postgres.shared_statements import StatementKey

REPORTED = {
    "application_name": "application_name",
    "client_encoding": "client_encoding",
    "datestyle": "DateStyle",
    "intervalstyle": "IntervalStyle",
    "timezone": "TimeZone",
    "standard_conforming_strings": "standard_conforming_strings",
    "default_transaction_read_only": "default_transaction_read_only",
    "search_path": "search_path",
}
"""Settings whose changes Postgres tells its clients (PostgreSQL 18, section 54.2.7), under the names it tells."""


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """A statement that the client has prepared; None stands for an empty text.

    ``key`` is what goes to the backend: the SQL and the parameter types. ``parameters`` are those of a portal as its
    record shows them, where somebody wants that.
    """

    statement: SessionStatement | None
    key: StatementKey
    parameters: Sequence[str | None] | None = None


@dataclass(slots=True)
class SessionSettings:
    """The settings of one session that are not what the gateway starts with."""

    kept: dict[str, SessionSetting] = field(default_factory=dict)
    made: dict[str, SessionSetting | None] = field(default_factory=dict)
    """By the transaction under way; None: back to the default."""
    told: dict[str, str] = field(default_factory=dict)
    """What the client was told of its settings by ParameterStatus, as far as it counts."""
    told_now: dict[str, str] = field(default_factory=dict)
    """The same for the transaction under way."""
    savepoints: list[tuple[str, dict[str, SessionSetting | None], dict[str, str]]] = field(default_factory=list)
    """What stood at each savepoint of the transaction, the latest last."""

    def begin(self, chosen: Iterable[SessionSetting], parameters: Mapping[str, str]) -> None:
        """The settings of the startup packet, and what a backend reports where nothing is set."""
        self.kept = {setting.name: setting for setting in chosen if setting.values is not None}
        self.told = dict(parameters)
        for setting in chosen:
            name = REPORTED.get(setting.name)
            if name is not None and setting.values:
                self.told[name] = ", ".join(setting.values)

    def make(self, setting: SessionSetting) -> None:
        """The transaction has set it."""
        self.made[setting.name] = None if setting.values is None else setting

    def reset_all(self) -> None:
        """The transaction has reset all."""
        self.made = dict.fromkeys(self.kept)

    def committed(self) -> None:
        """The transaction has ended well."""
        for name, setting in self.made.items():
            if setting is None:
                self.kept.pop(name, None)
            else:
                self.kept[name] = setting
        self.told |= self.told_now
        self._clear()

    def rolled_back(self) -> dict[str, str]:
        """The transaction has ended otherwise; gives what the client must be told anew."""
        again = {name: self.told[name] for name in self.told_now if name in self.told}
        self._clear()
        return again

    def savepoint(self, name: str) -> None:
        """The transaction has a savepoint."""
        self.savepoints.append((name, dict(self.made), dict(self.told_now)))

    def release(self, name: str) -> None:
        """The savepoint and those after it are gone; what was set stays."""
        del self.savepoints[self._position(name) :]

    def rolled_back_to(self, name: str) -> dict[str, str]:
        """The savepoint stands again as it was; gives what the client must be told anew."""
        position = self._position(name)
        if position == len(self.savepoints):
            return {}
        _, self.made, told = self.savepoints[position]
        del self.savepoints[position + 1 :]
        before = {**self.told, **told}
        again = {name: before[name] for name, value in self.told_now.items() if before.get(name, value) != value}
        self.made, self.told_now = dict(self.made), dict(told)
        return again

    def _position(self, name: str) -> int:
        """Of the latest savepoint of this name; the end where there is none."""
        found = [position for position, one in enumerate(self.savepoints) if one[0] == name]
        return found[-1] if found else len(self.savepoints)

    def _clear(self) -> None:
        self.made.clear()
        self.told_now.clear()
        self.savepoints.clear()

    def __iter__(self) -> Iterator[SessionSetting]:
        """What a new transaction of the session must begin with."""
        return iter(tuple(self.kept.values()))


@dataclass(slots=True)
class SessionState:
    """The session's own: settings, prepared statements by the client's names, portals of the transaction."""

    settings: SessionSettings = field(default_factory=SessionSettings)
    statements: dict[bytes, Definition] = field(default_factory=dict)
    portals: dict[bytes, Definition] = field(default_factory=dict)

    def define_unnamed(self, statement: SessionStatement, key: StatementKey) -> Definition:
        """The client's unnamed statement from now on."""
        definition = self.statements[b""] = Definition(statement, key)
        return definition

    def discard(self) -> None:
        """DISCARD ALL: nothing is prepared any more, and all settings are back."""
        self.statements.clear()
        self.portals.clear()
        self.settings.reset_all()

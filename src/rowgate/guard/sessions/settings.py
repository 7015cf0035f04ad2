"""Which settings a session may read and write, and with which values: an allow-list, by what real clients send.

A name that is not here can be neither set nor shown: roles, custom settings (a dot in the name: the sealed identity
lives in one), memory, planner and logging stay as the gateway pinned them. Values are checked and brought to one
spelling, because the gateway writes them into SQL of its own. This module never sees a parse tree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from rowgate.guard.relations import is_refused_schema
from rowgate.guard.sessions.statement import SessionSetting, SessionStatement
from rowgate.guard.verdict import Refusal, shown

_NAME_BYTES: Final = 63
_INVALID: Final = "22023"
_READ_ONLY_SETTINGS: Final = frozenset(
    {
        *("in_hot_standby", "integer_datetimes", "is_superuser", "max_identifier_length", "max_index_keys"),
        *("server_encoding", "server_version", "server_version_num", "session_authorization", "block_size"),
        *("lc_collate", "lc_ctype", "default_text_search_config", "default_table_access_method", "lc_monetary"),
    }
)
"""What clients ask for and nobody sets. The login role (session_authorization) has a name that everybody can guess."""

TRANSACTION_SETTINGS: Final = frozenset({"transaction_isolation", "transaction_read_only", "transaction_deferrable"})
"""Settings that Postgres itself forgets at the end of the transaction."""

_Parse = Callable[[tuple[str, ...]], "tuple[str, ...] | None"]


def _one_of(*words: str) -> _Parse:
    known = {word: (word,) for word in words}
    return lambda values: known.get(values[0].lower()) if len(values) == 1 else None


def _boolean(values: tuple[str, ...]) -> tuple[str, ...] | None:
    """As Postgres reads booleans: words may be cut where they stay unambiguous."""
    word = values[0].lower() if len(values) == 1 else ""
    if word in {"on", "1"} or (word and ("true".startswith(word) or "yes".startswith(word))):
        return ("on",)
    if word in {"off", "of", "0"} or (word and ("false".startswith(word) or "no".startswith(word))):
        return ("off",)
    return None


def _always_on(values: tuple[str, ...]) -> tuple[str, ...] | None:
    return ("on",) if _boolean(values) == ("on",) else None


def _application_name(values: tuple[str, ...]) -> tuple[str, ...] | None:
    if len(values) != 1:
        return None
    return (values[0].encode()[:_NAME_BYTES].decode("utf-8", "ignore"),)  # Postgres cuts it there too


def _client_encoding(values: tuple[str, ...]) -> tuple[str, ...] | None:
    """Postgres compares encoding names by their letters and digits alone. Another encoding would let a literal end
    elsewhere than the guard saw."""
    letters = "".join(letter for letter in values[0].lower() if letter.isalnum()) if len(values) == 1 else ""
    return ("UTF8",) if letters in {"utf8", "unicode"} else None


_DATE_STYLES: Final = frozenset({"iso", "sql", "postgres", "german"})
_DATE_ORDERS: Final = frozenset({"mdy", "dmy", "ymd", "us", "euro", "european", "noneuro", "noneuropean"})


def _date_style(values: tuple[str, ...]) -> tuple[str, ...] | None:
    words = [word.strip().lower() for value in values for word in value.split(",")]
    styles = [word for word in words if word in _DATE_STYLES]
    orders = [word for word in words if word in _DATE_ORDERS]
    if not words or len(styles) > 1 or len(orders) > 1 or len(styles) + len(orders) != len(words):
        return None
    return (*(word.upper() if word in {"iso", "sql"} else word.capitalize() for word in styles),
            *(word.upper() for word in orders))  # fmt: skip


_ZONE_MARKS: Final = frozenset("+-_/:.,<>")


def _time_zone(values: tuple[str, ...]) -> tuple[str, ...] | None:
    """A name of the time zone database, a POSIX zone or hours; ``interval '...'`` in a string has a quote."""
    zone = values[0] if len(values) == 1 else ""
    known = all((letter.isascii() and letter.isalnum()) or letter in _ZONE_MARKS for letter in zone)
    return (zone,) if known and 0 < len(zone) <= _NAME_BYTES and ".." not in zone else None


def _float_digits(values: tuple[str, ...]) -> tuple[str, ...] | None:
    digits = values[0] if len(values) == 1 else ""
    number = digits.removeprefix("-")
    known = number.isascii() and number.isdigit() and len(number) <= 2 and -15 <= int(digits) <= 3
    return (str(int(digits)),) if known else None


_MICROSECONDS: Final = MappingProxyType(
    {"us": 1, "ms": 1_000, "": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
)


def _time_out(values: tuple[str, ...]) -> tuple[str, ...] | None:
    """Milliseconds, or a number with a unit (docs, "Parameter Names and Values"); never negative."""
    text = values[0].strip() if len(values) == 1 else ""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = _MICROSECONDS.get(text[len(number) :])
    whole, _, fraction = number.strip().partition(".")
    digits = whole + fraction
    if unit is None or not (digits.isascii() and digits.isdigit()) or len(digits) > 15:
        return None
    milliseconds = round(int(digits) * unit / 10 ** len(fraction) / 1_000)
    return (str(milliseconds),) if milliseconds <= 2**31 - 1 else None


def _search_path(values: tuple[str, ...]) -> tuple[str, ...] | None:
    """Names of schemas that are open. pg_catalog may only stand first, which is where Postgres searches it anyway:
    after another schema, a table or function there would stand for a name that the guard takes for Postgres's own.
    The closed schemas would make their relations reachable without their names."""
    names = [name for name in values if name]
    for index, name in enumerate(names):
        if len(name.encode()) > _NAME_BYTES or (is_refused_schema(name) and (index or name != "pg_catalog")):
            return None
    return tuple(names)


_ISOLATION: Final = _one_of("serializable", "repeatable read", "read committed", "read uncommitted")

_RULES: Final[MappingProxyType[str, tuple[_Parse, str]]] = MappingProxyType(
    {
        "application_name": (_application_name, "a name"),
        "bytea_output": (_one_of("hex", "escape"), "hex or escape"),
        "client_encoding": (_client_encoding, "UTF8, which is what the gateway speaks"),
        # LOG and DEBUG would send the client what the server logs, the gateway's own statements included.
        "client_min_messages": (_one_of("notice", "warning", "error"), "notice, warning or error"),
        "datestyle": (_date_style, "ISO, SQL, Postgres or German, and MDY, DMY or YMD"),
        "default_transaction_deferrable": (_boolean, "on or off"),
        "default_transaction_isolation": (_ISOLATION, "an isolation level"),
        "default_transaction_read_only": (_boolean, "on or off"),
        "extra_float_digits": (_float_digits, "-15 to 3"),
        "idle_in_transaction_session_timeout": (_time_out, "milliseconds, or a number with a unit"),
        "intervalstyle": (
            _one_of("postgres", "postgres_verbose", "sql_standard", "iso_8601"),
            "postgres, postgres_verbose, sql_standard or iso_8601",
        ),
        "jit": (_boolean, "on or off"),  # asyncpg turns it off while it reads types
        "lock_timeout": (_time_out, "milliseconds, or a number with a unit"),
        "row_security": (_always_on, "on"),
        "search_path": (_search_path, "names of open schemas, pg_catalog at most as the first"),
        "standard_conforming_strings": (_always_on, "on, which is how statements are read here"),
        "statement_timeout": (_time_out, "milliseconds, or a number with a unit"),
        "timezone": (_time_zone, "the name of a time zone or an offset in hours"),
        "transaction_deferrable": (_boolean, "on or off"),
        "transaction_isolation": (_ISOLATION, "an isolation level"),
        "transaction_read_only": (_boolean, "on or off"),
    }
)

SETTABLE: Final = frozenset(_RULES)
"""The names that :func:`session_setting` takes."""

SHOWABLE: Final = SETTABLE | _READ_ONLY_SETTINGS
"""The names that SHOW and current_setting() may have."""


def session_setting(name: str, values: str | Sequence[str] | None) -> SessionSetting:
    """The checked setting ``name``, whose letters' case means nothing.

    ``values`` is one text as set_config(), a startup packet and the postgresql.conf file have it, or the elements of
    a SET statement; None is the default. Raises StatementRefused: 42501 for a name that is not open, 22023 for a value.
    """
    name = folded(name)
    rule = _RULES.get(name)
    if rule is None:
        raise closed_setting(name).error()
    if values is None:
        return SessionSetting(name, None)
    if isinstance(values, str):
        elements = _identifiers(values) if name == "search_path" else (values,)
    else:
        elements = tuple(values)
    parse, expected = rule
    parsed = None if elements is None else parse(elements)
    if parsed is None:
        given = shown(values if isinstance(values, str) else ", ".join(values))
        raise Refusal(
            f'invalid value for parameter "{name}": "{given}"',
            f"Expected {expected}.",
            "Leave the setting as it is, or use a value that is open.",
            _INVALID,
        ).error()
    return SessionSetting(name, parsed, int(parsed[0]) if parse is _time_out else None)


def readable_setting(name: str) -> str:
    """``name`` in lower case, where it may be shown. Raises StatementRefused (42501) where not."""
    name = folded(name)
    if name not in SHOWABLE:
        raise closed_setting(name).error()
    return name


def bound(statement: SessionStatement, value: Callable[[int], str | None]) -> SessionStatement:
    """``statement`` with the values of its ``parameters``, which ``value`` gives by number (None: NULL).

    The result has its ``settings``, and no ``parameters`` any more. Raises StatementRefused as
    :func:`session_setting` and :func:`readable_setting` do.
    """
    settings = list(statement.settings)
    for number, name in statement.parameters:
        given = value(number)
        if name is not None:
            settings.append(session_setting(name, given))
        elif given is not None:  # of NULL, current_setting() is NULL
            readable_setting(given)
    return msgspec.structs.replace(statement, settings=tuple(settings), parameters=())


def closed_setting(name: str) -> Refusal:
    """The refusal for a setting that is not open."""
    return Refusal(
        f"The setting {shown(name)} is not open.",
        "Sessions share their connections to Postgres, so only settings that are known to be harmless can be used.",
        f"Open are {', '.join(sorted(SETTABLE))}; the rest is fixed by the gateway.",
    )


def folded(name: str) -> str:
    """The name of a setting in lower case: Postgres folds the letters of ASCII in names of settings, and no others."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def _identifiers(text: str) -> tuple[str, ...] | None:
    """The names of a list such as ``"$user", public``, read as Postgres's SplitIdentifierString does; None where it
    is no such list."""
    names: list[str] = []
    rest = text.strip()
    while rest:
        if rest[0] == '"':
            name, rest = _quoted(rest)
            if name is None:
                return None
        else:
            end = next((index for index, letter in enumerate(rest) if letter == "," or letter.isspace()), len(rest))
            name, rest = folded(rest[:end]), rest[end:]
            if not name or '"' in name:
                return None
        names.append(name)
        rest = rest.lstrip()
        if rest:
            if rest[0] != "," or not rest[1:].strip():
                return None
            rest = rest[1:].lstrip()
    return tuple(names)


def _quoted(text: str) -> tuple[str | None, str]:
    """The identifier at the beginning of ``text``, which is a quotation mark, and what follows it."""
    start = 1
    while (end := text.find('"', start)) != -1:
        if text[end + 1 : end + 2] != '"':
            return text[1:end].replace('""', '"'), text[end + 1 :]
        start = end + 2
    return None, ""

"""The file of an allow-list: the statements that each role may run, for people to review and to keep with the code.

A statement is known by the SHA-256 of its text with every constant left out. The parser's own fingerprint stands beside
it to be recognised in logs; it is too short to keep anybody out. Never decides anything.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from rowgate.errors import SettingInvalid, StatementRefused
from rowgate.guard.parser import normalised

RECORDED_SUFFIX = ".recorded"


class ListedStatement(msgspec.Struct, frozen=True, order=True):
    """One statement: its ``text`` with ``$n`` for constants, ``sha256`` of that, ``first_seen`` as a day (ISO 8601)."""

    text: str
    sha256: str
    fingerprint: str
    tables: tuple[str, ...]
    first_seen: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    roles: dict[str, list[ListedStatement]]


Lists = dict[str, dict[str, ListedStatement]]
"""For each role its statements by their SHA-256."""


def plain(text: str) -> str:
    """The text as it is listed. Raises StatementRefused where it is not SQL."""
    return normalised(text.strip(" \t\r\n;").encode())


def digest(listed_text: str) -> str:
    """What a text of :func:`plain` is known by."""
    return sha256(listed_text.encode()).hexdigest()


def read_lists(path: Path) -> Lists:
    """The lists of a file; empty where there is none. Raises SettingInvalid for a file that is none, or that was
    changed so that a text and its SHA-256 do not fit."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise SettingInvalid(f"the allow-list {path} cannot be read", detail=problem.strerror) from problem
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise SettingInvalid(f"{path} is no allow-list", detail=str(problem)) from problem
    if file.version != 1:
        raise SettingInvalid(f"{path} is an allow-list of version {file.version}", detail="expected version 1")
    for statements in file.roles.values():
        for one in statements:
            _check(path, one)
    return {role: {one.sha256: one for one in statements} for role, statements in file.roles.items()}


def write_lists(path: Path, lists: Mapping[str, Mapping[str, ListedStatement]]) -> None:
    """Replaces the file whole, sorted, so that a change is a line of a diff. Raises OSError."""
    roles = {role: sorted(lists[role].values()) for role in sorted(lists)}
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(_File(1, roles)), indent=2) + b"\n")
    fresh.replace(path)


def keys_of(lists: Mapping[str, Mapping[str, ListedStatement]]) -> frozenset[tuple[str, str]]:
    """Which statements there are: role and SHA-256 of each."""
    return frozenset((role, key) for role, statements in lists.items() for key in statements)


def add_to_lists(
    path: Path, lists: Mapping[str, Mapping[str, ListedStatement]], seen: frozenset[tuple[str, str]]
) -> Lists:
    """Adds to the file what it has not got, and gives all that is in it then. Several processes may do so at once.

    ``seen`` is what the caller found in it the last time: what is not there any more was taken out, and stays out.
    Raises OSError, and SettingInvalid where the file is none.
    """
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read_lists(path)
        gone = seen - keys_of(known)
        together = {
            role: {
                **{key: one for key, one in lists.get(role, {}).items() if (role, key) not in gone},
                **known.get(role, {}),
            }
            for role in {*lists, *known}
        }
        if together != known:
            write_lists(path, together)
        return together


def recorded_path(path: Path) -> Path:
    """Where the statements are that were recorded."""
    return path.with_name(path.name + RECORDED_SUFFIX)


def _check(path: Path, one: ListedStatement) -> None:
    if digest(one.text) != one.sha256:
        raise SettingInvalid(
            f"{path}: the text and the SHA-256 of a statement do not fit",
            detail=f"sha256 {one.sha256[:16]}…",
            hint="Do not change texts by hand: record the statement and approve it.",
        )
    try:
        plain(one.text)
    except StatementRefused as problem:
        raise SettingInvalid(f"{path}: a statement is not SQL", detail=problem.message) from problem

"""Reviewing an allow-list: what was recorded beside what is approved, and moving statements between the two files.

The command line and the console both do it by this module. Never decides what may run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from rowgate.errors import SettingInvalid
from rowgate.gateway.allowlist_file import ListedStatement, Lists, read_lists, recorded_path, write_lists

Entry = tuple[str, ListedStatement]
"""A role and one of its statements."""


def entries(lists: Lists) -> list[Entry]:
    """All statements, by role and text."""
    return [(role, one) for role in sorted(lists) for one in sorted(lists[role].values())]


def approved(path: Path) -> list[Entry]:
    """What is on the allow-list ``path``. Raises SettingInvalid."""
    return entries(read_lists(path))


def unapproved(path: Path) -> list[Entry]:
    """What was recorded and is not on the allow-list ``path``. Raises SettingInvalid."""
    known = read_lists(path)
    return [
        (role, one) for role, one in entries(read_lists(recorded_path(path))) if one.sha256 not in known.get(role, {})
    ]


def chosen(found: Iterable[Entry], beginnings: Collection[str]) -> list[Entry]:
    """Those of ``found`` whose SHA-256 begins with one of ``beginnings``; all of them where there is none.

    Raises SettingInvalid for a beginning that none has.
    """
    known = list(found)
    unknown = [start for start in beginnings if not any(one.sha256.startswith(start) for _, one in known)]
    if unknown:
        raise SettingInvalid(f"no statement begins with {unknown[0]}", hint="See `rowgate allowlist diff`.")
    return [one for one in known if not beginnings or any(one[1].sha256.startswith(start) for start in beginnings)]


def approve(path: Path, statements: Iterable[Entry]) -> None:
    """Puts statements on the allow-list ``path``. Raises SettingInvalid."""
    lists = read_lists(path)
    for role, statement in statements:
        lists.setdefault(role, {})[statement.sha256] = statement
    _write(path, lists)


def withdraw(path: Path, statements: Iterable[Entry]) -> None:
    """Takes statements off the allow-list ``path``. Raises SettingInvalid."""
    _write(path, _without(read_lists(path), statements))


def reject(path: Path, statements: Iterable[Entry]) -> None:
    """Takes statements out of what was recorded for the allow-list ``path``. Whoever records meets them again when they
    come again. Raises SettingInvalid."""
    _write(recorded_path(path), _without(read_lists(recorded_path(path)), statements))


def _without(lists: Lists, statements: Iterable[Entry]) -> Lists:
    for role, statement in statements:
        lists.get(role, {}).pop(statement.sha256, None)
    return lists


def _write(path: Path, lists: Lists) -> None:
    try:
        write_lists(path, lists)
    except OSError as problem:
        raise SettingInvalid(f"the allow-list {path} cannot be written", detail=problem.strerror) from problem

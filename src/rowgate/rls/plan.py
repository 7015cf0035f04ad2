"""What set-up is asked for, and what it would do: options, steps and the plan, as values.

This module never talks to a database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from rowgate.errors import SettingInvalid

EXIT_COMPLETE: Final = 0
EXIT_NOT_PERMITTED: Final = 3

SCRIPT_START: Final = "BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n"
"""Nothing that others put into schema public is to be found by the names and operators of the script."""

LONGEST_ROLE_NAME: Final = 40
"""Postgres names have at most 63 bytes; login roles are called after the exposed role, with a prefix and a suffix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupOptions:
    """What ``rowgate setup`` is asked for.

    ``roles`` are the exposed roles, ``schemas`` the schemas whose tables they may use, ``owners`` the roles whose
    future tables they may use (empty: the connected role and, where that is a superuser, the database's owner).
    ``grant_tables`` says whether privileges on tables and sequences are granted at all. ``control_password`` is the
    password that ``rowgate_control`` is to have (None: a random one when the role is made, else the one it has).
    ``rotate_key`` puts a new session key beside the present one, ``rotate_passwords`` gives the login roles new
    passwords. ``harden`` takes from PUBLIC what exposed roles must not do, ``unharden`` gives it back.

    Raises SettingInvalid for a role name that cannot be exposed, and where both are asked for.
    """

    roles: tuple[str, ...] = ("authenticated", "anonymous")
    schemas: tuple[str, ...] = ("public",)
    owners: tuple[str, ...] = ()
    grant_tables: bool = True
    control_password: str | None = field(default=None, repr=False)
    rotate_key: bool = False
    rotate_passwords: bool = False
    harden: bool = False
    unharden: bool = False

    def __post_init__(self) -> None:
        if not self.roles or len(set(self.roles)) != len(self.roles):
            raise SettingInvalid("The exposed roles must be named, each once.", detail=f"got {self.roles!r}")
        if self.harden and self.unharden:
            raise SettingInvalid("A database is hardened, or hardening is undone, not both.")
        for role in self.roles:
            _require_exposable(role)
        for name in (*self.schemas, *self.owners):
            if not name or "\0" in name or len(name.encode("utf-8", "surrogateescape")) > 63:
                raise SettingInvalid("A schema or owner is not the name of one.", detail=f"got {name!r}")


class StepState(StrEnum):
    """How a step stands."""

    PRESENT = "present"
    NEEDED = "needed"
    NOT_PERMITTED = "not permitted"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of set-up. ``sql`` can be pasted; it holds no password and no key. ``runner`` says who may run it,
    ``missing`` what is not there yet, ``problem`` why the connected role cannot do it."""

    title: str
    why: str
    runner: str
    sql: str
    state: StepState
    missing: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps in the order in which they must be done, for one database and the role that is connected to it."""

    database: str
    connected_role: str
    server_version: int
    steps: tuple[Step, ...]

    def in_state(self, state: StepState) -> tuple[Step, ...]:
        """The steps that are in ``state``."""
        return tuple(step for step in self.steps if step.state is state)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        return all(step.state is StepState.PRESENT for step in self.steps)

    @property
    def exit_code(self) -> int:
        """What the command exits with: 0, or 3 where somebody else must do some of the steps."""
        return EXIT_NOT_PERMITTED if self.in_state(StepState.NOT_PERMITTED) else EXIT_COMPLETE

    def script(self, *states: StepState) -> str:
        """The SQL of the steps in these states (default: all that are not present), ready to paste."""
        wanted = states or (StepState.NEEDED, StepState.NOT_PERMITTED)
        parts = [
            f"-- {step.title} (by {step.runner})\n-- {step.why}\n{step.sql.strip()}\n"
            for step in self.steps
            if step.state in wanted
        ]
        return "\n".join([SCRIPT_START, *parts, "COMMIT;\n"]) if parts else ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What set-up did: ``applied`` holds the titles of the steps that were done, ``plan`` how all steps stand now.

    ``control_password`` is the password of ``rowgate_control`` where this run set it, else None.
    """

    plan: Plan
    applied: tuple[str, ...]
    control_password: str | None = field(default=None, repr=False)


def _require_exposable(role: str) -> None:
    reason = None
    if not role or not role.isprintable() or len(role.encode()) > LONGEST_ROLE_NAME:
        reason = f"expected printable text of 1 to {LONGEST_ROLE_NAME} bytes"
    elif "$" in role:
        reason = "a dollar sign would end the quotation of statements"
    elif role in ("public", "none") or role.startswith(("pg_", "rowgate_")):
        reason = "public, none, pg_* and rowgate_* are reserved"
    if reason is not None:
        raise SettingInvalid("This role cannot be exposed.", detail=f"{reason}, got {role!r}")

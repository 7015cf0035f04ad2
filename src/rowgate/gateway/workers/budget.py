"""What one of several workers may take of what the settings allow the whole service. Pure.

Whatever bounds something for the service is divided, so that its sum is never more than the settings say. Sizes, times
and what only costs the process memory stay.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rowgate.errors import SettingInvalid
from rowgate.gateway.audit.writer import STANDARD_ERROR
from rowgate.settings import Settings

DIVIDED: Final = (
    "pool_size",
    "queue_length",
    "subject_connections",
    "subject_queue_length",
    "subject_concurrency",
    "organization_concurrency",
    "endpoint_concurrency",
    "subject_rate",
    "organization_rate",
    "endpoint_rate",
    "max_sessions",
)
"""The settings that bound something for all workers together."""


def settings_of(settings: Settings, number: int) -> Settings:
    """The settings of worker ``number`` (from 1) of ``settings.workers``.

    The first worker alone has the management port. Raises SettingInvalid where the audit file could not be divided.
    """
    if settings.workers == 1:
        return settings
    parts: dict[str, Any] = {name: part(getattr(settings, name), number, settings.workers) for name in DIVIDED}
    return replace(
        settings,
        **parts,
        admin_port=settings.admin_port if number == 1 else None,
        audit_log=audit_file_of(settings, number),
    )


def part(whole: int | None, number: int, workers: int) -> int | None:
    """What worker ``number`` (from 1) has of ``whole``: a whole number, at least 1 where there is anything at all.

    The first ones have the rest of the division. None, for no bound, stays None.
    """
    if not whole:
        return whole
    return max(whole // workers + (number <= whole % workers), 1)


def audit_file_of(settings: Settings, number: int) -> str:
    """The audit file of one worker: ``audit.log`` becomes ``audit.worker-1.log``, so that each has a chain of its own.

    Standard error is shared, and then there can be no chain. Raises SettingInvalid where one is asked for.
    """
    if not settings.audit_log or settings.workers == 1:
        return settings.audit_log
    if settings.audit_log == STANDARD_ERROR:
        if settings.audit_chain:
            raise SettingInvalid(
                "audit_chain cannot be had on standard error by several workers",
                detail="each worker has a chain of its own, and their lines would be mixed",
                hint="Set audit_log to a file: each worker writes one of its own.",
            )
        return STANDARD_ERROR
    path = Path(settings.audit_log)
    return str(path.with_name(f"{path.stem}.worker-{number}{path.suffix}"))

"""Moments and durations as commands read and show them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

from rowgate.errors import SettingInvalid

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment_of(option: str, text: str) -> float:
    """Unix seconds of ``now``, of seconds since 1970, or of ISO 8601 with its zone. Raises SettingInvalid for anything
    else, and for the future."""
    try:
        moment = time.time() if text == "now" else float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else _parsed(text)
    except ValueError as error:
        raise SettingInvalid(
            f"{option} cannot be read.",
            detail=f"expected now, seconds since 1970, or a text such as 2026-01-31T12:00:00Z, got {text[:40]!r}",
        ) from error
    if moment > time.time() + 1:
        raise SettingInvalid(f"{option} lies in the future.", detail=f"got {text[:40]!r}", hint=f"Give {option} now.")
    return moment


def seconds_of(option: str, text: str) -> float | None:
    """Seconds of a text such as 12h; None for ``never``. Raises SettingInvalid."""
    if text == "never":
        return None
    found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if found is None:
        raise SettingInvalid(
            f"{option} cannot be read.", detail=f"expected a text such as 12h, 30d or never, got {text[:40]!r}"
        )
    return float(found[1]) * UNITS[found[2]]


def iso(moment: float) -> str:
    """Unix seconds as people read them, in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(text: str) -> float:
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(text)
    return parsed.timestamp()

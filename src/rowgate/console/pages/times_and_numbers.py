"""Moments as pages show them, in UTC, and whole numbers as addresses and forms hold them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def to_the_minute(moment: float) -> str:
    """Unix seconds as a day and a minute."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def to_the_second(moment: float) -> str:
    """Unix seconds as a day and a second."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def time_of_day(moment: float) -> str:
    """Unix seconds as a time of the day, which is in UTC though it does not say so."""
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S")


def whole_number(text: str) -> int | None:
    """A number that somebody sent; None where it is none, or too large to be one of ours."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None

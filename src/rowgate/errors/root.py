"""The root of the error tree. Never says what went wrong: its subclasses do."""

from __future__ import annotations

from typing import ClassVar


class RowgateError(Exception):
    """The root of the tree.

    ``message`` is one sentence for a person; ``detail`` says what came and what was expected; ``hint`` says what to
    do next (the class's own where None is given). All three are str.
    """

    code: ClassVar[str] = "rowgate_error"
    sqlstate: ClassVar[str] = "XX000"
    status: ClassVar[int] = 500
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint if hint is not None else self.default_hint

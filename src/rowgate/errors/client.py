"""What a client of the gateway meets on its way there. The gateway itself never answers with one of these."""

from __future__ import annotations

from rowgate.errors.root import RowgateError


class GatewayError(RowgateError):
    """The client and the gateway did not come to an answer."""

    code = "gateway_error"
    sqlstate = "08000"
    status = 503


class GatewayUnreachable(GatewayError):
    """No connection to the gateway could be made; nothing was sent."""

    code = "gateway_unreachable"
    sqlstate = "08001"
    default_hint = "Check that the gateway is running and that its address is right."


class AnswerMissing(GatewayError):
    """The request was sent and no whole answer came in time; whether a statement that writes took effect is unknown."""

    code = "answer_missing"
    sqlstate = "08006"
    default_hint = "Read the data before you repeat a statement that writes."


class AnswerUnreadable(GatewayError):
    """What answered does not speak the protocol of ``POST /sql``."""

    code = "answer_unreadable"
    sqlstate = "08P01"
    default_hint = "Check that the address is the gateway's, with /sql at its end."


class RefusalUnknown(GatewayError):
    """The gateway refused with a code that this version of the client does not know. ``refusal`` is that code."""

    code = "refusal_unknown"
    default_hint = "The gateway is newer than this client: install the client's newest version."

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None, refusal: str = "") -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.refusal = refusal

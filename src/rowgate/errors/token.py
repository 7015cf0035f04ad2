"""What a token got wrong, one class for each check, and the key set that a check needs. Never holds the token."""

from __future__ import annotations

from rowgate.errors.root import RowgateError


class TokenRefused(RowgateError):
    """A token did not pass a check. The subclass names the check."""

    code = "token_refused"
    sqlstate = "28000"
    status = 400
    default_hint = "Get a fresh token from your identity provider."


class TokenMalformed(TokenRefused):
    """The token is not a signed compact JWT (RFC 7519, RFC 7515 section 7.1), or its JSON is not sound."""

    code = "token_malformed"
    default_hint = "Send the JWT alone: three base64url parts separated by dots."


class TokenAlgorithmRefused(TokenRefused):
    """The ``alg`` of the header is not one that this provider signs with, or does not suit the key."""

    code = "token_algorithm_refused"
    default_hint = "Rowgate accepts RS, PS and ES 256/384/512 and EdDSA, as far as the provider lists them."


class TokenKeyUnknown(TokenRefused):
    """The ``kid`` of the header is missing, or names no key of the provider's key set."""

    code = "token_key_unknown"
    default_hint = "Check that the token comes from this provider and that its key set holds this kid."


class TokenSignatureInvalid(TokenRefused):
    """The signature does not belong to the token under the key that ``kid`` names."""

    code = "token_signature_invalid"


class TokenExpired(TokenRefused):
    """``exp`` has passed, or is missing."""

    code = "token_expired"


class TokenNotYetValid(TokenRefused):
    """``nbf`` or ``iat`` lies in the future."""

    code = "token_not_yet_valid"
    default_hint = "Compare the clocks of the identity provider and of this machine."


class TokenIssuerUnknown(TokenRefused):
    """``iss`` is not the issuer of a provider registered here."""

    code = "token_issuer_unknown"
    default_hint = "Register the provider with `rowgate provider add <JWKS URL>`, or compare iss with its issuer."


class TokenAudienceRefused(TokenRefused):
    """``aud`` does not hold the audience that the provider was registered with."""

    code = "token_audience_refused"


class TokenPartyRefused(TokenRefused):
    """``azp`` is not among the provider's authorized parties, or the token was made for another client."""

    code = "token_party_refused"


class TokenSubjectMissing(TokenRefused):
    """``sub`` is missing, empty or not a string."""

    code = "token_subject_missing"


class TokenClaimInvalid(TokenRefused):
    """A claim has the wrong type or a forbidden value."""

    code = "token_claim_invalid"


class TokenRoleRefused(TokenRefused):
    """The provider's tokens may not be used for the role of the connection string."""

    code = "token_role_refused"
    default_hint = (
        "Allow the role with `rowgate provider add ... --role NAME`. Where a role asks for claims, "
        "`rowgate provider check` shows them."
    )


class TokenRevoked(TokenRefused):
    """The token, its session, its user or its provider was revoked before the token's time."""

    code = "token_revoked"
    default_hint = "Sign in again; if that does not help, ask whoever runs the service."


class KeySetUnavailable(RowgateError):
    """The provider's key set could not be fetched and no earlier copy is at hand."""

    code = "key_set_unavailable"
    sqlstate = "08006"
    status = 503
    default_hint = "Run `rowgate provider check` on the gateway's machine."

    def __init__(
        self, message: str, *, detail: str | None = None, hint: str | None = None, http_status: int | None = None
    ) -> None:
        """``http_status`` is the status of the provider's answer where it answered at all."""
        super().__init__(message, detail=detail, hint=hint)
        self.http_status = http_status

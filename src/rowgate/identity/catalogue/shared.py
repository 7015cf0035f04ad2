"""Providers whose keys sign for customers that have nothing to do with each other: an audience is always needed."""

from __future__ import annotations

from typing import Final

from rowgate.identity.catalogue.preset import GUID, Input, Preset
from rowgate.identity.claim_rules import ClaimRules, Condition, Reading

SHARED: Final[tuple[Preset, ...]] = (
    Preset(
        kind="firebase",
        label="Firebase Authentication, Google Cloud Identity Platform",
        documentation="https://firebase.google.com/docs/auth/admin/verify-id-tokens",
        issuers=("https://securetoken.google.com/{project}",),
        key_set="https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
        addresses=("https://securetoken.google.com/*",),
        audience="required",
        audiences=("{project}",),
        inputs=(
            Input(
                name="project",
                option="--project",
                meaning="the project id",
                where="the Firebase console, Project settings, General, Project ID",
                is_audience=True,
            ),
        ),
        rules=ClaimRules(
            anonymous=(Condition(path=("firebase", "sign_in_provider"), values=("anonymous",)),),
            organization=(Reading(path=("firebase", "tenant")),),
        ),
        note="Anonymous sign-ins may use the role anonymous only. Session cookies are not accepted.",
    ),
    Preset(
        kind="google",
        label="Google Identity",
        documentation="https://developers.google.com/identity/openid-connect/openid-connect",
        issuers=("https://accounts.google.com", "accounts.google.com"),
        key_set="https://www.googleapis.com/oauth2/v3/certs",
        audience="required",
        audience_hint="the OAuth client id: Google Cloud console, APIs & Services, Credentials",
        rules=ClaimRules(organization=(Reading(path=("hd",)),)),
        note="The organization is the Workspace domain. Tokens are ID tokens.",
    ),
    Preset(
        kind="entra",
        label="Microsoft Entra ID (Azure AD)",
        documentation="https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference",
        issuers=("https://login.microsoftonline.com/{tenant}/v2.0", "https://sts.windows.net/{tenant}/"),
        key_set="https://login.microsoftonline.com/common/discovery/v2.0/keys",
        discovery="https://login.microsoftonline.com/{directory}/v2.0/.well-known/openid-configuration",
        addresses=(
            "https://login.microsoftonline.com/{tenant}",
            "https://login.microsoftonline.com/{tenant}/*",
            "https://sts.windows.net/{tenant}/*",
            "https://login.microsoftonline.com/{directory}",
            "https://login.microsoftonline.com/{directory}/*",
        ),
        audience="required",
        audience_hint="the application (client) id or api://... of your API: Entra admin centre, App registrations",
        inputs=(
            Input(
                name="tenant",
                option="--tenant",
                meaning="the directory (tenant) id of each tenant that may sign in",
                where="the Entra admin centre, Overview, Tenant ID",
                pattern=GUID,
            ),
        ),
        rules=ClaimRules(
            user="oid",
            client_claims=("azp", "appid"),
            required=(Condition(path=("tid",), values=("{tenant}",)),),
            organization=(Reading(path=("tid",)),),
            roles=(Reading(path=("roles",), shape="list"),),
            permissions=(Reading(path=("scp",), shape="words"),),
        ),
        note="The user is `oid`, because `sub` differs for each application. Tokens for Microsoft Graph cannot be "
        "verified. Groups are not read: beyond a limit Entra leaves them out.",
    ),
    Preset(
        kind="fusionauth",
        label="FusionAuth",
        documentation="https://fusionauth.io/docs/lifecycle/authenticate-users/login-api/json-web-tokens",
        issuers=("{issuer}",),
        key_set="https://{domain}/.well-known/jwks.json",
        addresses=("https://{domain}",),
        hosts=("*.fusionauth.io",),
        audience="required",
        audience_hint="the application id: FusionAuth, Applications",
        algorithms=("RS256", "RS384", "RS512", "ES256", "ES384", "ES512"),
        inputs=(
            Input(
                name="tenant",
                option="--tenant",
                meaning="the tenant id",
                where="FusionAuth, Tenants",
                pattern=GUID,
            ),
            Input(
                name="issuer",
                option="--issuer",
                meaning="the issuer of the tenant",
                where="FusionAuth, Tenants, Edit, General, Issuer (acme.com until it is changed)",
            ),
        ),
        rules=ClaimRules(
            client_claims=("applicationId",),
            required=(Condition(path=("tid",), values=("{tenant}",)),),
            organization=(Reading(path=("tid",)),),
            roles=(Reading(path=("roles",), shape="list"),),
        ),
        note="One key set serves every tenant. The key that is set by default is HMAC; choose an RSA or EC key.",
    ),
    Preset(
        kind="privy",
        label="Privy",
        documentation="https://docs.privy.io/authentication/user-authentication/access-tokens",
        issuers=("privy.io",),
        key_set="https://auth.privy.io/api/v1/apps/{project}/jwks.json",
        audience="required",
        audiences=("{project}",),
        algorithms=("ES256",),
        hosts=("auth.privy.io",),
        inputs=(
            Input(
                name="project",
                option="--project",
                meaning="the app id",
                where="the Privy dashboard, App settings",
                is_audience=True,
            ),
        ),
    ),
    Preset(
        kind="cloudflare-access",
        label="Cloudflare Access",
        documentation="https://developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/validating-json/",
        issuers=("https://{domain}",),
        key_set="https://{domain}/cdn-cgi/access/certs",
        hosts=("*.cloudflareaccess.com",),
        audience="required",
        audience_hint="the application audience (AUD) tag: Zero Trust, Access, Applications, Overview",
    ),
)

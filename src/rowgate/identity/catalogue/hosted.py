"""Providers that run as a service, each customer with keys of its own."""

from __future__ import annotations

from typing import Final

from rowgate.identity.catalogue.preset import GUID, DocumentShape, Input, Preset
from rowgate.identity.claim_rules import ORGANIZATION, ClaimRules, Condition, Reading

_TRUE: Final = (True,)
_PERMISSIONS: Final = Reading(path=("permissions",), shape="list")
_ROLES: Final = Reading(path=("roles",), shape="list")
_SCOPE: Final = Reading(path=("scope",), shape="words")
_ORG_ID: Final = Reading(path=("org_id",))
_ZITADEL_ROLES: Final = "urn:zitadel:iam:org:project:"

HOSTED: Final[tuple[Preset, ...]] = (
    Preset(
        kind="clerk",
        label="Clerk",
        documentation="https://clerk.com/docs/guides/sessions/manual-jwt-verification.md",
        issuers=("https://{domain}",),
        key_set="https://{domain}/.well-known/jwks.json",
        hosts=("*.clerk.accounts.dev",),
        likely_hosts=("clerk.*.*",),
        audience="none",
        rules=ClaimRules(
            denied=(Condition(path=("sts",), values=("pending",)),),
            organization=(Reading(path=("o", "id")), _ORG_ID),
            organization_role=(Reading(path=("o", "rol"), shape="clerk_role"), Reading(path=("org_role",))),
            permissions=(
                Reading(path=("o", "per"), shape="clerk_permissions"),
                Reading(path=("org_permissions",), shape="list"),
            ),
        ),
        note="Give your application's origins with `--authorized-party`. A pending session counts as signed out.",
    ),
    Preset(
        kind="stack-auth",
        label="Stack Auth",
        documentation="https://docs.stack-auth.com/docs/concepts/jwt",
        issuers=(
            "https://api.stack-auth.com/api/v1/projects/{project}",
            "https://api.stack-auth.com/api/v1/projects-anonymous-users/{project}",
        ),
        key_set="https://api.stack-auth.com/api/v1/projects/{project}/.well-known/jwks.json?include_anonymous=true",
        hosts=("api.stack-auth.com",),
        audience="recommended",
        audiences=("{project}", "{project}:anon"),
        algorithms=("ES256",),
        inputs=(
            Input(
                name="project",
                option="--project",
                meaning="the project id",
                where="the Stack Auth dashboard, API Keys; it is in the key set's URL",
            ),
        ),
        rules=ClaimRules(
            anonymous=(
                Condition(path=("aud",), values=("{project}:anon",)),
                Condition(path=("is_anonymous",), values=_TRUE),
                Condition(path=("is_restricted",), values=_TRUE),
                Condition(
                    path=("iss",), values=("https://api.stack-auth.com/api/v1/projects-anonymous-users/{project}",)
                ),
            ),
            organization=(Reading(path=("selected_team_id",)),),
            session=(Reading(path=("refresh_token_id",)),),
        ),
        note="Anonymous users may use the role anonymous only; tokens for restricted users are refused. Permissions "
        "are not in the token.",
    ),
    Preset(
        kind="auth0",
        label="Auth0",
        documentation="https://auth0.com/docs/secure/tokens/access-tokens/validate-access-tokens.md",
        issuers=("https://{domain}/",),
        key_set="https://{domain}/.well-known/jwks.json",
        hosts=("*.auth0.com",),
        shape=DocumentShape(
            issuer="{place}/",
            members=(
                ("jwks_uri", "{issuer}/.well-known/jwks.json"),
                ("mfa_challenge_endpoint", "{issuer}/mfa/challenge"),
            ),
        ),
        audience="recommended",
        audience_hint="the identifier of your API: Auth0 dashboard, Applications, APIs",
        algorithms=("RS256", "PS256"),
        rules=ClaimRules(organization=(_ORG_ID,), permissions=(_PERMISSIONS,)),
        note="Ask for tokens with an audience; without one they are opaque.",
    ),
    Preset(
        kind="stytch",
        label="Stytch (consumer)",
        documentation="https://stytch.com/docs/api-reference/consumer/api/sessions/get-jwks.md",
        issuers=("stytch.com/{project}",),
        key_set="https://{domain}/v1/sessions/jwks/{project}",
        hosts=("test.stytch.com", "api.stytch.com", "live.stytch.com"),
        audience="recommended",
        audiences=("{project}",),
        inputs=(
            Input(
                name="project",
                option="--project",
                meaning="the project id",
                where="the Stytch dashboard, Project overview; it is in the key set's URL",
            ),
        ),
        rules=ClaimRules(
            roles=(Reading(path=("https://stytch.com/session", "roles"), shape="list"),),
            session=(Reading(path=("https://stytch.com/session", "id")),),
        ),
        note="At a domain of your own give `--preset stytch --project ID --issuer https://YOUR-DOMAIN`.",
    ),
    Preset(
        kind="stytch-b2b",
        label="Stytch (B2B)",
        documentation="https://stytch.com/docs/b2b/api/connected-app-access-token",
        issuers=("stytch.com/{project}",),
        key_set="https://{domain}/v1/b2b/sessions/jwks/{project}",
        likely_hosts=("test.stytch.com", "api.stytch.com", "live.stytch.com"),
        audience="recommended",
        audiences=("{project}",),
        inputs=(
            Input(
                name="project",
                option="--project",
                meaning="the project id",
                where="the Stytch dashboard, Project overview; it is in the key set's URL",
            ),
        ),
        rules=ClaimRules(
            organization=(Reading(path=("https://stytch.com/organization", "organization_id")),),
            roles=(Reading(path=("https://stytch.com/session", "roles"), shape="list"),),
            session=(Reading(path=("https://stytch.com/session", "id")),),
        ),
    ),
    Preset(
        kind="supabase",
        label="Supabase Auth",
        documentation="https://supabase.com/docs/guides/auth/jwt-fields.md",
        issuers=("https://{domain}/auth/v1",),
        key_set="https://{domain}/auth/v1/.well-known/jwks.json",
        hosts=("*.supabase.co",),
        audience="none",
        algorithms=("RS256", "ES256"),
        rules=ClaimRules(
            denied=(Condition(path=("role",), values=("service_role", "supabase_admin")),),
            anonymous=(Condition(path=("is_anonymous",), values=_TRUE), Condition(path=("role",), values=("anon",))),
            session=(Reading(path=("session_id",)),),
        ),
        note="An empty key set means that the project still signs with its HS256 secret: switch to signing keys. "
        "`user_metadata` can be changed by users; never use it in a policy.",
    ),
    Preset(
        kind="cognito",
        label="Amazon Cognito",
        documentation="https://docs.aws.amazon.com/cognito/latest/developerguide/"
        "amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html",
        issuers=("https://cognito-idp.{region}.amazonaws.com/{pool}",),
        key_set="https://cognito-idp.{region}.amazonaws.com/{pool}/.well-known/jwks.json",
        audience="recommended",
        audience_hint="the app client id with --client-id: Cognito console, User pools, App clients",
        rules=ClaimRules(
            client_claims=("client_id", "aud"),
            required=(Condition(path=("token_use",), values=("access", "id")),),
            roles=(Reading(path=("cognito:groups",), shape="list"),),
            permissions=(_SCOPE,),
            session=(Reading(path=("origin_jti",)),),
        ),
        note="Access tokens name the app client in `client_id` and have no `aud`; ID tokens have it in `aud`. "
        "`--client-id` covers both.",
    ),
    Preset(
        kind="azure-b2c",
        label="Azure AD B2C",
        documentation="https://learn.microsoft.com/azure/active-directory-b2c/tokens-overview",
        issuers=("https://{organization}.b2clogin.com/{tenant}/v2.0/",),
        key_set="https://{organization}.b2clogin.com/{organization}.onmicrosoft.com/{policy}/discovery/v2.0/keys",
        discovery="https://{organization}.b2clogin.com/{organization}.onmicrosoft.com/{policy}/v2.0"
        "/.well-known/openid-configuration",
        addresses=(
            "https://{organization}.b2clogin.com/{organization}.onmicrosoft.com/discovery/v2.0/keys?p={policy}",
            "https://{organization}.b2clogin.com/{organization}.onmicrosoft.com/{policy}/v2.0"
            "/.well-known/openid-configuration",
            "https://{organization}.b2clogin.com/{organization}.onmicrosoft.com/{policy}/v2.0",
        ),
        audience="recommended",
        inputs=(
            Input(
                name="tenant",
                option="--tenant",
                meaning="the directory (tenant) id",
                where="the Azure portal, Azure AD B2C, Overview, Tenant ID",
                pattern=GUID,
            ),
            Input(
                name="policy",
                option="--project",
                meaning="the user flow or policy",
                where="the Azure portal, Azure AD B2C, User flows; it is in the key set's URL",
            ),
        ),
        rules=ClaimRules(organization=(Reading(path=("tid",)),), permissions=(Reading(path=("scp",), shape="words"),)),
        note="Other applications of the tenant share the keys: give the application id as `--audience`.",
    ),
    Preset(
        kind="descope",
        label="Descope",
        documentation="https://docs.descope.com/session-overview",
        issuers=("{project}", "https://api.descope.com/{project}"),
        key_set="https://api.descope.com/{project}/.well-known/jwks.json",
        hosts=("api.descope.com",),
        audience="none",
        inputs=(
            Input(
                name="project",
                option="--project",
                meaning="the project id",
                where="the Descope console, Project; it is in the key set's URL",
            ),
        ),
        rules=ClaimRules(
            organization=(Reading(path=("dct",)),),
            roles=(Reading(path=("tenants", ORGANIZATION, "roles"), shape="list"), _ROLES),
            permissions=(Reading(path=("tenants", ORGANIZATION, "permissions"), shape="list"), _PERMISSIONS),
        ),
    ),
    Preset(
        kind="propelauth",
        label="PropelAuth",
        documentation="https://docs.propelauth.com/guides-and-examples/guides/access-tokens",
        issuers=("https://{domain}",),
        key_set="https://{domain}/.well-known/jwks.json",
        hosts=("*.propelauthtest.com",),
        audience="none",
        rules=ClaimRules(
            organization=(Reading(path=("org_member_info", "org_id")),),
            organization_role=(
                Reading(path=("org_member_info", "user_assigned_role")),
                Reading(path=("org_member_info", "user_role")),
            ),
            permissions=(Reading(path=("org_member_info", "user_permissions"), shape="list"),),
        ),
        note="At a domain of your own give `--preset propelauth`. The organization is the active one; a token with a "
        "map of organizations alone has none.",
    ),
    Preset(
        kind="workos",
        label="WorkOS AuthKit",
        documentation="https://workos.com/docs/reference/authkit/session-tokens",
        issuers=("https://api.workos.com/user_management/{client}", "https://api.workos.com"),
        key_set="https://api.workos.com/sso/jwks/{client}",
        hosts=("api.workos.com",),
        audience="none",
        inputs=(
            Input(
                name="client",
                option="--client-id",
                meaning="the client id",
                where="the WorkOS dashboard, API Keys; it is in the key set's URL",
            ),
        ),
        rules=ClaimRules(
            client_claims=("client_id",),
            organization=(_ORG_ID,),
            organization_role=(Reading(path=("role",)),),
            roles=(_ROLES,),
            permissions=(_PERMISSIONS,),
        ),
        note="`role` is the role in the organization, never a database role.",
    ),
    Preset(
        kind="okta",
        label="Okta (custom authorization server)",
        documentation="https://developer.okta.com/docs/guides/customize-tokens-groups-claim/",
        issuers=("https://{domain}/oauth2/{server}",),
        key_set="https://{domain}/oauth2/{server}/v1/keys",
        hosts=("*.okta.com", "*.oktapreview.com", "*.okta-emea.com"),
        audience="recommended",
        audience_hint="the audience of the authorization server (api://default): Okta admin console, Security, API",
        inputs=(
            Input(
                name="server",
                option="--project",
                meaning="the id of a custom authorization server, such as default",
                where="the Okta admin console, Security, API; tokens of the org server cannot be verified locally",
            ),
        ),
        rules=ClaimRules(
            user="uid",
            client_claims=("cid",),
            roles=(Reading(path=("groups",), shape="list"),),
            permissions=(Reading(path=("scp",), shape="list"),),
        ),
        note="The user is `uid`, because `sub` is a login name that may change.",
    ),
    Preset(
        kind="zitadel",
        label="ZITADEL",
        documentation="https://zitadel.com/docs/guides/integrate/retrieve-user-roles",
        issuers=("https://{domain}",),
        key_set="https://{domain}/oauth/v2/keys",
        hosts=("*.zitadel.cloud",),
        shape=DocumentShape(
            issuer="{place}",
            members=(("jwks_uri", "{issuer}/oauth/v2/keys"), ("token_endpoint", "{issuer}/oauth/v2/token")),
        ),
        audience="recommended",
        audience_hint="the project id: ZITADEL console, Projects",
        algorithms=(),
        rules=ClaimRules(
            client_claims=("client_id", "azp"),
            organization=(Reading(path=("urn:zitadel:iam:user:resourceowner:id",)),),
            roles=(
                Reading(path=(_ZITADEL_ROLES + "{project}:roles",), shape="granted_keys"),
                Reading(path=(_ZITADEL_ROLES + "roles",), shape="granted_keys"),
            ),
        ),
        note="The keys are those of the whole instance. Roles count in the user's own organization. Choose JWT as the "
        "type of access tokens.",
    ),
    Preset(
        kind="logto",
        label="Logto",
        documentation="https://docs.logto.io/authorization/validate-access-tokens",
        issuers=("https://{domain}/oidc",),
        key_set="https://{domain}/oidc/jwks",
        hosts=("*.logto.app",),
        shape=DocumentShape(
            issuer="{place}/oidc", members=(("jwks_uri", "{issuer}/jwks"), ("token_endpoint", "{issuer}/token"))
        ),
        audience="recommended",
        audience_hint="the identifier of your API resource, or urn:logto:organization:ID: Logto console, API resources",
        algorithms=("RS256", "ES384"),
        rules=ClaimRules(
            client_claims=("client_id",), organization=(Reading(path=("organization_id",)),), permissions=(_SCOPE,)
        ),
        note="Ask for tokens with a resource; without one they are opaque.",
    ),
    Preset(
        kind="kinde",
        label="Kinde",
        documentation="https://docs.kinde.com/build/tokens/about-access-tokens/",
        issuers=("https://{domain}",),
        key_set="https://{domain}/.well-known/jwks",
        hosts=("*.kinde.com",),
        audience="none",
        rules=ClaimRules(
            organization=(Reading(path=("org_code",)),),
            roles=(Reading(path=("roles",), shape="objects", member="key"),),
            permissions=(_PERMISSIONS,),
        ),
    ),
)

"""Providers that run at the operator's own domain, known by their paths or by their discovery document."""

from __future__ import annotations

from typing import Final

from rowgate.identity.catalogue.preset import DocumentShape, Input, Preset
from rowgate.identity.claim_rules import ClaimRules, Condition, Reading

_TRUE: Final = (True,)

_KEYCLOAK_RULES: Final = ClaimRules(
    required=(Condition(path=("typ",), values=("Bearer", "ID")),),
    organization=(Reading(path=("organization",), shape="list"), Reading(path=("organization",), shape="keys")),
    roles=(
        Reading(path=("realm_access", "roles"), shape="list"),
        Reading(path=("resource_access", "{client}", "roles"), shape="list"),
    ),
    permissions=(Reading(path=("scope",), shape="words"),),
)
_KEYCLOAK_MEMBERS: Final = (
    ("jwks_uri", "{issuer}/protocol/openid-connect/certs"),
    ("token_endpoint", "{issuer}/protocol/openid-connect/token"),
)
_KEYCLOAK_NOTE: Final = (
    "All clients of a realm share its keys, and Keycloak names the client in `azp`, not in `aud`: give `--client-id`, "
    "or an audience mapper and `--audience`."
)

SELF_HOSTED: Final[tuple[Preset, ...]] = (
    Preset(
        kind="keycloak",
        label="Keycloak 17 and later",
        documentation="https://www.keycloak.org/docs/latest/server_admin/",
        issuers=("https://{domain}/realms/{realm}",),
        key_set="https://{domain}/realms/{realm}/protocol/openid-connect/certs",
        shape=DocumentShape(issuer="{place}/realms/{realm}", members=_KEYCLOAK_MEMBERS),
        audience="recommended",
        algorithms=(),
        rules=_KEYCLOAK_RULES,
        note=_KEYCLOAK_NOTE,
    ),
    Preset(
        kind="keycloak-auth-path",
        label="Keycloak before 17, or with the path /auth",
        documentation="https://www.keycloak.org/docs/latest/server_admin/",
        issuers=("https://{domain}/auth/realms/{realm}",),
        key_set="https://{domain}/auth/realms/{realm}/protocol/openid-connect/certs",
        shape=DocumentShape(issuer="{place}/auth/realms/{realm}", members=_KEYCLOAK_MEMBERS),
        audience="recommended",
        algorithms=(),
        rules=_KEYCLOAK_RULES,
        note=_KEYCLOAK_NOTE,
    ),
    Preset(
        kind="supertokens",
        label="SuperTokens",
        documentation="https://supertokens.com/docs/references/cdi/core/getwellknownjwks.md",
        issuers=("https://{domain}/auth",),
        key_set="https://{domain}/auth/jwt/jwks.json",
        is_known_by_path=True,
        audience="none",
        rules=ClaimRules(
            organization=(Reading(path=("tId",)),),
            roles=(Reading(path=("st-role", "v"), shape="list"),),
            permissions=(Reading(path=("st-perm", "v"), shape="list"),),
            session=(Reading(path=("sessionHandle",)),),
        ),
        note="Give the key set at your API's domain; the core's own needs `--issuer`.",
    ),
    Preset(
        kind="ory",
        label="Ory Network, Ory Hydra",
        documentation="https://www.ory.sh/docs/identities/session-to-jwt-cors",
        issuers=("https://{domain}",),
        key_set="https://{domain}/.well-known/jwks.json",
        hosts=("*.projects.oryapis.com",),
        audience="recommended",
        algorithms=("RS256", "ES256", "ES384", "ES512"),
        rules=ClaimRules(client_claims=("client_id",), permissions=(Reading(path=("scp",), shape="list"),)),
        note="Access tokens are opaque unless the strategy is jwt. The keys of the session tokeniser are yours: "
        "register them with `--jwks-file`.",
    ),
    Preset(
        kind="better-auth",
        label="Better Auth (jwt plugin)",
        documentation="https://better-auth.com/docs/plugins/jwt.md",
        issuers=("https://{domain}",),
        key_set="https://{domain}/api/auth/jwks",
        addresses=("https://{domain}/api/auth",),
        audience="recommended",
        audiences=("https://{domain}",),
        algorithms=("ES256", "ES512", "RS256", "PS256", "EdDSA"),
        rules=ClaimRules(
            denied=(Condition(path=("banned",), values=_TRUE),),
            anonymous=(Condition(path=("isAnonymous",), values=_TRUE),),
        ),
        is_known_by_path=True,
        note="Issuer and audience are the base URL unless your configuration says otherwise.",
    ),
    Preset(
        kind="neon-auth",
        label="Neon Auth",
        documentation="https://neon.com/docs/auth/guides/plugins/jwt",
        issuers=("https://{domain}",),
        key_set="https://{domain}/{database}/auth/.well-known/jwks.json",
        addresses=("https://{domain}/{database}/auth",),
        hosts=("*.neonauth.*.neon.tech", "*.neonauth.*.neon.build", "*.neonauth.*.aws.neon.tech"),
        audience="recommended",
        audiences=("https://{domain}",),
        algorithms=("EdDSA",),
        inputs=(
            Input(
                name="database",
                option="--project",
                meaning="the database in the auth URL",
                where="the Neon console, Auth, Configuration, Auth URL; give that URL itself",
            ),
        ),
        rules=ClaimRules(
            denied=(Condition(path=("banned",), values=_TRUE),),
            anonymous=(
                Condition(path=("isAnonymous",), values=_TRUE),
                Condition(path=("role",), values=("anonymous",)),
            ),
            organization=(Reading(path=("o", "id")),),
            organization_role=(Reading(path=("o", "role")),),
        ),
        note="The claim `role` can be changed by users and is not read.",
    ),
    Preset(
        kind="authentik",
        label="authentik",
        documentation="https://docs.goauthentik.io/add-secure-apps/providers/oauth2/",
        issuers=("https://{domain}/application/o/{application}/",),
        key_set="https://{domain}/application/o/{application}/jwks/",
        is_known_by_path=True,
        shape=DocumentShape(issuer="{place}/application/o/{application}/", members=(("jwks_uri", "{issuer}/jwks/"),)),
        audience="recommended",
        algorithms=("RS256", "ES256", "ES384", "ES512"),
        rules=ClaimRules(
            roles=(Reading(path=("groups",), shape="list"),),
            permissions=(Reading(path=("entitlements",), shape="list"),),
        ),
        note="Several applications usually share one certificate: give the client id as `--audience`. Without a "
        "signing key tokens are HS256, which nobody else can verify. In the global issuer mode give `--issuer` too.",
    ),
)

"""A sample for every row of the catalogue: URLs that people paste, what they must say besides, and the claims of a
token shaped as that provider's documents show it. All ids are invented."""

# ruff: noqa: E501 -- one row of the table is one claim, however long

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rowgate.identity.membership import NO_MEMBERSHIP, Membership

GUID = "11111111-2222-3333-4444-555555555555"
OTHER_GUID = "99999999-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Sample:
    """``urls[0]`` is the key set's. ``refused`` are changes to the claims and the code that each must give;
    ``anonymous`` are changes that leave the role anonymous alone."""

    kind: str
    urls: tuple[str, ...]
    key_set: str
    claims: dict[str, Any]
    algorithm: str = "RS256"
    given: dict[str, Any] = field(default_factory=dict)
    user: str = "user_1"
    membership: Membership = NO_MEMBERSHIP
    other_issuers: tuple[str, ...] = ()
    refused: tuple[tuple[dict[str, Any], str], ...] = ()
    anonymous: tuple[dict[str, Any], ...] = ()


def hosted(kind: str, issuer: str, keys: str, **more: Any) -> Sample:
    """Issuer, key set and discovery URL all lead there; the usual slash at the end is the wrong issuer or the right."""
    claims = {"iss": issuer, "sub": "user_1", **more.pop("claims", {})}
    base = issuer.rstrip("/")
    urls = (keys, base, base + "/", base + "/.well-known/openid-configuration")
    return Sample(kind, more.pop("urls", urls), more.pop("key_set", keys), claims, **more)


STACK = "https://api.stack-auth.com/api/v1/projects"
B2C = "https://acme.b2clogin.com/acme.onmicrosoft.com/B2C_1_in"
WORKOS = "https://api.workos.com"
EKS = "https://oidc.eks.eu-west-1.amazonaws.com/id/A1B2C3"
GITHUB = "https://token.actions.githubusercontent.com"
FIREBASE_KEYS = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
MICROSOFT = "https://login.microsoftonline.com"
NO_AUDIENCE = ({"aud": "other"}, "token_audience_refused")

SAMPLES = (
    hosted(
        "clerk", "https://hip-1.clerk.accounts.dev", "https://hip-1.clerk.accounts.dev/.well-known/jwks.json",
        claims={"azp": "https://app.example", "sid": "sess_1", "v": 2, "fea": "o:notes,u:beta,o:teams",
                "o": {"id": "org_1", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3,2"}},
        given={"authorized_parties": ("https://app.example",)},
        membership=Membership(organization="org_1", role="org:admin",
                              permissions=("org:notes:read", "org:notes:manage", "org:teams:manage")),
        refused=(({"sts": "pending"}, "token_claim_invalid"), ({"azp": "https://evil.example"}, "token_party_refused")),
    ),
    Sample(
        "stack-auth", (f"{STACK}/p1/.well-known/jwks.json", f"{STACK}/p1", f"{STACK}/p1/.well-known/jwks.json?include_anonymous=true"),
        f"{STACK}/p1/.well-known/jwks.json?include_anonymous=true",
        {"iss": f"{STACK}/p1", "aud": "p1", "sub": "user_1", "role": "authenticated", "selected_team_id": "team_1",
         "is_anonymous": False, "refresh_token_id": "r1"},
        "ES256", membership=Membership(organization="team_1"),
        other_issuers=(f"{STACK}-anonymous-users/p1",),
        refused=(NO_AUDIENCE, ({"aud": ...}, "token_audience_refused"), ({"aud": "p1:restricted"}, "token_audience_refused"),
                 ({"iss": f"{STACK}/p2"}, "token_issuer_unknown")),
        anonymous=({"aud": "p1:anon", "iss": f"{STACK}-anonymous-users/p1"}, {"is_anonymous": True}, {"aud": ["p1", "p1:anon"]}),
    ),
    hosted(
        "auth0", "https://acme.eu.auth0.com/", "https://acme.eu.auth0.com/.well-known/jwks.json",
        claims={"sub": "auth0|1", "aud": ["https://api.example", "https://acme.eu.auth0.com/userinfo"], "org_id": "org_1",
                "permissions": ["read:notes"]},
        given={"audiences": ("https://api.example",)}, user="auth0|1",
        membership=Membership(organization="org_1", permissions=("read:notes",)),
        refused=(NO_AUDIENCE, ({"iss": "https://acme.eu.auth0.com"}, "token_issuer_unknown")),
    ),
    hosted(
        "firebase", "https://securetoken.google.com/demo-1", FIREBASE_KEYS, given={"project": "demo-1"},
        claims={"aud": "demo-1", "firebase": {"sign_in_provider": "password", "tenant": "t1"}},
        membership=Membership(organization="t1"),
        refused=(NO_AUDIENCE, ({"aud": ...}, "token_audience_refused"),
                 ({"iss": "https://securetoken.google.com/demo-2", "aud": "demo-2"}, "token_issuer_unknown")),
        anonymous=({"firebase": {"sign_in_provider": "anonymous"}},),
    ),
    hosted(
        "google", "https://accounts.google.com", "https://www.googleapis.com/oauth2/v3/certs",
        claims={"aud": "1.apps.example", "azp": "1.apps.example", "hd": "acme.example"},
        given={"audiences": ("1.apps.example",)}, membership=Membership(organization="acme.example"),
        other_issuers=("accounts.google.com",), refused=(NO_AUDIENCE, ({"aud": ...}, "token_audience_refused")),
    ),
    Sample(
        "stytch", ("https://test.stytch.com/v1/sessions/jwks/project-1",), "https://test.stytch.com/v1/sessions/jwks/project-1",
        {"iss": "stytch.com/project-1", "aud": ["project-1"], "sub": "user_1",
         "https://stytch.com/session": {"id": "session-1", "roles": ["stytch_user"]}},
        membership=Membership(roles=("stytch_user",)),
        refused=(NO_AUDIENCE, ({"iss": "https://stytch.com/project-1"}, "token_issuer_unknown")),
    ),
    Sample(
        "stytch-b2b", ("https://api.stytch.com/v1/b2b/sessions/jwks/project-1",),
        "https://api.stytch.com/v1/b2b/sessions/jwks/project-1",
        {"iss": "stytch.com/project-1", "aud": ["project-1"], "sub": "user_1",
         "https://stytch.com/organization": {"organization_id": "o1", "slug": "acme"},
         "https://stytch.com/session": {"id": "session-1", "roles": ["editor"]}},
        membership=Membership(organization="o1", roles=("editor",)), refused=(NO_AUDIENCE,),
    ),
    hosted(
        "supabase", "https://abc.supabase.co/auth/v1", "https://abc.supabase.co/auth/v1/.well-known/jwks.json",
        algorithm="ES256",
        claims={"aud": "authenticated", "role": "authenticated", "session_id": "s1", "is_anonymous": False,
                "user_metadata": {"role": "admin", "org_id": "stolen"}},
        refused=(({"role": "service_role"}, "token_claim_invalid"),
                 ({"iss": "https://abc.supabase.co/auth/v1/"}, "token_issuer_unknown")),
        anonymous=({"is_anonymous": True}, {"role": "anon"}),
    ),
    hosted(
        "cognito", "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab",
        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab/.well-known/jwks.json",
        claims={"token_use": "access", "client_id": "c1", "cognito:groups": ["staff"], "scope": "a b"},
        given={"client_ids": ("c1",)}, membership=Membership(roles=("staff",), permissions=("a", "b")),
        refused=(({"token_use": ...}, "token_claim_invalid"), ({"token_use": "refresh"}, "token_claim_invalid"),
                 ({"client_id": ...}, "token_party_refused"), ({"client_id": "c2"}, "token_party_refused"),
                 ({"client_id": ..., "aud": "c2", "token_use": "id"}, "token_party_refused")),
    ),
    Sample(
        "entra", (f"{MICROSOFT}/{GUID}/discovery/v2.0/keys", f"{MICROSOFT}/{GUID}/v2.0", f"https://sts.windows.net/{GUID}/",
                  f"{MICROSOFT}/{GUID}/v2.0/.well-known/openid-configuration"),
        f"{MICROSOFT}/common/discovery/v2.0/keys",
        {"iss": f"{MICROSOFT}/{GUID}/v2.0", "aud": "api://notes", "sub": "pairwise", "oid": "user_1", "tid": GUID,
         "azp": "c1", "roles": ["Notes.Admin"], "scp": "read write"},
        given={"audiences": ("api://notes",)}, other_issuers=(f"https://sts.windows.net/{GUID}/",),
        membership=Membership(organization=GUID, roles=("Notes.Admin",), permissions=("read", "write")),
        refused=(NO_AUDIENCE, ({"aud": ...}, "token_audience_refused"), ({"tid": OTHER_GUID}, "token_claim_invalid"),
                 ({"tid": ...}, "token_claim_invalid"), ({"oid": ...}, "token_subject_missing"),
                 ({"iss": f"https://sts.windows.net/{GUID}"}, "token_issuer_unknown"),
                 ({"iss": f"{MICROSOFT}/{OTHER_GUID}/v2.0"}, "token_issuer_unknown")),
    ),
    Sample(
        "azure-b2c", (f"{B2C}/discovery/v2.0/keys", f"{B2C}/v2.0", f"{B2C}/v2.0/.well-known/openid-configuration",
                      "https://acme.b2clogin.com/acme.onmicrosoft.com/discovery/v2.0/keys?p=B2C_1_in"),
        f"{B2C}/discovery/v2.0/keys",
        {"iss": f"https://acme.b2clogin.com/{GUID}/v2.0/", "aud": "app-1", "sub": "user_1", "tfp": "B2C_1_in"},
        given={"audiences": ("app-1",)},
        refused=(NO_AUDIENCE, ({"iss": f"https://acme.b2clogin.com/{GUID}/v2.0"}, "token_issuer_unknown")),
    ),
    Sample(
        "descope", ("https://api.descope.com/P2abc/.well-known/jwks.json", "https://api.descope.com/P2abc"),
        "https://api.descope.com/P2abc/.well-known/jwks.json",
        {"iss": "P2abc", "sub": "user_1", "dct": "t1", "roles": ["all"],
         "tenants": {"t1": {"roles": ["editor"], "permissions": ["write"]}, "t2": {"roles": ["owner"]}}},
        other_issuers=("https://api.descope.com/P2abc",),
        membership=Membership(organization="t1", roles=("editor", "all"), permissions=("write",)),
    ),
    hosted(
        "propelauth", "https://1.propelauthtest.com", "https://1.propelauthtest.com/.well-known/jwks.json",
        claims={"user_id": "user_1", "org_member_info": {"org_id": "o1", "user_assigned_role": "Admin", "user_permissions": ["p"]}},
        membership=Membership(organization="o1", role="Admin", permissions=("p",)),
    ),
    Sample(
        "supertokens", ("https://api.example/auth/jwt/jwks.json",), "https://api.example/auth/jwt/jwks.json",
        {"iss": "https://api.example/auth", "sub": "user_1", "tId": "public", "st-role": {"v": ["admin"], "t": 1},
         "st-perm": {"v": ["read"], "t": 1}},
        membership=Membership(organization="public", roles=("admin",), permissions=("read",)),
    ),
    Sample(
        "workos", (f"{WORKOS}/sso/jwks/client_1", f"{WORKOS}/user_management/client_1"), f"{WORKOS}/sso/jwks/client_1",
        {"iss": f"{WORKOS}/user_management/client_1", "sub": "user_1", "org_id": "org_1", "role": "member", "roles": ["member"],
         "permissions": ["read"], "sid": "s", "act": {"sub": "support@acme.example"}},
        other_issuers=(WORKOS,),
        membership=Membership(organization="org_1", role="member", roles=("member",), permissions=("read",)),
    ),
    hosted(
        "okta", "https://acme.okta.com/oauth2/default", "https://acme.okta.com/oauth2/default/v1/keys",
        claims={"sub": "alice@acme.example", "uid": "user_1", "aud": "api://default", "cid": "c1", "scp": ["read"], "groups": ["g"]},
        given={"audiences": ("api://default",), "client_ids": ("c1",)},
        membership=Membership(roles=("g",), permissions=("read",)),
        refused=(NO_AUDIENCE, ({"cid": "c2"}, "token_party_refused"), ({"uid": ...}, "token_subject_missing"),
                 ({"cid": ...}, "token_party_refused")),
    ),
    hosted(
        "zitadel", "https://acme-1.zitadel.cloud", "https://acme-1.zitadel.cloud/oauth/v2/keys",
        claims={"aud": ["p1", "c1"], "urn:zitadel:iam:user:resourceowner:id": "o1",
                "urn:zitadel:iam:org:project:roles": {"admin": {"o1": "a.example"}, "owner": {"o2": "b.example"}}},
        given={"audiences": ("p1",)}, membership=Membership(organization="o1", roles=("admin",)), refused=(NO_AUDIENCE,),
    ),
    hosted(
        "logto", "https://acme.logto.app/oidc", "https://acme.logto.app/oidc/jwks", algorithm="ES384",
        claims={"aud": "https://api.example", "client_id": "c1", "scope": "read write", "organization_id": "o1"},
        given={"audiences": ("https://api.example",), "client_ids": ("c1",)},
        membership=Membership(organization="o1", permissions=("read", "write")),
        refused=(NO_AUDIENCE, ({"client_id": "c2"}, "token_party_refused")),
    ),
    hosted(
        "kinde", "https://acme.kinde.com", "https://acme.kinde.com/.well-known/jwks",
        claims={"aud": [], "org_code": "org_1", "permissions": ["p"], "roles": [{"id": "1", "key": "admin", "name": "Admin"}]},
        membership=Membership(organization="org_1", roles=("admin",), permissions=("p",)),
    ),
    Sample(
        "fusionauth", ("https://acme.fusionauth.io/.well-known/jwks.json",), "https://acme.fusionauth.io/.well-known/jwks.json",
        {"iss": "acme.com", "aud": "app-1", "sub": "user_1", "tid": GUID, "roles": ["admin"], "applicationId": "app-1"},
        given={"audiences": ("app-1",), "tenants": (GUID,), "issuer": "acme.com"},
        membership=Membership(organization=GUID, roles=("admin",)),
        refused=(NO_AUDIENCE, ({"tid": OTHER_GUID}, "token_claim_invalid"), ({"tid": ...}, "token_claim_invalid")),
    ),
    hosted(
        "ory", "https://a-b-1.projects.oryapis.com", "https://a-b-1.projects.oryapis.com/.well-known/jwks.json",
        algorithm="ES512", claims={"aud": ["api"], "client_id": "c1", "ext": {}, "scp": ["read"]},
        given={"audiences": ("api",)}, membership=Membership(permissions=("read",)), refused=(NO_AUDIENCE,),
    ),
    Sample(
        "better-auth", ("https://app.example/api/auth/jwks",), "https://app.example/api/auth/jwks",
        {"iss": "https://app.example", "aud": "https://app.example", "sub": "user_1", "name": "A"}, "EdDSA",
        refused=(NO_AUDIENCE, ({"banned": True}, "token_claim_invalid")), anonymous=({"isAnonymous": True},),
    ),
    Sample(
        "neon-auth", ("https://ep-1.neonauth.us-east-1.aws.neon.tech/app/auth/.well-known/jwks.json",
                      "https://ep-1.neonauth.us-east-1.aws.neon.tech/app/auth"),
        "https://ep-1.neonauth.us-east-1.aws.neon.tech/app/auth/.well-known/jwks.json",
        {"iss": "https://ep-1.neonauth.us-east-1.aws.neon.tech", "aud": "https://ep-1.neonauth.us-east-1.aws.neon.tech",
         "sub": "user_1", "role": "authenticated", "banned": False, "o": {"id": "o1", "role": "owner"}}, "EdDSA",
        membership=Membership(organization="o1", role="owner"),
        refused=(NO_AUDIENCE, ({"banned": True}, "token_claim_invalid")),
    ),
    Sample(
        "authentik", ("https://id.example/application/o/notes/jwks/", "https://id.example/application/o/notes/jwks"),
        "https://id.example/application/o/notes/jwks/",
        {"iss": "https://id.example/application/o/notes/", "aud": "c1", "sub": "user_1", "groups": ["g"]},
        given={"audiences": ("c1",)}, membership=Membership(roles=("g",)),
        refused=(NO_AUDIENCE, ({"iss": "https://id.example/application/o/notes"}, "token_issuer_unknown")),
    ),
    Sample(
        "privy", ("https://auth.privy.io/api/v1/apps/app1/jwks.json",), "https://auth.privy.io/api/v1/apps/app1/jwks.json",
        {"iss": "privy.io", "aud": "app1", "sub": "user_1"}, "ES256", refused=(NO_AUDIENCE,),
    ),
    hosted(
        "cloudflare-access", "https://acme.cloudflareaccess.com", "https://acme.cloudflareaccess.com/cdn-cgi/access/certs",
        claims={"aud": ["tag"]}, given={"audiences": ("tag",)}, refused=(NO_AUDIENCE,),
    ),
    hosted(
        "github-actions", GITHUB, f"{GITHUB}/.well-known/jwks",
        claims={"aud": "rowgate", "sub": "repo:acme/app:ref:refs/heads/main", "repository": "acme/app", "repository_owner": "acme"},
        user="repo:acme/app:ref:refs/heads/main", given={"audiences": ("rowgate",), "project": "acme/app"},
        membership=Membership(organization="acme"),
        refused=(NO_AUDIENCE, ({"repository": "evil/app"}, "token_claim_invalid"), ({"repository": ...}, "token_claim_invalid")),
    ),
    hosted(
        "vercel", "https://oidc.vercel.com/acme", "https://oidc.vercel.com/acme/.well-known/jwks",
        claims={"aud": "https://vercel.com/acme", "sub": "owner:acme:project:web:environment:production", "owner": "acme",
                "owner_id": "team_1", "project": "web", "project_id": "prj_1", "environment": "production"},
        user="owner:acme:project:web:environment:production", given={"project": "web"}, membership=Membership(organization="acme"),
        refused=(NO_AUDIENCE, ({"aud": "https://vercel.com/evil"}, "token_audience_refused"), ({"project": "other"}, "token_claim_invalid"),
                 ({"project": ...}, "token_claim_invalid"), ({"iss": "https://oidc.vercel.com/evil"}, "token_issuer_unknown"),
                 ({"iss": "https://oidc.vercel.com"}, "token_issuer_unknown")),
    ),
    *(
        Sample(
            kind, (keys, *more), keys,
            {"iss": issuer, "aud": ["rowgate"], "sub": "system:serviceaccount:shop:worker",
             "kubernetes.io": {"namespace": "shop", "pod": {"name": "worker-1", "uid": GUID},
                               "serviceaccount": {"name": "worker", "uid": GUID}, "warnafter": 1800000000}},
            user="system:serviceaccount:shop:worker", membership=Membership(organization="shop"),
            given={"audiences": ("rowgate",), "tenants": ("shop", "jobs")},
            refused=(NO_AUDIENCE, ({"aud": [issuer]}, "token_audience_refused"), ({"kubernetes.io": ...}, "token_claim_invalid"),
                     ({"kubernetes.io": {"namespace": "kube-system"}}, "token_claim_invalid"),
                     ({"iss": "kubernetes/serviceaccount"}, "token_issuer_unknown")),
        )
        for kind, issuer, keys, more in (
            ("kubernetes", "https://k8s.example:6443", "https://k8s.example:6443/openid/v1/jwks", ()),
            ("eks", EKS, f"{EKS}/keys", (EKS, f"{EKS}/.well-known/openid-configuration")),
        )
    ),
    *(
        Sample(
            kind, (f"https://id.example{path}/realms/main", f"https://id.example{path}/realms/main/protocol/openid-connect/certs"),
            f"https://id.example{path}/realms/main/protocol/openid-connect/certs",
            {"iss": f"https://id.example{path}/realms/main", "sub": "user_1", "typ": "Bearer", "azp": "web",
             "realm_access": {"roles": ["staff"]}, "resource_access": {"web": {"roles": ["editor"]}, "other": {"roles": ["no"]}},
             "organization": {"acme": {}}, "scope": "openid"},
            given={"client_ids": ("web",)},
            membership=Membership(organization="acme", roles=("staff", "editor"), permissions=("openid",)),
            refused=(({"azp": "other"}, "token_party_refused"), ({"azp": ...}, "token_party_refused"),
                     ({"typ": "Logout"}, "token_claim_invalid"), ({"iss": f"https://id.example{path}/realms/main/"}, "token_issuer_unknown")),
        )
        for kind, path in (("keycloak", ""), ("keycloak-auth-path", "/auth"))
    ),
)  # fmt: skip

"""Every row of the catalogue: URL in, provider out; its tokens pass, and each way to be somebody else's is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as forall
from hypothesis import strategies as st

from rowgate.errors import ProviderUnrecognised, RowgateError, SettingInvalid, TokenRefused, TokenRoleRefused
from rowgate.identity.catalogue import CATALOGUE, recognised
from rowgate.identity.claim_rules import ClaimRules, read_rules, written_rules
from rowgate.identity.membership import membership_of
from rowgate.identity.principal import Principal
from rowgate.identity.provider import ALGORITHMS, Provider
from rowgate.identity.recognition import Given, custom_rules, recognise
from tests.unit.identity.forge import NOW, Bench, Documents, as_json, bench, key_for, key_set_document, public, sign
from tests.unit.identity.provider_samples import (
    B2C,
    FIREBASE_KEYS,
    GITHUB,
    GUID,
    MICROSOFT,
    OTHER_GUID,
    SAMPLES,
    Sample,
)

DISCOVERY = "/.well-known/openid-configuration"
every = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind)


def documents(sample: Sample) -> Documents:
    keys = key_set_document(public(key_for(sample.algorithm), "k1", alg=sample.algorithm))
    by_url: dict[str, Any] = {sample.key_set: keys, sample.urls[0]: keys}
    if sample.kind == "azure-b2c":
        by_url[f"{B2C}/v2.0{DISCOVERY}"] = as_json({"issuer": sample.claims["iss"], "jwks_uri": sample.key_set})
    if sample.kind.startswith("keycloak"):
        issuer = sample.claims["iss"]
        by_url[issuer + DISCOVERY] = as_json({
            "issuer": issuer, "jwks_uri": sample.key_set, "token_endpoint": f"{issuer}/protocol/openid-connect/token",
        })  # fmt: skip
        del by_url[issuer]
    return Documents(by_url)


async def found(sample: Sample, url: str | None = None, **changes: Any) -> Provider:
    given = Given(**{**sample.given, **changes})
    return (await recognise(url or sample.urls[0], documents(sample), given=given)).provider


def token(sample: Sample, **changes: Any) -> str:
    claims = {"exp": NOW + 60, "iat": NOW, **sample.claims, **changes}
    payload = {name: value for name, value in claims.items() if value is not ...}
    return sign(sample.algorithm, header={"alg": sample.algorithm, "kid": "k1"}, payload=payload)


async def verified(sample: Sample, provider: Provider, **changes: Any) -> Principal:
    tried: Bench = bench(provider)
    tried.documents.by_url.update(documents(sample).by_url)
    return await tried.verifier.verify(token(sample, **changes))


def test_every_row_has_its_sample_and_is_sound() -> None:
    kinds = [preset.kind for preset in CATALOGUE]
    assert sorted(kinds) == sorted(sample.kind for sample in SAMPLES)
    for preset in CATALOGUE:
        assert set(preset.algorithms) <= set(ALGORITHMS)
        assert preset.documentation.startswith("https://")
        assert read_rules(written_rules(preset.rules)) == preset.rules
        places = [one.path for field in ("organization", "organization_role", "roles", "permissions")
                  for one in getattr(preset.rules, field)]  # fmt: skip
        assert not {path[0] for path in places} & {"user_metadata", "unsafe_metadata"}
        if preset.kind in {"neon-auth", "supabase", "stack-auth"}:
            assert ("role",) not in places


@every
async def test_every_url_leads_to_the_provider(sample: Sample) -> None:
    first = await found(sample)
    assert (first.kind, first.jwks_url) == (sample.kind, sample.key_set)
    assert first.issuers == (sample.claims["iss"], *sample.other_issuers)
    assert sample.algorithm in first.algorithms
    for url in sample.urls[1:]:
        assert replace(await found(sample, url), name=first.name) == first


@every
async def test_its_tokens_pass(sample: Sample) -> None:
    provider = await found(sample)
    principal = await verified(sample, provider)
    assert (principal.subject, principal.claims["sub"]) == (sample.user, sample.user)
    assert principal.membership == sample.membership
    assert principal.roles == ("authenticated", "anonymous")
    for issuer in sample.other_issuers:
        assert (await verified(sample, provider, iss=issuer)).issuer == issuer


@pytest.mark.parametrize(
    ("sample", "changes", "code"),
    [(one, *refusal) for one in SAMPLES for refusal in one.refused],
    ids=lambda value: value.kind if isinstance(value, Sample) else str(value)[:40],
)
async def test_each_way_to_be_refused(sample: Sample, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(TokenRefused) as caught:
        await verified(sample, await found(sample), **changes)
    assert caught.value.code == code
    assert "expected" in str(caught.value.detail)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("sample", "changes"),
    [(one, changes) for one in SAMPLES for changes in one.anonymous],
    ids=lambda value: value.kind if isinstance(value, Sample) else str(value)[:40],
)
async def test_anonymous_users_have_that_role_alone(sample: Sample, changes: dict[str, Any]) -> None:
    assert (await verified(sample, await found(sample), **changes)).roles == ("anonymous",)
    with pytest.raises(TokenRoleRefused):
        await verified(sample, await found(sample, roles=("authenticated",)), **changes)


@every
async def test_another_algorithm_is_refused(sample: Sample) -> None:
    provider = await found(sample)
    other = next(name for name in ALGORITHMS if name not in provider.algorithms)
    claims = {"exp": NOW + 60, **sample.claims}
    with pytest.raises(TokenRefused, match="algorithm"):
        await bench(provider).verifier.verify(sign(other, header={"alg": other, "kid": "k1"}, payload=claims))


KEYS = key_set_document(public(key_for("RS256"), "k1", alg="RS256"))


@pytest.mark.parametrize(
    ("url", "given", "told"),
    [
        (FIREBASE_KEYS, {}, "--project"),
        (GITHUB, {"audiences": ("a",)}, "--project"),
        (f"{MICROSOFT}/{GUID}/v2.0", {}, "--audience"),
        (f"{MICROSOFT}/common/discovery/v2.0/keys", {"audiences": ("a",)}, "--tenant"),
        (f"{MICROSOFT}/common/discovery/v2.0/keys", {"audiences": ("a",), "tenants": ("*",)}, "--tenant"),
        (f"{MICROSOFT}/{GUID}/v2.0", {"audiences": ("a",), "tenants": (OTHER_GUID,)}, "another one"),
        ("https://www.googleapis.com/oauth2/v3/certs", {}, "--audience"),
        ("https://www.googleapis.com/oauth2/v3/certs", {"kind": "custom", "issuer": "x"}, "--audience"),
        ("https://acme.fusionauth.io", {"audiences": ("a",), "issuer": "acme.com"}, "--tenant"),
        ("https://acme.fusionauth.io", {"audiences": ("a",), "tenants": (GUID,)}, "--issuer"),
        ("https://acme.okta.com", {}, "authorization server"),
        ("https://id.example", {"kind": "nonsense"}, "catalogue"),
        (f"{GITHUB}", {"project": "acme/app"}, "--audience"),
    ],
)
async def test_what_only_the_operator_knows_is_asked_for(url: str, given: dict[str, Any], told: str) -> None:
    google = "https://www.googleapis.com/oauth2/v3/certs"
    keys = dict.fromkeys(
        (google, FIREBASE_KEYS, f"{GITHUB}/.well-known/jwks", f"{MICROSOFT}/common/discovery/v2.0/keys"), KEYS
    )
    keys[f"{MICROSOFT}/common/v2.0{DISCOVERY}"] = as_json({"issuer": MICROSOFT + "/{tenantid}/v2.0"})
    keys["https://acme.fusionauth.io/.well-known/jwks.json"] = KEYS
    with pytest.raises(ProviderUnrecognised) as caught:
        await recognise(url, Documents(dict(keys)), given=Given(**given))
    assert told in f"{caught.value} {caught.value.detail} {caught.value.hint}"


async def test_several_tenants_of_microsoft() -> None:
    sample = next(one for one in SAMPLES if one.kind == "entra")
    url = f"{MICROSOFT}/organizations/v2.0{DISCOVERY}"
    more = documents(sample)
    more.by_url[url] = as_json({"issuer": MICROSOFT + "/{tenantid}/v2.0"})
    given = Given(audiences=("api://notes",), tenants=(GUID, OTHER_GUID))
    provider = (await recognise(url, more, given=given)).provider
    assert len(provider.issuers) == 4
    assert await verified(sample, provider, iss=f"{MICROSOFT}/{OTHER_GUID}/v2.0", tid=OTHER_GUID)


async def test_a_provider_at_a_domain_of_its_own_is_named_or_shown_by_its_document() -> None:
    auth0 = {"issuer": "https://id.example/", "jwks_uri": "https://id.example/.well-known/jwks.json",
             "mfa_challenge_endpoint": "https://id.example/mfa/challenge"}  # fmt: skip
    more = Documents({"https://id.example" + DISCOVERY: as_json(auth0), auth0["jwks_uri"]: KEYS})
    shown = (await recognise("https://id.example", more)).provider
    assert (shown.kind, shown.issuer) == ("auth0", "https://id.example/")
    named = (await recognise("https://id.example", more, given=Given(kind="auth0"))).provider
    assert named == shown


def test_a_provider_whose_keys_are_shared_cannot_be_made_without_an_audience() -> None:
    fields: dict[str, Any] = {"name": "g", "kind": "google", "issuer": "x", "jwks_url": "https://x.example/k"}
    with pytest.raises(SettingInvalid):
        Provider(**fields)
    with pytest.raises(SettingInvalid):
        Provider(**fields, rules=ClaimRules())
    assert Provider(**fields, rules=ClaimRules(), audiences=("a",))


async def test_requirements_and_user_of_the_operator_count_at_a_preset_too() -> None:
    sample = next(one for one in SAMPLES if one.kind == "kinde")
    provider = await found(sample, rules=custom_rules("org_code", ("plan=pro",)))
    with pytest.raises(TokenRefused):
        await verified(sample, provider)
    assert (await verified(sample, provider, plan="pro")).subject == "org_1"
    for text in ("plan", "=x", "plan="):
        with pytest.raises(SettingInvalid):
            custom_rules("sub", (text,))


async def test_a_key_set_elsewhere_at_a_domain_of_its_own() -> None:
    url = "https://login.example/.well-known/jwks.json"
    given = Given(kind="stytch", project="project-1", issuer="https://login.example")
    made = (await recognise(url, Documents({url: KEYS}), given=given)).provider
    assert (made.jwks_url, made.issuers, made.audiences) == (url, ("https://login.example",), ("project-1",))


async def test_who_acts_for_the_user_is_known() -> None:
    sample = next(one for one in SAMPLES if one.kind == "workos")
    principal = await verified(sample, await found(sample))
    assert (principal.actor, principal.session_id) == ("support@acme.example", "s")


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
NAMES = sorted({name for sample in SAMPLES for name in sample.claims} - {"iss"})


@forall(st.sampled_from(SAMPLES), st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=3))
async def test_whatever_the_claims_are_only_our_errors_come(sample: Sample, changes: dict[str, Any]) -> None:
    provider = await found(sample)
    try:
        principal = await verified(sample, provider, **changes)
    except TokenRefused:
        return
    claims = {**sample.claims, **changes}
    assert principal.subject == claims[provider.claim_rules.user]
    assert all(one.holds(claims) for one in provider.claim_rules.required)
    assert not any(one.holds(claims) for one in provider.claim_rules.denied)
    assert principal.membership == membership_of(claims, provider.claim_rules)


@forall(VALUE | st.dictionaries(st.sampled_from(["user", "required", "denied", "roles", "x"]), VALUE))
def test_rules_are_sound_or_refused(written: Any) -> None:
    try:
        rules = read_rules(written)
    except SettingInvalid:
        return
    assert set(written) <= set(written_rules(rules))


def test_rules_of_a_newer_version_are_refused() -> None:
    for written in ({"forbidden": []}, {"required": [{"path": ["a"], "values": ["b"], "unless": "c"}]}):
        with pytest.raises(SettingInvalid):
            read_rules(written)


@forall(st.text("htps:/.@[]?=%abAB1*{}", max_size=40).map("https://".__add__))
async def test_no_url_breaks_recognition(url: str) -> None:
    try:
        await recognise(url, Documents({}))
    except RowgateError:
        return
    raise AssertionError("nothing was there")


@pytest.mark.parametrize(
    "url",
    ["https://x.auth0.com.evil.example", "https://evil.example/x.auth0.com", "https://supabase.co.evil.example/auth/v1",
     "https://evil.example/?https://accounts.google.com", "https://login.microsoftonline.com.evil.example/common/v2.0"],
)  # fmt: skip
def test_hosts_that_only_look_like_a_provider(url: str) -> None:
    assert recognised(url) is None

"""From a pasted URL to a provider: what is found, and how it is told when nothing is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey

from rowgate.errors import KeySetUnavailable, ProviderUnrecognised, RowgateError, SettingInvalid
from rowgate.identity.provider import ALGORITHMS, Provider
from rowgate.identity.recognition import LOCAL_MARKER, Recognition, recognise
from tests.unit.identity.forge import Documents, as_json, key_for, key_set_document, public

KEYS = key_set_document(public(key_for("RS256"), "k1", alg="RS256", use="sig"))
CLERK = "https://happy-hippo-1.clerk.accounts.dev"
KEYCLOAK = "https://id.example/realms/main"
DISCOVERY = "/.well-known/openid-configuration"


def discovery(issuer: str, jwks_uri: Any, **more: Any) -> bytes:
    return as_json({"issuer": issuer, "jwks_uri": jwks_uri, **more})


def documents(**more: bytes | Exception) -> Documents:
    return Documents({
        f"{CLERK}/.well-known/jwks.json": KEYS,
        f"{KEYCLOAK}{DISCOVERY}": discovery(KEYCLOAK, f"{KEYCLOAK}/protocol/openid-connect/certs"),
        f"{KEYCLOAK}/protocol/openid-connect/certs": KEYS,
        **more,
    })  # fmt: skip


async def refused(url: str, found: Documents | None = None, **options: Any) -> str:
    with pytest.raises(ProviderUnrecognised) as caught:
        await recognise(url, found or documents(), **options)
    assert caught.value.hint
    return f"{caught.value} {caught.value.detail} {caught.value.hint}"


@pytest.mark.parametrize("path", ["", "/", "/.well-known/jwks.json", DISCOVERY, "/whatever"])
async def test_clerk_by_its_host(path: str) -> None:
    found = await recognise(CLERK + path, documents())
    assert found == Recognition(
        Provider(
            name="clerk",
            kind="clerk",
            issuer=CLERK,
            jwks_url=f"{CLERK}/.well-known/jwks.json",
            algorithms=("RS256",),
            roles=("authenticated", "anonymous"),
        ),
        ("k1",),
    )


async def test_clerk_in_production() -> None:
    found = await recognise(
        " https://CLERK.app.example/ ", Documents({"https://clerk.app.example/.well-known/jwks.json": KEYS})
    )
    assert (found.provider.kind, found.provider.issuer) == ("clerk", "https://clerk.app.example")


@pytest.mark.parametrize(
    "url",
    ["https://clerk.accounts.dev.evil.example/", "https://evil.example/.clerk.accounts.dev", "https://clerk.example"],
)
async def test_hosts_that_only_look_like_clerk(url: str) -> None:
    await refused(url)


async def test_a_page_at_a_host_named_clerk_is_not_taken_for_clerk() -> None:
    await refused("https://clerk.app.example/realms/main")


@pytest.mark.parametrize("path", ["", "/", DISCOVERY, "/protocol/openid-connect/certs"])
async def test_discovery_from_each_of_the_three_urls(path: str) -> None:
    found = await recognise(KEYCLOAK + path, documents())
    assert found.provider.kind == "oidc"
    assert found.provider.name == "id.example"
    assert found.provider.issuer == KEYCLOAK
    assert found.provider.jwks_url == f"{KEYCLOAK}/protocol/openid-connect/certs"
    assert found.key_ids == ("k1",)


async def test_an_issuer_that_ends_in_a_slash_keeps_it() -> None:
    found = Documents({
        f"https://tenant.example{DISCOVERY}": discovery("https://tenant.example/", "https://tenant.example/jwks"),
        "https://tenant.example/jwks": KEYS,
    })  # fmt: skip
    for url in ("https://tenant.example", "https://tenant.example/", "https://tenant.example/jwks"):
        assert (await recognise(url, found)).provider.issuer == "https://tenant.example/"


async def test_options_reach_the_provider() -> None:
    found = await recognise(
        KEYCLOAK,
        documents(),
        name="mine",
        issuer=KEYCLOAK,
        audiences=["api"],
        authorized_parties=["https://app.example"],
        roles=["editor"],
    )
    made = found.provider
    assert (made.name, made.audiences, made.authorized_parties, made.roles) == (
        "mine", ("api",), ("https://app.example",), ("editor",),
    )  # fmt: skip
    with pytest.raises(SettingInvalid):
        await recognise(KEYCLOAK, documents(), name="Not A Name")


async def test_the_issuer_must_be_that_of_the_place() -> None:
    for issuer in ("https://evil.example", f"{KEYCLOAK}//", KEYCLOAK.upper(), None, 1, [KEYCLOAK]):
        found = documents(**{f"{KEYCLOAK}{DISCOVERY}": discovery(issuer, f"{KEYCLOAK}/keys")})  # type: ignore[arg-type]
        assert "another issuer" in await refused(KEYCLOAK, found)


async def test_an_issuer_that_was_given_must_agree() -> None:
    assert "another issuer" in await refused(KEYCLOAK, issuer=KEYCLOAK + "/")


@pytest.mark.parametrize(
    "jwks_uri", [None, 1, "", "/keys", "http://id.example/keys", "http://127.0.0.1:80/keys", "file:///etc/passwd"]
)
async def test_key_sets_that_a_document_may_not_name(jwks_uri: Any) -> None:
    found = documents(**{f"{KEYCLOAK}{DISCOVERY}": discovery(KEYCLOAK, jwks_uri)})
    assert "jwks_uri" in await refused(KEYCLOAK, found, allow_insecure_loopback=True)


async def test_a_key_set_alone_needs_an_issuer() -> None:
    found = Documents({"https://api.example/v1/keys/jwks": KEYS})
    told = await refused("https://api.example/v1/keys/jwks", found)
    assert "--issuer" in told
    assert found.fetched[2:] == [
        f"https://api.example/v1/keys{DISCOVERY}",
        f"https://api.example/v1{DISCOVERY}",
        f"https://api.example{DISCOVERY}",
    ]
    given = await recognise("https://api.example/v1/keys/jwks", found, issuer="stytch.com/project-1")
    assert (given.provider.kind, given.provider.issuer, given.provider.name) == (
        "custom", "stytch.com/project-1", "api.example",
    )  # fmt: skip


@pytest.mark.parametrize("issuer", ["https://[", "https://[::1]:8/", "P2abc", "http://"])
async def test_issuers_of_every_kind(issuer: str) -> None:
    found = Documents({"https://api.example/jwks": KEYS})
    assert (await recognise("https://api.example/jwks", found, issuer=issuer)).provider.issuer == issuer


async def test_a_document_of_another_key_set_on_the_same_host_does_not_count() -> None:
    found = documents(
        **{
            "https://id.example/other/jwks": KEYS,
            f"https://id.example{DISCOVERY}": discovery("https://id.example", "https://id.example/main/jwks"),
        }
    )
    assert "--issuer" in await refused("https://id.example/other/jwks", found)


def down(reason: str) -> KeySetUnavailable:
    return KeySetUnavailable("The provider's document could not be fetched.", detail=reason)


async def test_what_went_wrong_is_told() -> None:
    url = "https://api.example/jwks"
    assert "HTTP 404" in await refused(url, Documents())
    assert "it is not JSON" in await refused(url, Documents({url: b"<html>"}))
    assert "neither" in await refused(url, Documents({url: b"{}"}))
    assert "no answer within 5 s" in await refused(url, Documents({url: down("no answer within 5 s")}))
    assert "no keys" in await refused(url, Documents({url: b'{"keys":[]}'}))
    assert "not a key set" in await refused(url, Documents({url: b'{"keys":{}}'}))
    assert "it is not JSON" in await refused(KEYCLOAK + DISCOVERY, documents(**{KEYCLOAK + DISCOVERY: b"<html>"}))
    assert "HTTP 404" in await refused("https://x.clerk.accounts.dev", Documents())


async def test_a_host_that_cannot_be_reached_is_asked_once() -> None:
    found = Documents({"https://api.example/jwks": down("its host name cannot be resolved")})
    await refused("https://api.example/jwks", found)
    assert len(found.fetched) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_url_that_wants_credentials(status: int) -> None:
    error = KeySetUnavailable("no", detail=f"HTTP {status}", http_status=status)
    assert "credentials" in await refused(KEYCLOAK + DISCOVERY, documents(**{KEYCLOAK + DISCOVERY: error}))


async def test_a_redirect_is_told() -> None:
    error = KeySetUnavailable("no", detail="HTTP 302, a redirect", http_status=302)
    assert "redirect" in await refused("https://api.example/jwks", Documents({"https://api.example/jwks": error}))


async def test_only_hmac_keys() -> None:
    key = OctKey.generate_key(256, {"kid": "secret-1"})
    document = as_json({"keys": [key.as_dict(private=True)]})
    told = await refused("https://api.example/jwks", Documents({"https://api.example/jwks": document}))
    assert "HMAC" in told
    assert str(key.as_dict(private=True)["k"]) not in told


@pytest.mark.parametrize(
    "url", ["http://id.example/jwks", "id.example", "", "https://", "ftp://id.example/", "https://u:p@id.example/"]
)
async def test_urls_that_are_refused_unasked(url: str) -> None:
    found = Documents()
    assert "refused" in await refused(url, found, allow_insecure_loopback=True)
    assert found.fetched == []


LOCAL = "http://localhost:4445"


async def test_the_local_issuer() -> None:
    found = Documents({
        LOCAL + DISCOVERY: discovery(LOCAL, f"{LOCAL}/.well-known/jwks.json", **{LOCAL_MARKER: True}),
        f"{LOCAL}/.well-known/jwks.json": KEYS,
    })  # fmt: skip
    assert "plain http" in await refused(LOCAL, found)
    for url in (LOCAL, f"{LOCAL}/.well-known/jwks.json"):
        made = (await recognise(url, found, allow_insecure_loopback=True)).provider
        assert (made.kind, made.name, made.issuer) == ("local", "local", LOCAL)


async def test_nobody_elsewhere_is_the_local_issuer() -> None:
    keys = f"{KEYCLOAK}/protocol/openid-connect/certs"
    found = documents(**{KEYCLOAK + DISCOVERY: discovery(KEYCLOAK, keys, **{LOCAL_MARKER: True})})
    assert (await recognise(KEYCLOAK, found)).provider.kind == "oidc"


@pytest.mark.parametrize(
    ("keys", "listed", "expected"),
    [
        ([public(key_for("RS256"), "a", alg="RS256")], None, ("RS256",)),
        ([public(key_for("RS256"), "a")], None, ("RS256",)),
        ([public(key_for("RS256"), "a")], ["RS256", "PS256", "HS256", "none"], ("RS256", "PS256")),
        ([public(key_for("RS256"), "a", alg="RS256")], ["RS256", "ES256"], ("RS256",)),
        ([public(key_for("ES384"), "a")], ["RS256"], ("ES384",)),
        ([public(key_for("EdDSA"), "a")], [], ("EdDSA",)),
        ([public(key_for("ES256"), "a"), public(key_for("RS256"), "b")], None, ("RS256", "ES256")),
        ([public(key_for("ES256"), "a")], "ES256", ("ES256",)),
        ([public(key_for("ES256"), "a")], [["ES256"], {}, 1], ("ES256",)),
    ],
)
async def test_algorithms(keys: list[Any], listed: Any, expected: tuple[str, ...]) -> None:
    more = {} if listed is None else {"id_token_signing_alg_values_supported": listed}
    found = documents(**{
        KEYCLOAK + DISCOVERY: discovery(KEYCLOAK, f"{KEYCLOAK}/keys", **more),
        f"{KEYCLOAK}/keys": key_set_document(*keys),
    })  # fmt: skip
    assert (await recognise(KEYCLOAK, found)).provider.algorithms == expected


async def test_keys_that_are_not_used_are_told_and_not_counted() -> None:
    keys = key_set_document(public(key_for("RS256"), "enc", use="enc"), public(key_for("ES256"), "sig"))
    found = await recognise("https://api.example/jwks", Documents({"https://api.example/jwks": keys}), issuer="x")
    assert found.key_ids == ("sig",)
    assert found.skipped == ("'enc': its use is not sig",)


async def test_keys_that_sign_for_the_whole_world_need_an_audience() -> None:
    google = "https://accounts.google.com"
    found = Documents({
        google + DISCOVERY: discovery(google, "https://www.googleapis.com/oauth2/v3/certs"),
        "https://www.googleapis.com/oauth2/v3/certs": KEYS,
    })  # fmt: skip
    assert "--audience" in await refused(google, found)
    assert (await recognise(google, found, audiences=["me"])).provider.audiences == ("me",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([KEYCLOAK, f"{KEYCLOAK}/keys"]),
    lambda inner: st.lists(inner, max_size=3),
)
MEMBERS = st.sampled_from(["issuer", "jwks_uri", "keys", "id_token_signing_alg_values_supported", LOCAL_MARKER])


@given(st.dictionaries(MEMBERS, JSON), st.sampled_from(["", DISCOVERY, "/keys"]))
async def test_no_document_breaks_it(document: dict[str, Any], path: str) -> None:
    found = Documents({KEYCLOAK + DISCOVERY: as_json(document), f"{KEYCLOAK}/keys": KEYS, KEYCLOAK: as_json(document)})
    try:
        made = (await recognise(KEYCLOAK + path, found)).provider
    except RowgateError:
        return
    assert made.issuer == document["issuer"]
    assert set(made.algorithms) <= set(ALGORITHMS)


@given(st.text() | st.text("htps:/.@[]#?%ab1", max_size=30).map("https://".__add__))
async def test_no_url_breaks_it(url: str) -> None:
    with pytest.raises(ProviderUnrecognised):
        await recognise(url, Documents(), allow_insecure_loopback=True)

"""Tokens of workflows, deployments and pods, shaped as their documents show, pinned as the how-to says."""

from typing import Any

import pytest

from rowgate.errors import ProviderUnrecognised, RowgateError
from rowgate.identity.provider import Provider
from rowgate.identity.recognition import Given, custom_rules, recognise, static_provider
from rowgate.identity.static_keys import from_jwks
from tests.unit.identity.forge import NOW, Documents, bench, key_for, key_set_document, public, sign

GITHUB = "https://token.actions.githubusercontent.com"
KEYS = key_set_document(public(key_for("RS256"), "RS256", alg="RS256", use="sig"))
EVENTS = {
    "jti": "6f4f7f7c-1d6d-4c3b-8f0e-3a1d7a6f4c11", "sub": "repo:octo-org/octo-repo:environment:prod",
    "environment": "prod", "aud": "rowgate", "ref": "refs/heads/main", "sha": "1234",
    "repository": "octo-org/octo-repo", "repository_id": "74",
    "repository_owner": "octo-org", "repository_owner_id": "65", "actor": "octocat", "actor_id": "12", "run_id": "1",
    "run_attempt": "2", "runner_environment": "github-hosted", "event_name": "push", "ref_type": "branch",
    "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main", "iss": GITHUB,
    "nbf": NOW - 10, "exp": NOW + 300, "iat": NOW - 10,
}  # fmt: skip
POD = {
    "aud": ["rowgate"], "iss": "https://kubernetes.default.svc.cluster.local",
    "sub": "system:serviceaccount:shop:worker", "jti": "e51f1fbc", "iat": NOW, "nbf": NOW, "exp": NOW + 3607,
    "kubernetes.io": {"namespace": "shop", "node": {"name": "n", "uid": "u"}, "pod": {"name": "worker-1", "uid": "u"},
                      "serviceaccount": {"name": "worker", "uid": "u"}, "warnafter": NOW + 3000},
}  # fmt: skip


async def github(*require: str, **given: Any) -> Provider:
    documents = Documents({f"{GITHUB}/.well-known/jwks": KEYS})
    said = {"audiences": ("rowgate",), "project": "octo-org/octo-repo", "rules": custom_rules("sub", require), **given}
    return (await recognise(GITHUB, documents, given=Given(**said))).provider


def cluster() -> Provider:
    """Keys by ``kubectl get --raw /openid/v1/jwks``, because the issuer is an address inside the cluster."""
    rules = custom_rules("sub", ("/kubernetes.io/namespace=shop", "/kubernetes.io/serviceaccount/name=worker"))
    given = Given(issuer=POD["iss"], audiences=("rowgate",), rules=rules)  # type: ignore[arg-type]
    return static_provider(*from_jwks(KEYS), given).provider


async def subject(of: Provider, claims: dict[str, Any], **changes: Any) -> str:
    tools = bench(of, document=KEYS)
    tools.documents.by_url[of.jwks_url] = KEYS
    payload = {name: value for name, value in {**claims, **changes}.items() if value is not ...}
    return (await tools.verifier.verify(sign(header={"alg": "RS256", "kid": "RS256"}, payload=payload))).subject


async def test_a_workflow_of_the_repository() -> None:
    of = await github("ref=refs/heads/main", "environment=prod")
    assert await subject(of, EVENTS) == "repo:octo-org/octo-repo:environment:prod"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"repository": "evil/octo-repo"}, "token_claim_invalid"),
        ({"repository": "octo-org/octo-repo-2"}, "token_claim_invalid"),
        ({"ref": "refs/heads/main2"}, "token_claim_invalid"),
        ({"ref": "refs/pull/7/merge", "event_name": "pull_request", "sub": "repo:octo-org/octo-repo:pull_request"},
         "token_claim_invalid"),
        ({"ref": ...}, "token_claim_invalid"),
        ({"environment": "staging"}, "token_claim_invalid"),
        ({"environment": ...}, "token_claim_invalid"),
        ({"aud": "https://github.com/octo-org"}, "token_audience_refused"),
        ({"aud": "sts.amazonaws.com"}, "token_audience_refused"),
        ({"iss": f"{GITHUB}/"}, "token_issuer_unknown"),
        ({"exp": NOW - 60}, "token_expired"),
    ],
)  # fmt: skip
async def test_workflows_that_stay_out(changes: dict[str, Any], code: str) -> None:
    of = await github("ref=refs/heads/main", "environment=prod")
    with pytest.raises(RowgateError) as refusal:
        await subject(of, EVENTS, **changes)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    "given", [{"audiences": ()}, {"project": None}, {"project": "octo-org"}, {"project": "octo-org/*"}], ids=repr
)
async def test_github_without_audience_or_repository_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ProviderUnrecognised):
        await github(**given)


async def test_a_pod() -> None:
    assert await subject(cluster(), POD) == "system:serviceaccount:shop:worker"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "default"}}}, "token_claim_invalid"),
        ({"kubernetes.io": {"namespace": "other", "serviceaccount": {"name": "worker"}}}, "token_claim_invalid"),
        ({"kubernetes.io": ...}, "token_claim_invalid"),
        ({"aud": ["https://kubernetes.default.svc.cluster.local"]}, "token_audience_refused"),
        # What is kept in a Secret since before projected tokens: it never expires.
        ({"exp": ..., "iat": ..., "iss": "kubernetes/serviceaccount", "aud": ...}, "token_issuer_unknown"),
        ({"exp": ...}, "token_expired"),
    ],
)
async def test_pods_that_stay_out(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(RowgateError) as refusal:
        await subject(cluster(), POD, **changes)
    assert refusal.value.code == code

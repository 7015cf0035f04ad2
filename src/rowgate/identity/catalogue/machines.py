"""Machine identities: workflows, deployments and pods that get tokens from where they run, and need no password.

Each is signed with keys that sign for others too, so each needs an audience and something that tells the operator's own
from the rest.
"""

from __future__ import annotations

from typing import Final

from rowgate.identity.catalogue.preset import Input, Preset
from rowgate.identity.claim_rules import ClaimRules, Condition, Reading

_NAMESPACE: Final = Input(
    name="tenant",
    option="--tenant",
    meaning="the namespace of each service account that may sign in",
    where="`kubectl get serviceaccounts --all-namespaces`",
    pattern="[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
)
_KUBERNETES_RULES: Final = ClaimRules(
    required=(Condition(path=("kubernetes.io", "namespace"), values=("{tenant}",)),),
    organization=(Reading(path=("kubernetes.io", "namespace")),),
)
_KUBERNETES_AUDIENCE: Final = "the audience of the pod's projected token, one of your own and not the API server's"
_KUBERNETES_NOTE: Final = (
    "The user is `system:serviceaccount:NAMESPACE:NAME`. Every account of the namespaces may sign in; "
    "`--require sub=system:serviceaccount:NAMESPACE:NAME` lets in one alone."
)

MACHINES: Final[tuple[Preset, ...]] = (
    Preset(
        kind="github-actions",
        label="GitHub Actions",
        documentation="https://docs.github.com/actions/reference/openid-connect-reference",
        issuers=("https://token.actions.githubusercontent.com",),
        key_set="https://token.actions.githubusercontent.com/.well-known/jwks",
        hosts=("token.actions.githubusercontent.com",),
        audience="required",
        audience_hint="the audience that your workflow asks for",
        inputs=(
            Input(
                name="project",
                option="--project",
                meaning="the repository, as owner/name",
                where="the repository's address at github.com",
                pattern="[A-Za-z0-9._-]+/[A-Za-z0-9._-]+",
            ),
        ),
        rules=ClaimRules(
            required=(Condition(path=("repository",), values=("{project}",)),),
            organization=(Reading(path=("repository_owner",)),),
        ),
        note="Every workflow may ask for any audience, so the repository is checked as well; pin the branch with "
        "`--require ref=refs/heads/main`, or the environment, because pull requests run workflows too.",
    ),
    Preset(
        kind="vercel",
        label="Vercel (OIDC federation)",
        documentation="https://vercel.com/docs/oidc/reference",
        issuers=("https://oidc.vercel.com/{tenant}",),
        key_set="https://oidc.vercel.com/{tenant}/.well-known/jwks",
        hosts=("oidc.vercel.com",),
        audience="required",
        audiences=("https://vercel.com/{tenant}",),
        inputs=(
            Input(
                name="tenant",
                option="--tenant",
                meaning="the team's slug",
                where="vercel.com/SLUG; or give the issuer's URL, https://oidc.vercel.com/SLUG",
                pattern="[a-z0-9-]+",
            ),
            Input(
                name="project",
                option="--project",
                meaning="the project's name",
                where="the project's page at vercel.com",
                pattern="[a-z0-9._-]+",
            ),
        ),
        rules=ClaimRules(
            required=(Condition(path=("project",), values=("{project}",)),),
            organization=(Reading(path=("owner",)),),
        ),
        note="Choose the issuer mode Team. The user is `owner:TEAM:project:PROJECT:environment:ENVIRONMENT`; keep "
        "preview deployments out with `--require environment=production`.",
    ),
    Preset(
        kind="kubernetes",
        label="Kubernetes service accounts",
        documentation="https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/",
        issuers=("https://{domain}",),
        key_set="https://{domain}/openid/v1/jwks",
        is_known_by_path=True,
        audience="required",
        audience_hint=_KUBERNETES_AUDIENCE,
        inputs=(_NAMESPACE,),
        rules=_KUBERNETES_RULES,
        note=_KUBERNETES_NOTE + " Where the gateway cannot reach the cluster's keys, register them with `--jwks-file`.",
    ),
    Preset(
        kind="eks",
        label="Amazon EKS service accounts",
        documentation="https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html",
        issuers=("https://oidc.eks.{region}.amazonaws.com/id/{cluster}",),
        key_set="https://oidc.eks.{region}.amazonaws.com/id/{cluster}/keys",
        audience="required",
        audience_hint=_KUBERNETES_AUDIENCE,
        inputs=(_NAMESPACE,),
        rules=_KUBERNETES_RULES,
        note=_KUBERNETES_NOTE,
    ),
)

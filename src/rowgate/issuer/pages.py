"""The pages of the local issuer: who there is, who is signed in, how to get a token. Plain HTML, no script.

Everything that users wrote is escaped. This module never reads a request and never changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

from rowgate.issuer.issuer import TOKEN_PATH, LocalIssuer
from rowgate.issuer.requests import FORM_FIELD
from rowgate.issuer.sessions import Session
from rowgate.issuer.users import User

SIGN_IN_PATH: Final = "/sign-in"
SIGN_OUT_PATH: Final = "/sign-out"
SWITCH_PATH: Final = "/switch"
ROTATE_PATH: Final = "/rotate-key"

_STYLE: Final = """
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--text:#1a1d23;--soft:#5b6270;--line:#d9dde4;--accent:#1f5fd1;
--on-accent:#fff;--warn:#fff4d6;--warn-text:#6b4a00}
@media(prefers-color-scheme:dark){:root{--page:#14161a;--card:#1d2026;--text:#e8eaee;--soft:#a0a7b4;--line:#343943;
--accent:#7aa7ff;--on-accent:#10131a;--warn:#3a2f12;--warn-text:#f3d48a}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:44rem;margin:0 auto;padding:1.25rem 1rem 3rem}main.narrow{max-width:27rem}
h1{font-size:1.5rem;margin:.25rem 0}h2{font-size:1.05rem;margin:1.25rem 0 .75rem}
section>h2:first-child{margin-top:0}p{margin:.5rem 0}
.soft{color:var(--soft)}.notice{background:var(--warn);color:var(--warn-text);padding:.6rem .9rem;border-radius:.6rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.8rem;padding:1rem;margin:1rem 0}
pre{margin:.5rem 0;padding:.75rem;overflow-x:auto;border:1px solid var(--line);border-radius:.5rem;font-size:.85rem}
code{overflow-wrap:anywhere}
p code{white-space:nowrap}p code.long{white-space:normal}pre code{overflow-wrap:normal}a{color:var(--accent)}
ul.people{list-style:none;margin:0;padding:0}ul.people li{border-top:1px solid var(--line)}
ul.people li:first-child{border-top:0}
.person{display:flex;align-items:center;gap:.75rem;width:100%;padding:.6rem .25rem;text-align:left}
button.person{background:none;border:0;color:inherit;font:inherit;cursor:pointer;border-radius:.5rem}
button.person:hover{background:var(--page)}.person span{min-width:0;overflow-wrap:anywhere}
.person b{display:block}.person i{font-style:normal;color:var(--soft);font-size:.9rem}
.badge{flex:none;width:2.4rem;height:2.4rem;border-radius:50%;background:var(--accent);color:var(--on-accent);
display:grid;place-items:center;font-weight:600}
label{display:block;margin:.6rem 0 .2rem;font-size:.9rem}
input,select{width:100%;padding:.55rem .65rem;font:inherit;color:inherit;background:var(--page);
border:1px solid var(--line);border-radius:.5rem}
button.main,button.plain{padding:.55rem 1rem;font:inherit;border-radius:.5rem;cursor:pointer;margin-top:.8rem;
border:1px solid var(--accent);background:var(--accent);color:var(--on-accent)}
button.plain{background:none;color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:0}
dt{color:var(--soft)}dd{margin:0;min-width:0}
@media(max-width:30rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
"""

_NOTICE: Final = (
    "<p class=notice><strong>For development only.</strong> Whoever reaches this address can be any of these users, "
    "without a password.</p>"
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom a page is for: what its forms must carry, and who is signed in."""

    form_token: str
    user: User | None = None
    session: Session | None = None


def home_page(issuer: LocalIssuer, visitor: Visitor) -> str:
    """The first page."""
    first = escape(next((user.id for user in issuer.users.list()), "user_alice"))
    templates = ", ".join(f"<code>{escape(one.name)}</code>" for one in issuer.templates.list()) or "none yet"
    url = escape(issuer.url)
    people = "".join(f"<li>{_person(user)}</li>" for user in issuer.users.list())
    return _document("Local identity provider", f"""
<h1>Local identity provider</h1>
{_NOTICE}
{_signed_in(issuer, visitor)}
<section><h2>Users</h2><ul class=people>{people}</ul></section>
<section><h2>Get a token</h2>
<pre><code>curl -d user={first} {url}{TOKEN_PATH}</code></pre>
<p>With a JWT template ({templates}): <code>-d template=NAME</code>. Seconds to live: <code>-d lifetime=600</code>.</p>
<h2>Add a user, an organization or a template</h2>
<pre><code>curl --json '{{"first_name": "Carol"}}' {url}/users
curl --json '{{"name": "Acme", "members": [{{"user": "alice", "role": "org:admin"}}]}}' {url}/organizations
curl --json '{{"key": "org:admin", "permissions": ["org:invoices:create"]}}' {url}/roles
curl --json '{{"name": "app", "claims": {{"email": "{{{{user.email}}}}"}}}}' {url}/templates</code></pre></section>
<section><h2>For your code</h2><dl>
<dt>Issuer</dt><dd><code>{url}</code></dd>
<dt>Discovery</dt>
<dd><a href="/.well-known/openid-configuration"><code>{url}/.well-known/openid-configuration</code></a></dd>
<dt>Key set</dt><dd><a href="/.well-known/jwks.json"><code>{escape(issuer.jwks_url)}</code></a></dd>
<dt>OpenID Connect</dt><dd>any <code>client_id</code>, code flow with PKCE, redirects to loopback addresses</dd>
<dt>Clerk's SDKs</dt>
<dd><code>apiUrl: '{url}'</code>, <code>secretKey</code> from <code>rowgate issuer secret-key</code></dd>
</dl></section>
<section><h2>Keys</h2><p>{_keys(issuer)}</p>
{_form(visitor, ROTATE_PATH, "<button class=plain>Sign with a new key from now on</button>")}</section>""")  # fmt: skip


def sign_in_page(
    issuer: LocalIssuer, visitor: Visitor, *, return_to: str = "", hint: str = "", client: str = ""
) -> str:
    """The page where one picks or makes a user. ``client`` is whoever sent the visitor here."""
    hidden = {"return": return_to} if return_to else {}
    users = sorted(issuer.users.list(), key=lambda user: not (hint and user.answers_to(hint)))
    people = "".join(
        "<li>"
        + _form(visitor, SIGN_IN_PATH, f"<button class=person>{_face(user)}</button>", {**hidden, "user": user.id})
        + "</li>"
        for user in users
    )
    fields = (
        "<label for=first_name>First name</label><input id=first_name name=first_name required maxlength=255>"
        "<label for=email>E-mail (optional)</label><input id=email name=email type=email maxlength=255>"
        "<button class=main>Create and sign in</button>"
    )
    asking = f"<p class=soft><code>{escape(client)}</code> asks you to sign in.</p>" if client else ""
    return _document("Sign in", f"""
<h1>Sign in</h1>{asking}{_NOTICE}
<section><h2>Continue as</h2><ul class=people>{people}</ul></section>
<section><h2>Or as somebody new</h2>{_form(visitor, SIGN_IN_PATH, fields, hidden)}</section>
""", narrow=True)  # fmt: skip


def sign_out_page(visitor: Visitor, return_to: str) -> str:
    """Asks whether to sign out, because a link of another site may lead here."""
    hidden = {"return": return_to} if return_to else {}
    return _document("Sign out", f"""
<h1>Sign out</h1><section><p>End the session at the local identity provider?</p>
{_form(visitor, SIGN_OUT_PATH, "<button class=main>Sign out</button>", hidden)}</section>""", narrow=True)  # fmt: skip


def error_page(message: str, detail: str | None, hint: str | None) -> str:
    """What went wrong, what was expected, what to do next."""
    rest = "".join(f"<p>{escape(text)}</p>" for text in (detail, hint) if text)
    return _document("Refused", f"""
<h1>{escape(message)}</h1><section>{rest}<p><a href="/">To the first page</a></p></section>
""", narrow=True)  # fmt: skip


def _signed_in(issuer: LocalIssuer, visitor: Visitor) -> str:
    user, session = visitor.user, visitor.session
    if user is None or session is None:
        return (
            f'<section><h2>Nobody is signed in</h2><p><a href="{SIGN_IN_PATH}">Sign in</a> as any user.</p></section>'
        )
    organizations = {
        one.organization_id: issuer.organizations.find(one.organization_id).name
        for one in issuer.organizations.memberships(user_id=user.id)
    }
    switch = ""
    if organizations:
        chosen = session.organization_id or ""
        options = _options({"": "No organization", **organizations}, chosen)
        fields = (
            f"<label for=organization>Organization</label><select id=organization name=organization>{options}</select>"
            "<button class=plain>Switch</button>"
        )
        switch = _form(visitor, SWITCH_PATH, fields)
    sign_out = _form(visitor, SIGN_OUT_PATH, "<button class=plain>Sign out</button>")
    return f"<section><h2>Signed in</h2>{_person(user)}{switch}{sign_out}</section>"


def _options(choices: Mapping[str, str], chosen: str) -> str:
    return "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
        for value, text in choices.items()
    )


def _keys(issuer: LocalIssuer) -> str:
    return _joined(f"<code class=long>{escape(str(key['kid']))}</code>" for key in issuer.keys.public_keys())


def _joined(texts: Iterable[str]) -> str:
    return "<br>".join(texts)


def _person(user: User) -> str:
    return f"<div class=person>{_face(user)}</div>"


def _face(user: User) -> str:
    name = user.shown_name
    about = " · ".join(escape(text) for text in (user.email, user.id) if text)
    badge = f"<span class=badge aria-hidden=true>{escape(name[:1].upper())}</span>"
    return f"{badge}<span><b>{escape(name)}</b><i>{about}</i></span>"


def _form(visitor: Visitor, action: str, content: str, hidden: Mapping[str, str] | None = None) -> str:
    fields = "".join(
        f'<input type=hidden name="{escape(name)}" value="{escape(value)}">'
        for name, value in {FORM_FIELD: visitor.form_token, **(hidden or {})}.items()
    )
    return f'<form method=post action="{action}">{fields}{content}</form>'


def _document(title: str, content: str, *, narrow: bool = False) -> str:
    return f"""<!doctype html>
<html lang=en>
<head><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head>
<body><main{' class="narrow"' if narrow else ""}>{content}
</main></body>
</html>
"""

"""The one page of the local issuer: who there is, where the keys are, how to get a token. Plain HTML, no script."""

from __future__ import annotations

from html import escape

from rowgate.issuer.issuer import TOKEN_PATH, LocalIssuer

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "pre{padding:.75rem;overflow-x:auto;border:1px solid}td,th{text-align:left;padding:.2rem 1rem .2rem 0}"
)


def page(issuer: LocalIssuer) -> str:
    """The page as HTML, everything that users wrote escaped."""
    users = issuer.users.list()
    rows = "".join(
        f"<tr><td>{escape(user.full_name)}</td><td><code>{escape(user.id)}</code></td><td>{escape(user.email)}</td></tr>"
        for user in users
    )
    templates = ", ".join(f"<code>{escape(template.name)}</code>" for template in issuer.templates.list()) or "none yet"
    first = escape(users[0].id if users else "user_alice")
    url = escape(issuer.url)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Local issuer</title><style>{_STYLE}</style></head>
<body>
<h1>Local issuer</h1>
<p><strong>For development only.</strong> Whoever reaches this address can be any of these users, without password.</p>
<h2>Users</h2>
<table><thead><tr><th>Name</th><th>Id (<code>sub</code>)</th><th>E-mail</th></tr></thead><tbody>{rows}</tbody></table>
<h2>Keys</h2>
<p>JWKS URL: <a href="{escape(issuer.jwks_url)}"><code>{escape(issuer.jwks_url)}</code></a></p>
<h2>Get a token</h2>
<pre>curl -d user={first} {url}{TOKEN_PATH}</pre>
<p>With a JWT template ({templates}): <code>-d template=NAME</code>. Seconds to live: <code>-d lifetime=600</code>.</p>
<h2>Add a user or a template</h2>
<pre>curl --json '{{"first_name": "Carol", "email": "carol@example.com"}}' {url}/users
curl --json '{{"name": "app", "claims": {{"email": "{{{{user.email}}}}"}}, "lifetime": 60}}' {url}/templates</pre>
</body>
</html>
"""

"""A page for each identity provider of the catalogue: how it is registered, and what policies then see.

Every word that is about one provider comes from its row of the catalogue. Never connects to anything.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from rowgate.identity.catalogue import CATALOGUE, Preset
from rowgate.identity.catalogue.machines import MACHINES
from rowgate.identity.claim_rules import ORGANIZATION

FOLDER: Final = Path(__file__).parent / "how-to" / "providers"

INTRO = """\
Register a provider once for each database; running gateways take it at once. `rowgate provider add` recognises these
from the URL of their key set, their issuer or their discovery document. Any other works by its discovery document, its
key set, or a file with its key: [all that the catalogue knows](../../reference/providers.md)."""

CLIENT = """\
```js
import { neon, neonConfig } from '@neondatabase/serverless';

neonConfig.fetchEndpoint = () => 'https://sql.example.com/sql'; // where the gateway is

const sql = neon('postgresql://authenticated@sql.example.com/app', {
  authToken: async () => getToken(), // %s's token of the user who is signed in
});
const rows = await sql`select * from todos`;
```"""

MACHINE = """\
A workflow or a workload gets its token from where it runs: [Machine identities](../../machine-identities.md) shows how,
and what to pin so that nobody else's counts."""


def quickstart_pages() -> dict[Path, str]:
    """Path and text of every page, and of the page that lists them."""
    table = ["| provider | audience |", "|---|---|"]
    table += [f"| [{one.label}]({one.kind}.md) | {one.audience} |" for one in CATALOGUE]
    index = f"# Providers\n\n{INTRO}\n\n" + "\n".join(table) + "\n"
    return {FOLDER / "index.md": index, **{FOLDER / f"{one.kind}.md": _page(one) for one in CATALOGUE}}


def registration(preset: Preset) -> str:
    """The command that registers a provider, with words in capitals for what only the reader knows."""
    options = [
        f"{one.option} {one.name.upper()}" for one in preset.inputs if one.is_required and not _in_url(preset, one)
    ]
    if preset.audience == "required" and not preset.audiences:
        options.append("--audience AUDIENCE")
    address = re.sub(r"\{(\w+)\}", lambda found: _placeholder(found[1]), preset.key_set)
    if _needs_name(preset):
        options.append(f"--preset {preset.kind}")
    words = [f"rowgate provider add '{address}'", *dict.fromkeys(options)]
    return " \\\n  ".join(words)


def _needs_name(preset: Preset) -> bool:
    """Whether a provider at a domain of its operator's cannot be told by its URL."""
    address = re.sub(r"\{\w+\}", "example", preset.key_set.replace("{domain}", "login.example.com"))
    has_hosts = bool(preset.hosts or preset.likely_hosts)
    return "{domain}" in preset.key_set and not has_hosts and preset.values_in(address) is None


def _in_url(preset: Preset, one: object) -> bool:
    return f"{{{getattr(one, 'name', '')}}}" in preset.key_set


def _placeholder(name: str) -> str:
    return "YOUR-DOMAIN" if name == "domain" else name.upper()


def _page(preset: Preset) -> str:
    parts = [
        f"# {preset.label}",
        "## 1. Register it",
        f"```sh\n{registration(preset)}\nrowgate provider check\n```",
        *_explained(preset),
        "## 2. Send its token",
        MACHINE if preset in MACHINES else CLIENT % preset.label,
        "psql, drivers and ORMs take the same token as their password: [Sessions](../../sessions.md).",
        "## 3. Write policies",
        _seen(preset),
        f"[What the catalogue says](../../reference/providers.md#{slug(preset.label)}), "
        f"[the provider's own documentation]({preset.documentation}).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _explained(preset: Preset) -> list[str]:
    capitals = dict.fromkeys(re.findall(r"\{(\w+)\}", preset.key_set))
    known = {one.name: one for one in preset.inputs}
    lines = [f"- `{one.name.upper()}`: {one.meaning} ({one.where})" for one in known.values() if one.is_required]
    lines += [
        f"- `{_placeholder(name)}`: as it stands in your provider's URLs" for name in capitals if name not in known
    ]
    if preset.audience == "required" and not preset.audiences:
        lines.append(f"- `AUDIENCE`: {preset.audience_hint or 'who the tokens are for'}")
    recommended = ""
    if preset.audience == "recommended":
        recommended = "Add `--audience` where other applications of yours share its keys."
        recommended += f" Where to find it: {preset.audience_hint}." if preset.audience_hint else ""
    elsewhere = ""
    if "{domain}" in preset.key_set and (preset.hosts or preset.likely_hosts) and not preset.is_known_by_path:
        elsewhere = f"At a domain of your own, add `--preset {preset.kind}`."
    return ["\n".join(lines), recommended, elsewhere, preset.note]


def _seen(preset: Preset) -> str:
    rules = preset.rules
    organization = [".".join(one.path).replace(ORGANIZATION, "ORGANIZATION") for one in rules.organization]
    lines = [f"`auth.user_id()` is the claim `{rules.user}`; `auth.session()` holds all claims."]
    if organization:
        claims = " or ".join(f"`{one}`" for one in dict.fromkeys(organization))
        lines.append(f"`auth.org_id()` is {claims}.")
    policy = """\
```sql
alter table todos enable row level security;
create policy own_todos on todos to authenticated
  using ((select auth.user_id()) = user_id)
  with check ((select auth.user_id()) = user_id);
```"""
    return " ".join(lines) + "\n\n" + policy


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

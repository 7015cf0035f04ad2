"""Renders the pages of the reference that come from code: settings, errors, commands, identity providers.

``python -m docs.generate`` writes them, ``--check`` says which are out of date and writes nothing. What only a person
can say stands in ``errors.toml`` and ``settings.toml`` beside this file; an entry that is missing, or is about nothing,
is an error. Never connects to anything.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import typer
from tests.attacks.http_cases import CASES, HttpAttack
from tests.attacks.table.attack import NEXT, Attack
from tests.attacks.table.rows import ATTACKS
from tests.attacks.wire.attack import TlsAttack
from tests.attacks.wire.rows import TLS_ATTACKS, WEBSOCKET_ATTACKS, WIRE_ATTACKS
from typer.models import OptionInfo

from docs.quickstarts import quickstart_pages, slug
from rowgate.cli.main import app
from rowgate.cli.token import MINT
from rowgate.errors import ConfigurationError, RowgateError, catalogue
from rowgate.identity.catalogue import CATALOGUE, Preset
from rowgate.identity.claim_rules import ORGANIZATION, Condition, Reading
from rowgate.settings import SettingDescription, Settings, describe

HERE = Path(__file__).parent
NOTICE = "<!-- Written by `python -m docs.generate`. Change the code, or the .toml files beside it, and run that. -->"

SETTINGS_INTRO = """\
`rowgate serve` takes each value from the command line first, then from the environment, then from the file given with
`--settings`, then from the defaults below. In the environment a setting is called `ROWGATE_` and its name in capitals;
in the file it is a key of TOML. Truth values are `true` and `false`. An unknown key in the file is an error.

```toml
# rowgate.toml
host = "127.0.0.1"
port = 4444
cors_origins = ["https://app.example.com"]
pool_size = 20
```

Keep `database_url` out of the file where others can read it: it holds the control role's password.
`rowgate dev` uses the defaults, with every origin, passwords, plain EXPLAIN and its own http issuer allowed."""

ERRORS_INTRO = """\
Every refusal of Rowgate has a code that stays the same between versions. Over HTTP it is the field `routine`, as
`rowgate:<code>`; on the command line it stands in parentheses. An error without `rowgate:` in `routine` is Postgres's
own. `message` says what was wrong, `detail` what was expected and what came, `hint` the next step.

The serverless driver reads the JSON of an error only under HTTP status 400 and shows other statuses as text."""

CLI_INTRO = """\
Exit status: 0 done; 1 refused (a token, a statement, the database); 2 something for you to mend (settings, ports,
set-up, usage); 3 done in part: somebody with more rights must do the rest. Errors go to standard error with their
[code](errors.md). Every command has `--help`.

Commands that need a running `rowgate dev` find it by its data folder: `.rowgate` in the current folder, or what
`--data-dir` or `ROWGATE_DATA_DIR` says. `rowgate --version` prints the version."""


PROVIDERS_INTRO = """\
`rowgate provider add URL` recognises these providers from the URL of their key set, their issuer or their discovery
document, and fills in what stands below. Where a provider runs at a domain of your own and its discovery document does
not show what it is, add `--preset KIND`. `rowgate provider catalogue` prints this list.

Audience: **required** means that the keys sign for people who have nothing to do with you, so that the provider is
refused without it; **recommended** that other applications of your own share the keys; **none** that the tokens carry
no audience as a rule.

Any other provider works too: with a discovery document by its issuer URL; with a key set alone by its URL and
`--issuer`; without either by `--jwks-file` or `--pem-file` and `--issuer`, whose keys are then kept in the registry.
The claim that names the user is `sub` unless `--user-claim` says otherwise, and `--require CLAIM=VALUE` asks for more.

Whatever claim names the user, `auth.user_id()` returns it, and it is the `sub` of `auth.session()`. A role that a
token names is never the role of the database."""


ATTACKS_INTRO = """\
Every row was tried on Postgres 18 and 15 and is tried again by each run of the tests, in five places:

- **HTTP** and **session**: as Alice, with a valid token, through `rowgate serve` with the gate of row-level security,
  in front of a database after `rowgate setup --harden`. Sessions are tried over TCP and over WebSocket, alike.
- **No guard**: straight on the connection of the exposed role's login, with Alice's signed identity in the transaction
  and `DISCARD ALL` before the next user, to see what role, identity and connection stop without the guard.
- **Usual**: what people build today, for comparison: one pooled login, and in each transaction
  `set_config('request.jwt.claims', ..., true)` and the role, in front of a stock server.

An empty cell means that the attack was stopped. The objects of the last group are an owner's mistakes, and are there in
all five. Outside that group, what is open without the guard is what Postgres lets everybody do, and what no privilege
can close. To add an attack, add a row to `tests/attacks/table/rows.py` and run `python -m tests.attacks.table`."""


MOST_SHOWN = 110
"""Bytes of a request that the page shows."""

FRONTS_INTRO = """\
## What is no statement

The rows below are tried by each run of the tests as well, against `rowgate serve` with TLS before Postgres 18 and 15;
those of HTTP against `rowgate dev`, in one piece and in fifty. The rows of the Postgres protocol go over TCP, TLS and
WebSocket, and the same comes back on all three. After each, nothing of another user's has been told, and another
user's session goes on.

`FATAL` is an error and the end of the connection, `ERROR` an error of a session that goes on as its own user; five
characters are the SQLSTATE. `asked`: the password is asked for, and no more is said. `N`: encryption is declined.
`closed`: an end without a word. `served`: it is harmless, and was carried out. `refused`: no TLS came about. To add
one, add a row to `tests/attacks/wire/rows.py` and run `python -m tests.attacks.wire`. What no row has tried is looked
for by `make fuzz`."""


class NotesIncomplete(Exception):
    """The hand-written part does not fit the code."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its words after ``rowgate``, and the function behind it."""

    words: str
    function: Callable[..., Any]


def commands() -> Iterator[Command]:
    """Every command, groups flattened, in the order of ``rowgate --help``."""
    for one in app.registered_commands:
        if one.name and one.callback:
            yield Command(one.name, one.callback)
    for group in app.registered_groups:
        for one in group.typer_instance.registered_commands if group.typer_instance else ():
            if one.name and one.callback:
                # What a group does by default needs no second word.
                words = str(group.name) if one.name == MINT else f"{group.name} {one.name}"
                yield Command(words, one.callback)


def settings_page() -> str:
    """The page of settings."""
    written = _read("settings.toml")
    rows = {row.name: row for row in describe()}
    grouped = [name for names in written["groups"].values() for name in names]
    _require_same("settings.toml, groups", grouped, list(rows))
    _require_known("settings.toml, notes", written["notes"], rows)
    smallest = {row.name: row.metadata["low"] for row in fields(Settings)}
    parts = [NOTICE, "# Settings", SETTINGS_INTRO]
    for title, names in written["groups"].items():
        parts.append(f"## {title}")
        parts += [_setting(rows[name], smallest[name], written["notes"].get(name)) for name in names]
    return _page(parts)


def _setting(row: SettingDescription, smallest: int | None, note: str | None) -> str:
    facts = [
        f"`{row.environment_variable}`",
        row.kind,
        f"default `{row.default}`" if row.default else "no default",
    ]
    if smallest:
        facts.append(f"at least {smallest}")
    if row.secret:
        facts.append("secret")
    return f"### `{row.name}`\n\n{', '.join(facts)}\n\n{row.meaning}" + (f" {note}" if note else "")


def errors_page() -> str:
    """The page of errors."""
    written = _read("errors.toml")
    classes = list(catalogue())
    _require_same("errors.toml", list(written), [one.code for one in classes])
    return _page([NOTICE, "# Errors", ERRORS_INTRO, *(_error(one, written[one.code]) for one in classes)])


def _error(error: type[RowgateError], note: dict[str, str]) -> str:
    facts = [f"SQLSTATE {note.get('sqlstate', f'`{error.sqlstate}`')}", f"HTTP {error.status}"]
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        facts.append(f"`Retry-After: {retry_after}`")
    facts.append(f"exit status {2 if issubclass(error, ConfigurationError) else 1}")
    meaning = " ".join((inspect.getdoc(error) or "").split()).replace("``", "`")
    return f"### `{error.code}`\n\n{'; '.join(facts)}\n\n{meaning}\n\n**When:** {note['why']}\n\n**Next:** {note['do']}"


def commands_page() -> str:
    """The page of commands."""
    return _page([NOTICE, "# Commands", CLI_INTRO, *map(_command, commands())])


def _command(command: Command) -> str:
    text = inspect.cleandoc(command.function.__doc__ or "")
    # The settings that `serve --help` lists have a page of their own.
    text, found, _ = text.partition("Every setting is an environment variable")
    if found:
        text += "Every [setting](settings.md) is an environment variable, or a key of the file.\n"
    text = re.sub(r"\nExample:\n\n((?:    .*\n?)+)", _example, text + "\n").strip()
    rows = list(_options(command.function))
    table = ["| option | meaning |", "|---|---|", *(f"| {name} | {meaning} |" for name, meaning in rows)]
    return f"## `rowgate {command.words}`\n\n{text}\n\n" + "\n".join(table)


def _example(found: re.Match[str]) -> str:
    return f"\n```sh\n{inspect.cleandoc(found[1])}\n```\n"


def _options(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Arguments and options in order: how each is written, and what it means with its default."""
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        info = hints[parameter.name].__metadata__[0]
        repeats = "list[" in str(hints[parameter.name].__origin__)
        if isinstance(info, OptionInfo):
            spellings = _spellings(info, parameter.name)
            default = spellings[0] if parameter.default is True else parameter.default
            name = ", ".join(f"`{one}`" for one in spellings)
        else:
            default = parameter.default
            name = f"`{parameter.name.upper()}`" + (" ..." if repeats else "")
        yield name, _meaning(info, default)


def _spellings(info: OptionInfo, name: str) -> list[str]:
    """Inside Annotated, typer keeps the first spelling where a default would stand."""
    first = [info.default] if isinstance(info.default, str) else []
    given = [*first, *(info.param_decls or ())] or ["--" + name.replace("_", "-")]
    return [spelling for one in given for spelling in one.split("/")]


def _meaning(info: Any, default: object) -> str:
    text = " ".join((info.help or "").split())
    if default is inspect.Parameter.empty:
        text += " Required."
    elif default not in (None, False, "") and "Default" not in text:
        text += f" Default: `{default}`."
    if info.envvar:
        text += f" Environment: `{info.envvar}`."
    return text.replace("|", "\\|")


def providers_page() -> str:
    """The page of identity providers: one row of the catalogue each."""
    table = ["| provider | kind | audience |", "|---|---|---|"]
    table += [f"| [{one.label}](#{slug(one.label)}) | `{one.kind}` | {one.audience} |" for one in CATALOGUE]
    return _page([NOTICE, "# Identity providers", PROVIDERS_INTRO, "\n".join(table), *map(_provider, CATALOGUE)])


def _provider(preset: Preset) -> str:
    rules = preset.rules
    rows = [
        ("kind", f"`{preset.kind}`"),
        ("key set", f"`{preset.key_set}`"),
        ("issuer", _listed(preset.issuers, " or ")),
        ("algorithms", ", ".join(preset.algorithms) or "those of its keys and its discovery document"),
        ("audience", preset.audience + (f"; by itself {_listed(preset.audiences)}" if preset.audiences else "")),
        ("where to find it", preset.audience_hint),
        ("to be given", "; ".join(f"`{one.option}`: {one.meaning} ({one.where})" for one in preset.inputs)),
        ("user", f"`{rules.user}`"),
        ("client (`--client-id`)", _listed(rules.client_claims)),
        ("organization", _readings(rules.organization)),
        ("role in it", _readings(rules.organization_role)),
        ("roles", _readings(rules.roles)),
        ("permissions", _readings(rules.permissions)),
        ("must hold", _conditions(rules.required)),
        ("refused with", _conditions(rules.denied)),
        ("role `anonymous` alone with", _conditions(rules.anonymous)),
    ]
    table = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows if value)]
    note = f"\n\n{preset.note}" if preset.note else ""
    return f"## {preset.label}\n\n" + "\n".join(table) + f"{note}\n\n[Documentation]({preset.documentation})"


def _listed(texts: Iterable[str], between: str = ", ") -> str:
    return between.join(f"`{text}`" for text in texts)


def _readings(readings: Iterable[Reading]) -> str:
    return _listed(dict.fromkeys(".".join(one.path).replace(ORGANIZATION, "ORGANIZATION") for one in readings))


def _conditions(conditions: Iterable[Condition]) -> str:
    return "; ".join(f"`{'.'.join(one.path)}` {_listed(map(_value, one.values), ' or ')}" for one in conditions)


def _value(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def attacks_page() -> str:
    """The page of attacks: each row of the suite's table, and how many get through where."""
    groups: dict[str, list[Attack]] = {}
    for attack in ATTACKS:
        groups.setdefault(attack.id.rpartition("-")[0], []).append(attack)
    counts = ["| group | attacks | HTTP | sessions | without the guard | usual design |", "|---|---|---|---|---|---|"]
    for name, attacks in [*groups.items(), ("all", list(ATTACKS))]:
        numbers = (sum(letter in one.through for one in attacks) for letter in "HSNB")
        counts.append(f"| {name} | {len(attacks)} | " + " | ".join(str(number) for number in numbers) + " |")
    sections = [f"## {name.capitalize()}\n\n" + "\n".join(_attack_rows(rows)) for name, rows in groups.items()]
    return _page([NOTICE, "# Attacks", ATTACKS_INTRO, "\n".join(counts), *sections, *_front_sections()])


def _front_sections() -> Iterator[str]:
    """The attacks that are no statements, and what comes back to each."""
    yield FRONTS_INTRO
    wire = "".join(
        f"| {one.id} | {one.wall} | {_cell(one.what)}, {one.stage} | {one.gain} | {one.answer} |\n"
        for one in WIRE_ATTACKS
    )
    yield (
        "## The Postgres protocol\n\n| id | wall | sent | would gain | answer |\n|---|---|---|---|---|\n"
        + wire.rstrip()
    )
    tls = "".join(
        f"| {one.id} | {_tls_port(one)} | {_cell(one.what)} | {one.gain} | {one.answer} |\n" for one in TLS_ATTACKS
    )
    yield "## TLS\n\n| id | port | sent | would gain | answer |\n|---|---|---|---|---|\n" + tls.rstrip()
    opened = "".join(f"| {one.id} | {_cell(one.what)} | {one.gain} | {one.answer} |\n" for one in WEBSOCKET_ATTACKS)
    yield "## WebSockets\n\n| id | sent | would gain | answer |\n|---|---|---|---|\n" + opened.rstrip()
    http = "".join(f"| {one.id} | {_shown(one)} | {one.gain} | {_statuses(one)} |\n" for one in CASES)
    yield "## HTTP\n\n| id | sent | would gain | answer |\n|---|---|---|---|\n" + http.rstrip()


def _tls_port(attack: TlsAttack) -> str:
    return "HTTP" if attack.port == "HTTPS" else "sessions"


def _shown(attack: HttpAttack) -> str:
    """The beginning of a request, in one line."""
    text = ascii(attack.data[:MOST_SHOWN].decode("latin-1"))[1:-1]
    return _cell(f"`{text}{'...' if len(attack.data) > MOST_SHOWN else ''}`")


def _statuses(attack: HttpAttack) -> str:
    ends = ", and the connection ends" if attack.closes else ""
    return " ".join(str(status) for status in attack.statuses) + ends


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _attack_rows(attacks: Iterable[Attack]) -> Iterator[str]:
    yield "| id | input | would gain | HTTP | session | no guard | usual |"
    yield "|---|---|---|---|---|---|---|"
    for one in attacks:
        steps = "; ".join(_attack_step(step) for step in one.steps)
        ways = (_attack_way(one.through.split(), letter) for letter in "HSNB")
        note = f" ({one.reason})" if one.reason else ""
        yield f"| {one.id} | {steps} | {one.gain}{note} | {' | '.join(ways)} |"


def _attack_step(step: str) -> str:
    text = step.removeprefix(NEXT).replace("|", "\\|")
    return ("the next user: " if step.startswith(NEXT) else "") + f"`{text}`"


def _attack_way(through: Iterable[str], letter: str) -> str:
    """Empty where it is stopped; else on which versions it is not."""
    found = [one for one in through if one.startswith(letter)]
    return ", ".join("through" if one == letter else f"through on {one[1:]}" for one in found)


def pages() -> dict[Path, str]:
    """Path and text of every page that is rendered. Raises NotesIncomplete."""
    folder = HERE / "reference"
    return {
        folder / "settings.md": settings_page(),
        folder / "errors.md": errors_page(),
        folder / "cli.md": commands_page(),
        folder / "providers.md": providers_page(),
        **quickstart_pages(),
        folder / "attacks.md": attacks_page(),
    }


def _page(parts: list[str]) -> str:
    return "\n\n".join(parts) + "\n"


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((HERE / name).read_text("utf-8"))


def _require_same(where: str, written: list[str], expected: list[str]) -> None:
    missing, unknown = set(expected) - set(written), set(written) - set(expected)
    twice = {name for name in written if written.count(name) > 1}
    if missing or unknown or twice:
        raise NotesIncomplete(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}, twice {sorted(twice)}")


def _require_known(where: str, written: dict[str, str], known: dict[str, SettingDescription]) -> None:
    if written.keys() - known.keys():
        raise NotesIncomplete(f"{where}: unknown {sorted(written.keys() - known.keys())}")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status: 1 where ``--check`` finds a page out of date."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a page is out of date")
    check = parser.parse_args(arguments).check
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        typer.echo(f"{'out of date' if check else 'written'}: {path.relative_to(HERE.parent)}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(pages()[path], "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

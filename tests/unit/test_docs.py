"""The documents cannot drift: pages from code are as rendered, names have their headings, links lead somewhere."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs import generate, quickstarts

from rowgate.errors import catalogue
from rowgate.identity.catalogue import CATALOGUE, Preset
from rowgate.settings import describe

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "examples").glob("*/README.md")),
]
REFERENCE = ROOT / "docs" / "reference"
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A command as the documents write it: after the prompt, in code, in $(...), or after variables.
CALL = re.compile(
    r"(?:^|[`(\"' ])rowgate ((?:gate|provider|revocation|webhook|admin-token|template|issuer|audit|allowlist) [a-z-]+"
    r"|token inspect"
    r"|[a-z][a-z-]*)"
    r"((?:(?!\$\()[^`\n|;)])*)",
    re.MULTILINE,
)
OTHER_WORDS = {"control"}
"""`rowgate control` is an application_name."""

named = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def headings(document: Path) -> list[str]:
    text = FENCE.sub("", document.read_text("utf-8"))
    return [line.lstrip("#").strip() for line in text.splitlines() if re.match(r"#{1,6} ", line)]


def anchors(document: Path) -> set[str]:
    """As GitHub makes them: small letters, punctuation gone, hyphens for blanks, a number where one comes again."""
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(document)]
    seen: Counter[str] = Counter()
    found = set()
    for slug in slugs:
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def code(document: Path) -> Iterator[str]:
    """Fenced blocks and code in the line, with continued lines made one."""
    text = document.read_text("utf-8")
    yield from (block.replace("\\\n", " ") for block in FENCE.findall(text))
    yield from re.findall(r"`[^`\n]+`", FENCE.sub("", text))


@pytest.mark.parametrize("path", sorted(generate.pages()), ids=lambda path: path.name)
def test_rendered_pages_are_as_committed(path: Path) -> None:
    assert path.read_text("utf-8") == generate.pages()[path], "run: python -m docs.generate"


def test_check_tells_of_a_page_that_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    monkeypatch.setattr(generate, "HERE", page.parent)
    monkeypatch.setattr(generate, "pages", lambda: {page: "text\n"})
    assert generate.main(["--check"]) == 1
    assert not page.exists()
    assert generate.main([]) == 0
    assert page.read_text() == "text\n"
    assert generate.main(["--check"]) == 0
    assert "out of date: docs/page.md" in capsys.readouterr().out


def test_every_setting_has_its_heading() -> None:
    assert {f"`{row.name}`" for row in describe()} <= set(headings(REFERENCE / "settings.md"))


def test_every_error_has_its_heading() -> None:
    assert headings(REFERENCE / "errors.md") == ["Errors", *(f"`{one.code}`" for one in catalogue())]


def test_every_command_has_its_heading() -> None:
    words = [command.words for command in generate.commands()]
    assert {"dev", "serve", "setup", "query", "provider add", "template remove"} <= set(words)
    assert headings(REFERENCE / "cli.md") == ["Commands", *(f"`rowgate {one}`" for one in words)]


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("errors.toml", lambda notes: notes.pop("token_expired")),
        ("errors.toml", lambda notes: notes.update(made_up={"why": "", "do": ""})),
        ("settings.toml", lambda notes: notes["groups"]["Pool"].remove("pool_size")),
        ("settings.toml", lambda notes: notes["groups"]["Pool"].append("port")),
        ("settings.toml", lambda notes: notes["notes"].update(made_up="")),
    ],
    ids=["error without note", "note without error", "setting without group", "in two groups", "note without setting"],
)
def test_notes_that_do_not_fit_the_code_are_refused(file: str, change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    read = generate._read

    def changed(name: str) -> dict[str, object]:
        notes = read(name)
        if name == file:
            change(notes)  # type: ignore[operator]
        return notes

    monkeypatch.setattr(generate, "_read", changed)
    with pytest.raises(generate.NotesIncomplete):
        generate.pages()


@named
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(FENCE.sub("", document.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (document.parent / path).resolve() if path else document
        assert other.exists(), f"{target} in {document}"
        assert not anchor or anchor in anchors(other), f"{target} in {document}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for target in LINK.findall(page.read_text("utf-8")):
            other = (page.parent / target.partition("#")[0]).resolve()
            if other in DOCUMENTS and other not in reached:
                waiting.append(other)
    assert reached == set(DOCUMENTS)


@named
def test_every_command_and_option_exists(document: Path) -> None:
    known = {
        command.words: {name for spelled, _ in generate._options(command.function) for name in spelled.split("`")}
        for command in generate.commands()
    }
    for text in code(document):
        for words, rest in CALL.findall(text):
            if words in OTHER_WORDS:
                continue
            assert words in known, f"rowgate {words} in {document}"
            options = set(re.findall(r"(?<=\s)--[a-z-]+", rest)) - {"--help"}
            assert options <= known[words], f"rowgate {words} {options} in {document}"


@named
def test_every_variable_and_code_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in [*(ROOT / "src").rglob("*.py"), ROOT / "hatch_build.py"])
    variables = {row.environment_variable for row in describe()} | set(re.findall(r"ROWGATE_[A-Z_]*[A-Z]", source))
    # The guide's application has a variable of its own.
    assert set(re.findall(r"ROWGATE_[A-Z_]*[A-Z]", text)) <= variables | {"ROWGATE_SQL_URL"}
    codes = {one.code for one in catalogue()}
    assert set(re.findall(r"rowgate:([a-z]\w+)", text)) <= codes


def test_the_site_is_whole_and_asks_nothing_of_others(tmp_path: Path) -> None:
    """Every link and anchor of the site, as MkDocs sees them; no font, script or style comes from elsewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    made = list((tmp_path / "site").rglob("*.html"))
    assert len(made) > 50
    for page in made:
        text = page.read_text("utf-8")
        assert not re.search(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//", text), page
        for link in re.findall(r"<link[^>]*>", text):
            assert "//" not in link, (page, link)


@pytest.mark.parametrize("preset", CATALOGUE, ids=lambda preset: preset.kind)
def test_the_command_of_each_providers_page_names_that_provider(preset: Preset) -> None:
    command = quickstarts.registration(preset)
    address = re.search(r"'([^']+)'", command)
    assert address
    host = (*preset.hosts, *preset.likely_hosts, "login.example.com")[0].replace("*", "app")
    url = re.sub(r"\b[A-Z_]{4,}\b", "example", address[1].replace("YOUR-DOMAIN", host))
    assert preset.values_in(url, is_named="--preset" in command) is not None, url


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `title_x`\n## What's, that?\n```sh\n# no heading\n```\n## A `title_x`\n")
    assert anchors(page) == {"a-title_x", "whats-that", "a-title_x-1"}

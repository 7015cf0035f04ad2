"""The documents as a reader meets them: what they tell to paste is run, and what they say it prints comes.

An HTML comment before a fenced block says what it is: ``run`` (a shell runs it), ``run: PLACE`` (the same, in a place
of its own, such as a Postgres that is not Rowgate's), ``file: NAME`` (the reader saves it), ``prints`` (lines in the
output of the last run). A block of SQL is run by psql, as the owner.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.clients.served import as_url
from tests.clients.stack import HERE, ROWGATE, Stack, start
from tests.servers import PlainPostgres, database_of, plain_postgres

ROOT = HERE.parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "guide.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
HOW_TO = ROOT / "docs" / "how-to"
BLOCK = re.compile(
    r"<!-- (?P<what>run|file|prints)(?:: (?P<name>\S+))? -->\n```(?P<language>[a-z]*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
ORMS = ["drizzle", "kysely", "prisma", "python", "sqlalchemy", "django"]
BESIDE_A_STACK = [
    ("concepts.md", "owner", 2,
     "create table concepts.todos (user_id text); create table concepts.projects (org_id text)"),
    ("local-identity.md", "stack", 2, ""),
    ("sessions.md", "stack", 1, ""),
    ("how-to/existing-postgres.md", "numbers", 1,
     "create table concepts.customers (id int, external_id text); create table concepts.orders (customer_id int)"),
]  # fmt: skip
"""Pages of docs/, the place of their blocks and how many there are, and the tables that a reader has already."""
OWN_POSTGRES = "postgresql://postgres:secret@db.example:5432/app"


@dataclass
class Reader:
    """Somebody who reads a document from top to bottom and does what it says, in a folder of their own."""

    folder: Path
    replacements: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    output: str = ""

    def read(self, document: Path, *, where: str | None = None) -> int:
        """Does everything that is meant for ``where``; gives the number of blocks that were run."""
        runs = 0
        concerned = False
        for block in BLOCK.finditer(document.read_text("utf-8")):
            if block["what"] == "run":
                concerned = block["name"] == where
                if concerned:
                    self.run(block["text"] if block["language"] == "sh" else as_owner(block["text"]))
                    runs += 1
            elif block["what"] == "file":
                path = self.folder / block["name"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.here(block["text"]))
            elif concerned:
                self.expect(block["text"])
        return runs

    def run(self, script: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(script)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=120,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ROWGATE_")},
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "COLUMNS": "120",
                **self.environment,
            },
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        self.output = done.stdout

    def expect(self, text: str) -> None:
        """Each line, in order; what stands between and beside them is not looked at."""
        rest = self.output
        for line in filter(None, map(str.rstrip, self.here(text).splitlines())):
            assert line in rest, f"expected {line!r} in\n{self.output}"
            rest = rest.split(line, 1)[1]

    def here(self, text: str) -> str:
        for written, real in self.replacements.items():
            text = text.replace(written, real)
        return text


def as_owner(sql: str) -> str:
    """A shell's command for ``sql``; whose database it is says ``PSQL_URL``."""
    return f"psql -X -v ON_ERROR_STOP=1 \"$PSQL_URL\" <<'SQL'\n{sql}SQL\n"


def reader_beside(stack: Stack, folder: Path) -> Reader:
    """A reader in whose folder the driver is installed, with the stack's ports in place of the documents'."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    gateway = stack.sql_url.removeprefix("http://").removesuffix("/sql")
    issuer = stack.issuer_url.removeprefix("http://")
    front = urlsplit(stack.tcp_url).port
    return Reader(
        folder,
        {
            "localhost:4444": gateway,
            "localhost:4445": issuer,
            "localhost:5433": f"localhost:{front}",
            '"PORT": 5433': f'"PORT": {front}',
        },
        {"ROWGATE_DATA_DIR": str(stack.data_dir), "PSQL_URL": stack.database_url},
    )


@pytest.fixture
def fresh_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack without any table: both documents make one called todos."""
    running = start(tmp_path / "data", "--no-fsync")
    try:
        yield running
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("document", "blocks"), [(README, 6), (GUIDE, 10), (QUICKSTART, 3)], ids=["README", "guide", "quickstart"]
)
def test_what_is_to_be_pasted_works(document: Path, blocks: int, fresh_stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    assert reader_beside(fresh_stack, folder).read(document) >= blocks


@pytest.fixture(scope="module")
def stack_with_todos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the table of the examples."""
    running = start(tmp_path_factory.mktemp("orms") / "data", "--no-fsync")
    try:
        with psycopg.connect(running.database_url) as connection:
            connection.execute((ROOT / "examples" / "todos.sql").read_bytes())
        yield running
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize("name", ORMS)
def test_each_orm_as_its_page_says(name: str, stack_with_todos: Stack, tmp_path: Path) -> None:
    stack_with_todos.owner("delete from todos")
    reader = reader_beside(stack_with_todos, tmp_path / "reader")
    # Prisma's command wants its engine for migrations at hand, which it would download, and does not run it here.
    reader.environment |= {"PRISMA_SCHEMA_ENGINE_BINARY": shutil.which("true") or "", "CHECKPOINT_DISABLE": "1"}
    assert reader.read(HOW_TO / f"{name}.md", where="orm") == 1


@pytest.mark.parametrize(("page", "where", "blocks", "tables"), BESIDE_A_STACK)
def test_blocks_of_pages_beside_a_stack(
    page: str, where: str, blocks: int, tables: str, stack_with_todos: Stack, tmp_path: Path
) -> None:
    """Tables are made in a schema of their own, so that those of the examples are not in the way."""
    with psycopg.connect(stack_with_todos.database_url) as owner:
        owner.execute(f"drop schema if exists concepts cascade; create schema concepts; {tables}".encode())
    reader = reader_beside(stack_with_todos, tmp_path / "reader")
    reader.environment |= {"PGOPTIONS": "-c search_path=concepts", "TOKEN": stack_with_todos.tokens["alice"]}
    assert reader.read(ROOT / "docs" / page, where=where) == blocks


@pytest.fixture
def admin_url(postgres15: PlainPostgres) -> Iterator[str]:
    """The superuser's connection string of an empty database on a server that is not Rowgate's."""
    with database_of(postgres15) as name:
        yield as_url(postgres15.conninfo(name))


@pytest.fixture
def own_postgres() -> Iterator[PlainPostgres]:
    """A server on which nobody has set up anything: its roles are its own, as databases' are not."""
    with plain_postgres() as server:
        yield server


def test_the_way_to_a_postgres_of_ones_own(own_postgres: PlainPostgres, tmp_path: Path) -> None:
    """The set-up that the README shows leads to a gateway that serves, with the line that set-up prints.

    On a second database of the same server the control role is there already, and its password is known to its owner.
    """
    reader = Reader(tmp_path, {OWN_POSTGRES: as_url(own_postgres.conninfo())})
    assert reader.read(README, where="own") == 1
    first = printed_address(reader)
    assert serves(first)
    with database_of(own_postgres) as second:
        reader.run(f"rowgate setup --database-url {as_url(own_postgres.conninfo(second))}")
        password = urlsplit(first).password
        assert printed_address(reader) == first.replace(str(password), "PASSWORD").replace("/postgres", f"/{second}")
        assert serves(printed_address(reader).replace("PASSWORD", str(password)))


def printed_address(reader: Reader) -> str:
    printed = re.search(r"ROWGATE_DATABASE_URL=(\S+)", reader.output)
    assert printed, reader.output
    return printed[1]


def test_the_operations_of_a_postgres_of_ones_own(admin_url: str, tmp_path: Path) -> None:
    variables = dict.fromkeys(("ROWGATE_ADMIN_URL", "ROWGATE_DATABASE_URL", "PSQL_URL"), admin_url)
    reader = Reader(tmp_path, {OWN_POSTGRES: admin_url}, variables)
    assert reader.read(ROOT / "docs" / "operations.md", where="own") == 4


def test_a_database_with_tables_from_before(admin_url: str, tmp_path: Path) -> None:
    """Set-up opens nothing; then one table is open, and the other one is not."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("create table orders (id int, customer_id text); create table payroll (salary int)")
        reader = Reader(tmp_path, {}, {"ROWGATE_ADMIN_URL": admin_url})
        assert reader.read(HOW_TO / "existing-postgres.md", where="existing") == 3
        granted = (
            "select relname from pg_class where relkind = 'r' and has_table_privilege('authenticated', oid, 'select')"
        )
        own = " and relnamespace = 'public'::regnamespace"
        assert connection.execute((granted + own).encode()).fetchall() == [("orders",)]


def test_moving_from_neon_authorize(postgres15: PlainPostgres, admin_url: str, tmp_path: Path) -> None:
    """From a database with the guide's table to an empty one, with policies and rows."""
    with database_of(postgres15) as old:
        neon_url = as_url(postgres15.conninfo(old))
        environment = {"ROWGATE_ADMIN_URL": neon_url}
        Reader(tmp_path, {}, environment).run("rowgate setup")
        with psycopg.connect(neon_url) as connection:
            connection.execute(
                "create table todos (id int generated by default as identity, user_id text default auth.user_id());"
                "alter table todos enable row level security;"
                "create policy own_todos on todos to authenticated using (auth.user_id() = user_id);"
                "insert into todos (user_id) values ('user_alice')"
            )
        reader = Reader(tmp_path, {}, {"ROWGATE_ADMIN_URL": admin_url, "NEON_URL": neon_url})
        assert reader.read(HOW_TO / "neon-authorize.md", where="moving") == 1
        with psycopg.connect(admin_url) as connection:
            assert connection.execute("select user_id from todos").fetchall() == [("user_alice",)]


def serves(database_url: str) -> bool:
    """Whether ``rowgate serve`` is in order with this control connection and nothing else."""
    environment = {**os.environ, "ROWGATE_DATABASE_URL": database_url, "ROWGATE_PORT": "0"}
    process = subprocess.Popen(
        [*ROWGATE, "serve"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        line = process.stderr.readline() if process.stderr else ""
        address = re.search(r"http://\S+/sql", line)
        assert address, line
        return httpx.get(address[0].replace("/sql", "/healthz")).status_code == 200
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_every_block_that_is_marked_is_run_by_a_test() -> None:
    found = set()
    for path in [README, *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/README.md")]:
        text = path.read_text("utf-8")
        blocks = list(BLOCK.finditer(text))
        assert len(blocks) == len(re.findall(r"^<!-- (?:run|file|prints)\b", text, re.MULTILINE)), path
        found |= {(str(path.relative_to(ROOT)), block["name"]) for block in blocks if block["what"] == "run"}
    assert found == {
        ("README.md", None), ("README.md", "own"), ("docs/guide.md", None), ("docs/quickstart.md", None),
        ("docs/operations.md", "own"), ("docs/how-to/existing-postgres.md", "existing"),
        ("docs/how-to/neon-authorize.md", "moving"),
        *((f"docs/how-to/{name}.md", "orm") for name in ORMS),
        *((f"docs/{page}", where) for page, where, _, _ in BESIDE_A_STACK),
    }  # fmt: skip


def test_a_reader_notices_what_is_not_so(tmp_path: Path) -> None:
    reader = Reader(tmp_path, {})
    reader.run("echo one; echo two")
    reader.expect("one\ntwo\n")
    with pytest.raises(AssertionError):
        reader.expect("two\none\n")
    with pytest.raises(AssertionError):
        reader.run("false; echo fine")


def test_the_makefile_has_the_two_commands() -> None:
    text = README.read_text("utf-8")
    for target in ("dev", "test"):
        assert f"```sh\nmake {target}\n```" in text
        told = subprocess.run(
            ["make", "--dry-run", "--always-make", target], capture_output=True, text=True, cwd=ROOT, timeout=30
        )
        assert told.returncode == 0, told.stderr
        assert {"dev": "rowgate dev", "test": "pytest"}[target] in told.stdout

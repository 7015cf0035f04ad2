"""Where attacks are tried: the gateway over HTTP and in sessions (TCP and WebSocket), the login without a guard, and
the usual design.

Each field answers one question about one attack: has it gained anything. They share a server and its superuser, who
looks at what has changed and puts it right again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg

from rowgate.rls.plan import SetupOptions
from rowgate.rls.setup import apply
from tests.attacks.table.attack import NEXT, Attack, Goal, Way
from tests.clients.two_gateways import Gateways, gateways_of
from tests.clients.websocket_bridge import bridge
from tests.database.conftest import Prepared
from tests.servers import TestServer

SECRETS = ("bob-secret", "SCRAM-SHA-256$", "role-secret", "root:x:0:0")
ALICES = frozenset({"alice", "authenticated", "", None, 1})
PROBE = (
    "select auth.user_id(), current_user, current_setting('search_path'), current_setting('TimeZone'), "
    "current_setting('DateStyle'), current_setting('client_encoding'), current_setting('statement_timeout'), "
    "current_setting('bytea_output'), (select string_agg(task, ',') from todos where user_id = 'bob')"
)
GUARDED_PROBE = (
    "select auth.user_id(), current_user, current_schema, now()::text ~ '[+]00$', date '2026-02-03', 'é', "
    "'a'::bytea::text, (select string_agg(task, ',') from todos where user_id = 'bob')"
)
WRITE_PROBE = "update todos set task = task where user_id = 'bob'"

# Objects of an owner who made mistakes, beside todos, which is as it should be.
OBJECTS = """
drop policy own on todos;
delete from todos;
insert into todos (id, user_id, task) values (1, 'alice', 'a1'), (2, 'alice', 'a2'), (3, 'bob', 'bob-secret');
select setval('todos_id_seq', 10);
alter table todos alter user_id set default auth.user_id();
create policy own on todos using (auth.user_id() = user_id) with check (auth.user_id() = user_id);
create table plain (id int, body text);
insert into plain values (1, 'bob-secret');
create table parent (id int, user_id text, task text) partition by list (id);
create table child partition of parent for values in (1);
insert into parent values (1, 'bob', 'bob-secret');
alter table parent enable row level security;
create view of_owner as select * from todos;
create view of_exposed with (security_invoker = true) as select * from plain;
create materialized view kept as select * from todos;
create function as_owner() returns setof text language sql security definer set search_path = public
    as 'select task from todos';
create function peek(anyelement) returns text language sql security definer set search_path = public
    as 'select task from todos where user_id = ''bob''';
create table trunc (id int);
insert into trunc values (1);
create table nocheck (user_id text, body text);
alter table nocheck enable row level security;
create policy own on nocheck using (auth.user_id() = user_id) with check (true);
grant select, insert, update, delete on plain, child, of_owner, of_exposed, nocheck to authenticated;
grant select on kept to authenticated;
grant truncate on trunc to authenticated;
grant execute on function as_owner(), peek(anyelement) to authenticated;
"""

STATE = """
select concat_ws(' ',
    (select json_agg(t order by t.id) from todos t where user_id <> 'alice'),
    (select json_agg(t order by t.body) from plain t), (select count(*) from trunc), (select count(*) from nocheck),
    (select last_value > 1000000 or last_value < 10 from todos_id_seq),
    (select json_agg(s order by s.setconfig) from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole
     where s.setrole = 0 or r.rolcanlogin),
    (select md5(string_agg(concat_ws(' ', rolname, rolsuper, rolcanlogin, rolbypassrls,
                                     case when rolcanlogin then rolpassword end), ',' order by rolname))
     from pg_authid),
    (select md5(json_agg(json_build_array(m.roleid, m.member) order by m.roleid, m.member)::text)
     from pg_auth_members m),
    (select json_agg(json_build_array(c.relname, c.relacl, c.relowner, c.relrowsecurity) order by c.oid)
     from pg_class c where c.oid >= 16384 and c.relpersistence <> 't' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')),
    (select md5(string_agg(concat_ws(' ', proname, prosrc, prosecdef, proowner, proacl), ',' order by oid)) from pg_proc
     where oid >= 16384 and pronamespace in (select oid from pg_namespace where nspname in ('public', 'auth'))),
    (select json_agg(json_build_array(polname, polrelid) order by oid) from pg_policy),
    (select count(*) from pg_trigger where not tgisinternal), (select count(*) from pg_rewrite where oid >= 16384),
    (select json_agg(json_build_array(nspname, nspacl) order by nspname) from pg_namespace
     where nspname not like 'pg\\_%'),
    (select count(*) from pg_operator where oid >= 16384), (select count(*) from pg_cast where oid >= 16384),
    (select count(*) from pg_type where oid >= 16384 and typnamespace = 'public'::regnamespace),
    (select json_agg(defaclacl order by oid) from pg_default_acl),
    (select count(*) from pg_description where objoid = 'todos'::regclass),
    (select count(*) from pg_largeobject_metadata),
    (select count(*) from pg_locks where locktype = 'advisory'))
"""
REPAIR = """
select lo_unlink(oid) from pg_largeobject_metadata;
delete from plain; insert into plain values (1, 'bob-secret');
delete from trunc; insert into trunc values (1);
delete from nocheck;
delete from todos where user_id = 'bob'; insert into todos (id, user_id, task) values (3, 'bob', 'bob-secret');
select setval('todos_id_seq', 10);
alter default privileges for role authenticated revoke all on tables from public;
"""


@dataclass
class Grounds:
    """One database of one server, as its superuser sees it. ``repair`` puts the login right again."""

    admin: psycopg.Connection[Any]
    secrets: tuple[str, ...]
    repair: str
    state: str = ""

    def __post_init__(self) -> None:
        self.state = self.look()

    def look(self) -> str:
        return str((self.admin.execute(STATE.encode()).fetchone() or ("",))[0])

    def settle(self) -> bool:
        """Whether something has changed; it is put right."""
        if self.look() == self.state:
            return False
        self.admin.execute((REPAIR + self.repair).encode())
        repaired = self.look()
        assert len(repaired) == len(self.state), "an attack has changed more than can be put right"
        self.state = repaired
        return True


@dataclass
class Answer:
    """What came of one statement."""

    values: list[Any] = field(default_factory=list)
    error: str | None = None


def has_gained(attack: Attack, grounds: Grounds, answers: list[Answer]) -> bool:
    """By the goal of the attack; NEXT is for the field to see."""
    last = answers[-1] if answers else Answer(error="nothing")
    if attack.goal is Goal.ANSWERED:
        if attack.steps[-1].startswith(NEXT):
            return any(value not in ("", None) for value in last.values)
        return last.error is None
    if attack.goal is Goal.SEEN:
        said = repr([(one.values, one.error) for one in answers])
        return any(secret in said for secret in grounds.secrets)
    return last.error is None and any(value not in ALICES for value in last.values)


class Direct:
    """A connection without a guard: the exposed role's login after set-up and hardening, or that of the usual design.

    ``prologue`` puts a user's identity into the transaction; ``release`` is what happens before another user has the
    connection. A connection that did not come through is made anew.
    """

    def __init__(
        self,
        grounds: Grounds,
        connect: Callable[[], psycopg.Connection[Any]],
        prologue: Callable[[psycopg.Connection[Any], str], None],
        release: str,
    ) -> None:
        self._grounds = grounds
        self._connect = connect
        self._prologue = prologue
        self._release = release
        self._connection = connect()
        self._usual = self._probe()

    def try_out(self, attack: Attack) -> bool:
        """Whether it gains something."""
        answers = [self._ask(user, steps) for user, steps in by_user(attack)]
        flat = [one for group in answers for one in group]
        gained = has_gained(attack, self._grounds, flat) if attack.goal not in (Goal.NEXT, Goal.CHANGED) else False
        if attack.goal is Goal.NEXT:
            gained = self._probe() != self._usual
        changed = self._grounds.look() != self._grounds.state
        if attack.goal is Goal.CHANGED:
            gained = changed
        self._clean()
        self._grounds.settle()
        if self._connection.closed:
            self._connection = self._connect()
        return gained

    def _clean(self) -> None:
        """The next attack finds nothing of this one; where nothing is released, not even the name of a setting."""
        run(self._connection, "rollback")
        if not self._release or run(self._connection, self._release).error is not None:
            run(self._connection, "select pg_advisory_unlock_all()")
            self._connection.close()

    def close(self) -> None:
        self._connection.close()

    def _probe(self) -> list[tuple[list[Any], str | None]]:
        return [(one.values, one.error) for one in self._ask("bob", [PROBE, WRITE_PROBE])]

    def _ask(self, user: str, steps: list[str]) -> list[Answer]:
        """One request: a transaction with the user's identity, and the statements in it."""
        if user == "bob" and self._release:
            run(self._connection, "rollback")
            run(self._connection, self._release)
        run(self._connection, "begin")
        try:
            self._prologue(self._connection, user)
        except psycopg.Error as problem:
            return [Answer(error=str(problem))]
        answers = [run(self._connection, step) for step in steps]
        run(self._connection, "commit")
        return answers


class Http:
    """The gateway, asked over HTTP: the steps of a user are one batch."""

    def __init__(self, grounds: Grounds, gateways: Gateways) -> None:
        self._grounds = grounds
        self._gateways = gateways
        self._client = httpx.Client(timeout=30)
        self._usual = self._ask("bob", [GUARDED_PROBE, WRITE_PROBE])

    def try_out(self, attack: Attack) -> bool:
        """Whether it gains something."""
        flat = [one for user, steps in by_user(attack) for one in self._ask(user, steps)]
        if attack.goal is Goal.NEXT:
            return self._ask("bob", [GUARDED_PROBE, WRITE_PROBE]) != self._usual
        if attack.goal is Goal.CHANGED:
            return self._grounds.settle()
        return has_gained(attack, self._grounds, flat)

    def close(self) -> None:
        self._client.close()

    def _ask(self, user: str, steps: list[str]) -> list[Answer]:
        queries = [{"query": step, "arrayMode": True} for step in steps]
        answer = self._client.post(
            self._gateways.ready[0]["sql_url"],
            json=queries[0] if len(queries) == 1 else {"queries": queries},
            headers={
                "Neon-Connection-String": f"postgresql://authenticated@any/{self._gateways.prepared.name}",
                "Authorization": f"Bearer {self._gateways.token(user)}",
            },
        )
        body = answer.json()
        if answer.status_code != 200:
            return [Answer(error=answer.text)]
        results = body.get("results", [body])
        return [Answer([value for row in one["rows"] for value in row]) for one in results]


class Session:
    """The gateway, in sessions: each step is a query, and whoever comes next has a session of their own.

    ``port`` is a bridge's to the WebSocket; without it they go over TCP.
    """

    def __init__(self, grounds: Grounds, gateways: Gateways, port: int | None = None) -> None:
        self._grounds = grounds
        self._gateways = gateways
        self._port = port
        self._bob = self._connect("bob")
        self._alice = self._connect("alice")
        self._usual = self._probe()

    def try_out(self, attack: Attack) -> bool:
        """Whether it gains something."""
        flat = []
        for user, steps in by_user(attack):
            if user == "bob":
                self._renew()
            flat += [run(self._alice if user == "alice" else self._bob, step) for step in steps]
        self._renew()
        if attack.goal is Goal.NEXT:
            return self._probe() != self._usual
        if attack.goal is Goal.CHANGED:
            return self._grounds.settle()
        return has_gained(attack, self._grounds, flat)

    def close(self) -> None:
        self._alice.close()
        self._bob.close()

    def _renew(self) -> None:
        """Settings of a session are its own, so the next attack begins in a new one."""
        self._alice.close()
        self._alice = self._connect("alice")

    def _connect(self, user: str) -> psycopg.Connection[Any]:
        connection = self._gateways.connect(0, self._gateways.token(user), port=self._port)
        connection.prepare_threshold = None
        return connection

    def _probe(self) -> list[tuple[list[Any], str | None]]:
        answers = [run(self._bob, PROBE), run(self._bob, WRITE_PROBE)]
        return [(one.values, one.error) for one in answers]


def by_user(attack: Attack) -> Iterator[tuple[str, list[str]]]:
    """The steps in order, those of one user together."""
    mine = [step for step in attack.steps if not step.startswith(NEXT)]
    others = [step.removeprefix(NEXT) for step in attack.steps if step.startswith(NEXT)]
    yield "alice", mine
    if others:
        yield "bob", others


def run(connection: psycopg.Connection[Any], statement: str) -> Answer:
    """One text in the simple protocol, COPY included; an error is an answer."""
    try:
        with connection.cursor() as cursor:
            if re.match(r"copy .* to stdout", statement, re.IGNORECASE):
                with cursor.copy(statement.encode()) as copied:
                    return Answer([bytes(block).decode() for block in copied])
            cursor.execute(statement.encode())
            values = []
            while True:
                if cursor.description:
                    values = [value for row in cursor.fetchall() for value in row]
                if not cursor.nextset():
                    return Answer(values)
    except (psycopg.Error, UnicodeDecodeError) as problem:
        return Answer(error=str(problem) or type(problem).__name__)


@contextmanager
def fields_on(server: TestServer, folder: Any) -> Iterator[dict[Way, Direct | Http | Session]]:
    """All of them on one server."""
    with ExitStack() as stack:
        gateways = stack.enter_context(gateways_of(1, server, folder, ROWGATE_POOL_SIZE="1"))
        over_websocket = stack.enter_context(bridge(gateways.ready[0]["ws_url"]))
        prepared = gateways.prepared
        admin = stack.enter_context(psycopg.connect(server.conninfo(prepared.name), autocommit=True))
        with psycopg.connect(server.conninfo(prepared.name), autocommit=True) as connection:
            assert apply(connection, SetupOptions(harden=True)).plan.is_complete
        # The owner's mistakes come after hardening, and with the grants that owners make.
        admin.execute(OBJECTS.encode())
        usual = stack.enter_context(usual_design(server))
        grounds = Grounds(admin, secrets_of(admin), "alter role rowgate_authenticated reset all;")

        def login() -> psycopg.Connection[Any]:
            return prepared.client(autocommit=True, prepare_threshold=None)

        found: dict[Way, Direct | Http | Session] = {
            Way.HTTP: Http(grounds, gateways),
            Way.SESSION: Session(grounds, gateways),
            Way.WEBSOCKET: Session(grounds, gateways, over_websocket),
            Way.NO_GUARD: Direct(grounds, login, sealed_prologue(prepared, admin), "discard all"),
            Way.BASELINE: usual,
        }
        for one in found.values():
            stack.callback(one.close)
        yield found


def secrets_of(admin: psycopg.Connection[Any]) -> tuple[str, ...]:
    """What nobody may see in an answer."""
    rows = admin.execute(
        "select encode(secret, 'hex') from auth.session_key union all select login_password from rowgate.exposed_role"
    ).fetchall()
    return (*SECRETS, *(text for (text,) in rows))


def sealed_prologue(
    prepared: Prepared, admin: psycopg.Connection[Any]
) -> Callable[[psycopg.Connection[Any], str], None]:
    """The identity as the gateway puts it into a transaction."""

    def prologue(connection: psycopg.Connection[Any], user: str) -> None:
        sealed = prepared.sealed(connection, user, admin=admin)
        connection.execute("select auth.jwt_session_init(%s, %s)", sealed, prepare=False)

    return prologue


USUAL = """
create role usual_login login noinherit password 'usual';
grant authenticated, anonymous to usual_login;
create schema auth;
grant usage on schema auth to authenticated, anonymous;
create function auth.session() returns jsonb language sql stable
    as $$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
create function auth.user_id() returns text language sql stable as $$ select auth.session() ->> 'sub' $$;
create table todos (id serial primary key, user_id text not null, task text);
alter table todos enable row level security;
create policy own on todos using (true);
grant select, insert, update, delete on todos to authenticated;
grant usage on sequence todos_id_seq to authenticated;
"""
# Where applications keep secrets that every role can read.
SECRET_SETTING = "alter role usual_login set app.secret = 'role-secret';"


@contextmanager
def usual_design(server: TestServer) -> Iterator[Direct]:
    """What people use today: one pooled login, and in each transaction a role and a setting with the claims."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("create database usual_design template template0")
    admin = psycopg.connect(server.conninfo("usual_design"), autocommit=True)
    try:
        admin.execute((USUAL + SECRET_SETTING + OBJECTS).encode())
        repair = "alter role usual_login reset all; alter role usual_login password 'usual';" + SECRET_SETTING
        grounds = Grounds(admin, SECRETS, repair)
        yield Direct(
            grounds,
            lambda: psycopg.connect(
                server.conninfo("usual_design", user="usual_login", password="usual"),
                autocommit=True,
                prepare_threshold=None,
            ),
            _claims_prologue,
            "",
        )
    finally:
        admin.close()
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("drop database usual_design with (force)")
            connection.execute("drop role usual_login")


def _claims_prologue(connection: psycopg.Connection[Any], user: str) -> None:
    connection.execute(
        "select set_config('request.jwt.claims', %s, true), set_config('role', 'authenticated', true)",
        [f'{{"sub":"{user}"}}'],
        prepare=False,
    )

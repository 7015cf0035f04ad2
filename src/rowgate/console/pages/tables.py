"""The page Tables: row-level security and policies of every table, in words and as a matrix, and new policies.

A new policy is shown as SQL and tried in a transaction that is rolled back; it is applied in one only where the console
knows the owner.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.frame import Frame, Refusal, go_to, paged
from rowgate.console.pages.owner import Owner
from rowgate.console.pages.policies import TEMPLATES, script_for
from rowgate.console.pages.tables_read import VERBS, Table, in_words, read_tables
from rowgate.errors import RequestRefused, RowgateError

PATH: Final = "/tables"


class Tables:
    """The page, the preview of a policy, and its application."""

    def __init__(self, frame: Frame, owner: Owner) -> None:
        self._frame = frame
        self._owner = owner

    def routes(self, doorway: Doorway) -> list[Route]:
        """Their addresses."""
        return [
            Route(PATH, doorway.guarded(self.show), methods=["GET"]),
            Route(f"{PATH}/preview", doorway.guarded(self.preview), methods=["POST"]),
            Route(f"{PATH}/apply", doorway.guarded(self.apply), methods=["POST"]),
        ]

    async def show(self, visit: Visit) -> Response:
        """The tables whose names have ``find`` in them, twenty to a page, so that a page stays light."""
        roles = tuple(sorted(visit.database.exposes, key=lambda role: (role != "authenticated", role)))
        query = visit.request.query_params
        find = query.get("find", "")[:63]
        found = [
            one for one in await read_tables(visit.database.registry, roles) if find.lower() in one.full_name.lower()
        ]
        tables, page, pages = paged(found, query.get("page", ""))
        return self._frame.page(
            visit.request, visit.session, "tables.html", tables=tables, roles=roles, verbs=VERBS, in_words=in_words,
            templates=TEMPLATES, done=visit.session.take_message(), find=find, page=page, pages=pages, count=len(found),
        )  # fmt: skip

    async def preview(self, visit: Visit) -> Response:
        """A part: the SQL of a template, and what Postgres says of it."""
        script = await self._script(visit)
        refusal = None
        if self._owner.is_known:
            try:
                await self._owner.run(script, keep=False)
            except RowgateError as problem:
                refusal = Refusal.of(problem)
        return self._frame.page(
            visit.request, visit.session, "preview.html", script=script, refusal=refusal, fields=visit.fields,
            can_apply=self._owner.is_known and refusal is None,
        )  # fmt: skip

    async def apply(self, visit: Visit) -> Response:
        """Runs the same SQL in one transaction."""
        await self._owner.run(await self._script(visit), keep=True)
        visit.session.message = "The policy is in force."
        return go_to(PATH)

    async def _script(self, visit: Visit) -> str:
        """The SQL for what was chosen; only of tables and columns that are there."""
        fields = visit.fields
        table = await self._table(visit, fields.get("schema", ""), fields.get("table", ""))
        column = fields.get("column", "")
        if column not in table.columns:
            raise RequestRefused("The table has no such column.")
        return script_for(fields.get("template", ""), table.schema, table.name, column)

    async def _table(self, visit: Visit, schema: str, name: str) -> Table:
        for one in await read_tables(visit.database.registry, ()):
            if (one.schema, one.name) == (schema, name):
                return one
        raise RequestRefused("There is no such table.")

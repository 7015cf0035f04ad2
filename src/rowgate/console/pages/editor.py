"""The SQL editor: a statement as a user, a pasted token, anonymous or the owner; its plan; and why there is no row."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.pages.access import Doorway, Visit
from rowgate.console.pages.frame import Frame
from rowgate.console.pages.owner import Owner
from rowgate.console.pages.statements import MOST_ROWS_SHOWN, OWNER, Ran, Statements
from rowgate.console.pages.why import explain_rows
from rowgate.errors import RequestRefused

PATH: Final = "/sql"
_FACTS: Final = ("Relation Name", "Index Name", "Filter", "Index Cond", "Hash Cond", "Join Filter", "Sort Key")


class Editor:
    """The page and its results."""

    def __init__(self, frame: Frame, owner: Owner, statements: Statements) -> None:
        self._frame = frame
        self._owner = owner
        self._statements = statements

    def routes(self, doorway: Doorway) -> list[Route]:
        """Their addresses."""
        return [
            Route(PATH, doorway.guarded(self.show), methods=["GET"]),
            Route(f"{PATH}/run", doorway.guarded(self.run), methods=["POST"]),
            Route(f"{PATH}/explain", doorway.guarded(self.explain), methods=["POST"]),
            Route(f"{PATH}/why", doorway.guarded(self.why), methods=["POST"]),
        ]

    async def show(self, visit: Visit) -> Response:
        """The page."""
        roles = sorted(visit.database.exposes, key=lambda role: (role != "authenticated", role))
        return self._frame.page(
            visit.request, visit.session, "editor.html", choices=self._statements.choices(), roles=roles,
            history=list(reversed(visit.session.statements)), has_owner=self._owner.is_known,
        )  # fmt: skip

    async def run(self, visit: Visit) -> Response:
        """A part: the statement's result, or its error at its position."""
        text = _statement(visit)
        ran = await self._run(visit, text)
        return self._frame.page(
            visit.request, visit.session, "result.html", ran=ran, text=text, most=MOST_ROWS_SHOWN,
            parts_of_text=_around(text, ran.position), history=list(reversed(visit.session.statements)),
        )  # fmt: skip

    async def explain(self, visit: Visit) -> Response:
        """A part: the plan as a tree. It is not run: ANALYZE would tell about other people's rows."""
        text = _statement(visit)
        ran = await self._run(visit, f"EXPLAIN (FORMAT JSON) {text}")
        if ran.error is not None:
            return self._frame.page(
                visit.request, visit.session, "result.html", ran=ran, text=text, most=0, parts_of_text=None,
                history=list(reversed(visit.session.statements)),
            )  # fmt: skip
        plan = msgspec.json.decode(ran.rows[0][0] or "[]")
        return self._frame.page(visit.request, visit.session, "plan.html", node=_node(plan[0]["Plan"]))

    async def why(self, visit: Visit) -> Response:
        """A part: the rows as the owner and as the user, and the policy that took each away."""
        text = _statement(visit)
        fields = visit.fields
        actor = self._statements.actor(fields.get("as", ""), fields.get("token", ""), fields.get("role", ""))
        if actor.role == OWNER:
            raise RequestRefused("The owner sees every row.", hint="Choose a user, a token or anonymous.")
        explanations = await explain_rows(visit, self._owner, actor, text)
        mine = await self._statements.run(visit, actor, text)
        theirs = await self._statements.run(visit, self._statements.actor(OWNER), text)
        return self._frame.page(
            visit.request, visit.session, "why.html", actor=actor.name, explanations=explanations, mine=mine,
            theirs=theirs,
        )  # fmt: skip

    async def _run(self, visit: Visit, text: str) -> Ran:
        fields = visit.fields
        actor = self._statements.actor(fields.get("as", ""), fields.get("token", ""), fields.get("role", ""))
        said = fields.get("statement", "")
        if said in visit.session.statements:
            visit.session.statements.remove(said)
        visit.session.statements.append(said)
        return await self._statements.run(visit, actor, text)


def _statement(visit: Visit) -> str:
    text = visit.fields.get("statement", "").strip()
    if not text:
        raise RequestRefused("There is no statement.", hint="Write one, such as SELECT * FROM todos.")
    return text


def _around(text: str, position: int | None) -> tuple[str, str, str] | None:
    """The text before the word at ``position`` (characters from 1), the word, and the rest."""
    if position is None or not 1 <= position <= len(text):
        return None
    start = position - 1
    end = next((at for at in range(start + 1, len(text)) if not (text[at].isalnum() or text[at] == "_")), len(text))
    return text[:start], text[start:end], text[end:]


def _node(plan: dict[str, Any]) -> dict[str, Any]:
    """A node of EXPLAIN's JSON as the tree shows it."""
    return {
        "title": plan.get("Node Type", "?"),
        "facts": [(name, _text(plan[name])) for name in _FACTS if name in plan],
        "cost": plan.get("Total Cost"),
        "rows": plan.get("Plan Rows"),
        "children": [_node(child) for child in plan.get("Plans", ())],
    }


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

"""Pages and parts of pages from templates, and the headers that each answer has.

Every value is escaped by the template engine; there is no inline script and no inline style, and the policy in the
headers refuses both. This module knows nothing of what the pages show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from rowgate.console.pages.sign_in import ConsoleSession
from rowgate.errors import RequestRefused, RowgateError

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    # With no-referrer, browsers send "Origin: null" with a form, and the door would refuse the console's own.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
MENU: Final = (
    ("/get-started", "Get started"),
    ("/authorize", "Authorize"),
    ("/connect", "Connect"),
    ("/sql", "SQL editor"),
    ("/tables", "Tables"),
    ("/activity", "Activity"),
    ("/settings", "Settings"),
)
MOST_FIELDS: Final = 100
MARKS: Final = 6
ITEMS_SHOWN: Final = 20

Item = TypeVar("Item")

_HERE: Final = Path(__file__).parent
_STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as a page shows it."""

    message: str
    detail: str | None
    hint: str | None
    code: str

    @classmethod
    def of(cls, problem: RowgateError) -> Refusal:
        """The same without what only programs need."""
        return cls(problem.message, problem.detail, problem.hint, problem.code)


class Frame:
    """Renders. Templates are read once."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["mark"] = lambda text: f"mark-{sum(str(text).encode()) % MARKS}"
        self._static = {name: (_HERE / "static" / name).read_bytes() for name in _STATIC}
        self._editions = {name: sha256(data).hexdigest()[:12] for name, data in self._static.items()}
        self._templates.globals["static"] = lambda name: f"/static/{name}?{self._editions[name]}"

    def routes(self) -> list[Route]:
        """The files that pages load."""
        return [Route("/static/{name}", self.static, methods=["GET"])]

    async def static(self, request: Request) -> Response:
        """200 and the file; it is nobody's secret. By the address that pages give, which is another one for another
        content, browsers keep it."""
        name = request.path_params["name"]
        if name not in self._static:
            return Response(status_code=404)
        is_edition = request.url.query == self._editions[name]
        kept = "public, max-age=31536000, immutable" if is_edition else "no-cache"
        return Response(self._static[name], headers={"Cache-Control": kept}, media_type=_STATIC[name])

    def page(
        self, request: Request, session: ConsoleSession | None, name: str, status: int = 200, **values: Any
    ) -> Response:
        """A whole page, or a part of one, from the template ``name``."""
        text = self._templates.get_template(name).render(
            menu=MENU, path=request.url.path, signed_in=session is not None,
            form_secret=session.form_secret if session else "", endpoint=session.endpoint if session else None,
            endpoints=session.choices if session else (), **values,
        )  # fmt: skip
        return HTMLResponse(text, status, PAGE_HEADERS)

    def refusal(self, request: Request, session: ConsoleSession | None, problem: RowgateError) -> Response:
        """The error, as a page or, for a part of one, as a notice in its place."""
        if "hx-request" in request.headers:
            # The part is shown whatever its status; with 200 the browser's console stays free of what is no defect.
            return self.page(request, session, "notice.html", refusal=Refusal.of(problem))
        return self.page(request, session, "error.html", problem.status, refusal=Refusal.of(problem))


def go_to(path: str) -> Response:
    """To a page of the console after a form; ``path`` is never what a client sent."""
    return RedirectResponse(path, 303, PAGE_HEADERS)


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form. Raises RequestRefused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RequestRefused("The body is no form.")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError as problem:
        raise RequestRefused("The body is no form.") from problem
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RequestRefused("A field of the form came twice.")
    return {name: value.replace("\r\n", "\n") for name, value in fields.items()}


def paged(items: Sequence[Item], number: str) -> tuple[Sequence[Item], int, int]:
    """The items of page ``number`` (a query's text; the first where it is none), that page, and how many there are.

    Pages stay light however many things there are.
    """
    pages = max(1, -(-len(items) // ITEMS_SHOWN))
    page = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 1
    page = max(1, min(page, pages))
    return items[(page - 1) * ITEMS_SHOWN : page * ITEMS_SHOWN], page, pages


def listed(text: str) -> tuple[str, ...]:
    """The words of a field that takes several, separated by commas or blanks."""
    return tuple(dict.fromkeys(word for word in text.replace(",", " ").split()))

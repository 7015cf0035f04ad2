"""A list of todos for everybody, with FastAPI and Jinja2: each request asks Postgres as the user who sent it.

SQL goes through Rowgate's front for the Postgres protocol, with psycopg and the user's token as the password; the
summary comes over HTTP, to show that way as well. The pages are plain forms. There is no ``where user_id = ...``
anywhere: the policies of the table decide which rows a user has.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from fastapi import Depends, FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from psycopg.rows import dict_row
from starlette.middleware.sessions import SessionMiddleware

DATABASE_URL = os.environ["DATABASE_URL"]  # of Rowgate's Postgres front, without a password
SQL_URL = os.environ["ROWGATE_SQL_URL"]
AUTHENTICATED_URL = os.environ["DATABASE_AUTHENTICATED_URL"]
ISSUER = os.environ["ISSUER_URL"]
SECRET_KEY = os.environ["ISSUER_SECRET_KEY"]

app = FastAPI(openapi_url=None)
# Lax keeps the cookie from forms of other sites, which is all the protection that these forms have and need.
app.add_middleware(SessionMiddleware, secret_key=SECRET_KEY, session_cookie="python_todos", same_site="lax")
templates = Jinja2Templates(Path(__file__).parent / "templates")

provider = OAuth().register(
    "provider",
    client_id="python-todos",
    server_metadata_url=f"{ISSUER}/.well-known/openid-configuration",
    client_kwargs={"scope": "openid profile", "code_challenge_method": "S256"},
)


class SignedOut(Exception):
    """Nobody is signed in, or the session was ended."""


async def token_of(request: Request) -> str:
    """A token of the user's session, good for a minute. Raises SignedOut."""
    session = request.session.get("id")
    answer = session and await backend(session, "tokens")
    if not answer or answer.is_error:
        raise SignedOut
    token: str = answer.json()["jwt"]
    return token


async def backend(session: str, what: str) -> httpx.Response:
    """The provider's Backend API, which makes tokens for a session until that is ended."""
    async with httpx.AsyncClient() as client:
        return await client.post(
            f"{ISSUER}/v1/sessions/{session}/{what}", headers={"Authorization": f"Bearer {SECRET_KEY}"}
        )


Token = Annotated[str, Depends(token_of)]


@asynccontextmanager
async def database_as(token: str) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    """Postgres as the user of ``token``. One for each request is cheap, because Rowgate shares its own connections."""
    connection = await psycopg.AsyncConnection.connect(DATABASE_URL, password=token, row_factory=dict_row)
    async with connection:
        yield connection


async def summary(token: str) -> dict[str, int]:
    """How many todos there are and how many are done: one statement over HTTP."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            SQL_URL,
            headers={"Neon-Connection-String": AUTHENTICATED_URL, "Authorization": f"Bearer {token}"},
            json={
                "query": "select count(*)::int as total, (count(*) filter (where done))::int as done from todos",
                "params": [],
            },
        )
    answer.raise_for_status()
    row: dict[str, int] = answer.json()["rows"][0]
    return row


@app.get("/")
async def page(request: Request) -> Response:
    try:
        token = await token_of(request)
    except SignedOut:
        return templates.TemplateResponse(request, "welcome.html", {"user": None})
    async with database_as(token) as database:
        todos = await (await database.execute("select id, task, done from todos order by id")).fetchall()
    values = {"user": request.session["name"], "todos": todos, "summary": await summary(token)}
    return templates.TemplateResponse(request, "todos.html", values)


@app.post("/add")
async def add(token: Token, task: Annotated[str, Form()]) -> Response:
    async with database_as(token) as database:
        await database.execute("insert into todos (task) values (%s)", [task])
    return back_to_the_list()


@app.post("/tick")
async def tick(token: Token, id: Annotated[int, Form()], done: Annotated[bool, Form()]) -> Response:
    async with database_as(token) as database:
        await database.execute("update todos set done = %s where id = %s", [done, id])
    return back_to_the_list()


@app.post("/delete")
async def delete(token: Token, id: Annotated[int, Form()]) -> Response:
    async with database_as(token) as database:
        await database.execute("delete from todos where id = %s", [id])
    return back_to_the_list()


@app.get("/sign-in")
async def sign_in(request: Request) -> Response:
    answer: Response = await provider.authorize_redirect(
        request, str(request.url_for("finish_sign_in")), prompt="select_account"
    )
    return answer


@app.get("/callback")
async def finish_sign_in(request: Request) -> Response:
    try:
        tokens = await provider.authorize_access_token(request)
    except OAuthError as error:
        return Response(f"The sign-in failed: {error.error}. Please sign in again.", status_code=400)
    person = tokens["userinfo"]
    request.session.clear()
    request.session.update(id=person["sid"], name=person.get("name") or person["sub"])
    return back_to_the_list()


@app.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Ends the session at the provider too: no token is made for it any more."""
    if "id" in request.session:
        await backend(request.session["id"], "revoke")
    request.session.clear()
    return back_to_the_list()


@app.exception_handler(SignedOut)
async def refuse(request: Request, problem: Exception) -> Response:
    return templates.TemplateResponse(request, "welcome.html", {"user": None}, status_code=401)


def back_to_the_list() -> Response:
    return RedirectResponse("/", status_code=303)

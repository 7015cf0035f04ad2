"""The Python client: SQL over HTTP with the user's token, blocking or with asyncio.

    from rowgate.client import Client

    with Client(sql_url, database_url, auth_token=lambda: session.token()) as rowgate:
        for todo in rowgate.query("select task, done from todos where done = $1", False):
            print(todo["task"])

It needs httpx (the extra ``client``) and imports nothing of the server. It never keeps a token, never repeats a
request by itself and never follows a redirect. Errors are those of ``rowgate.errors``.
"""

from rowgate.client.asynchronous import AsyncClient
from rowgate.client.blocking import Client
from rowgate.client.parameters import Json
from rowgate.client.request import Isolation
from rowgate.client.result import Column, Result

__all__ = ["AsyncClient", "Client", "Column", "Isolation", "Json", "Result"]

"""What people write without Rowgate: FastAPI, PyJWT and asyncpg, a transaction per request, claims in a setting.

One uvicorn worker with uvloop and httptools, answers by orjson, the key of the tokens kept by PyJWT's client.
PORT, JWKS_URL, ISSUER and the PG* variables come from the environment.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import jwt
import orjson
import uvicorn
from fastapi import FastAPI, Header, Request, Response

ISSUER = os.environ["ISSUER"]
keys = jwt.PyJWKClient(os.environ["JWKS_URL"], cache_keys=True)


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    """The pool, as large as every side's."""
    async with asyncpg.create_pool(
        min_size=10, max_size=10, server_settings={"role": "authenticated"}, host=os.environ["PGHOST"]
    ) as app.state.pool:
        yield


app = FastAPI(lifespan=connected)


@app.post("/sql")
async def sql(request: Request, authorization: str = Header()) -> Response:
    """One statement as the user of the token."""
    token = authorization.removeprefix("Bearer ")
    key = keys.get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["RS256"], issuer=ISSUER)
    asked = orjson.loads(await request.body())
    async with app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute("select set_config('request.jwt.claims', $1, true)", orjson.dumps(claims).decode())
        rows = await connection.fetch(asked["query"], *asked["params"])
    return Response(orjson.dumps({"rows": [dict(row) for row in rows]}, default=str), media_type="application/json")


class Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets: list | None = None) -> None:  # type: ignore[type-arg]
        """Listens."""
        await super().startup(sockets)
        print("ready", flush=True)


if __name__ == "__main__":
    Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False,
            log_level="warning",
        )
    ).run()  # fmt: skip

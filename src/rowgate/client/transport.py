"""What httpx raises as errors of the tree: whether anything was sent makes the difference. Never sends anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from rowgate.client.request import Target
from rowgate.errors import AnswerMissing, GatewayUnreachable

BEFORE_SENDING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError,
                  httpx.UnsupportedProtocol)  # fmt: skip


@contextmanager
def told_apart(target: Target) -> Iterator[None]:
    """Raises GatewayUnreachable or AnswerMissing for what goes wrong inside."""
    try:
        yield
    except BEFORE_SENDING as problem:
        raise GatewayUnreachable(f"the gateway at {target.sql_url} cannot be reached", detail=str(problem)) from problem
    except httpx.TimeoutException as problem:
        raise AnswerMissing(f"the gateway at {target.sql_url} did not answer in time") from problem
    except httpx.HTTPError as problem:
        raise AnswerMissing(
            f"the connection to the gateway at {target.sql_url} broke", detail=str(problem) or type(problem).__name__
        ) from problem

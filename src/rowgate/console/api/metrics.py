"""``/metrics``: the gateway's counts for Prometheus. They name endpoints, databases and roles, and nobody's rows."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rowgate.console.api.access import Access, query_of
from rowgate.gateway.exposition import CONTENT_TYPE
from rowgate.gateway.gateway import Gateway


class Metrics:
    """Behind an admin token, unless the setting ``metrics_public`` opens it."""

    def __init__(self, access: Access, gateway: Gateway, *, is_public: bool) -> None:
        self._access = access
        self._gateway = gateway
        self._is_public = is_public

    def routes(self) -> list[Route]:
        """Its address."""
        return [Route("/metrics", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """All of them."""
        if not self._is_public:
            await self._access.database(request, *query_of(request))
        return Response(self._gateway.metrics(), media_type=CONTENT_TYPE)

"""The fronts run on uvloop and are tested on asyncio's own loop as well: their transports are two pieces of code."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

FRONTS = {"test_http_front.py", "test_tcp_front.py", "test_websocket_front.py"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in FRONTS:
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}

"""The attacks run against the same kind of stack as the clients."""

from tests.clients.conftest import stack

__all__ = ["stack"]

"""The loop that the balancer runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

#: Tests that bring their own loop, or are about sockets and leases and not about a loop.
ON_ASYNCIO = ("test_failover", "test_vip")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop, as in the node's own process."""
    if item.path.name.startswith(ON_ASYNCIO):
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}

"""A real origin on a free port, and a client that can't be told from any other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from cdnlab.node.health_answer import NodeState
from cdnlab.node.node import Node
from origin.app import OriginApp, build
from origin.command import alone


@pytest.fixture
async def origin() -> AsyncIterator[OriginApp]:
    node = Node(alone("127.0.0.1:0", name="origin-1"), "origin-1")
    app = build(node)
    node.serve(app)
    await app.start()
    node.change(NodeState.READY, "serving")
    yield app
    await app.stop()


@pytest.fixture
async def client(origin: OriginApp) -> AsyncIterator[aiohttp.ClientSession]:
    assert origin.address is not None
    host, port = origin.address
    async with aiohttp.ClientSession(f"http://{host}:{port}", auto_decompress=False) as session:
        yield session

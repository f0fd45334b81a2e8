"""Asks nodes over their admin APIs, and says in words why one did not answer.

It knows addresses, and what an answer must look like to be that node's. It must not know what is in it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from typing import Any

import aiohttp

from cdnlab.lab.addresses import show
from cdnlab.plan.topology import Topology

#: Seconds a node may take to answer for itself; its loop does so in a millisecond unless it hangs.
ANSWER = 0.8

#: Bytes of an answer: a thousand requests, each with a target of eight kilobytes. A node never says more.
LARGEST = 16 * 1024 * 1024

#: What the system says where nobody is at an address.
NOBODY = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)

Json = dict[str, Any]


class NoAnswer(Exception):
    """A node did not answer; str() says why, as one clause.

    `gone` is True where that proves that nobody is there: a refused connection, no way to the address, somebody
    else at it. A frozen process is not gone: the kernel accepts for it, and nothing comes.
    """

    def __init__(self, why: str, *, gone: bool = False) -> None:
        super().__init__(why)
        self.gone = gone


class NodeApi:
    """The admin APIs of one topology's nodes. Made inside the running loop; `close` it there."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        # what a stranger at a node's address sends must neither unfold in memory nor lead elsewhere
        self._session = aiohttp.ClientSession(auto_decompress=False, headers={"Accept-Encoding": "identity"})

    async def close(self) -> None:
        """Close the connections to the nodes."""
        await self._session.close()

    def address(self, name: str) -> str | None:
        """host:port of a node's admin API, None where it is off."""
        address = self._topology.admin_address(name)
        return show(address) if address else None

    async def ask(self, name: str, path: str, within: float = ANSWER) -> Json:
        """GET `path` of the node called `name`. NoAnswer if none comes `within` seconds, or none of that node."""
        address = self.address(name)
        if address is None:
            raise NoAnswer("its admin API is off")
        limit = aiohttp.ClientTimeout(total=within)
        try:
            async with self._session.get(
                f"http://{address}{path}", timeout=limit, allow_redirects=False
            ) as response:
                body = await _read(response)
        except TimeoutError:
            raise NoAnswer(f"no answer within {within:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _no_answer(error) from None
        return _checked(name, response.status, body)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > LARGEST:
            raise NoAnswer("what listens there is no node of a lab: it does not stop talking", gone=True)
    return bytes(body)


def _no_answer(error: Exception) -> NoAnswer:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, socket.gaierror):
        return NoAnswer(f"its address does not resolve ({cause.strerror})", gone=True)
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return NoAnswer("the connection was closed without an answer")
    if isinstance(cause, aiohttp.ClientResponseError):
        return NoAnswer("what listens there does not speak HTTP", gone=True)
    number = getattr(cause, "errno", None)  # the client's own text repeats the address
    words = os.strerror(number).lower() if number else str(cause) or type(cause).__name__
    return NoAnswer(words, gone=number in NOBODY)


def _checked(name: str, status: int, body: bytes) -> Json:
    """The answer, if it is one of the node called `name`."""
    if status != 200:
        raise NoAnswer(f"what listens there answers {status}", gone=True)
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or "node" not in answer:
        raise NoAnswer("what listens there is no node of a lab", gone=True)
    if answer["node"] != name:
        other = "".join(letter if letter.isprintable() else "?" for letter in str(answer["node"])[:60])
        raise NoAnswer(f"{other} listens there instead", gone=True)
    return answer

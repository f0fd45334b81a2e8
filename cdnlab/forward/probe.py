"""Active health checks: one task per backend of a pool asks it, again and again, whether it can serve.

Decides what one check's outcome is; what follows from outcomes is for `cdnlab.pool.health`. It must not know
requests, nor what other nodes think: each judges for itself.

Every check opens its own connection and closes it: an idle connection that still works says nothing about
whether new ones do. Checks have no link: distance is for clients, and a far backend is not a sick one.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable
from random import Random

from cdnlab.net.clock import now
from cdnlab.net.dial import Resolver, dial
from cdnlab.net.tasks import spawn
from cdnlab.node.health_answer import ALIVE_PATH
from cdnlab.plan.topology import HealthSpec
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import Schedule, Transition
from cdnlab.pool.pool import Pool

HEAD_BYTES = 16384
"""A longer head of an answer to a check is a fault (nginx takes 4 or 8 KiB, HAProxy 16 KiB)."""

OnTransition = Callable[[Backend, Transition], None]
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r\n")


class Unhealthy(Exception):
    """A check has failed; str() says how, for people."""


class Prober:
    """Checks every backend of one pool; start() and stop() belong to the running loop."""

    def __init__(
        self,
        pool: Pool,
        spec: HealthSpec,
        *,
        source_address: str | None = None,
        host: str | None = None,
        on_transition: OnTransition | None = None,
        context: ssl.SSLContext | None = None,
        rng: Random | None = None,
        without: str = "",
    ) -> None:
        """Check `pool` as `spec` says.

        `source_address`: the node's own address to ask from, or None for whichever the kernel takes.
        `host`: the Host field where the spec names none (the pool's origin_host). `context`: for backends
        with TLS; without one their certificates are verified against the system's authorities.
        `on_transition` is called after the pool has taken note of a change. `without`: the backend that is this
        node itself, and is not asked about itself.
        """
        self.pool = pool
        self.spec = spec
        self.source_address = source_address
        self._resolver = Resolver()
        self.host = spec.host or host
        self.on_transition = on_transition
        self._context = context
        self._rng = rng or Random()
        self._tasks: list[asyncio.Task[None]] = []
        self._backends = [backend for backend in pool.backends if backend.name != without]
        for backend in pool.backends:
            backend.health.rise, backend.health.fall = spec.rise, spec.fall

    def start(self) -> None:
        """Begin: the first checks at once, but for the jitter."""
        if self.spec.kind == "none":
            return
        for backend in self._backends:
            self._tasks.append(spawn(self._watch(backend), f"check {self.pool.name}/{backend.name}"))

    def stop(self) -> None:
        """End; the verdicts stay as they are."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def check(self, backend: Backend) -> str:
        """Ask once. Returns what was good; raises Unhealthy within the spec's timeout."""
        try:
            async with asyncio.timeout(self.spec.timeout):
                return await self._ask(backend)
        except TimeoutError:
            raise Unhealthy(f"no answer within {self.spec.timeout:g} s") from None
        except ssl.SSLError as error:
            raise Unhealthy(f"TLS: {error.reason or error}") from None
        except (OSError, EOFError) as error:
            raise Unhealthy(_words(error)) from None
        except asyncio.LimitOverrunError:
            raise Unhealthy(f"the answer's head is longer than {HEAD_BYTES} bytes") from None

    async def _watch(self, backend: Backend) -> None:
        schedule = Schedule(self.spec.interval, self.spec.jitter)
        while True:
            await asyncio.sleep(max(0.0, schedule.next_probe(now(), self._rng) - now()))
            try:
                detail, ok = await self.check(backend), True
            except Unhealthy as why:
                detail, ok = str(why), False
            self._note(backend, ok, detail)

    def _note(self, backend: Backend, ok: bool, detail: str) -> None:
        transition = backend.health.result(now(), ok, detail)
        if transition is None:
            return
        self.pool.usable_changed()
        if self.on_transition is not None:
            self.on_transition(backend, transition)

    async def _ask(self, backend: Backend) -> str:
        reader, writer = await self._connect(backend)
        try:
            if self.spec.kind == "tcp":
                return "connected"
            writer.write(self._request(backend))
            return self._judge(await _status(reader))
        finally:
            writer.transport.abort()

    def _judge(self, status: int) -> str:
        good = status == 200 if self.spec.kind == "alive" else self.spec.accepts(status)
        if not good:
            raise Unhealthy(f"answered {status}")
        return f"answered {status}"

    def _request(self, backend: Backend) -> bytes:
        ours = self.spec.kind == "alive"
        path = ALIVE_PATH.decode() if ours else self.spec.path
        address = "localhost" if backend.unix else backend.key
        host = address if ours or self.host is None else self.host
        return (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
            "User-Agent: cdnlab-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode("latin-1")

    async def _connect(self, backend: Backend) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self._tls() if backend.tls else None
        name = backend.server_name if context else None
        if backend.unix is not None:
            return await asyncio.open_unix_connection(
                backend.unix, limit=HEAD_BYTES, ssl=context, server_hostname=name
            )
        sock = await self._dial(backend.host, backend.port)
        try:
            return await asyncio.open_connection(
                sock=sock, limit=HEAD_BYTES, ssl=context, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise

    async def _dial(self, host: str, port: int) -> socket.socket:
        return await dial(await self._resolver.addresses(host, port), self.source_address)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


async def _status(reader: asyncio.StreamReader) -> int:
    """The final status of the answer; interim ones (1xx) are passed over."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        match = _STATUS.match(head)
        if match is None:
            raise Unhealthy("answered with something that is not HTTP/1")
        status = int(match[1])
        if status >= 200:
            return status


def _words(error: OSError | EOFError) -> str:
    if isinstance(error, EOFError):  # asyncio.IncompleteReadError
        return "closed before its answer was complete"
    if error.errno is not None and error.errno > 0:  # the loops word it differently, some with the address
        return os.strerror(error.errno).lower()
    return error.strerror or str(error) or type(error).__name__

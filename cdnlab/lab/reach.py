"""Whether the origins and the store that a person named answer, asked once before anything starts.

Of an origin a connection is enough, with TLS where the URL says https: what the application answers is its own affair,
and health checks go on asking. A store must answer as the nodes will ask it, since without one nobody can hold a VIP:
a lab that started all the same would look ready and serve nothing. It knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.plan.pools import BackendSpec

#: Seconds to connect; an origin on another continent needs a third of one, with TLS most of one.
CONNECT = 3.0
NOT_STARTED = "start the application first, or correct --origin"


def check_origins(backends: Iterable[BackendSpec], urls: Iterable[str]) -> None:
    """Connect to each; LabError names the first URL that does not answer, and why."""
    for backend, url in zip(backends, urls, strict=True):
        try:
            with socket.create_connection((backend.address, backend.port), CONNECT) as plain:
                if backend.tls:
                    _handshake(plain, backend.server_name or backend.address)
        except OSError as error:
            raise _refusal(url, error) from None


def check_store(url: str) -> None:
    """Ask once; LabError names the store (without its password) and why it does not answer."""
    asyncio.run(_ask_store(url))


async def _ask_store(url: str) -> None:
    from cdnlab.node.log import Events
    from cdnlab.node.store import BadStoreUrl, Store

    try:
        store = Store(url, Events("lab"))
    except BadStoreUrl as error:
        raise LabError(str(error), "correct --store", MISUSED) from None
    await store.start()
    await store.stop()
    if not store.up:
        raise LabError(
            f"store {store.url} does not answer: {store.reason}",
            "start it first, correct --store, or leave it out: the lab brings a store of its own",
        )


def _handshake(plain: socket.socket, name: str) -> None:
    import ssl  # 30 ms that only https origins cost

    with ssl.create_default_context().wrap_socket(plain, server_hostname=name):
        pass


def _refusal(url: str, error: OSError) -> LabError:
    untrusted = getattr(error, "verify_message", "")
    if untrusted:
        return LabError(
            f"origin {url}: its certificate is not trusted: {untrusted}",
            "name the file of its CA: SSL_CERT_FILE=ca.pem cdnlab up …; or use http://",
        )
    if getattr(error, "reason", "") == "WRONG_VERSION_NUMBER":
        return LabError(f"origin {url} does not speak TLS", f"write http://{url.partition('://')[2]}")
    reason = f"no connection within {CONNECT:.0f} s" if isinstance(error, TimeoutError) else error.strerror
    return LabError(f"origin {url} does not answer: {reason or error}", NOT_STARTED)

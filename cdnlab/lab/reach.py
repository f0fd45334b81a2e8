"""Whether the origins that a person named answer, asked once before anything starts.

A connection is enough, with TLS where the URL says https: what the application answers is its own affair, and health
checks go on asking. It knows nothing of requests.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from cdnlab.lab.errors import LabError
from cdnlab.plan.settings import BackendSpec

#: Seconds to connect; an origin on another continent needs a third of one, with TLS most of one.
CONNECT = 3.0


def check_origins(backends: Iterable[BackendSpec], urls: Iterable[str]) -> None:
    """Connect to each; LabError names the first URL that does not answer, and why."""
    for backend, url in zip(backends, urls, strict=True):
        try:
            with socket.create_connection((backend.address, backend.port), CONNECT) as plain:
                if backend.tls:
                    _handshake(plain, backend.server_name or backend.address)
        except OSError as error:
            raise LabError(
                f"origin {url} does not answer: {_reason(error)}",
                "start the application first, or correct --origin",
            ) from None


def _handshake(plain: socket.socket, name: str) -> None:
    import ssl  # 30 ms that only https origins cost

    with ssl.create_default_context().wrap_socket(plain, server_hostname=name):
        pass


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no connection within {CONNECT:.0f} s"
    return getattr(error, "verify_message", "") or error.strerror or str(error)

"""Origins as people write them on a command line, made into backends.

Decides which URLs and host:port pairs are understood. Must not know where the result goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from pydantic import ValidationError

from cdnlab.plan.errors import PlanError
from cdnlab.plan.pools import BackendSpec
from cdnlab.plan.units import parse_host

_SCHEMES = {"http": 80, "https": 443}


def parse_origins(urls: Sequence[str], place: str | None) -> list[BackendSpec]:
    """Backends `origin-1`, `origin-2`, … at `place`, one per URL; PlanError names the first bad one.

    place: a code; None or "none" is no place, and so no distance.
    """
    place = None if place == "none" else place
    if not urls:
        raise PlanError("no origin is given", "--origin", "give a URL such as http://127.0.0.1:3000")
    return [parse_origin(url, f"origin-{number}", place) for number, url in enumerate(urls, 1)]


def parse_origin(url: str, name: str, place: str | None) -> BackendSpec:
    """The backend for http://host[:port] or https://host[:port]; the latter is verified for that host."""
    parts = _split(url)
    if parts.scheme not in _SCHEMES:
        raise _bad(url, "needs http:// or https://", _suggest(url))
    if parts.username is not None or parts.password is not None:
        raise _bad(url, "must not carry a user name or password", "the application itself must ask for it")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _bad(
            url, "must end after the port", f"write {parts.scheme}://{parts.netloc}: paths are the client's"
        )
    try:
        host = str(parse_host(parts.hostname or ""))
        port = parts.port if parts.port is not None else _SCHEMES[parts.scheme]
        given = {"place": place} if place is not None else {}
        tls = {"tls": True} if parts.scheme == "https" else {}
        return BackendSpec.model_validate({"name": name, "address": host, "port": port, **tls, **given})
    except (ValueError, ValidationError):
        raise _bad(url, "has no valid host and port", "write such as http://127.0.0.1:3000") from None


def split_address(text: str, where: str) -> tuple[str, int]:
    """(host, port) from `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`; PlanError names option `where`."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = str(parse_host(parts.hostname or "")), parts.port
    except ValueError:
        host, port = "", None
    if not host or port is None or parts.netloc != text or parts.username is not None:
        raise PlanError(
            f'"{text}" is not an address with a port', where, "write such as 127.0.0.1:8080 or [::1]:8080"
        )
    return ("127.0.0.1" if host == "localhost" else host), port


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed when read
    except ValueError as error:
        raise _bad(url, f"does not parse ({error})", "write such as http://127.0.0.1:3000") from None
    return parts


def _suggest(url: str) -> str:
    bare = url.split("://", 1)[-1]
    return f"did you mean http://{bare} ?" if bare else "write such as http://127.0.0.1:3000"


def _bad(url: str, problem: str, remedy: str) -> PlanError:
    return PlanError(f'origin "{url}" {problem}', "--origin", remedy)

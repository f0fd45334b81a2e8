"""Whole responses: what every resource of the origin shares when it answers.

Decides how validators, conditions and errors look on the wire of this origin. Must not know the resources.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from cdnlab.net import clock
from cdnlab.wire.dates import format_date
from origin import conditional, digest

KEPT_ON_304 = frozenset(
    (
        "cache-control",
        "cache-groups",
        "content-language",
        "content-location",
        "etag",
        "expires",
        "last-modified",
        "vary",
    )
)
"""What a 304 repeats (RFC 9110 §15.4.5), and the language, which says which variant is meant."""


def selected(
    request: web.Request,
    body: bytes,
    *,
    media_type: str,
    etag: str,
    cache_control: str,
    modified: int | None = None,
    repr_digest: str | None = None,
    fields: Mapping[str, str] | None = None,
) -> web.Response:
    """The answer to GET or HEAD of a representation: 200, 304 or 412 by its conditions.

    `repr_digest`: the body's, where it is known already.
    """
    headers = {"Content-Type": media_type, "Cache-Control": cache_control, "ETag": etag, **(fields or {})}
    if modified is not None:
        headers["Last-Modified"] = http_date(modified)
    verdict = conditional.evaluate(
        request.method, request.headers, etag=etag, modified=modified, wall=clock.wall()
    )
    if verdict is conditional.Verdict.NOT_MODIFIED:
        return not_modified(headers)
    if verdict is conditional.Verdict.FAILED:
        return problem(412, "The resource is not in the state that the condition asks for.", {"ETag": etag})
    headers["Repr-Digest"] = repr_digest or digest.of(body)
    return web.Response(body=body, headers=headers)


def not_modified(headers: Mapping[str, str]) -> web.Response:
    """304 with those of `headers` that belong on it."""
    return web.Response(status=304, headers={n: v for n, v in headers.items() if n.lower() in KEPT_ON_304})


def problem(status: int, detail: str, fields: Mapping[str, str] | None = None) -> web.Response:
    """An error in JSON (RFC 9457): `detail` says what was wrong and what to do. Never stored."""
    value = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store", **(fields or {})}
    return web.Response(status=status, body=dump(value), headers=headers)


def dump(value: object) -> bytes:
    """JSON bytes for people to read; `<` is escaped so that no browser takes an echo for a tag."""
    return json.dumps(value, ensure_ascii=False, indent=2).replace("<", "\\u003c").encode() + b"\n"


def http_date(seconds: float) -> str:
    """Seconds since 1970 as an IMF-fixdate (RFC 9110 §5.6.7)."""
    return format_date(int(seconds)).decode()

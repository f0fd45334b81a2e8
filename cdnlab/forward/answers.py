"""The answers that a node gives in its own name: small, plain, and without an address of anything behind it.

They say which node speaks and why, in one line (RFC 9110 §15.6), so that a person who sees one knows where to look:
`cdnlab log NODE` has the rest under the same request id.
"""

from __future__ import annotations

from http import HTTPStatus

from cdnlab.wire.dates import format_date


def own_answer(
    node: str, status: int, why: str, wall: float, *, request_id: str = "", extra: bytes = b""
) -> tuple[int, bytes, bytes]:
    """(status, head, body) for `Exchange.answer`. `extra`: more field lines, each ended by CRLF."""
    phrase = HTTPStatus(status).phrase
    mark = f" (request {request_id})" if request_id else ""
    body = f"{node}: {status} {phrase}: {why}{mark}\n".encode()
    head = b"".join(
        (
            f"HTTP/1.1 {status} {phrase}\r\n".encode(),
            b"Date: ",
            format_date(int(wall)),
            b"\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store",
            b"\r\nX-Content-Type-Options: nosniff",
            b"\r\nContent-Length: %d\r\n" % len(body),
            b"Via: 1.1 ",
            node.encode(),
            b"\r\n",
            extra,
        )
    )
    return status, head, body

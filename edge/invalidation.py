"""Which stored responses an unsafe request makes untrue (RFC 9111 §4.4): its own target, and the same-origin targets
that its response names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from cdnlab.wire.errors import Malformed
from cdnlab.wire.target import parse_target, remove_dot_segments

#: http's, since listeners speak nothing else (RFC 9110 §4.2.3)
_DEFAULT_PORT = re.compile(rb"^:(?:80)?(?=[/?]|$)")


def named_keys(index: Mapping[bytes, bytes], prefix: bytes, path: bytes) -> Iterator[bytes]:
    """Keys of the targets in Location and Content-Location. `prefix` is the request's scheme://host, `path` its path.

    Another origin's targets are left alone (RFC 9111 §4.4: a response could otherwise empty its neighbour's cache).
    """
    for name in (b"location", b"content-location"):
        reference = index.get(name)
        if reference:
            canonical = _same_origin(reference.partition(b"#")[0], prefix, path)
            if canonical is not None:
                yield prefix + canonical


def _same_origin(reference: bytes, prefix: bytes, path: bytes) -> bytes | None:
    if reference[:2] == b"//":  # RFC 3986 §4.2: the scheme is the request's
        reference = prefix.partition(b"//")[0] + reference
    if reference.lower().startswith(prefix):
        reference = _DEFAULT_PORT.sub(b"", reference[len(prefix) :]) or b"/"
        if reference[:1] == b"?":
            reference = b"/" + reference
    elif b":" in reference.partition(b"/")[0]:
        return None
    elif reference[:1] not in (b"/", b""):
        if reference[:1] == b"?":
            reference = path + reference
        else:
            target, mark, query = reference.partition(b"?")
            reference = remove_dot_segments(path.rpartition(b"/")[0] + b"/" + target) + mark + query
    try:
        return parse_target(reference, b"GET").canonical if reference[:1] == b"/" else None
    except Malformed:
        return None

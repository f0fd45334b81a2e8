"""Which request fields choose among the responses that share a key (RFC 9111 §4.1, RFC 9110 §12.5.5).

Decides the names and the variant key; keeping variants, and how many, is the storage's work. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from cdnlab.wire.fields import split_list
from edge.outgoing import never_forwarded

_WRITTEN_HERE = frozenset(
    {b"x-forwarded-for", b"x-forwarded-host", b"via", b"cdn-loop", b"connection", b"range"}
)


def names(value: bytes | None) -> tuple[bytes, ...] | None:
    """Lower-case field names of a Vary value, sorted, each once; () without Vary, None for `*`.

    Host is left out: the key holds it.
    """
    if not value:
        return ()
    found = {member.lower() for member in split_list(value)}
    if b"*" in found:
        return None
    found.discard(b"host")
    return tuple(sorted(found))


def written_here(fields: tuple[bytes, ...]) -> bool:
    """Does the response vary by a field that the origin doesn't see as clients send it?

    This node writes, or removes, such a field, so that comparing what two clients sent would prove nothing.
    X-Forwarded-Proto is not among them: the key holds the scheme.
    """
    return any(
        name in _WRITTEN_HERE or (name != b"x-forwarded-proto" and never_forwarded(name)) for name in fields
    )


def variant_key(fields: tuple[bytes, ...], field: Callable[[bytes], bytes | None]) -> bytes:
    """The bytes under which a variant lies: each named field's value, an absent one told from an empty one.

    `field` gives a request field's combined value. NUL and LF can't occur in values, so no two lists of
    values give the same bytes.
    """
    return b"\n".join([b"\0" if (value := field(name)) is None else value for name in fields])

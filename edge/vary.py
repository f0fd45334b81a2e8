"""Which request fields choose among the responses that share a key (RFC 9111 §4.1, RFC 9110 §12.5.5).

Decides the names and the variant key; keeping variants, and how many, is the storage's work. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from cdnlab.wire.fields import split_list
from edge import preferences
from edge.outgoing import never_forwarded

_WRITTEN_HERE = frozenset(
    {b"x-forwarded-for", b"x-forwarded-host", b"via", b"cdn-loop", b"connection", b"range"}
)

_NORMAL = {b"accept-encoding": preferences.codings, b"accept-language": preferences.languages}

_IN_KEY = frozenset({b"host", b"x-forwarded-proto"})


def names(value: bytes | None) -> tuple[bytes, ...] | None:
    """Lower-case field names of a Vary value, sorted, each once; () without Vary, None for `*`.

    Host and X-Forwarded-Proto are left out: the key holds what of them is sent on, and a stranger's X-Forwarded-Proto
    would only push the variants of others out.
    """
    if not value:
        return ()
    found = {member.lower() for member in split_list(value)}
    if b"*" in found:
        return None
    return tuple(sorted(found - _IN_KEY))


def written_here(fields: tuple[bytes, ...]) -> bool:
    """Does the response vary by a field that the origin doesn't see as clients send it?

    This node writes, or removes, such a field, so that comparing what two clients sent would prove nothing.
    """
    return any(name in _WRITTEN_HERE or never_forwarded(name) for name in fields)


def variant_key(fields: tuple[bytes, ...], field: Callable[[bytes], bytes | None]) -> bytes:
    """The bytes under which a variant lies: each named field's value, an absent one told from an empty one.

    `field` gives a request field's combined value. Two fields count by what they ask for and not by how they are
    spelt (edge/preferences.py). NUL and LF can't occur in values, so no two lists of values give the same bytes.
    """
    return b"\n".join(
        [b"\0" if (value := field(name)) is None else _NORMAL[name](value) if name in _NORMAL else value
         for name in fields]
    )  # fmt: skip

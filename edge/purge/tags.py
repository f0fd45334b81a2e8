"""The names under which a response may be purged: its tags, and its cache groups (RFC 9875).

Decides what Surrogate-Key, Cache-Tag, Cache-Groups and Cache-Group-Invalidation say. A tag is compared byte by byte,
and belongs to no origin: who purges chooses. A group belongs to the origin of the response that bears it (RFC 9875
§2.1). Must not know what is stored. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from cdnlab.wire.structured import parse_list

MEMBERS_MAX = 1000
"""Names of one response that are told apart (RFC 9875 §2 wants 32; Fastly takes 16 KiB of keys). One with more counts
as bearing every name: purged too often, never too rarely."""
EVERY = b""
"""The name that stands for all; no field can give it."""

_NONE: tuple[bytes, ...] = ()


def tags(index: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The tags of a response: Surrogate-Key, separated by spaces, and Cache-Tag, separated by commas."""
    keys, listed = index.get(b"surrogate-key"), index.get(b"cache-tag")
    if keys is None and listed is None:
        return _NONE
    # several Surrogate-Key lines arrive joined by a comma, which no key contains
    found = dict.fromkeys((keys or b"").replace(b",", b" ").split())
    for member in (listed or b"").split(b","):
        if tag := member.strip(b" \t"):
            found[tag] = None
    return _bounded(found)


def groups(index: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The members of Cache-Groups (RFC 9875 §2), a List of Strings; none if it is anything else."""
    return _strings(index.get(b"cache-groups"))


def invalidated_groups(index: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The members of Cache-Group-Invalidation (RFC 9875 §3). The caller sees to it that the method was unsafe."""
    return _strings(index.get(b"cache-group-invalidation"))


def _strings(value: bytes | None) -> tuple[bytes, ...]:
    if value is None:
        return _NONE
    try:
        members = parse_list(value)
    except ValueError:
        return _NONE
    # a Token is a str too, and is none of the Strings that the List is made of: such a field is ignored as a whole
    if any(type(bare) is not str for bare, _ in members):
        return _NONE
    return _bounded(dict.fromkeys(str(bare).encode("ascii") for bare, _ in members if bare))


def _bounded(found: dict[bytes, None]) -> tuple[bytes, ...]:
    return tuple(islice(found, MEMBERS_MAX)) if len(found) <= MEMBERS_MAX else (EVERY,)

"""The names under which a response can be purged besides its URL: tags and cache groups.

Decides what Surrogate-Key, Cache-Tag and Cache-Groups say. Must not know what a purge does. Pure.

Surrogate-Key is a list separated by white space (Fastly's, Varnish's xkey), Cache-Tag one separated by commas
(Cloudflare's, Akamai's Edge-Cache-Tag): both are customs, not standards. Cache-Groups is RFC 9875, a structured list of
strings that hold within one origin.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdnlab.wire.structured import Token, parse_list

TAGS_MAX = 1024
"""Tags of one response that are kept. Fastly takes 16 KiB of them, Cloudflare about a thousand."""
GROUPS_MAX = 128
"""RFC 9875 §2 asks for at least 32 groups a response, and leaves the limit to the cache."""

_NONE: tuple[bytes, ...] = ()


def surrogate_keys(index: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The tags of a response, each once, in the order they came."""
    keys, tags = index.get(b"surrogate-key"), index.get(b"cache-tag")
    if keys is None and tags is None:
        return _NONE
    found = keys.replace(b",", b" ").split() if keys else []
    found += [tag for member in (tags or b"").split(b",") if (tag := member.strip(b" \t"))]
    return tuple(dict.fromkeys(found[:TAGS_MAX]))


def cache_groups(value: bytes | None) -> tuple[bytes, ...]:
    """The groups of Cache-Groups or Cache-Group-Invalidation; a value that is no list of strings counts as absent (RFC
    9875 §2, RFC 9651 §4.2). Parameters are passed over."""
    if value is None:
        return _NONE
    try:
        members = parse_list(value)
    except ValueError:
        return _NONE
    found = [bare for bare, _ in members]
    if not all(isinstance(bare, str) and not isinstance(bare, Token) for bare in found):
        return _NONE
    return tuple(
        dict.fromkeys(bare.encode("latin-1") for bare in found[:GROUPS_MAX] if isinstance(bare, str))
    )

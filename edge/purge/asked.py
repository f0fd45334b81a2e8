"""What a purge names, from the JSON of the admin API to rules, and to what the stream carries and back.

Decides that a URL in any spelling becomes the key under which requests for it are stored, by the code that makes those
keys. Its scheme is the key's: http and https are different resources. Must not know the store, nor what is stored.
Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from cdnlab.forward.key import KeyRules, key_prefix
from cdnlab.wire.errors import Malformed
from cdnlab.wire.target import parse_host, parse_target
from edge.purge.rules import Kind, Rule, group_name

RULES_MAX = 1000
"""Names in one purge: what one entry of the stream may do to the loop of every edge, about a millisecond."""
NAME_MAX = 8192  # bytes of one name; what a request line may have

TargetRule = Callable[[bytes, bytes], bytes]
"""(host, canonical target) -> what the routes leave of it: the query rules."""

_URL = re.compile(rb"(?i:(https?))://([^/?#]*)([^#]*)(?:#.*)?", re.DOTALL)
_KNOWN = ("url", "urls", "tag", "tags", "prefix", "prefixes", "group", "groups", "all", "soft", "local")
_SAFE = "".join(map(chr, range(0x21, 0x7F)))


class BadPurge(ValueError):
    """A purge that can't be understood: what is wrong, and the remedy."""

    def __init__(self, error: str, remedy: str) -> None:
        super().__init__(f"{error}; {remedy}")
        self.error = error
        self.remedy = remedy


def as_written(host: bytes, target: bytes) -> bytes:
    """The target rule where no route has any."""
    return target


def target_rule(rules: KeyRules | None) -> TargetRule:
    """That of a topology's routes."""

    def target(host: bytes, canonical: bytes) -> bytes:
        found = rules.host(host) if rules is not None else None
        return canonical if found is None else found.target(canonical)

    return target


def rules_of(asked: Mapping[str, Any], target: TargetRule = as_written) -> tuple[Rule, ...]:
    """The rules in a JSON object: urls, tags, prefixes (lists of strings, or url, tag, prefix for one), groups (as
    `ORIGIN GROUP`), all, soft. BadPurge."""
    unknown = sorted(set(asked) - set(_KNOWN))
    if unknown:
        raise BadPurge(f'a purge has no "{unknown[0]}"', f"known: {', '.join(_KNOWN)}")
    soft = _flag(asked, "soft")
    found = [Rule(Kind.URL, url_key(name, target), soft) for name in _names(asked, "url", "urls")]
    found += [Rule(Kind.TAG, _tag(name), soft) for name in _names(asked, "tag", "tags")]
    found += [Rule(Kind.PREFIX, prefix_key(name), soft) for name in _names(asked, "prefix", "prefixes")]
    found += [Rule(Kind.GROUP, _group(name), soft) for name in _names(asked, "group", "groups")]
    if _flag(asked, "all"):
        found.append(Rule(Kind.ALL, b"", soft))
    if not found:
        raise BadPurge("the purge names nothing", "give a URL, a tag, a prefix, a group, or all")
    if len(found) > RULES_MAX:
        raise BadPurge(f"{len(found)} names in one purge", f"send at most {RULES_MAX} at once")
    return tuple(dict.fromkeys(found))


def _flag(asked: Mapping[str, Any], name: str) -> bool:
    value = asked.get(name, False)
    if not isinstance(value, bool):
        raise BadPurge(f'"{name}" is {json.dumps(value)[:80]}', "write true or false")
    return value


def _names(asked: Mapping[str, Any], one: str, many: str) -> Iterator[str]:
    given = asked.get(many, [])
    if one in asked:
        given = [asked[one], *given] if isinstance(given, list) else given
    if not isinstance(given, list):
        raise BadPurge(f'"{many}" is no list', f'write {{"{many}": ["…"]}}')
    for name in given:
        if not isinstance(name, str) or not name or len(name) > NAME_MAX:
            raise BadPurge(
                f'"{many}" has {json.dumps(name)[:80]}', f"write strings of up to {NAME_MAX} characters"
            )
        yield name


def url_key(url: str, target: TargetRule = as_written) -> bytes:
    """The key of a URL in any spelling; what the routes leave of its query is keyed on. BadPurge."""
    origin, host, rest = _split(url)
    try:
        canonical = parse_target(rest, b"GET").canonical
    except Malformed as error:
        raise BadPurge(
            f'the URL "{_shown(url)}" is malformed: {error}', "percent-encode what is odd"
        ) from None
    return origin + target(host, canonical)


def prefix_key(url: str) -> bytes:
    """The key of a path prefix. A query is none of a path's: BadPurge."""
    origin, _, rest = _split(url)
    if b"?" in rest:
        raise BadPurge(f'the prefix "{_shown(url)}" has a query', "a prefix is a path: leave out the ?")
    try:
        return origin + parse_target(rest, b"GET").canonical
    except Malformed as error:
        raise BadPurge(
            f'the prefix "{_shown(url)}" is malformed: {error}', "percent-encode what is odd"
        ) from None


def _split(url: str) -> tuple[bytes, bytes, bytes]:
    """(scheme://host as keys begin, host, the target) of a URL; what is no ASCII is encoded as browsers do."""
    match = _URL.fullmatch(_ascii_host(url.strip()).encode())
    if match is None:
        raise BadPurge(f'"{_shown(url)}" is no URL', "write http://host/path or https://host/path")
    try:
        host = parse_host(match[2])
    except Malformed:
        raise BadPurge(
            f'the host of "{_shown(url)}" is malformed', "write host or host:port, without a user"
        ) from None
    rest = match[3] if match[3][:1] == b"/" else b"/" + match[3]
    return key_prefix(match[1].lower(), host), host, rest


def _ascii_host(url: str) -> str:
    """A URL as it goes over the wire (RFC 3987 §3.1): names by IDNA, all else as percent-encoded UTF-8."""
    if url.isascii():
        return url
    scheme, _, rest = url.partition("://")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    host, path = rest[:end], rest[end:]
    try:
        host = host.encode("idna").decode("ascii")
        return f"{scheme}://{host}{quote(path, safe=_SAFE)}"
    except UnicodeError:
        raise BadPurge(f'"{_shown(url)}" is no URL', "write its host in ASCII") from None


def _tag(name: str) -> bytes:
    try:
        tag = name.strip().encode("ascii")
    except UnicodeEncodeError:
        tag = b""
    if not tag or not tag.decode().isprintable() or b"," in tag:
        raise BadPurge(f'"{_shown(name)}" is no tag', "a tag is printable ASCII without a comma")
    return tag


def _group(text: str) -> bytes:
    url, _, group = text.strip().partition(" ")
    origin, _, rest = _split(url)
    if rest != b"/" or not group or not group.isascii() or not group.isprintable():
        raise BadPurge(
            f'"{_shown(text)}" is no group of an origin',
            "write the origin, a space, the group: http://host news",
        )
    return group_name(origin, group.encode())


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


# -- what the stream carries ---------------------------------------------------------------------------------------


def packed(rules: tuple[Rule, ...], *, by: str, wall: float) -> bytes:
    """Rules as an entry of the stream says them; `by` names who has applied them already, `wall` is the time."""
    rows = [[rule.kind.value, rule.name.decode("latin-1"), int(rule.soft)] for rule in rules]
    return json.dumps({"by": by, "wall": round(wall, 6), "rules": rows}, separators=(",", ":")).encode()


def unpacked(raw: bytes) -> tuple[tuple[Rule, ...], str, float]:
    """(rules, by, wall) of an entry. ValueError for one that can't be understood: written by a newer version."""
    try:
        said = json.loads(raw)
        rules = tuple(
            Rule(Kind(kind), name.encode("latin-1"), bool(soft)) for kind, name, soft in said["rules"]
        )
        return rules, str(said["by"]), float(said["wall"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no purge: {error}") from None

"""What `audit` was told to ask, and by which ways: through the lab from two places, or straight to a site.

It reads what a person typed and says what is wrong with it. A URL is the lab's if its host and port are ones under
which the lab is reached; any other is asked for where it says, from where this machine stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

from cdnlab.lab import get_direct
from cdnlab.lab.audit_way import NO_CACHE, Field, Page, Way, opener
from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.lab.get_request import URL_CHARACTERS, source_of
from cdnlab.lab.redirects import SCHEME_PORTS, authority
from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import Topology
from cdnlab.wire.errors import Malformed
from cdnlab.wire.fields import is_token, valid_value
from cdnlab.wire.target import parse_target

THROUGH = "by asking with Cache-Control: no-cache, no-store"


@dataclass(frozen=True, slots=True)
class Target:
    """A page, the ways to it through the cache, and past it."""

    page: Page
    ways: tuple[Way, ...]
    past: Way
    past_name: str
    """How the cache was passed, in words."""
    through: Way
    """The way past the cache where `past` leads nowhere: by asking the cache itself."""
    ours: bool = False
    """Whether the lab's own caches answer, which can be told to forget."""


class Lab:
    """The running lab as its topology describes it; `site` is what people call the VIP."""

    def __init__(self, topology: Topology, site: tuple[str, int] | None) -> None:
        if not topology.vips:
            raise LabError("this lab has no VIP to ask", "give the URL of a node's own address", MISUSED)
        self.topology = topology
        self.dial = topology.dial_address(topology.vips[0])
        self.site = site or self.dial

    @property
    def host(self) -> str:
        """The Host of a path."""
        name, port = self.site
        shown = f"[{name}]" if ":" in name else name
        return f"{shown}:{port}" if port != 80 else shown

    def place_in(self, host: str) -> str | None:
        """The place that a host names, as in gru.localhost."""
        label, _, rest = host.lower().partition(".")
        known = self.topology.clients.may_choose_place and label in self.topology.place_codes()
        return label if known and rest == "localhost" else None

    def is_mine(self, url: str) -> bool:
        """Whether a URL leads to the VIP."""
        name, _, port = authority(url).rpartition(":")
        names = {self.site[0], self.dial[0], "localhost"}
        return port in (str(self.site[1]), str(self.dial[1])) and (
            name in names or self.place_in(name) is not None
        )

    def places(self, told: Sequence[str]) -> list[str]:
        """The two places to ask from: as told, else the default one and the first other that has an edge."""
        chosen: list[str] = []
        for code in told:
            try:
                chosen.append(self.topology.place(code).code)
            except PlanError as error:
                raise LabError(f"--from {code}: {error.problem}", error.remedy, MISUSED) from None
        edges = [self.topology.node(name).place for name in self.topology.tier("edge")]
        for code in (self.topology.default_place, *(edge for edge in edges if edge)):
            if len(chosen) < 2 and code not in chosen:
                chosen.append(code)
        return chosen[:2]


def target(
    text: str,
    lab: Lab | None,
    places: Sequence[str],
    origin: str | None,
    headers: Sequence[Field],
    edges: frozenset[str] = frozenset(),
) -> Target:
    """The target that a person means by a path or a URL. LabError names what can't be asked.

    `edges`: host:port of edges that can be told to forget, besides those behind the lab's VIP.
    """
    parts = _parts(text)
    if lab is not None and (not parts.scheme or (parts.scheme == "http" and lab.is_mine(text))):
        named = lab.place_in(parts.hostname or "")
        host = lab.host if named or not parts.scheme else parts.netloc
        return _through_lab(
            lab, Page("http", host, canonical(text, parts)), [*places, *([named] if named else [])], headers
        )
    if not parts.scheme:
        raise LabError(
            f"{text}: a path is asked of a running lab, and none runs",
            "start one: cdnlab up, or give a URL",
        )
    if places:
        raise LabError(
            f"{text}: --from is a place of the lab's, and this is not the lab", "leave it out", MISUSED
        )
    found = _elsewhere(Page(parts.scheme, parts.netloc, canonical(text, parts)), origin, headers)
    return replace(found, ours=authority(text) in edges)


def _parts(text: str) -> Any:
    try:
        parts = urlsplit(text)
        sound = bool(parts.port or parts.port is None)
    except ValueError:
        raise LabError(
            f"{text}: it is no URL", "write such as /path or http://127.0.0.1:9000/path", MISUSED
        ) from None
    whole = parts.scheme in SCHEME_PORTS and bool(parts.hostname) and "@" not in parts.netloc
    if not sound or not (text[:1] == "/" or whole) or not valid_value(parts.netloc.encode()):
        raise LabError(
            f"{text}: it is no path and no URL", "write such as /path or http://127.0.0.1:9000/path", MISUSED
        )
    return parts


def canonical(text: str, parts: Any) -> str:
    """Path and query in canonical form. LabError."""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        return parse_target(quote(target, safe=URL_CHARACTERS).encode(), b"GET").canonical.decode()
    except Malformed as error:
        raise LabError(f"{text}: {error}", "see RFC 3986 for what a path may hold", MISUSED) from None


def _through_lab(lab: Lab, page: Page, places: Sequence[str], headers: Sequence[Field]) -> Target:
    topology = lab.topology
    page = replace(page, host=_host(headers) or page.host)
    kept = tuple(field for field in headers if field[0].lower() != "host")
    ways = tuple(_from(lab, code, kept) for code in lab.places(places))
    pool = topology.pool(topology.edge.pool)
    chosen = get_direct.choose(topology, None, ways[0].code, page.host)
    forwarded = [("X-Forwarded-Proto", pool.forwarded_proto or page.scheme)]
    if pool.origin_host:
        forwarded.append(("X-Forwarded-Host", page.host))
    chosen.rtt = 0.0  # nothing is measured here
    past = Way(
        get_direct.opener(chosen, topology.distance.window),
        past=True,
        fields=(*kept, *forwarded),
        host=pool.origin_host,
        address=f"{chosen.backend.address}:{chosen.backend.port}",
    )
    return Target(page, ways, past, f"by asking {chosen.backend.name} itself", _passing(ways[0]), ours=True)


def _from(lab: Lab, code: str, headers: tuple[Field, ...]) -> Way:
    address, wish = source_of(lab.topology, code)
    host, port = lab.dial
    fields = (*headers, *((("Cdnlab-From", wish),) if wish else ()))
    city = f"{lab.topology.place(code).city} ({code})"
    return Way(opener(host, port, source=address), city, code, fields=fields, address=f"{host}:{port}")


def _elsewhere(page: Page, origin: str | None, headers: Sequence[Field]) -> Target:
    host, _, port = authority(page.url).rpartition(":")
    page = replace(page, host=_host(headers) or page.host)
    kept = tuple(field for field in headers if field[0].lower() != "host")
    tls = page.scheme == "https"
    way = Way(opener(host.strip("[]"), int(port), tls=tls), fields=kept, address=f"{host}:{port}")
    if origin is None:
        return Target(page, (way,), _passing(way), THROUGH, _passing(way))
    there, _, its_port = authority(origin).rpartition(":")
    direct = opener(there.strip("[]"), int(its_port), tls=urlsplit(origin).scheme == "https")
    past = Way(direct, past=True, fields=kept, address=f"{there}:{its_port}")
    return Target(page, (way,), past, f"by asking {origin} itself", _passing(way))


def _passing(way: Way) -> Way:
    return replace(way, past=True, fields=(*way.fields, *NO_CACHE), place="", code="")


def _host(headers: Sequence[Field]) -> str | None:
    return next((value for name, value in headers if name.lower() == "host"), None)


def header(text: str, option: str) -> Field:
    """The field in `Name: value`. LabError."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not is_token(name.encode("latin-1", "replace")) or not valid_value(value.encode()):
        raise LabError(f"{option} {text!r} is no field", "write 'Name: value'", MISUSED)
    return name, value


def origin_url(text: str) -> str:
    """The --origin as it is asked. LabError."""
    try:
        parts = urlsplit(text)
        sound = (
            parts.scheme in SCHEME_PORTS and parts.hostname and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        sound = False
    if not sound:
        raise LabError(f"--origin {text}: it is no server", "write such as http://127.0.0.1:3000", MISUSED)
    return text

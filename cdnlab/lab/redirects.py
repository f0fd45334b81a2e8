"""What a redirect means for somebody behind the lab: fine, a loop, or a way out of the lab. Pure.

An application that does not know it stands behind a CDN sends clients to where it believes it is: to HTTPS, which
the lab does not speak, or to its own address, past the lab. Both look like "it works", or like a browser's "too
many redirects"; here they get a name and a remedy. It must not know sockets.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from cdnlab.lab.worded import Worded

SCHEME_PORTS = {"http": 80, "https": 443}


class Kind(Worded):
    """Where a redirect leads; `sentence` for people."""

    WITHIN = "within", "it stays within the lab"
    LOOP = "loop", "it leads to itself: a redirect loop"
    TO_HTTPS = "to_https", "it insists on HTTPS, which the lab ends before it"
    TO_ORIGIN = "to_origin", "it leads past the lab, to the origin itself"
    ELSEWHERE = "elsewhere", "it leads out of the lab, to another site"


@dataclass(frozen=True, slots=True)
class Around:
    """What there is around the request that was redirected."""

    url: str
    """The absolute URL that was asked for, as the client wrote it."""
    lab: frozenset[str]
    """host:port pairs under which the lab is reached."""
    origins: frozenset[str]
    """host:port pairs of the origins, `origin_host` included."""
    origin_host: str = ""
    """The Host that origins are told (--origin-host), or ""."""
    forwarded_proto: str = ""
    """The scheme that origins are told (--forwarded-proto), or ""."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one Location means: `url` is the absolute target, `remedy` "" where nothing is wrong."""

    kind: Kind
    url: str
    remedy: str = ""


def judge(location: str, around: Around) -> Verdict:
    """Where `location` (RFC 9110 §10.2.2: a URI reference) leads a client that asked for `around.url`."""
    url = urljoin(around.url, location)
    there, here = urlsplit(url), urlsplit(around.url)
    host = authority(url)
    same_page = (there.path or "/", there.query) == (here.path or "/", here.query)
    same_host = (there.hostname or "") == (here.hostname or "")
    if there.scheme == "https" and same_page and (same_host or _name(host) in map(_name, around.origins)):
        return Verdict(Kind.TO_HTTPS, url, _https_remedy(around))
    if host == authority(around.url) or host in around.lab:
        return Verdict(Kind.LOOP, url, _loop_remedy(around)) if same_page else Verdict(Kind.WITHIN, url)
    if there.scheme == "https" and same_host:
        return Verdict(Kind.TO_HTTPS, url, _https_remedy(around))
    if host in around.origins:
        return Verdict(Kind.TO_ORIGIN, url, _origin_remedy(host, around))
    if same_page:
        return Verdict(Kind.ELSEWHERE, url, _origin_remedy(host, around))
    return Verdict(Kind.ELSEWHERE, url)


def authority(url: str) -> str:
    """host:port of an absolute URL, lower case, the port always written."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{(parts.hostname or '').lower()}:{port or SCHEME_PORTS.get(parts.scheme, 80)}"


def _name(host: str) -> str:
    return host.rpartition(":")[0]


def _bare(host: str) -> str:
    """host:port as Host would bear it: without the port that the scheme implies."""
    name, _, port = host.rpartition(":")
    return name if port in ("80", "443") else host


def _https_remedy(around: Around) -> str:
    if around.forwarded_proto != "https":
        return "tell it that clients came by HTTPS: cdnlab up --origin … --forwarded-proto https"
    return "it is told X-Forwarded-Proto: https already: make the application trust that field"


def _loop_remedy(around: Around) -> str:
    if around.forwarded_proto != "https":
        return (
            "if the application wants HTTPS or its own host name, tell it so: "
            "cdnlab up --origin … --forwarded-proto https, or --origin-host NAME"
        )
    return "see what the application compares: the lab sends it X-Forwarded-Proto: https"


def _origin_remedy(host: str, around: Around) -> str:
    if around.origin_host.lower() in (host, _bare(host)):
        return "make the application trust X-Forwarded-Host, or leave --origin-host out"
    return f"let the application see the host it expects: cdnlab up --origin … --origin-host {_bare(host)}"

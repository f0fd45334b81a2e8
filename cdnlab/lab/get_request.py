"""What `get` asks and from where: the request in bytes, and how its sender comes to stand at a place.

It reads what a person typed and says what is wrong with it. It opens nothing but a socket to see whether an address
can be had on this machine.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import Topology
from cdnlab.wire.errors import Malformed
from cdnlab.wire.fields import is_token, valid_value
from cdnlab.wire.target import parse_target

Field = tuple[bytes, bytes]

#: What a URL may hold as it is; anything else, such as Korean in a path, is percent-encoded for the person.
URL_CHARACTERS = "/?%:@!$&'()*+,;=-._~[]{}|^`\\"
WITH_BODY = (b"POST", b"PUT", b"PATCH")


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client at `place`, without a body. `target` is in canonical form."""

    method: bytes
    target: bytes
    host: str
    place: str
    fields: tuple[Field, ...]
    """In order, without Host."""

    @property
    def url(self) -> str:
        """What a browser would show for it."""
        return f"http://{self.host}{self.target.decode()}"

    def wire(self, extra: Iterable[Field] = ()) -> bytes:
        """The bytes to send, `extra` fields last; the connection ends with the answer."""
        names = {name.lower() for name, _ in self.fields}
        lines = [self.method + b" " + self.target + b" HTTP/1.1", b"Host: " + self.host.encode()]
        defaults = ((b"User-Agent", b"cdnlab-get"), (b"Accept", b"*/*"))
        fields = [*(f for f in defaults if f[0].lower() not in names), *self.fields, *extra]
        if self.method in WITH_BODY and b"content-length" not in names:
            fields.append((b"Content-Length", b"0"))
        lines += [name + b": " + value for name, value in fields]
        return b"\r\n".join([*lines, b"Connection: close", b"", b""])

    def for_host(self, host: str) -> Request:
        """The same request for another Host."""
        return replace(self, host=host)

    def for_url(self, url: str, cookies: Mapping[str, str]) -> Request:
        """The request that follows a redirect to `url`, with the cookies that were set on the way."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = [field for field in self.fields if field[0].lower() != b"cookie"]
        if cookies:
            crumbs = "; ".join(f"{name}={value}" for name, value in cookies.items())
            fields.append((b"Cookie", crumbs.encode("latin-1", "replace")))
        canonical = parse_target(quote(target, safe=URL_CHARACTERS).encode(), self.method).canonical
        return replace(self, target=canonical, host=parts.netloc, fields=tuple(fields))


def build(
    path: str,
    method: str,
    headers: Iterable[str],
    topology: Topology,
    place: str | None,
    site: tuple[str, int] | None = None,
) -> Request:
    """The request that a person means. LabError names what can't be asked.

    `site`: the (host, port) that people call the VIP, which is the Host of a path; else the one at which it is reached.
    """
    if not is_token(method.encode("latin-1", "replace")) or method.upper() == "CONNECT":
        raise LabError(
            f"--method {method!r} is no method that can be asked", "write such as GET or HEAD", MISUSED
        )
    if not topology.vips:
        raise LabError(
            "this lab has no VIP to ask", "ask a node itself: cdnlab status shows their addresses", MISUSED
        )
    fields = [_field(text) for text in headers]
    host, target = _target(path, site or topology.dial_address(topology.vips[0]))
    given = [value for name, value in fields if name.lower() == b"host"]
    host = given[-1].decode("latin-1") if given else host
    return Request(
        method=method.upper().encode(),
        target=_canonical(target, method),
        host=host,
        place=_place(topology, place, host),
        fields=tuple(field for field in fields if field[0].lower() not in (b"host", b"connection")),
    )


def _place(topology: Topology, place: str | None, host: str) -> str:
    """Where the client stands: as told, as its host `<place>.localhost` says, or at the default place."""
    label, _, rest = host.partition(".")
    codes = topology.place_codes()
    if topology.clients.may_choose_place and rest.partition(":")[0] == "localhost" and label in codes:
        if place not in (None, label):
            raise LabError(
                f"--from {place} and the host {host} say two places", "leave one of them out", MISUSED
            )
        place = label
    try:
        return topology.place(place or topology.default_place).code
    except PlanError as error:
        raise LabError(f"--from {place}: {error.problem}", error.remedy, MISUSED) from None


def _target(path: str, site: tuple[str, int]) -> tuple[str, str]:
    """(Host, target) of a path, or of a whole URL."""
    if "://" in path:
        parts = urlsplit(path)
        if parts.scheme != "http" or not parts.netloc or "@" in parts.netloc:
            raise LabError(f"{path}: the lab speaks http://HOST/path", "give a path, or such a URL", MISUSED)
        return parts.netloc, (parts.path or "/") + (f"?{parts.query}" if "?" in path else "")
    host, port = site
    shown = f"[{host}]" if ":" in host else host
    bare = path.partition("#")[0]
    return f"{shown}:{port}" if port != 80 else shown, bare if bare.startswith("/") else f"/{bare}"


def _canonical(target: str, method: str) -> bytes:
    try:
        return parse_target(quote(target, safe=URL_CHARACTERS).encode(), method.encode()).canonical
    except Malformed as error:
        raise LabError(f"{target}: {error}", "see RFC 3986 for what a path may hold", MISUSED) from None


def _field(text: str) -> Field:
    name, colon, value = text.partition(":")
    field = name.strip().encode("latin-1", "replace"), value.strip().encode("utf-8")
    if not colon or not is_token(field[0]) or not valid_value(field[1]):
        raise LabError(f"--header {text!r} is no field", "write 'Name: value'", MISUSED)
    return field


def source_of(topology: Topology, place: str) -> tuple[str | None, str | None]:
    """How a client comes to stand at `place`: (source address, None), or (None, place) to wish it by field.

    The address is the truest way, and the lab's own: its prefix says where it is. Where this machine can't have it,
    the field does, if the topology lets clients choose. LabError if neither works.
    """
    vip = ip_address(topology.dial_address(topology.vips[0])[0])
    address = _client_address(topology, place)
    near = address is not None and vip.version == 4 and ip_address(address).is_loopback == vip.is_loopback
    if address is not None and near and _ours(address):
        return address, None
    if topology.clients.may_choose_place:
        return None, place
    why = f"this machine can't send to {vip} from {address}" if address else "it has no IPv4 prefix"
    raise LabError(
        f"no client at {place} can be made here: {why}",
        "let clients choose their place: clients.may_choose_place in the topology",
    )


def _client_address(topology: Topology, place: str) -> str | None:
    try:
        return topology.client_address(place)
    except PlanError:
        return None


def _ours(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True

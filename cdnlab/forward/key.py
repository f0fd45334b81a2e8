"""What names a stored response: the target URI, once (RFC 9111 §2, RFC 9110 §7.1).

Decides the bytes that a cache keys on: a prefix, then the path and query as wire brought them to canonical form and
as the route's query rule left them. That one result is keyed on *and* forwarded. A parameter that the key lacked and
the origin saw would let one client choose what all others get; one that the key held and the origin did not see would
store the same thing many times. So a rule has one function, `HostRules.target`, and nobody applies half of it.

Balancers apply the rules, too: they choose an edge by its key, and may send to an application without a cache. The edge
applies them again, because it may be asked directly; that costs nothing, since a rule does to its own result nothing.

It must not know about methods, variants, cookies or storage.

A rule reads a query as applications read a form (WHATWG URL, application/x-www-form-urlencoded): parameters stand
between `&`; a name ends at its first `=` and is compared decoded, `+` being a space; nothing between two `&` is no
parameter, and `;` separates nothing. What is left is the parameters' own bytes, never written anew. No parameters left
are no query, without a `?`; where no rule is, an empty query stays one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from cdnlab.forward.routing import RouteTable, Row, match
from cdnlab.plan.routes import QuerySpec, RouteSpec

HOSTS = 1024
"""Hosts whose rules are remembered; clients choose hosts, so the table is emptied when it is full."""


@lru_cache(maxsize=HOSTS)
def key_prefix(scheme: bytes, host: bytes) -> bytes:
    """The part of the key that one header block determines: `scheme://host`, host lower-case with its port. Equal ones
    are mostly one object, so that who remembers something under a prefix may compare by identity."""
    return scheme + b"://" + host


# -- names --------------------------------------------------------------------------------------------------------


def parameter_name(parameter: bytes) -> bytes:
    """The decoded name of `name=value`, as a form's reader sees it: `a%5B%5D=1` is named `a[]`."""
    name = parameter.partition(b"=")[0]
    if b"+" in name:
        name = name.replace(b"+", b" ")
    return unquote_to_bytes(name) if b"%" in name else name


class Names:
    """Names and globs, in which `*` stands for any bytes. A look costs time linear in the name, per glob."""

    __slots__ = ("_exact", "_globs", "_prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        encoded = [re.sub(rb"\*+", b"*", pattern.encode()) for pattern in patterns]
        self._exact = frozenset(pattern for pattern in encoded if b"*" not in pattern)
        globs = [pattern for pattern in encoded if b"*" in pattern]
        self._prefixes = tuple(glob[:-1] for glob in globs if glob.index(b"*") == len(glob) - 1)
        self._globs = [tuple(glob.split(b"*")) for glob in globs if glob.index(b"*") < len(glob) - 1]

    def __contains__(self, name: bytes) -> bool:
        return (
            name in self._exact
            or name.startswith(self._prefixes)
            or any(_matches(pieces, name) for pieces in self._globs)
        )


def _matches(pieces: tuple[bytes, ...], name: bytes) -> bool:
    """Do the pieces between the stars stand in the name, in order? Each is looked for once, from the left: a regular
    expression would try every split."""
    first, *inner, last = pieces
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in inner:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


# -- rules --------------------------------------------------------------------------------------------------------


class QueryRule:
    """What a route leaves of a query."""

    __slots__ = ("_drop", "_keep", "_sort")

    def __init__(self, spec: QuerySpec) -> None:
        self._sort = spec.sort
        self._drop = Names(spec.drop) if spec.drop else None
        self._keep = None if spec.keep == "all" else Names(() if spec.keep == "none" else spec.keep)

    @property
    def idle(self) -> bool:
        """It leaves every query as it is."""
        return not self._sort and self._drop is None and self._keep is None

    def query(self, query: bytes) -> bytes:
        """What is left of a canonical `query`, the bytes behind `?`; b"" if nothing is.

        Linear in the query's length, but for sorting, which is n log n in the parameters. Doing it twice is doing it
        once.
        """
        parameters = [parameter for parameter in query.split(b"&") if parameter]
        keep, drop = self._keep, self._drop
        if keep is not None:
            parameters = [one for one in parameters if parameter_name(one) in keep]
        if drop is not None:
            parameters = [one for one in parameters if parameter_name(one) not in drop]
        if self._sort:
            parameters.sort(key=parameter_name)
        return b"&".join(parameters)


class RouteRule:
    """What a route says about the key and what goes with it."""

    __slots__ = ("cookies", "query")

    def __init__(self, spec: RouteSpec) -> None:
        rule = QueryRule(spec.query)
        self.query = None if rule.idle else rule
        self.cookies = spec.cookies

    @property
    def idle(self) -> bool:
        """It changes nothing."""
        return self.query is None and self.cookies == "rfc"


NO_RULE = RouteRule(RouteSpec(pool=""))
"""That of a request which no route with a rule is for."""


class HostRules:
    """The rules for one host."""

    __slots__ = ("_rows", "cookies")

    def __init__(self, rows: tuple[Row[RouteRule], ...]) -> None:
        self._rows = rows
        self.cookies = any(rule.cookies != "rfc" for _, rule in rows)
        """Does any route of this host care for cookies? If not, what a rule says depends on the target alone."""

    def rule(self, path: bytes) -> RouteRule:
        """The rule for a canonical path."""
        return match(self._rows, path) or NO_RULE

    def target(self, canonical: bytes) -> bytes:
        """The canonical target (path, or path?query) as it is keyed on and forwarded."""
        at = canonical.find(b"?")
        if at < 0:
            return canonical
        path = canonical[:at]
        rule = self.rule(path).query
        if rule is None:
            return canonical
        query = rule.query(canonical[at + 1 :])
        return path + b"?" + query if query else path


class KeyRules:
    """The rules of a topology's routes."""

    __slots__ = ("_hosts", "_table")

    def __init__(self, specs: Iterable[RouteSpec]) -> None:
        self._table = RouteTable((spec.host, spec.path, RouteRule(spec)) for spec in specs)
        self._hosts: dict[bytes, HostRules | None] = {}

    def host(self, host: bytes) -> HostRules | None:
        """The rules for a lower-case host (a port is ignored); None where no route for it has any."""
        try:
            return self._hosts[host]
        except KeyError:
            if len(self._hosts) >= HOSTS:
                self._hosts.clear()
        rows = self._table.rows(host)
        found = self._hosts[host] = HostRules(rows) if any(not rule.idle for _, rule in rows) else None
        return found


def key_rules(specs: Iterable[RouteSpec]) -> KeyRules | None:
    """The rules of a topology's routes; None where no route has any, which spares every request the question."""
    specs = tuple(specs)
    return None if all(RouteRule(spec).idle for spec in specs) else KeyRules(specs)

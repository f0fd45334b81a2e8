"""The edge's policy files as tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.forward.trail import Trail
from cdnlab.node.metrics import problems, undocumented
from cdnlab.wire import structured
from cdnlab.wire.request import RequestMemo
from edge import cache_status, conditional, freshness, stats, vary
from edge.collapse import ALONE_MAX, ALONE_SECONDS, Flights
from edge.decision import NotReused, Stale, after_failure, judge
from edge.directives import DELTA_MAX, request_control, response_control
from edge.freshness import Source, lifetime
from edge.invalidation import named_keys
from edge.object import StoredObject
from edge.outgoing import Outgoing, framing, max_forwards, request_head, volatile_lines
from edge.ranges import Unsatisfiable, single
from edge.results import RESULTS, Result
from edge.storable import NotStored

WALL = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT
NOW = "Fri, 15 Jan 2027 08:00:00 GMT"
LATER = "Fri, 15 Jan 2027 08:01:40 GMT"
BEFORE = "Fri, 15 Jan 2027 07:43:20 GMT"  # 1000 s


@pytest.mark.parametrize(
    ("control", "expires", "modified", "status", "expected"),
    [
        ("s-maxage=5, max-age=9", None, None, 200, (5, Source.S_MAXAGE)),
        ("max-age=9", LATER, None, 200, (9, Source.MAX_AGE)),
        ('max-age="9"', None, None, 200, (9, Source.MAX_AGE)),
        ("MAX-AGE=9", None, None, 200, (9, Source.MAX_AGE)),
        ("max-age=9, max-age=7", None, None, 200, (9, Source.MAX_AGE)),
        ("max-age=-1", LATER, None, 200, (0, Source.MAX_AGE)),
        ("max-age", None, None, 200, (0, Source.MAX_AGE)),
        ("max-age=1.5", None, None, 200, (0, Source.MAX_AGE)),
        ("max-age=99999999999999999999", None, None, 200, (DELTA_MAX, Source.MAX_AGE)),
        ("no-cache, max-age=9", None, None, 200, (0, Source.NO_CACHE)),
        ('no-cache="x-a", max-age=9', None, None, 200, (9, Source.MAX_AGE)),
        ('no-cache="x-a", no-cache, max-age=9', None, None, 200, (0, Source.NO_CACHE)),
        ("max-age =9", None, None, 200, (0, Source.MAX_AGE)),
        ("max-age= 9", None, None, 200, (0, Source.MAX_AGE)),
        ("", LATER, None, 200, (100, Source.EXPIRES)),
        ("", BEFORE, None, 200, (-1000, Source.EXPIRES)),
        ("", "0", BEFORE, 200, (0, Source.EXPIRES)),
        ("", f"{LATER}, {LATER}", None, 200, (0, Source.EXPIRES)),
        ("", None, BEFORE, 200, (100, Source.HEURISTIC)),
        ("", None, BEFORE, 404, (100, Source.HEURISTIC)),
        ("", None, BEFORE, 302, (0, Source.NONE)),
        ("public", None, BEFORE, 302, (100, Source.HEURISTIC)),
        ("", None, LATER, 200, (0, Source.NONE)),
        ("", None, "Sun, 06 Nov 1994 08:49:37 GMT", 200, (freshness.HEURISTIC_MAX, Source.HEURISTIC)),
        ("", None, None, 200, (0, Source.NONE)),
    ],
)
def test_freshness_lifetime(
    control: str, expires: str | None, modified: str | None, status: int, expected: tuple[int, Source]
) -> None:
    found = lifetime(
        response_control(control.encode()),
        status,
        date=int(WALL),
        expires=expires.encode() if expires is not None else None,
        last_modified=modified.encode() if modified is not None else None,
        wall=WALL,
    )
    assert found == expected


@pytest.mark.parametrize(
    ("age", "date", "delay", "expected"),
    [
        (None, 0, 0.0, 0.0),
        (None, 0, 0.25, 0.25),
        (b"10", 0, 0.25, 10.25),
        (b"10", -30, 0.25, 30.0),
        (None, None, 0.5, 0.5),
        (None, 60, 0.5, 0.5),
        (b"-3", 0, 0.0, 0.0),
        (b"x", 0, 0.0, 0.0),
        (b"7, 9", 0, 0.0, 7.0),
        (b"99999999999", 0, 0.0, float(DELTA_MAX)),
        (b", 7", 0, 0.0, 7.0),
        (None, 0, -1.0, 0.0),
    ],
)
def test_corrected_initial_age(age: bytes | None, date: int | None, delay: float, expected: float) -> None:
    seconds = int(WALL) + date if date is not None else None
    assert freshness.initial_age(age, date=seconds, wall=WALL + 0.9, delay=delay) == expected


def stored(control: str, *, open: bool = True, lifetime: float = 60.0) -> StoredObject:
    """Born at 100."""
    return StoredObject(
        key=b"k",
        variant=None,
        status=200,
        start=b"HTTP/1.1 200 OK\r\n",
        chain=b"",
        body=b"",
        born=100.0,
        fresh_until=100.0 + lifetime,
        control=response_control(control.encode()),
        source=Source.MAX_AGE,
        open=open,
    )


@pytest.mark.parametrize(
    ("response", "request_", "at", "expected"),
    [
        ("", "", 120.0, None),
        ("", "no-cache", 120.0, NotReused.REQUEST_NO_CACHE),
        ("", "max-age=19", 120.0, NotReused.REQUEST_MAX_AGE),
        ("", "max-age=20", 120.0, None),
        ("immutable", "max-age=0", 120.0, None),
        ("immutable", "max-age=0", 160.0, NotReused.REQUEST_MAX_AGE),
        ("immutable", "no-cache", 120.0, NotReused.REQUEST_NO_CACHE),
        ("", "min-fresh=40", 120.0, None),
        ("", "min-fresh=41", 120.0, NotReused.REQUEST_MIN_FRESH),
        ("", "max-stale=5", 120.0, None),
        ("", "", 160.0, NotReused.STALE),
        ("", "max-stale=5", 165.0, Stale.MAX_STALE),
        ("", "max-stale=5", 165.1, NotReused.STALE),
        ("", "max-stale", 10_000.0, Stale.MAX_STALE),
        ("", "max-stale=5, max-age=10", 163.0, NotReused.REQUEST_MAX_AGE),
        ("", "max-stale=5, max-age=70", 163.0, Stale.MAX_STALE),
        ("must-revalidate", "max-stale", 161.0, NotReused.MUST_REVALIDATE),
        ("proxy-revalidate", "max-stale", 161.0, NotReused.MUST_REVALIDATE),
        ("s-maxage=60", "max-stale", 161.0, NotReused.MUST_REVALIDATE),
        ("no-cache", "max-stale", 120.0, NotReused.NO_CACHE),
        ("stale-while-revalidate=10", "", 169.9, Stale.WHILE_REVALIDATE),
        ("stale-while-revalidate=10", "", 170.0, NotReused.STALE),
        ("stale-while-revalidate=10, must-revalidate", "", 161.0, NotReused.MUST_REVALIDATE),
        ("stale-while-revalidate=10", "max-age=5", 161.0, NotReused.REQUEST_MAX_AGE),
    ],
)
def test_may_it_be_used(response: str, request_: str, at: float, expected: NotReused | Stale | None) -> None:
    control = request_control(request_.encode()) if request_ else None
    found = judge(stored(response), control, authorized=False, now=at)
    assert found is expected
    assert found is None or found.sentence


def test_credentials_and_soft_purges_come_before_freshness() -> None:
    closed, soft = stored("max-age=60", open=False), stored("max-age=60")
    soft.soft = True
    assert judge(closed, None, authorized=True, now=120.0) is NotReused.AUTHORIZATION
    assert judge(closed, None, authorized=False, now=120.0) is None
    assert judge(soft, None, authorized=False, now=120.0) is NotReused.PURGED


@pytest.mark.parametrize(
    ("response", "request_", "answered", "at", "expected"),
    [
        ("stale-if-error=10", "", True, 169.0, Stale.IF_ERROR),
        ("stale-if-error=10", "", True, 170.0, None),
        ("stale-if-error=10", "", False, 169.0, Stale.IF_ERROR),
        ("", "stale-if-error=10", True, 169.0, Stale.IF_ERROR),
        ("", "", True, 161.0, None),
        ("", "", False, 189.9, Stale.DISCONNECTED),
        ("", "", False, 190.0, None),
        ("", "no-cache", False, 161.0, None),
        ("must-revalidate, stale-if-error=10", "", False, 161.0, None),
        ("s-maxage=60, stale-if-error=10", "", True, 161.0, None),
    ],
)
def test_what_may_stand_in_for_a_failed_origin(
    response: str, request_: str, answered: bool, at: float, expected: Stale | None
) -> None:
    control = request_control(request_.encode()) if request_ else None
    found = after_failure(
        stored(response), control, authorized=False, answered=answered, disconnected_for=30.0, now=at
    )
    assert found is expected


@pytest.mark.parametrize(
    ("cdn", "expected"),
    [
        ("max-age=5", (5, Source.MAX_AGE)),
        ("max-age=5, s-maxage=7", (7, Source.S_MAXAGE)),
        ("no-cache", (0, Source.NO_CACHE)),
        ("max-age=?0, max-age=5", (5, Source.MAX_AGE)),
        ('max-age="5"', (0, Source.MAX_AGE)),
        ("max-age=5.0", (0, Source.MAX_AGE)),
        ("max-age=-5", (0, Source.MAX_AGE)),
        ("max-age=5;q=1", (5, Source.MAX_AGE)),
        ("", (60, Source.MAX_AGE)),
        ("max-age=5,", (60, Source.MAX_AGE)),
        ("MAX-AGE=5", (60, Source.MAX_AGE)),
        ("&&&", (60, Source.MAX_AGE)),
    ],
)
def test_a_targeted_field_counts_alone_where_it_parses(cdn: str, expected: tuple[int, Source]) -> None:
    control = response_control(b"max-age=60", cdn.encode())
    found = lifetime(control, 200, date=int(WALL), expires=LATER.encode(), last_modified=None, wall=WALL)
    assert found == expected


def test_fields_that_directives_name_are_withheld() -> None:
    control = response_control(b'private="Set-Cookie, X-A", no-cache="x-b"')
    assert control.withheld == {b"set-cookie", b"x-a", b"x-b"}
    assert not control.private
    assert not control.no_cache
    assert response_control(b'private="a", private').private
    assert response_control(b'no-cache=""').no_cache


def test_pragma_counts_only_without_cache_control() -> None:
    assert request_control(None, b"no-cache").no_cache
    assert not request_control(b"max-age=5", b"no-cache").no_cache
    assert not request_control(None, b"only-if-cached, no-store").only_if_cached
    assert not request_control(b"max-stale=5").silent
    assert request_control(b"no-transform").silent
    assert not request_control(b"x" * 300 + b", no-cache").silent
    assert response_control(b"y" * 300 + b", private").private


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ()),
        (b"", ()),
        (b"Accept, accept-language,ACCEPT", (b"accept", b"accept-language")),
        (b"Host", ()),
        (b"*", None),
        (b"accept, *", None),
    ],
)
def test_vary_names(value: bytes | None, names: tuple[bytes, ...] | None) -> None:
    assert vary.names(value) == names


VALUES = st.binary(max_size=4).map(lambda value: value.translate(None, b"\0\n"))
FIELDS = st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), VALUES)


@given(FIELDS, FIELDS)
def test_variant_keys_are_equal_exactly_where_the_fields_are(
    one: dict[bytes, bytes], two: dict[bytes, bytes]
) -> None:
    names = (b"a", b"b", b"c")
    assert (vary.variant_key(names, one.get) == vary.variant_key(names, two.get)) == (one == two)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 100))
def test_a_range_is_a_part_of_the_body(first: int, last: int, size: int) -> None:
    try:
        part = single(b"bytes=%d-%d" % (first, last), size)
    except Unsatisfiable:
        assert first >= size
        return
    if part is None:
        assert last < first
    else:
        assert 0 <= part[0] < part[1] <= size
        assert part == (first, min(last + 1, size))


@given(st.text("bytes=0123456789-, ", max_size=60))
def test_no_range_costs_more_than_the_body(text: str) -> None:
    try:
        part = single(text.encode(), 1000)
    except Unsatisfiable:
        return
    assert part is None or 0 <= part[0] < part[1] <= 1000


@pytest.mark.parametrize("node", [b"edge-icn", b"edge", b"9lives", b'we"ird\\'])
@pytest.mark.parametrize("reason", [None, *NotStored])
def test_cache_status_is_a_structured_list(node: bytes, reason: NotStored | None) -> None:
    member = cache_status.forwarded(
        node,
        cache_status.Fwd.STALE,
        status=200,
        stored=True,
        collapsed=True,
        ttl=-5,
        detail=str(reason or ""),
    )
    line = cache_status.line(b"shield; hit", member)
    assert line.endswith(b"\r\n")
    parsed = structured.parse_list(line[len("Cache-Status: ") : -2])
    assert len(parsed) == 2
    assert str(parsed[1][0]) == node.decode()
    assert set(parsed[1][1]) >= {"fwd", "fwd-status", "stored", "collapsed", "ttl"}
    assert structured.parse_list(cache_status.hit(node, 5))[0][1]["ttl"] == 5


def test_every_no_and_every_result_has_a_sentence() -> None:
    assert all(reason.sentence for reason in NotStored)
    assert all(result.sentence for result in Result)
    assert all(reason.sentence for reason in (*NotReused, *Stale))
    assert problems(stats.TABLE) == []
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert undocumented(stats.TABLE, page.read_text()) == []
    assert len(RESULTS) == len(Result)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/a/../b", "/b"),
        ("b", "/dir/b"),
        ("../b?x=1", "/b?x=1"),
        ("?q", "/dir/page?q"),
        ("#top", None),
        ("", None),
        ("http://h:1/b#f", "/b"),
        ("HTTP://H:1/b", "/b"),
        ("http://h:1", "/"),
        ("http://h:1?q", "/?q"),
        ("http://h:12/b", None),
        ("https://h:1/b", None),
        ("//h:1/b", "/b"),
        ("//h:2/b", None),
        ("/%zz", None),
        ("mailto:a@b", None),
    ],
)
def test_targets_that_a_response_names(location: str, expected: str | None) -> None:
    found = list(named_keys({b"location": location.encode()}, b"http://h:1", b"/dir/page"))
    assert found == ([] if expected is None else [b"http://h:1" + expected.encode()])


@pytest.mark.parametrize(
    ("if_none_match", "if_modified_since", "etag", "modified", "expected"),
    [
        (b'"a"', None, b'"a"', None, True),
        (b'W/"a"', None, b'"a"', None, True),
        (b'"a"', None, b'W/"a"', None, True),
        (b'"a,b"', None, b'"a,b"', None, True),
        (b'"x", "y"', None, b'"z"', None, False),
        (b"*", None, None, None, True),
        (b'"a"', None, None, None, False),
        (b'"b"', NOW.encode(), b'"a"', BEFORE.encode(), False),
        (None, NOW.encode(), None, BEFORE.encode(), True),
        (None, BEFORE.encode(), None, NOW.encode(), False),
        (None, NOW.encode(), None, None, True),
        (None, BEFORE.encode(), None, None, False),
        (None, b"yesterday", None, BEFORE.encode(), False),
        (None, None, b'"a"', None, False),
    ],
)
def test_not_modified(
    if_none_match: bytes | None,
    if_modified_since: bytes | None,
    etag: bytes | None,
    modified: bytes | None,
    expected: bool,
) -> None:
    found = conditional.not_modified(
        if_none_match, if_modified_since, etag=etag, last_modified=modified, date=int(WALL), wall=WALL
    )
    assert found is expected


def test_which_304_speaks_of_what() -> None:
    assert conditional.speaks_of(None, b'"a"')
    assert conditional.speaks_of(b'W/"a"', b'"a"')
    assert not conditional.speaks_of(b'"b"', b'"a"')
    assert not conditional.speaks_of(b'"b"', None)
    assert conditional.speaks_of(None, None, b"Sun", b"Sun")
    assert conditional.speaks_of(None, None, None, b"Sun")
    assert conditional.speaks_of(None, b'"a"', b"Mon", b"Sun"), "it was asked about by its tag"
    assert not conditional.speaks_of(None, None, b"Mon", b"Sun")


def test_the_outgoing_head() -> None:
    memo = RequestMemo()
    line = memo.line(b"POST /x HTTP/1.1")
    block, volatile = memo.block(
        b"\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nCookie: a=1\r\ncookie: b=2"
        b'\r\nIf-None-Match: "1"\r\nX-Forwarded-For: 1.2.3.4\r\nX-Rewrite-URL: /admin\r\nAccept: x',
        11,
    )
    out = Outgoing(block)
    assert b"If-None-Match" in out.kept
    assert b"If-None-Match" not in out.plain
    head = request_head(
        block,
        line,
        target=line.target.canonical,
        lines=out.plain,
        volatile=volatile,
        host=b"o",
        trail=Trail("edge"),
        forwarded_for=b"9.9.9.9",
        forwarded_proto=b"http",
        forwarded_host=b"h",
    )
    lines = head.split(b"\r\n")
    assert lines[:3] == [b"POST /x HTTP/1.1", b"Host: o", b"Accept: x"]
    assert lines[-2:] == [b"", b""]
    assert {
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Cookie: a=1; b=2",
        b"X-Forwarded-Host: h",
    } < set(lines)
    assert head.count(b"X-Forwarded-For: 9.9.9.9\r\n") == head.lower().count(b"x-forwarded-for") == 1
    assert b"admin" not in head
    again, rest = memo.block(head[head.find(b"\r\n") : -4], 11)
    assert again.length == -1
    assert volatile_lines(rest)


def test_small_outgoing_rules() -> None:
    assert framing(0, b"GET") == b""
    assert framing(0, b"POST") == b"Content-Length: 0\r\n"
    assert framing(5, b"GET") == b"Content-Length: 5\r\n"
    assert max_forwards({b"max-forwards": b"3"}) == 3
    assert max_forwards({b"max-forwards": b"-3"}) is None
    assert max_forwards({}) is None


class Flight:
    def __init__(self, key: bytes, collapse_key: bytes | None) -> None:
        self.key = key
        self.collapse_key = collapse_key
        self.doomed = False

    def doom(self) -> None:
        self.doomed = True


def test_flights() -> None:
    flights: Flights[Flight] = Flights(10, 5.0)
    leader, lonely = Flight(b"k", b"k"), Flight(b"k", None)
    flights.begin(leader)
    flights.begin(lonely)
    assert flights.leader(b"k") is leader
    assert len(flights) == 2
    flights.doom(b"k")
    assert leader.doomed
    assert lonely.doomed
    assert flights.leader(b"k") is None
    successor = Flight(b"k", b"k")
    flights.begin(successor)
    flights.end(leader)
    assert flights.leader(b"k") is successor
    flights.end(lonely)
    flights.end(successor)
    flights.end(successor)
    assert len(flights) == 0
    assert list(flights) == []


def test_what_is_fetched_alone_is_forgotten_and_bounded() -> None:
    flights: Flights[Flight] = Flights(10, 5.0)
    flights.fetch_alone(b"k", 100.0)
    assert flights.alone(b"k", 100.0 + ALONE_SECONDS - 1)
    assert not flights.alone(b"k", 100.0 + ALONE_SECONDS)
    flights.share_again(b"k")
    assert not flights.alone(b"k", 100.0)
    for number in range(3 * ALONE_MAX):
        flights.fetch_alone(b"%d" % number, 100.0)
    assert not flights.alone(b"0", 100.0)
    assert flights.alone(b"%d" % (3 * ALONE_MAX - 1), 100.0)
    assert len(flights._alone) + len(flights._alone_before) <= 2 * ALONE_MAX

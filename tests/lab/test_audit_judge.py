"""What an audit concludes, without a site: cookies, marks, secrets, lifetimes, forms."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from cdnlab.lab.audit_jar import Jar
from cdnlab.lab.audit_leaks import ORDER, Kind, Owned, Party, leaks, learn_secrets, owned
from cdnlab.lab.audit_login import hidden_inputs, parse
from cdnlab.lab.audit_rules import in_words, rule
from cdnlab.lab.audit_sample import KEPT, Sample, Taken, sample, told
from cdnlab.lab.audit_surprises import Evidence, Surprise, surprises
from cdnlab.lab.audit_way import Page
from cdnlab.lab.errors import LabError
from cdnlab.lab.fetch import Answer

WALL = 1_800_000_000.0
USERS = ("user 1", "user 2")


def answer(*fields: str, status: int = 200, size: int = 0) -> Answer:
    pairs = [one.partition(": ") for one in fields]
    return Answer(status, "", [(name.lower(), value) for name, _, value in pairs], 0.0, 0.0, 0.0, size)


def taken(body: bytes) -> Taken:
    made = Taken()
    made.add(body)
    return made


def got(
    who: str, body: str, *fields: str, place: str = "icn", past: bool = False, status: int = 200
) -> Sample:
    return sample(who, place, past, answer(*fields, status=status, size=len(body)), taken(body.encode()))


# ---- cookies (RFC 6265) ----


@pytest.mark.parametrize(
    ("said", "host", "path", "sent"),
    [
        ("a=1", "shop.test", "/", "a=1"),
        ("a=1", "other.test", "/", ""),
        ("a=1", "www.shop.test", "/", ""),
        ("a=1; Domain=shop.test", "www.shop.test", "/", "a=1"),
        ("a=1; Domain=.shop.test", "shop.test", "/", "a=1"),
        ("a=1; Domain=test", "shop.test", "/", "a=1"),
        ("a=1; Domain=evil.test", "shop.test", "/", ""),
        ("a=1; Path=/in", "shop.test", "/in/side?x", "a=1"),
        ("a=1; Path=/in", "shop.test", "/in", "a=1"),
        ("a=1; Path=/in", "shop.test", "/inside", ""),
        ("a=1; Max-Age=0", "shop.test", "/", ""),
        ("a=1; Max-Age=-5", "shop.test", "/", ""),
        ("a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "shop.test", "/", "a=1"),
        ("a=1; expires=Thu, 01-Jan-1970 00:00:00 GMT", "shop.test", "/", ""),
        ("a=1; Secure; HttpOnly; SameSite=Lax", "shop.test", "/", "a=1"),
        ("a=b=c", "shop.test", "/", "a=b=c"),
        ("nothing", "shop.test", "/", ""),
        ("=1", "shop.test", "/", ""),
    ],
)
def test_which_cookies_are_kept_and_sent(said: str, host: str, path: str, sent: str) -> None:
    jar = Jar()
    jar.take([("set-cookie", said)], "shop.test", "/", WALL)
    assert jar.line(host, path) == sent


def test_a_cookie_is_replaced_and_taken_away_by_name_domain_and_path() -> None:
    jar = Jar()
    jar.take(
        [("set-cookie", "a=1"), ("set-cookie", "a=2; Path=/in"), ("set-cookie", "b=3")],
        "shop.test",
        "/",
        WALL,
    )
    assert jar.line("shop.test", "/in/") == "a=2; a=1; b=3"
    jar.take([("set-cookie", "a=; Max-Age=0"), ("set-cookie", "b=4")], "shop.test", "/", WALL)
    assert jar.line("shop.test", "/in/") == "a=2; b=4"


# ---- whose is what ----


def references(first: str, second: str) -> list[Sample]:
    bodies = (first, second)
    return [got(USERS[turn], bodies[turn], past=True) for turn in ORDER]


def test_a_word_that_only_one_user_gets_is_its_own() -> None:
    own = owned(references("Hello alice, 3 items", "Hello bob, 3 items"), USERS)
    assert b"alice" in own.marks["user 1"]
    assert b"bob" in own.marks["user 2"]
    assert b"Hello" in own.common
    assert not own.noisy
    assert own.private


def test_the_same_words_in_another_order_are_told_apart() -> None:
    own = owned(references("you 17 others 23", "you 23 others 17"), USERS)
    assert b"you 17" in own.marks["user 1"]


@pytest.mark.parametrize("seed", range(200))
def test_what_time_or_chance_brings_is_nobodys(seed: int) -> None:
    """A clock of any period, a number from a large range, any count of servers that take turns: no mark of a user."""
    chance = random.Random(seed)
    period, servers, start = chance.uniform(0.3, 9), chance.choice([1, 2, 3]), chance.uniform(0, 100)
    found, now = [], start
    for number, turn in enumerate(ORDER):
        now += chance.uniform(0.01, 2)
        text = f"at {int(now / period)} by host{number % servers} id {chance.getrandbits(64)}"
        found.append(got(USERS[turn], text, past=True))
    own = owned(found, USERS)
    assert not own.private, own.marks


def parties(*names: str) -> dict[str, Party]:
    return {name: Party(name) for name in names}


def test_a_body_that_the_other_receives_is_a_leak_and_its_own_is_none() -> None:
    own = owned(references("Hello alice", "Hello bob"), USERS)
    samples = [got("user 1", "Hello alice"), got("user 2", "Hello alice"), got("user 2", "Hello bob")]
    assert [(one.kind, one.owner, one.receiver) for one in leaks(samples, parties(*USERS), own)] == [
        (Kind.BODY, "user 1", "user 2")
    ]


NOTHING = Owned(dict.fromkeys(USERS, frozenset()), frozenset(), False)


def test_a_cookie_is_the_first_ones() -> None:
    who = parties(*USERS, "visitor 1")
    who["user 1"].given = {("sid", "0123456789abcdef")}
    sid = "Set-Cookie: sid=0123456789abcdef; Path=/"
    samples = [got("user 1", "", sid), got("user 2", "", sid, "Cache-Status: e; hit")]
    found = leaks(samples, who, NOTHING)
    assert [(one.kind, one.owner, one.receiver) for one in found] == [(Kind.COOKIE, "user 1", "user 2")]
    assert "0123456789" not in found[0].what


@pytest.mark.parametrize(
    ("cache_status", "own", "count"),
    [
        ("e; hit", (), 1),
        ("e; fwd=uri-miss", (), 0),  # the origin itself said the same to both
        ("e; hit", ("user 1", "user 2"), 0),  # past the cache everybody is set it
        ("e; hit", ("user 2",), 0),  # past the cache the receiver is set it
        ("e; hit", ("user 1",), 1),
    ],
)
def test_when_a_cookie_is_somebodys(cache_status: str, own: tuple[str, ...], count: int) -> None:
    who = parties(*USERS)
    who["user 1"].given = {("sid", "0123456789abcdef")}
    for name in own:
        who[name].own = {("sid", "0123456789abcdef")}
    received = got("user 2", "", "Set-Cookie: sid=0123456789abcdef", f"Cache-Status: {cache_status}")
    assert len(leaks([received], who, NOTHING)) == count


def test_a_secret_in_anothers_answer() -> None:
    who = parties(*USERS)
    who["user 1"].given = {("sid", "0123456789abcdef"), ("lang", "en")}
    who["user 2"].given = {("sid", "fedcba9876543210")}
    learn_secrets(who.values(), [got("user 1", "sid 0123456789abcdef")])
    assert who["user 1"].secrets == {"0123456789abcdef"}
    found = leaks([got("user 2", "your sid: 0123456789abcdef")], who, NOTHING)
    assert [(one.kind, one.owner) for one in found] == [(Kind.SECRET, "user 1")]
    assert leaks([got("user 1", "your sid: 0123456789abcdef")], who, NOTHING) == []


def test_what_others_are_shown_anyway_is_no_secret() -> None:
    who = parties(*USERS)
    who["user 1"].given = {("site", "everybody-knows")}
    learn_secrets(who.values(), [got("user 2", "everybody-knows this")])
    assert who["user 1"].secrets == set()


# ---- what fields say of caches ----


@pytest.mark.parametrize(
    ("fields", "hit", "age", "detail"),
    [
        (("Cache-Status: edge-icn; hit; ttl=5", "Age: 3"), True, 3, ""),
        (("Cache-Status: edge-icn; fwd=uri-miss; detail=no-store",), False, None, "no-store"),
        (("Cache-Status: shield; hit, edge; fwd=uri-miss; stored",), True, None, ""),
        (("Cache-Status: a; fwd=miss; detail=x, b; fwd=miss; detail=y",), False, None, "y"),
        (("Age: 9",), True, 9, ""),
        (("Age: 0",), False, 0, ""),
        (("Age: -1",), False, None, ""),
        (("X-Cache: HIT from cloud",), True, None, ""),
        (("X-Cache: Miss", "Age: 0"), False, 0, ""),
        (("CF-Cache-Status: HIT",), True, None, ""),
        (("Cache-Status: not a (list",), False, None, ""),
        ((), False, None, ""),
    ],
)
def test_whether_an_answer_came_from_a_cache(
    fields: tuple[str, ...], hit: bool, age: int | None, detail: str
) -> None:
    found = told(answer(*fields))
    assert (found.hit, found.age, found.detail) == (hit, age, detail)


def test_of_a_large_body_little_is_kept_and_all_is_compared() -> None:
    samples = []
    for last in (b"a", b"b"):
        made = taken(b"x" * KEPT)
        for piece in (b"y" * KEPT, last):
            made.add(piece)
        samples.append(sample("user 1", "", True, answer(), made))
    assert [len(one.body) for one in samples] == [KEPT, KEPT]
    assert samples[0].body == samples[1].body
    assert samples[0].digest != samples[1].digest


def test_a_body_in_gzip_is_read() -> None:
    packed = sample(
        "user 1", "", True, answer("Content-Encoding: gzip"), taken(gzip.compress(b"Hello alice"))
    )
    assert b"alice" in packed.marks
    broken = sample("user 1", "", True, answer("Content-Encoding: gzip"), taken(b"no gzip at all"))
    assert b"gzip" in broken.marks


@pytest.mark.parametrize(
    ("fields", "lifetime", "by", "refused"),
    [
        (("Cache-Control: s-maxage=60, max-age=5",), 60, "s-maxage", ""),
        (("Cache-Control: max-age=5",), 5, "max-age", ""),
        (
            ("Date: Sun, 06 Nov 1994 08:49:37 GMT", "Expires: Sun, 06 Nov 1994 08:50:37 GMT"),
            60,
            "Expires",
            "",
        ),
        (
            ("Cache-Control: max-age=5", "CDN-Cache-Control: max-age=600"),
            600,
            "CDN-Cache-Control: max-age",
            "",
        ),
        (("Cache-Control: private, max-age=5",), 5, "max-age", "private"),
        (("Cache-Control: no-store",), 0, "", "no-store"),
        ((), 0, "", "no-lifetime"),
    ],
)
def test_how_long_and_by_whose_field(fields: tuple[str, ...], lifetime: int, by: str, refused: str) -> None:
    found = rule(got("user 1", "hello", *fields), "http://shop.test/", False, WALL)
    assert found is not None
    assert (found.lifetime, found.by, found.refused) == (lifetime, by, refused)
    assert in_words(refused) == found.sentence


# ---- forms and logins ----


def test_hidden_inputs_go_along_unless_they_are_named() -> None:
    page = got(
        "user 1",
        "<form><input type=hidden name=q value=1></form><form><input type='HIDDEN' name=csrf value='a&amp;b'>"
        "<input type=hidden name=next value=/x><input name=user><input type=password name=pw></form>",
        "Content-Type: text/html",
    )
    login = parse("POST /login user=a&pw=b&next=/y")
    assert login.with_hidden(hidden_inputs(page)) == b"csrf=a%26b&user=a&pw=b&next=%2Fy"
    assert login.words == ["a", "b", "/y"]


def test_a_login_in_json_is_sent_as_it_is() -> None:
    login = parse('POST /api/login {"user": "a", "pw": "b c"}')
    assert login.json
    assert login.with_hidden({"csrf": "x"}) == b'{"user": "a", "pw": "b c"}'


@pytest.mark.parametrize("text", ["", "POST", "POST login a=b", "P(ST /login a=b", "POST /login a=b\r\nc: d"])
def test_what_is_no_login(text: str) -> None:
    with pytest.raises(LabError, match="no request"):
        parse(text)


@pytest.mark.parametrize(
    ("host", "name"),
    [("shop.test", "shop.test"), ("shop.test:80", "shop.test"), ("[::1]:80", "::1"), ("[::1]", "::1")],
)
def test_the_name_that_cookies_know(host: str, name: str) -> None:
    assert Page("http", host, "/").name == name


# ---- surprises by place ----


@pytest.mark.parametrize(
    ("there", "status", "differs"),
    [("one text for all", 200, False), ("an older text for all", 200, True), ("one text for all", 404, True)],
)
def test_two_places_that_differ(there: str, status: int, differs: bool) -> None:
    evidence = Evidence(frozenset(USERS), logged_in=False)
    evidence.references = references("one text for all", "one text for all")
    hit = "Cache-Status: e; hit"
    evidence.cached = [
        got("user 1", "one text for all", hit, place="icn"),
        got("user 2", there, hit, place="gru", status=status),
    ]
    found = surprises(evidence, None, owned(evidence.references, USERS))
    assert (Surprise.BY_PLACE in {one.kind for one in found}) is differs


# ---- the page of the audit ----


@pytest.mark.parametrize("kind", [Kind, Surprise])
def test_every_leak_and_surprise_stands_with_its_sentence(kind: type[Kind] | type[Surprise]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    for member in kind:
        assert f"| `{member}` | {member.sentence} |" in page

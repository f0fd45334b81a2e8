"""What clients see of compression, exchange by exchange: an edge in memory with a real coder and its thread."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from edge.coding.codable import NotCoded
from edge.coding.coder import Coder
from edge.coding.rules import Rules
from edge.object import StoredObject
from edge.purging import NoPurges, Verdict
from edge.routing import Way
from tests.edge.coding.test_codecs import decode
from tests.edge.support import FakeExchange, Lab

TEXT = b"".join(b"%d bottles of beer on the wall, %d bottles of beer.\n" % (n, n) for n in range(99, 0, -1))
MINUTE = "Cache-Control: max-age=60"
HTML = "Content-Type: text/html"
OLD = "Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT"
BR, GZIP, ZSTD = "Accept-Encoding: br", "Accept-Encoding: gzip", "Accept-Encoding: zstd"
BROWSER = "Accept-Encoding: gzip, deflate, br, zstd"


class Bench(Lab):
    """The lab's edge with compression on."""

    def __init__(self, monkeypatch: Any, rules: Rules | None = None, memory: int = 1 << 22) -> None:
        super().__init__(monkeypatch, memory=memory)
        self.coder = Coder(rules or Rules(), self.storage, b"edge-icn", frozenset({b"edge-icn", b"edge-fra"}))
        self.cache.coder = self.cache.replies.coder = self.coder

    def keep(
        self, *more: str, target: str = "/", body: bytes = TEXT, ask: tuple[str, ...] = ()
    ) -> FakeExchange:
        """A miss that is stored."""
        return self.store(target, MINUTE, HTML, 'ETag: "1"', *more, body=body, ask=ask)

    async def made(self) -> None:
        while self.coder.waiting:  # noqa: ASYNC110 - a thread tells the coder alone
            await asyncio.sleep(0.001)

    async def coded(self, *more: str) -> None:
        """An object with all three forms."""
        self.keep(*more)
        for accepts in (BR, GZIP, ZSTD):
            self.ask("/", accepts)
        await self.made()
        assert self.asked == 1


@pytest.fixture
def it(monkeypatch: Any) -> Iterator[Bench]:
    found = Bench(monkeypatch)
    yield found
    found.coder.stop()


def vary(x: FakeExchange) -> list[str]:
    return x.fields.get("vary", "").lower().split(", ")


# -- forms -------------------------------------------------------------------------------------------------------------


async def test_a_miss_is_identity_and_says_that_it_varies_and_the_next_gets_the_form(it: Bench) -> None:
    first = it.keep(ask=(BROWSER,))
    assert (first.got, first.fields["vary"], first.fields["etag"]) == (TEXT, "Accept-Encoding", '"1"')
    assert "content-encoding" not in first.fields
    await it.made()
    second = it.ask("/", BROWSER)
    assert second.said == "edge-icn; hit; ttl=60"
    assert decode(b"br", second.got) == TEXT
    assert second.fields["content-encoding"] == "br"
    assert second.fields["content-length"] == str(len(second.got))
    assert second.fields["etag"] == 'W/"1"'
    assert second.fields["content-type"] == "text/html"
    assert second.fields["age"] == "0"
    assert it.asked == 1


async def test_each_gets_what_it_likes_and_who_likes_nothing_gets_identity(it: Bench) -> None:
    await it.coded()
    for accepts, coding in ((BR, b"br"), (GZIP, b"gzip"), (ZSTD, b"zstd"), (BROWSER, b"br")):
        x = it.ask("/", accepts)
        assert x.fields["content-encoding"] == coding.decode()
        assert decode(coding, x.got) == TEXT
        assert vary(x) == ["accept-encoding"]
    for none in ((), ("Accept-Encoding: identity",), ("Accept-Encoding: gzip;q=9",), ("Accept-Encoding:",)):
        x = it.ask("/", *none)
        assert (x.got, vary(x), x.fields["etag"]) == (TEXT, ["accept-encoding"], '"1"')
        assert "content-encoding" not in x.fields
    assert it.asked == 1
    assert [it.coder.tallies[coding].made for coding in (b"br", b"zstd", b"gzip")] == [1, 1, 1]


async def test_a_head_of_head_is_the_head_of_get(it: Bench) -> None:
    await it.coded()
    for accepts in ((BR,), (GZIP,), (), (BROWSER, "Cache-Control: max-age=50")):
        got, headed = it.ask("/", *accepts), it.ask("/", *accepts, method="HEAD")
        assert headed.head == got.head
        assert headed.got == b""


async def test_the_slow_way_gives_the_same_head(it: Bench) -> None:
    await it.coded()
    for accepts in ((BR,), ()):
        assert it.ask("/", *accepts).head == it.ask("/", *accepts, "Cache-Control: max-age=50").head


async def test_a_request_that_says_no_transform_gets_identity(it: Bench) -> None:
    await it.coded()
    x = it.ask("/", BR, "Cache-Control: no-transform")
    assert (x.got, it.asked) == (TEXT, 1)


async def test_a_form_ages_and_ends_with_its_parent(it: Bench) -> None:
    await it.coded()
    it.sleep(30.5)
    x = it.ask("/", BR)
    assert (x.fields["age"], x.said) == ("30", "edge-icn; hit; ttl=29")
    it.sleep(30)
    assert not it.ask("/", BR).done
    assert it.asked == 2


async def test_a_body_without_a_length_announces_itself_too(it: Bench) -> None:
    x = it.ask("/", BR)
    it.origin.last.begin(200, MINUTE, HTML)
    assert vary(x) == ["accept-encoding"]
    it.origin.last.data(TEXT)
    it.origin.last.end()
    await it.made()
    assert decode(b"br", it.ask("/", BR).got) == TEXT


# -- what is left alone ------------------------------------------------------------------------------------------------

LEFT: list[tuple[tuple[str, ...], bytes, NotCoded]] = [
    (("Content-Type: text/html", "Content-Encoding: gzip"), TEXT, NotCoded.CODED),
    (("Content-Type: text/html", "Content-Encoding: br"), b"this is no brotli" * 100, NotCoded.CODED),
    (("Content-Type: text/html", "CDN-Cache-Control: max-age=60, no-transform"), TEXT, NotCoded.NO_TRANSFORM),
    (("Content-Type: image/png",), TEXT, NotCoded.TYPE),
    ((), TEXT, NotCoded.TYPE),
    (("Content-Type: text/html",), TEXT[:1000], NotCoded.SMALL),
    (("Content-Type: text/html", "Content-MD5: AAAA"), TEXT, NotCoded.DIGEST),
]


@pytest.mark.parametrize(("fields", "body", "reason"), LEFT)
async def test_left_alone(it: Bench, fields: tuple[str, ...], body: bytes, reason: NotCoded) -> None:
    it.store("/", MINUTE, 'ETag: "1"', *fields, body=body, ask=(BROWSER,))
    for _ in range(2):
        x = it.ask("/", BROWSER)
        assert x.got == body
        assert x.fields["etag"] == '"1"'
        assert "vary" not in x.fields
    assert it.coder.waiting == 0
    assert it.coder.not_coded[reason] == 1
    coded = [field.partition(": ")[2] for field in fields if field.startswith("Content-Encoding")]
    assert x.fields.get("content-encoding") == (coded[0] if coded else None)


async def test_what_is_not_stored_is_not_coded(it: Bench) -> None:
    x = it.store("/", "Cache-Control: private, max-age=60", HTML, body=TEXT, ask=(BROWSER,))
    assert "vary" not in x.fields
    assert it.coder.waiting == 0


async def test_noise_is_tried_once_and_sent_as_it_is(it: Bench) -> None:
    noise = Random(7).randbytes(3000)
    it.keep(body=noise, ask=(BROWSER,))
    await it.made()
    for accepts in (BROWSER, GZIP, ZSTD):
        x = it.ask("/", accepts)
        assert x.got == noise
        assert "vary" not in x.fields
    it.sleep(61)
    it.ask("/", GZIP)
    it.origin.last.answer(304, MINUTE, 'ETag: "1"')
    assert it.ask("/", BROWSER).got == noise
    assert it.coder.not_coded[NotCoded.NOT_SMALLER] == 1
    assert it.coder.waiting == 0


# -- Vary --------------------------------------------------------------------------------------------------------------

VARIES: list[tuple[str, str, str]] = [
    # the origin's Vary, a request field that it names, ours
    ("Vary: Accept-Language", "Accept-Language: ko", "Accept-Language, Accept-Encoding"),
    ("Vary: accept-encoding", "Accept-Language: ko", "accept-encoding"),
    ("Vary: X-A, Accept-Encoding, X-B", "X-A: 1", "X-A, Accept-Encoding, X-B"),
    ("Vary: Host", "X-A: 1", "Host, Accept-Encoding"),
]


@pytest.mark.parametrize(("theirs", "field", "ours"), VARIES)
async def test_vary_is_joined_and_chooses_as_the_origin_said(
    it: Bench, theirs: str, field: str, ours: str
) -> None:
    """Through a 304 as well: the head says Accept-Encoding then, and the storage must not take it for the origin's."""
    by_coding = "accept-encoding" in theirs.lower()
    first = it.store("/", MINUTE, HTML, 'ETag: "1"', theirs, body=TEXT, ask=(BR, field))
    assert first.fields["vary"] == ours
    await it.made()
    for turn in range(3):
        x = it.ask("/", BR, field)
        assert (x.fields["vary"], x.fields["content-encoding"]) == (ours, "br")
        count = it.asked
        other = it.ask("/", GZIP, field)
        assert (it.asked > count) is (by_coding and not turn)
        if it.asked > count:
            it.origin.last.answer(200, MINUTE, HTML, 'ETag: "1"', theirs, body=TEXT)
        assert other.fields["vary"] == ours
        it.sleep(61)
        x = it.ask("/", BR, field)
        assert it.origin.last.head["if-none-match"] == '"1"'
        it.origin.last.answer(304, MINUTE, 'ETag: "1"', *([theirs] if turn else []))
        assert (x.status, x.fields["vary"], x.fields["content-encoding"]) == (200, ours, "br")
        if by_coding:
            it.ask("/", GZIP, field)
            it.origin.last.answer(304, MINUTE, 'ETag: "1"')
        await it.made()
    assert it.storage.objects == (2 if by_coding else 1)


async def test_a_304_that_begins_to_vary_is_believed(it: Bench) -> None:
    await it.coded()
    it.sleep(61)
    it.ask("/", BR, "X-A: 1")
    it.origin.last.answer(304, MINUTE, 'ETag: "1"', "Vary: X-A")
    assert it.ask("/", BR, "X-A: 1").fields["vary"] == "X-A, Accept-Encoding"
    assert it.asked == 2
    it.ask("/", BR, "X-A: 2")
    assert it.asked == 3


# -- conditions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', '"0", W/"1"', "*"])
@pytest.mark.parametrize("accepts", [(BR,), (GZIP,), ()])
async def test_either_tag_matches_either_form(it: Bench, tag: str, accepts: tuple[str, ...]) -> None:
    await it.coded()
    x = it.ask("/", f"If-None-Match: {tag}", *accepts)
    assert (x.status, x.got) == (304, b"")
    assert x.fields["etag"] == ('W/"1"' if accepts else '"1"')
    assert vary(x) == ["accept-encoding"]
    assert "content-encoding" not in x.fields
    assert it.asked == 1


async def test_another_tag_gets_the_whole_form(it: Bench) -> None:
    await it.coded()
    x = it.ask("/", 'If-None-Match: "2", W/"3"', BR)
    assert (x.status, decode(b"br", x.got)) == (200, TEXT)


async def test_a_date_that_is_not_older_holds_for_forms(it: Bench) -> None:
    await it.coded(OLD)
    x = it.ask("/", "If-Modified-Since: Sat, 21 Nov 2026 10:00:00 GMT", BR)
    assert x.status == 304
    x = it.ask("/", "If-Modified-Since: Sat, 21 Nov 2026 09:59:59 GMT", BR)
    assert (x.status, x.fields["content-encoding"], x.fields["last-modified"]) == (200, "br", OLD[15:])


async def test_what_arrives_is_compared_weakly_and_says_that_it_varies(it: Bench) -> None:
    x = it.ask("/", 'If-None-Match: W/"1"', BR)
    it.origin.last.answer(200, MINUTE, HTML, 'ETag: "1"', body=TEXT)
    assert (x.status, vary(x)) == (304, ["accept-encoding"])


async def test_if_match_goes_to_the_origin_as_it_came(it: Bench) -> None:
    await it.coded()
    x = it.ask("/", 'If-Match: W/"1"', BR)
    assert it.origin.last.head["if-match"] == 'W/"1"'
    it.origin.last.answer(412)
    assert x.status == 412


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepts", [(BR,), (BROWSER,), ()])
async def test_a_part_is_one_of_identity_with_the_strong_tag(it: Bench, accepts: tuple[str, ...]) -> None:
    await it.coded("Accept-Ranges: bytes")
    for condition in ((), ('If-Range: "1"',)):
        x = it.ask("/", "Range: bytes=10-19", *condition, *accepts)
        assert (x.status, x.got) == (206, TEXT[10:20])
        assert x.fields["etag"] == '"1"'
        assert x.fields["content-range"] == f"bytes 10-19/{len(TEXT)}"
        assert x.fields["content-length"] == "10"
        assert "content-encoding" not in x.fields
        assert vary(x) == ["accept-encoding"]
    assert it.ask("/", f"Range: bytes={len(TEXT)}-", *accepts).status == 416
    assert it.asked == 1
    assert "accept-ranges" not in it.ask("/", BR).fields
    assert it.ask("/").fields["accept-ranges"] == "bytes"


@pytest.mark.parametrize("condition", ['W/"1"', '"2"', OLD[15:], "Sat, 21 Nov 2026 11:00:00 GMT", "nonsense"])
async def test_if_range_that_does_not_hold_gets_the_whole_in_the_best_form(it: Bench, condition: str) -> None:
    await it.coded(OLD)
    x = it.ask("/", "Range: bytes=10-19", f"If-Range: {condition}", BR)
    assert (x.status, x.fields["content-encoding"], decode(b"br", x.got)) == (200, "br", TEXT)
    x = it.ask("/", "Range: bytes=10-19", f"If-Range: {condition}")
    assert (x.status, x.got) == (200, TEXT)


async def test_a_date_still_holds_for_what_is_never_coded(it: Bench) -> None:
    it.store("/", MINUTE, "Content-Type: image/png", OLD, body=TEXT)
    x = it.ask("/", "Range: bytes=10-19", f"If-Range: {OLD[15:]}", BR)
    assert (x.status, x.got) == (206, TEXT[10:20])


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=9-1", "bytes=x"])
async def test_a_range_that_is_none_gets_the_whole(it: Bench, asked: str) -> None:
    await it.coded()
    x = it.ask("/", f"Range: {asked}", BR)
    assert x.status == 200
    assert (decode(b"br", x.got) if "content-encoding" in x.fields else x.got) == TEXT
    assert it.asked == 1


async def test_head_takes_no_notice_of_range(it: Bench) -> None:
    await it.coded()
    x = it.ask("/", "Range: bytes=0-1", BR, method="HEAD")
    assert (x.status, x.fields["content-encoding"]) == (200, "br")


# -- what happens to forms ---------------------------------------------------------------------------------------------


async def test_a_304_keeps_the_forms_and_renews_their_heads(it: Bench) -> None:
    await it.coded("X-Own: old")
    before = it.ask("/", BR).got
    it.sleep(61)
    x = it.ask("/", BR)
    assert it.origin.last.head["if-none-match"] == '"1"', "the strong tag, whatever the client would get"
    it.origin.last.answer(304, MINUTE, 'ETag: "1"', "X-Own: new")
    assert x.fields["cache-status"].startswith("edge-icn; fwd=stale; fwd-status=304")
    for accepts, coding in ((BR, "br"), (GZIP, "gzip"), (ZSTD, "zstd")):
        x = it.ask("/", accepts)
        assert (x.fields["content-encoding"], x.fields["x-own"], x.fields["age"]) == (coding, "new", "0")
    assert it.ask("/", BR).got == before
    assert [it.coder.tallies[coding].made for coding in (b"br", b"zstd", b"gzip")] == [1, 1, 1]


async def test_a_new_200_has_new_forms(it: Bench) -> None:
    await it.coded()
    it.sleep(61)
    it.ask("/", BR)
    it.origin.last.answer(200, MINUTE, HTML, 'ETag: "2"', body=TEXT + b"and one more")
    await it.made()
    x = it.ask("/", BR)
    assert (decode(b"br", x.got), x.fields["etag"]) == (TEXT + b"and one more", 'W/"2"')


async def test_an_unsafe_request_takes_the_forms_along(it: Bench) -> None:
    await it.coded()
    it.ask("/", "Content-Length: 0", method="POST")
    it.origin.last.answer(204)
    assert it.storage.used == 0
    x = it.ask("/", BR)
    assert not x.done


async def test_forms_count_in_what_is_stored_and_go_with_their_object(monkeypatch: Any) -> None:
    it = Bench(monkeypatch, memory=60_000)
    await it.coded()
    found = it.storage.find(b"http://shop.example/")
    assert isinstance(found, StoredObject)
    assert it.storage.used == found.size
    assert found.forms is not None
    plain = found.size - sum(form.size for form in found.forms.values() if form is not None)
    assert plain < found.size - 3000
    for number in range(12):
        it.keep(target=f"/{number}")
    assert it.storage.evictions
    assert it.storage.used <= it.storage.capacity
    assert sum(stored.size for stored in it.storage) == it.storage.used
    it.coder.stop()


class OnePurge(NoPurges):
    """A purge that hits everything that lies here when it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.verdict = Verdict.KEEP

    def judge(self, stored: StoredObject) -> Verdict:
        return super().judge(stored) if self.verdict is Verdict.KEEP else self.verdict


@pytest.mark.parametrize("more", [(), ("Cache-Control: max-age=50",)])
async def test_a_purge_takes_the_forms_along(it: Bench, more: tuple[str, ...]) -> None:
    it.cache.purges = purges = OnePurge()
    await it.coded()
    assert it.ask("/", BR).fields["content-encoding"] == "br"
    purges.position, purges.verdict = 1, Verdict.GONE
    x = it.ask("/", BR, *more)
    assert not x.done
    assert it.storage.used == 0
    purges.verdict = Verdict.KEEP
    it.origin.last.answer(200, MINUTE, HTML, 'ETag: "2"', body=TEXT + b"later")
    await it.made()
    assert decode(b"br", it.ask("/", BR).got) == TEXT + b"later"


async def test_a_soft_purge_has_forms_validated_as_their_object(it: Bench) -> None:
    it.cache.purges = purges = OnePurge()
    await it.coded()
    assert it.ask("/", BR).fields["content-encoding"] == "br"
    purges.position, purges.verdict = 1, Verdict.SOFT
    x = it.ask("/", BR)
    assert it.origin.last.head["if-none-match"] == '"1"'
    purges.verdict = Verdict.KEEP
    it.origin.last.answer(304, MINUTE, 'ETag: "1"')
    assert (x.status, x.fields["content-encoding"]) == (200, "br")
    assert it.ask("/", BR).said == "edge-icn; hit; ttl=60"
    assert it.coder.tallies[b"br"].made == 1


async def test_stale_is_sent_coded_too(it: Bench) -> None:
    it.store("/", "Cache-Control: max-age=60, stale-if-error=60", HTML, 'ETag: "1"', body=TEXT, ask=(BR,))
    await it.made()
    it.sleep(70)
    x = it.ask("/", BR)
    it.origin.last.fail()
    assert (x.status, x.fields["content-encoding"], x.fields["age"]) == (200, "br", "70")
    assert decode(b"br", x.got) == TEXT


async def test_a_part_that_completes_a_body_makes_it_codable(it: Bench) -> None:
    half = len(TEXT) // 2
    for first, last in ((0, half - 1), (half, len(TEXT) - 1)):
        it.ask("/", f"Range: bytes={first}-{last}", BR)
        piece = TEXT[first : last + 1]
        it.origin.last.answer(
            206, MINUTE, HTML, 'ETag: "1"', f"Content-Range: bytes {first}-{last}/{len(TEXT)}", body=piece
        )
    x = it.ask("/", BR)
    assert (x.status, vary(x)) == (200, ["accept-encoding"])
    await it.made()
    assert decode(b"br", it.ask("/", BR).got) == TEXT
    assert it.asked == 2


# -- digests -----------------------------------------------------------------------------------------------------------


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


async def test_a_digest_is_true_of_what_it_comes_with(it: Bench) -> None:
    await it.coded(f"Repr-Digest: {digest(TEXT)}", f"Content-Digest: {digest(TEXT)}")
    for accepts in (BR, GZIP, ZSTD, "Accept: */*"):
        x = it.ask("/", accepts)
        assert x.fields["repr-digest"] == x.fields["content-digest"] == digest(x.got)
    assert it.ask("/", BR).fields["content-encoding"] == "br"


async def test_a_part_bears_no_digest_of_the_whole_content_nor_the_whole_one_of_a_part(it: Bench) -> None:
    """Content-Digest is of what a message bears; it was copied from one to the other."""
    await it.coded(f"Repr-Digest: {digest(TEXT)}", f"Content-Digest: {digest(TEXT)}")
    x = it.ask("/", "Range: bytes=0-9")
    assert (x.status, x.fields["repr-digest"]) == (206, digest(TEXT))
    assert "content-digest" not in x.fields
    x = it.ask("/", 'If-None-Match: "1"')
    assert (x.status, x.fields["repr-digest"]) == (304, digest(TEXT))
    assert "content-digest" not in x.fields
    it.ask("/b", f"Range: bytes=0-{len(TEXT) - 1}")
    whole = f"Content-Range: bytes 0-{len(TEXT) - 1}/{len(TEXT)}"
    it.origin.last.answer(206, MINUTE, HTML, 'ETag: "1"', whole, "Content-Digest: sha-256=:AAAA:", body=TEXT)
    x = it.ask("/b")
    assert (x.status, x.got) == (200, TEXT)
    assert "content-digest" not in x.fields


async def test_a_wrong_body_stays_as_wrong_as_it_came(it: Bench) -> None:
    it.keep(f"Repr-Digest: {digest(TEXT + b'!')}", ask=(BR,))
    await it.made()
    x = it.ask("/", BR)
    assert (x.got, x.fields["repr-digest"]) == (TEXT, digest(TEXT + b"!"))
    assert it.coder.not_coded[NotCoded.WRONG_DIGEST] == 1


# -- a shield ----------------------------------------------------------------------------------------------------------


async def test_an_edge_that_asks_its_shield_gets_identity_and_stores_one_copy(it: Bench) -> None:
    inner = (BROWSER, "Via: 1.1 lb-a, 1.1 edge-fra")
    first = it.keep(ask=inner)
    assert "vary" not in first.fields
    await it.made()
    assert it.coder.tallies[b"br"].made == 0
    it.ask("/", BROWSER)
    await it.made()
    assert it.ask("/", BROWSER).fields["content-encoding"] == "br"
    for more in ((), ("Cache-Control: max-age=50",)):
        x = it.ask("/", *inner, *more)
        assert (x.got, x.fields["etag"]) == (TEXT, '"1"')
        assert "vary" not in x.fields
    x = it.ask("/", *inner, "Range: bytes=0-4", 'If-Range: "1"')
    assert (x.status, x.got) == (206, TEXT[:5])
    assert "vary" not in x.fields
    assert "vary" not in it.ask("/", *inner, 'If-None-Match: "1"').fields
    sibling = it.ask("/", *inner, "Cdnlab-Sibling: edge-fra")
    assert sibling.fields["content-encoding"] == "br", "it asks for its client, and passes on what it gets"
    assert it.asked == 1


class Lender:
    """What an edge knows of its neighbours, where a copy of what one of them owns is kept for a moment."""

    def __init__(self, it: Bench) -> None:
        self.it = it
        self.lent: list[StoredObject] = []

    def ways(self, reader: object, now: float) -> list[Way]:
        return [Way(self.it.origin, brief=True)]  # type: ignore[arg-type]

    def lend(self, stored: StoredObject, now: float) -> None:
        self.lent.append(stored)


async def test_a_copy_for_a_moment_has_no_forms_made(it: Bench) -> None:
    it.cache.parents = lender = Lender(it)  # type: ignore[assignment]
    it.keep(ask=(BR,))
    assert len(lender.lent) == 1
    for _ in range(3):
        x = it.ask("/", BR)
        assert (x.got, vary(x)) == (TEXT, ["accept-encoding"])
    assert it.coder.waiting == 0
    assert it.coder.tallies[b"br"].made == 0

"""Bodies that are right and bodies that are not; what counts as a hit; when the generator was the limit."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys

import pytest

from loadtests.checks import WHOLE_MIN, Checker, WrongBody
from loadtests.strain import Limit, Strain, Watch, judge
from loadtests.tally import HEADINGS, Row, Tally, edge_said, percent, rounded, size, table
from loadtests.together import Together
from tests.support.labs import ROOT


def digest(body: bytes, algorithm: str = "sha-256") -> str:
    summed = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(summed).decode()}:"


@pytest.mark.parametrize(
    "fields, right",
    [
        ({}, True),
        ({"repr-digest": digest(b"body")}, True),
        ({"repr-digest": digest(b"bodx")}, False),
        ({"repr-digest": digest(b"body", "sha-512")}, True),
        ({"repr-digest": digest(b"bodx", "sha-512")}, False),
        ({"repr-digest": f"{digest(b'body')}, {digest(b'bodx', 'sha-512')}"}, False),
        ({"repr-digest": "md5=:AAAA:, unixsum=:AA==:"}, True),
        ({"repr-digest": "sha-256=:A:"}, True),  # not base64: as good as none
        ({"content-digest": digest(b"bodx")}, False),
    ],
)
def test_digests(fields: dict[str, str], right: bool) -> None:
    if right:
        assert Checker().whole("/", fields, b"body") == hashlib.sha256(b"body").digest()
    else:
        with pytest.raises(WrongBody, match="wrong body"):
            Checker().whole("/", fields, b"body")


def test_equal_entity_tags_are_equal_bytes() -> None:
    checker = Checker()
    checker.whole("/a", {"etag": '"1"'}, b"one")
    checker.whole("/a", {"etag": '"1"'}, b"one")
    checker.whole("/a", {"etag": '"2"'}, b"two")
    checker.whole("/b", {"etag": '"1"'}, b"other path")
    checker.whole("/a", {"etag": 'W/"1"'}, b"weak tags promise less")
    checker.whole("/a", {"etag": '"1"', "content-encoding": "gzip"}, b"coded")
    with pytest.raises(WrongBody, match="same entity-tag"):
        checker.whole("/a", {"etag": '"1"'}, b"onf")


def test_what_is_remembered_is_bounded() -> None:
    checker = Checker(remembered=2)
    for number in range(3):
        checker.whole(f"/{number}", {"etag": '"1"'}, b"one")
    checker.whole("/0", {"etag": '"1"'}, b"forgotten, so nobody knows")
    with pytest.raises(WrongBody):
        checker.whole("/2", {"etag": '"1"'}, b"still known")


WHOLE = bytes(range(256)) * (WHOLE_MIN // 256)
TAG = {"etag": '"w"'}


@pytest.mark.parametrize(
    "content_range, body, asked, said",
    [
        ("bytes 10-19/16384", WHOLE[10:20], (10, 20), None),
        ("bytes 10-19/*", WHOLE[10:20], (10, 20), None),
        ("bytes 16380-16383/16384", WHOLE[-4:], (16380, 16384), None),
        (None, WHOLE[10:20], (10, 20), "without a Content-Range"),
        ("bytes 10-19", WHOLE[10:20], (10, 20), "without a Content-Range"),
        ("bytes 10-19/16384", WHOLE[10:19], (10, 20), "not as long"),
        ("bytes 11-20/16384", WHOLE[11:21], (10, 20), "another part"),
        ("bytes 10-29/16384", WHOLE[10:30], (10, 20), "another part"),
        ("bytes 10-18/16384", WHOLE[10:19], (10, 20), "not those bytes"),
        ("bytes 10-19/16384", WHOLE[11:21], (10, 20), "not those bytes"),
        ("bytes 10-19/16385", WHOLE[10:20], (10, 20), "another size"),
    ],
)
def test_parts(content_range: str | None, body: bytes, asked: tuple[int, int], said: str | None) -> None:
    checker = Checker()
    checker.whole("/big", {**TAG, "accept-ranges": "bytes"}, WHOLE)
    fields = {**TAG, **({"content-range": content_range} if content_range else {})}
    if said is None:
        checker.part("/big", fields, body, asked)
    else:
        with pytest.raises(WrongBody, match=said):
            checker.part("/big", fields, body, asked)


def test_a_part_of_what_has_changed_is_not_held_to_the_old_whole() -> None:
    checker = Checker()
    checker.whole("/big", {**TAG, "accept-ranges": "bytes"}, WHOLE)
    checker.part("/big", {"etag": '"new"', "content-range": "bytes 0-2/3"}, b"new", (0, 10))
    assert "/big" not in checker.wholes


def test_the_last_bytes_of_what_has_grown_are_elsewhere() -> None:
    checker = Checker()
    checker.whole("/big", {**TAG, "accept-ranges": "bytes"}, WHOLE)
    checker.part("/big", {"etag": '"new"', "content-range": "bytes 20-29/30"}, b"0123456789", (16374, 16384))
    assert "/big" not in checker.wholes


def test_if_range_is_for_parts_of_one_whole_only() -> None:
    checker = Checker()
    checker.whole("/big", {**TAG, "accept-ranges": "bytes"}, WHOLE)
    part = {"content-range": "bytes 0-2/3"}
    with pytest.raises(WrongBody, match="If-Range"):
        checker.part("/big", {"etag": '"new"', **part}, b"new", (0, 10), TAG["etag"])
    checker.part("/big", {**TAG, "content-range": "bytes 0-9/16384"}, WHOLE[:10], (0, 10), TAG["etag"])


# -- hits -----------------------------------------------------------------------------------------------------

VIA = "1.1 edge-icn, 1.1 lb-a"


@pytest.mark.parametrize(
    "status, via, said",
    [
        ("edge-icn; hit; ttl=59", VIA, True),
        ("edge-icn;hit", VIA, True),
        ("edge-icn; hit=?0", VIA, False),
        ("edge-icn; fwd=uri-miss; fwd-status=200; ttl=59; stored", VIA, False),
        ("edge-icn; fwd=stale; fwd-status=304", VIA, False),
        ('edge-icn; fwd=bypass; detail="a, b; hit"', VIA, False),
        ("app-cache; hit, edge-icn; fwd=uri-miss", VIA, False),
        ("app-cache; fwd=miss, edge-icn; hit", VIA, True),
        ("app-cache; hit", "1.1 lb-a", None),
        ("", VIA, None),
        ("", "", None),
    ],
)
def test_what_an_edge_said(status: str, via: str, said: bool | None) -> None:
    assert edge_said(status, via) is said


def counted() -> Tally:
    tally = Tally()
    hit = {"cache-status": "edge-icn; hit", "via": VIA, "cdnlab-place": "icn"}
    miss = {"cache-status": "edge-icn; fwd=uri-miss", "via": VIA, "cdnlab-place": "nrt"}
    tally.add("icn", hit, 100, 0.004, False)
    tally.add("icn", hit, 200, 0.004, False)
    tally.add("icn", miss, 600, 0.251, False)
    tally.add("icn", {}, 50, 0.001, True)
    tally.add("fra", None, 0, 5.0, True)
    return tally


def test_rows_by_place() -> None:
    row = counted().rows["icn"]
    assert (row.requests, row.failures, row.by_edge, row.hits, row.bytes, row.elsewhere) == (
        4,
        1,
        3,
        2,
        950,
        1,
    )
    assert row.hit_ratio == pytest.approx(2 / 3)
    assert row.hit_byte_ratio == pytest.approx(300 / 900)
    assert [row.percentile(share) for share in (0.5, 0.75, 0.99)] == [4, 4, 250]
    assert Row().hit_ratio is None
    assert Row().percentile(0.5) == 0


def test_reports_of_two_workers_add_up() -> None:
    import msgpack  # what Locust sends them with

    master, worker = Tally(), counted()
    master.give(msgpack.loads(msgpack.dumps(worker.take()), strict_map_key=False))
    assert not worker.rows
    master.give(msgpack.loads(msgpack.dumps(counted().take()), strict_map_key=False))
    expected = counted()
    for place, row in counted().rows.items():
        expected.rows[place].extend(row)
    assert master.rows == expected.rows


def test_the_table() -> None:
    lines = table(counted(), {"icn": 3, "fra": 1}, {"icn": "Seoul"})
    assert [line.split()[0] for line in lines] == ["place", "icn", "fra", "all"]
    assert lines[1].split()[:7] == ["icn", "Seoul", "3", "4", "1", "3", "2"]
    assert len({len(line) for line in lines}) == 1
    assert all(heading in lines[0] for heading in HEADINGS)


def test_words_for_numbers() -> None:
    assert [size(count) for count in (0, 999, 1000, 25_500_000, 10**11)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "25.5 MB",
        "100.0 GB",
    ]
    assert (percent(None), percent(0.5)) == ("–", "50.0 %")
    assert [rounded(ms) for ms in (0.4, 99.4, 147, 3432, 58760)] == [0, 99, 150, 3400, 59000]


# -- the generator --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cpu, late, limit",
    [(0.3, 0.001, None), (0.9, 0.001, Limit.CPU), (0.9, 0.2, Limit.CPU), (0.3, 0.02, Limit.LATE)],
)
def test_a_verdict_says_which(cpu: float, late: float, limit: Limit | None) -> None:
    assert judge(cpu, late) is limit


def test_one_bad_moment_is_no_verdict() -> None:
    strain = Strain()
    strain.add(0.99, 0.1)
    assert strain.sentence("it") == ""
    strain.add(0.99, 0.1)
    assert "99 % of a core" in strain.sentence("it")
    assert "--processes" in strain.sentence("it")
    for _ in range(7):
        strain.add(0.1, 0.0)
    assert strain.limit is None


BUSY = """
import gevent, time
from loadtests.strain import Watch
def burn():
    while True:
        until = time.perf_counter() + 0.05
        while time.perf_counter() < until: pass
        gevent.sleep(0.001)
said = []
watch = Watch(said.append, window=0.2)
watch.start()
work = gevent.spawn(burn)
while not said: gevent.sleep(0.01)
watch.stop()
print(said[0])
"""


def test_a_process_that_is_its_own_limit_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUSY], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert "the load generator was the limit" in done.stdout


@pytest.mark.parametrize("strayed, said", [(0, False), (1, False), (5, True)])
def test_rows_that_are_no_places_say_so(strayed: int, said: bool) -> None:
    together = Together(Watch(print), {})
    for number in range(100):
        place = "icn" if number < strayed else "syd"
        together.tally.add("syd", {"cdnlab-place": place}, 10, 0.01, failed=False)
    text = "\n".join(together.final())
    assert (f"{strayed} of 100 answers were for another place than their user's" in text) is said
    assert ("WARNING" in text) is said

"""The purges as the cache sees them, and what outlives the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.directives import response_control
from edge.freshness import Source
from edge.object import StoredObject
from edge.purge import position_file
from edge.purge.position import Entry, Look, Lost, Position, Standing, State
from edge.purge.purges import Kept, Purges
from edge.purge.rules import Kind, Rule, group_name
from edge.purge.tags import EVERY
from edge.purging import Verdict

URL = b"http://h/a"
ALL = Rule(Kind.ALL, b"")


def stored(
    mark: object, *, key: bytes = URL, tags: tuple[bytes, ...] = (), groups: tuple[bytes, ...] = ()
) -> StoredObject:
    return StoredObject(
        key=key, variant=None, status=200, start=b"", chain=b"", body=b"", born=0.0, fresh_until=1e9,
        control=response_control(b""), source=next(iter(Source)), open=False, tags=tags, groups=groups, mark=mark,
    )  # fmt: skip


def alone(keep: int = 0, life: bytes = b"life0001") -> Purges:
    return Purges(Standing(alone=True), life, keep)


def following(life: bytes = b"life0001", keep: int = 0) -> Purges:
    purges = Purges(Standing(alone=False, lag_max=2.0), life, keep)
    purges.adopt(Look("g", 1, 7, "l7", ()), None)
    purges.heard(asked=100.0, now=100.0, current=True)
    return purges


def come(purges: Purges, *rules: Rule, own: bool = False) -> None:
    assert purges.place is not None
    number = purges.place.sequence + 1
    entry = Entry("g", number, f"l{number - 1}", f"l{number}", b"")
    purges.apply_entry(entry, rules, own=own, wall=5.0, lag=0.001)


def test_a_response_meets_the_rules_that_came_after_its_fetch_began() -> None:
    purges = alone()
    early = stored(purges.mark())
    purges.apply([Rule(Kind.URL, URL)])
    late = stored(purges.mark())
    assert purges.judge(early) is Verdict.GONE
    assert purges.judge(late) is Verdict.KEEP
    assert late.checked == purges.position
    purges.apply([Rule(Kind.URL, b"http://h/other")])
    assert late.checked != purges.position, "a hit compares these two, and must come here again"
    assert purges.judge(late) is Verdict.KEEP


def test_what_is_soft_stays_so_and_may_yet_go() -> None:
    purges = alone()
    found = stored(purges.mark())
    purges.apply([Rule(Kind.URL, URL, soft=True)])
    for _ in range(2):
        assert purges.judge(found) is Verdict.SOFT
        assert found.soft
        assert found.checked != purges.position, "or the next hit would pass it off as fresh"
    purges.apply([ALL])
    assert purges.judge(found) is Verdict.GONE


def test_what_was_compared_is_clean_although_its_mark_is_below_the_floor() -> None:
    purges = alone()
    found, forgotten = stored(purges.mark()), stored(purges.mark())
    for name in (b"x", b"y", b"z"):
        purges.apply([Rule(Kind.TAG, name)])
        assert purges.judge(found) is Verdict.KEEP
        purges.swept(purges.rules.number)
    assert purges.rules.floor > 0
    assert purges.judge(found) is Verdict.KEEP
    assert purges.judge(forgotten) is Verdict.SOFT


def test_an_edge_that_is_behind_uses_nothing() -> None:
    purges = following()
    assert (purges.state(101.9), purges.confirmed_until) == (State.CONFIRMED, 102.0)
    found = stored(purges.mark())
    purges.judge(found)
    assert found.checked == purges.position
    assert purges.behind(102.0)
    assert found.checked != purges.position == -1
    assert purges.confirmed_until < 102.0
    assert purges.may_concern(URL, purges.mark(), 102.0), "no fetch is shared meanwhile"
    begun = purges.mark()
    purges.heard(asked=102.0, now=102.1, current=True)
    assert purges.judge(found) is Verdict.KEEP
    assert found.checked == purges.position
    assert purges.confirmed_until == 104.0
    assert purges.may_concern(URL, found.mark, 102.1), "a fetch from before it was behind"
    assert not purges.may_concern(URL, begun, 102.1)


def test_a_blind_edge_serves_and_applies_what_is_posted_to_it() -> None:
    purges = following()
    purges.heard(asked=100.5, now=101.9, current=False)
    assert purges.state(102.5) is State.BLIND
    assert not purges.behind(102.5)
    assert purges.confirmed_until > 102.5
    found = stored(purges.mark())
    purge = purges.apply_local((Rule(Kind.URL, URL),), wall=9.0)
    assert purges.judge(found) is Verdict.GONE
    assert purges.applied[-1].id == purge
    assert purges.line().endswith(b"g-7;local\r\n"), "no parent can know of it"
    purges.heard(asked=102.5, now=102.6, current=True)
    assert purges.line() == b"Cdnlab-Purged: g-7\r\n"


def test_a_response_that_was_fetched_while_blind_meets_what_others_purged_meanwhile() -> None:
    purges = following()
    purges.heard(asked=100.5, now=101.9, current=False)
    purges.apply_local((Rule(Kind.TAG, b"x"),), wall=9.0)
    found = stored(purges.mark())
    come(purges, Rule(Kind.URL, URL))
    assert purges.judge(found) is Verdict.GONE
    assert purges.place == Position("g", 1, 8, "l8")


@pytest.mark.parametrize("lost", [lost for lost in Lost if lost is not Lost.FLOOD])
def test_after_a_loss_everything_older_is_stale_and_nothing_newer(lost: Lost) -> None:
    purges = following()
    old = stored(purges.mark())
    purges.judge(old)
    purges.adopt(Look("other", 2, 3, "x", ()), lost)
    assert old.checked != purges.position
    assert purges.judge(old) is Verdict.SOFT
    assert purges.judge(stored(purges.mark())) is Verdict.KEEP
    assert purges.lost[lost] == 1


def test_groups_that_a_response_invalidates_go_here_at_once_and_come_back_without_effect() -> None:
    purges = following()
    sent: list[tuple[Rule, ...]] = []
    purges.to_others = sent.append
    old = stored(purges.mark(), groups=(b"news",))
    purges.invalidate_groups(b"http://h", [b"news"])
    assert purges.judge(old) is Verdict.GONE
    assert sent == [(Rule(Kind.GROUP, group_name(b"http://h", b"news")),)]
    new = stored(purges.mark(), groups=(b"news",))
    come(purges, *sent[0], own=True)
    assert purges.judge(new) is Verdict.KEEP, "it was fetched after the invalidation"
    assert purges.place is not None
    assert purges.place.sequence == 8
    purges.invalidate_groups(b"http://h", [])
    assert len(sent) == 1
    purges.invalidate_groups(b"http://h", [EVERY])
    assert purges.judge(new) is Verdict.GONE, "more names than are told apart mean all of the origin"
    assert purges.judge(stored(purges.mark() - 1, key=b"http://other/")) is Verdict.KEEP


def test_a_parent_reaches_what_its_child_says() -> None:
    parent, child = following(), following()
    said = child.line().partition(b": ")[2].strip()
    assert parent.reached(said)
    come(child, ALL)
    said = child.line().partition(b": ")[2].strip()
    assert not parent.reached(said)
    come(parent, ALL)
    assert parent.reached(said)
    assert alone().line() == b""
    assert not alone().reached(said)


# -- across a restart --------------------------------------------------------------------------------------------------


def restarted(before: Purges, *, life: bytes = b"life0002", alone: bool = False) -> Purges:
    purges = Purges(Standing(alone=alone, lag_max=2.0), life, 0)
    purges.begin_from(before.kept())
    return purges


def begun(life: bytes = b"life0001") -> Purges:
    """An edge with a disk, on its first start."""
    purges = Purges(Standing(alone=False, lag_max=2.0), life, 0)
    purges.begin_from(None)
    purges.adopt(Look("g", 1, 7, "l7", ()), None)
    return purges


def test_an_object_on_disk_meets_what_came_since_the_file_was_written() -> None:
    first = begun()
    old = first.pack(stored(first.mark()))
    come(first, Rule(Kind.URL, URL))
    new = first.pack(stored(first.mark()))
    second = restarted(first)
    assert second.place == Position("g", 1, 7, "l7"), "what came since is read again"
    come(second, Rule(Kind.URL, URL))
    assert second.judge(stored(second.unpack(old))) is Verdict.GONE
    assert second.judge(stored(second.unpack(old), key=b"http://h/other")) is Verdict.KEEP
    assert second.judge(stored(second.unpack(new))) is Verdict.GONE, (
        "newer than the rule, but nobody can tell"
    )


def test_an_object_on_disk_from_before_the_forgotten_is_never_clean() -> None:
    first = begun()
    old = first.pack(stored(first.mark()))
    for _ in range(3):
        come(first, Rule(Kind.TAG, b"x"))
        first.swept(first.rules.number)
    new = first.pack(stored(first.mark()))
    second = restarted(first)
    assert first.rules.floor == 3
    assert second.place == Position("g", 1, 9, "l9")
    assert second.judge(stored(second.unpack(old))) is Verdict.SOFT
    assert second.judge(stored(second.unpack(new))) is Verdict.KEEP


def test_objects_of_two_lives_ago_are_told_apart_while_nothing_is_forgotten() -> None:
    first = begun()
    packed = first.pack(stored(first.mark()))
    third = restarted(restarted(first), life=b"life0003")
    assert third.judge(stored(third.unpack(packed))) is Verdict.KEEP
    come(third, Rule(Kind.URL, URL))
    assert third.judge(stored(third.unpack(packed))) is Verdict.GONE
    for _ in range(3):
        come(third, Rule(Kind.TAG, b"x"))
        third.swept(third.rules.number)
    fourth = restarted(third, life=b"life0004")
    assert fourth.judge(stored(fourth.unpack(packed))) is Verdict.SOFT


def test_a_purge_that_no_stream_carries_outlives_the_process() -> None:
    first = begun()
    old = first.pack(stored(first.mark()))
    first.apply_local((Rule(Kind.URL, URL),), wall=1.0)
    second = restarted(first)
    assert second.local == 1
    assert second.judge(stored(second.unpack(old))) is Verdict.GONE
    third = restarted(second, life=b"life0003")
    assert third.judge(stored(third.unpack(old))) is Verdict.GONE


def test_without_a_word_from_before_nothing_on_disk_is_clean() -> None:
    first = begun()
    packed = first.pack(stored(first.mark()))
    for second in (begun(b"life0002"), restarted(first, alone=True)):
        assert second.judge(stored(second.unpack(packed))) is Verdict.SOFT
    second = begun(b"life0002")
    assert second.judge(stored(second.unpack(second.pack(stored(second.mark()))))) is Verdict.KEEP


def test_a_loss_is_known_after_a_restart_too() -> None:
    first = begun()
    packed = first.pack(stored(first.mark()))
    first.adopt(Look("h", 2, 0, "x", ()), Lost.GENERATION)
    second = restarted(first)
    assert second.place == Position("h", 2, 0, "x")
    assert second.judge(stored(second.unpack(packed))) is Verdict.SOFT


def test_the_file_is_read_back_or_not_believed(tmp_path: Path) -> None:
    kept = Kept(
        Position("g", 1, 7, "l7"), (("ab", 3), ("cd", 0)), 2, (Rule(Kind.URL, b"http://h/\xff", True),)
    )
    assert position_file.read(tmp_path) is None
    position_file.write(tmp_path, kept)
    assert position_file.read(tmp_path) == kept
    position_file.write(tmp_path, kept._replace(place=None))
    assert position_file.read(tmp_path) == kept._replace(place=None)
    whole = (tmp_path / position_file.NAME).read_bytes()
    for broken in (
        b"",
        b"{}",
        b"null",
        b"[]",
        whole[:-9],
        whole.replace(b'"url"', b'"uri"'),
        b"\xff",
        b"[" * 9999,
    ):
        (tmp_path / position_file.NAME).write_bytes(broken)
        assert position_file.read(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == [position_file.NAME]

"""What a session holds, and the table of those in memory."""

from __future__ import annotations

import pytest

from origin.cart import MAX_COUNT, MAX_LINES, MAX_NAME, Refusal, Refused, Session, named
from origin.sessions_table import Table


def test_what_is_put_in_is_there_and_can_be_taken_out() -> None:
    session = Session("kim")
    for number in (3, 1, 3):
        session.put(number)
    assert (session.cart, session.pieces, session.version) == ({3: 2, 1: 1}, 3, 4)
    session.take(3)
    assert (session.cart, session.version) == ({1: 1}, 5)
    with pytest.raises(Refused) as refused:
        session.take(3)
    assert refused.value.refusal is Refusal.NO_ITEM


def test_a_cart_is_bounded_and_a_refusal_leaves_it_alone() -> None:
    session = Session("kim", dict.fromkeys(range(MAX_LINES), 1))
    for full in (MAX_LINES, 0):
        session.cart[0] = MAX_COUNT
        before = session.dump()
        with pytest.raises(Refused) as refused:
            session.put(full)
        assert refused.value.refusal is Refusal.FULL
        assert session.dump() == before


def test_a_session_survives_its_text() -> None:
    session = Session("김 \"<b>'", {5: 2, 1: 9}, 7)
    assert Session.load(session.dump()) == session


def test_two_versions_never_have_one_text() -> None:
    session, texts = Session("kim"), set()
    for _ in range(5):
        texts.add(session.dump())
        session.put(1)
        texts.add(session.dump())
        session.take(1)
    assert len(texts) == 10


@pytest.mark.parametrize(
    "user, password, name",
    [
        ("kim", "x", "kim"),
        (" 김 ", "x", "김"),
        ("a" * MAX_NAME, "x", "a" * MAX_NAME),
        ("", "x", None),
        ("  ", "x", None),
        ("kim", "", None),
        ("a" * (MAX_NAME + 1), "x", None),
        ("k\nim", "x", None),
        (None, "x", None),
        ("kim", None, None),
        (["kim"], "x", None),
        ("kim", 5, None),
    ],
)
def test_names(user: object, password: object, name: str | None) -> None:
    if name is not None:
        assert named(user, password) == name
        return
    with pytest.raises(Refused) as refused:
        named(user, password)
    assert refused.value.refusal is Refusal.NO_NAME


def test_every_refusal_has_a_sentence() -> None:
    assert len({refusal.sentence for refusal in Refusal}) == len(Refusal)


def test_a_session_lives_from_its_last_use() -> None:
    table = Table(lifetime=10)
    table.add("a", Session("a"), now=0)
    table.add("b", Session("b"), now=0)
    assert table.get("a", now=9) is not None
    assert table.get("b", now=10) is None
    assert table.get("a", now=18.9) is not None
    assert table.get("a", now=28.9) is None
    assert len(table) == 0


def test_where_there_is_no_room_the_one_used_longest_ago_goes() -> None:
    table = Table(lifetime=100, most=2)
    for now, name in enumerate(("a", "b")):
        table.add(name, Session(name), now)
    assert table.get("a", 2) is not None
    table.add("c", Session("c"), 3)
    assert [name for name in "abc" if table.get(name, 4)] == ["a", "c"]
    assert table.evicted == 1
    table.remove("a")
    table.remove("never there")
    assert table.get("a", 5) is None

"""The queue for a backend with room: its order, its bounds, who may go where; held against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdnlab.pool.breaker import Pending, Ticket


def test_first_come_first_served() -> None:
    line: Pending[str] = Pending(3, 1.0)
    for name in "abc":
        assert line.join(name, 10.0)
    assert [line.next_for("x", 10.5) for _ in range(4)] == ["a", "b", "c", None]
    assert (line.served, line.waited, len(line)) == (3, 1.5, 0)


def test_a_full_queue_turns_away_and_has_room_again() -> None:
    line: Pending[str] = Pending(2, 1.0)
    assert line.join("a", 0.0)
    assert line.join("b", 0.0, only="x")
    assert line.join("c", 0.0) is None
    assert line.full == 1
    assert line.next_for("x", 0.0) == "a"
    assert line.join("c", 0.0)


def test_nobody_waits_where_nobody_may() -> None:
    assert Pending(0, 1.0).join("a", 0.0) is None


def test_whoever_is_pinned_waits_for_that_backend_and_holds_nobody_up() -> None:
    line: Pending[str] = Pending(9, 1.0)
    line.join("for x", 0.0, only="x")
    line.join("any", 0.1)
    line.join("for x again", 0.2, only="x")
    assert line.next_for("y", 0.3) == "any"
    assert line.next_for("y", 0.3) is None
    assert line.next_for("x", 0.3) == "for x"


def test_nobody_goes_where_it_was() -> None:
    line: Pending[str] = Pending(9, 1.0)
    line.join("a", 0.0, never=frozenset({"x"}))
    line.join("b", 0.1)
    assert line.next_for("x", 0.2) == "b"
    assert line.next_for("x", 0.2) is None
    assert line.next_for("y", 0.2) == "a"


def test_who_leaves_is_not_called() -> None:
    line: Pending[str] = Pending(9, 1.0)
    ticket = line.join("a", 0.0)
    assert ticket
    line.leave(ticket)
    line.leave(ticket)
    assert (line.left, len(line), line.next_for("x", 0.1)) == (1, 0, None)


def test_whoever_has_waited_long_enough_is_told() -> None:
    line: Pending[str] = Pending(9, 1.0)
    line.join("a", 0.0)
    line.join("b", 0.2, only="x")
    line.join("c", 0.9)
    assert line.oldest() == 0.0
    assert line.overdue(0.9) == []
    assert sorted(line.overdue(1.25)) == ["a", "b"]
    assert (line.late, line.oldest(), len(line)) == (2, 0.9, 1)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "next", "leave", "late"]),
        st.sampled_from([None, "x", "y"]),
        st.floats(0.0, 0.6),
    ),
    max_size=80,
)


@given(STEPS, st.integers(0, 4))
def test_it_does_as_a_plain_list_would(steps: list[tuple[str, str | None, float]], most: int) -> None:
    line: Pending[int] = Pending(most, 1.0)
    plain: list[tuple[int, str | None, float, Ticket[int]]] = []
    now = 0.0
    for number, (step, name, pause) in enumerate(steps):
        now += pause
        if step == "join":
            ticket = line.join(number, now, only=name)
            assert (ticket is None) == (len(plain) >= most)
            if ticket is not None:
                plain.append((number, name, now, ticket))
        elif step == "next":
            backend = name or "z"
            found = next((each for each in plain if each[1] in (None, backend)), None)
            assert line.next_for(backend, now) == (found[0] if found else None)
            if found:
                plain.remove(found)
        elif step == "leave" and plain:
            line.leave(plain.pop(0)[3])
        elif step == "late":
            late = [each for each in plain if each[2] <= now - 1.0]
            assert sorted(line.overdue(now)) == [each[0] for each in late]
            plain = [each for each in plain if each not in late]
        assert len(line) == len(plain)
        assert line.oldest() == (plain[0][2] if plain else None)

"""The sweep: each member once after it is due, none before, and members may come and go while it runs."""

from __future__ import annotations

import asyncio
import math

import pytest

from cdnlab.net import tasks, timers
from cdnlab.net.clock import now
from cdnlab.net.timers import Sweep
from tests.support.peers import until


class Member:
    """Due at an instant; keeps when it was called."""

    def __init__(self, due: float, sweep: Sweep) -> None:
        self.due = due
        self.called: list[float] = []
        self.sweep = sweep
        sweep.members.add(self)

    def expire(self, now: float) -> None:
        """Once."""
        self.called.append(now)
        self.due = math.inf


async def test_members_are_called_once_they_are_due() -> None:
    sweep = Sweep(asyncio.get_running_loop())
    begin = now()
    soon, later, never = Member(begin, sweep), Member(begin + 0.3, sweep), Member(math.inf, sweep)
    await until(lambda: later.called, "the later one")
    assert len(soon.called) == len(later.called) == 1
    assert soon.called[0] - begin < timers.PERIOD + 0.2
    assert 0.3 <= later.called[0] - begin < 0.3 + timers.PERIOD + 0.2
    assert never.called == []
    sweep.stop()


async def test_a_member_that_left_is_not_called() -> None:
    sweep = Sweep(asyncio.get_running_loop())

    class Leaving(Member):
        def expire(self, now: float) -> None:
            super().expire(now)
            for other in list(self.sweep.members):
                if other is not self:
                    self.sweep.members.discard(other)

    members = [Leaving(0.0, sweep) for _ in range(5)]
    await until(lambda: any(member.called for member in members), "a call")
    await asyncio.sleep(2 * timers.PERIOD)
    assert sum(len(member.called) for member in members) == 1
    sweep.stop()


async def test_many_members_are_looked_at_in_batches() -> None:
    sweep = Sweep(asyncio.get_running_loop())
    members = [Member(0.0, sweep) for _ in range(3 * timers.BATCH + 1)]
    await until(lambda: all(member.called for member in members), "all of them")
    assert all(len(member.called) == 1 for member in members)
    sweep.stop()


async def test_tasks_are_kept_named_logged_and_ended(caplog: object) -> None:
    async def fails() -> None:
        raise RuntimeError("scripted")

    async def stays() -> None:
        await asyncio.sleep(3600)

    tasks.spawn(stays(), "stays")
    failing = tasks.spawn(fails(), "fails")
    assert tasks.running() == ("fails", "stays")
    await asyncio.wait([failing])
    await asyncio.sleep(0)
    assert tasks.running() == ("stays",)
    assert "task fails failed: RuntimeError: scripted" in caplog.text  # type: ignore[attr-defined]
    assert await tasks.cancel_all() == ()
    assert tasks.running() == ()


async def test_ticks_come_with_each_round_and_one_that_fails_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sweep = Sweep(asyncio.get_running_loop())
    ticked: list[float] = []

    def fails(instant: float) -> None:
        ticked.append(instant)
        raise ValueError("scripted")

    sweep.ticks += [fails, ticked.append]
    member = Member(now() + 0.3, sweep)
    await until(lambda: member.called, "the member is called all the same")
    assert len(ticked) >= 2
    assert ticked[0] == ticked[1], "one look at the clock serves all"
    assert "a tick of the sweep failed" in caplog.text
    sweep.stop()

"""How often one client may: the generic cell rate algorithm over a bounded table of clients. Pure.

Decides whether one more event of a key conforms now, and if not, after how many seconds it would. It must not know what
an event is, whose clock it is, or where else the same clients are counted.

Theory (ITU-T I.371, and ATM Forum TM 4.0, the "virtual scheduling" form; a leaky bucket with one number). An event
costs `interval` = 1 / rate seconds. A key has a theoretical arrival time, TAT: when its next event would come if it
kept to the rate. It may be early by `tolerance` = (burst - 1) x interval, no more:

    conforms        TAT - now <= tolerance;  then TAT = max(TAT, now) + interval
    else            it would in TAT - tolerance - now seconds; TAT stays, so who tries too often is not punished for it

A key whose TAT has passed is as good as one that was never seen, so it need not be kept. Two tables take turns: events
go to the younger one, and after `burst x interval` seconds, in which no TAT can lie ahead of its last event, the older
one is dropped as a whole. No timer, no sweep, O(1). If more clients come in that time than the table may hold, the
older ones are forgotten early and begin anew; that is counted.
"""

from __future__ import annotations

SHORTEST = 1.0
"""Seconds between two turns of the tables at least."""


class Gcra:
    """One rate, for each of many keys (bytes: str and bytes hash differently in each process)."""

    __slots__ = ("_old", "_turn", "_young", "burst", "forgotten", "interval", "limit", "period", "tolerance")

    def __init__(self, rate: float, burst: int, limit: int = 100_000, longer: float = 1.0) -> None:
        """`rate` events per second in the long run (above 0), `burst` at once (at least 1), `limit` keys remembered,
        `longer` times as long as their own events need (for `at_least`)."""
        if rate <= 0 or burst < 1 or limit < 2:
            raise ValueError("a rate is above 0, a burst at least 1, and two keys have to fit")
        self.interval = 1.0 / rate
        self.burst = burst
        self.tolerance = (burst - 1) * self.interval
        self.period = max(SHORTEST, burst * self.interval * longer)
        self.limit = limit
        self.forgotten = 0
        """Keys that were dropped while their TAT lay ahead, because there were too many."""
        self._young: dict[bytes, float] = {}
        self._old: dict[bytes, float] = {}
        self._turn = 0.0
        """When the tables take turns next."""

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._young) + len(self._old)

    def wait(self, key: bytes, now: float) -> float:
        """0.0 if one more event of `key` conforms, and count it; else the seconds after which it would."""
        arrival = self._arrival(key, now)
        ahead = arrival - now
        if ahead > self.tolerance:
            return ahead - self.tolerance
        self._put(key, (now if ahead < 0 else arrival) + self.interval, now)
        return 0.0

    def ahead(self, key: bytes, now: float) -> float:
        """How many seconds the TAT of `key` lies ahead, 0.0 at least."""
        return max(0.0, self._arrival(key, now) - now)

    def at_least(self, key: bytes, ahead: float, now: float) -> None:
        """Others know of more: the TAT of `key` lies that many seconds ahead, if ours does not lie further."""
        if now + ahead > self._arrival(key, now):
            self._put(key, now + ahead, now)

    def _arrival(self, key: bytes, now: float) -> float:
        arrival = self._young.get(key)
        return arrival if arrival is not None else self._old.get(key, now)

    def _put(self, key: bytes, arrival: float, now: float) -> None:
        if now >= self._turn:
            self._old, self._young = (self._young if now < self._turn + self.period else {}), {}
            self._turn = now + self.period
        elif len(self._young) >= self.limit // 2 and key not in self._young:
            self.forgotten += sum(1 for each in self._old.values() if each > now)
            self._old, self._young = self._young, {}
        self._young[key] = arrival

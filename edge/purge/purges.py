"""The purges as the cache sees them: what concerns a stored response, and whether this edge may know less than others.

Brings the rules and the standing together. One counter orders everything that this process applied, from the stream and
locally, so one number per object stands for both positions at which its fetch began: the rules above it are exactly
those of the stream above the one and of this edge above the other. Must not know the store, the disk or a loop: those
who do tell it what they heard. Pure.

A number means nothing outside its process. On disk and on the wire a `Position` stands for it.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from edge.object import StoredObject
from edge.purge import position as positions
from edge.purge.position import Lost, Position, Standing, State
from edge.purge.rules import KEEP, Kind, Rule, Rules, group_name
from edge.purge.tags import EVERY
from edge.purging import Verdict

APPLIED = 1000
"""Purges whose application is remembered, for whoever asks whether this edge has applied his."""
LIVES_MAX = 16
"""Earlier processes whose objects on disk are told apart; those of still earlier ones are revalidated."""
LOCAL_RULES_MAX = 10_000
BEHIND = -1
_MARK = struct.Struct(">8sq")
FIELD = b"Cdnlab-Purged"
"""PURGED_FIELD as it is written."""

_KEEP, _SOFT, _GONE = Verdict.KEEP, Verdict.SOFT, Verdict.GONE


class Applied(NamedTuple):
    """That a purge was applied here: its id, when (wall seconds), and how long after it was accepted."""

    id: str
    wall: float
    lag: float


class Kept(NamedTuple):
    """What is to be known of purges at the next start, when objects of this process are read from disk.

    place   where the stream stood when the rules were forgotten that came before; those since are read from it again
    lives   by the name of a process, the number from which on its marks are not below that
    local   how many purges no stream carried; `rules` are those of them since then
    """

    place: Position | None
    lives: tuple[tuple[str, int], ...]
    local: int
    rules: tuple[Rule, ...]


class Purges:
    """See edge.purging.Purges; what it has beyond is for the stream, the sweep and the admin API."""

    __slots__ = (
        "_began", "_floor_place", "_lapsed", "_listeners", "_lives", "_local_rules", "_old_place", "applied", "by_kind",
        "confirmed_until", "equal", "life", "local", "lost", "on_kept", "place", "position", "rules", "spoilt",
        "standing", "to_others", "verdicts",
    )  # fmt: skip

    def __init__(self, standing: Standing, life: bytes, keep: int = KEEP) -> None:
        """`life` is a random name of eight bytes for this process; `keep` is the rules'."""
        self.standing = standing
        self.life = life
        self.rules = Rules(keep)
        self.place: Position | None = None
        """Where in the stream this edge is; None before the first look and without a store."""
        self.local = 0
        """Purges that were applied here and that no stream carries."""
        self.spoilt = False
        """Whether such a purge was applied since the position was last confirmed."""
        self.position = 0
        self.confirmed_until = 0.0
        self.applied: deque[Applied] = deque(maxlen=APPLIED)
        self.by_kind: dict[tuple[str, str], int] = {
            (kind.value, how): 0 for kind in Kind for how in ("hard", "soft")
        }
        self.lost: dict[Lost, int] = dict.fromkeys(Lost, 0)
        self.verdicts: dict[Verdict, int] = {_SOFT: 0, _GONE: 0}
        self.to_others: Callable[[tuple[Rule, ...]], None] | None = None
        """Hands rules that were applied here to the other edges, without waiting."""
        self.equal: Callable[[bytes], bytes | None] | None = None
        """The key of a stored response that would answer for another key (No-Vary-Search), or None: who purges the one
        means the other as well."""
        self.on_kept: Callable[[], None] | None = None
        """Called when kept() has changed."""
        self._listeners: list[Callable[[], None]] = []
        self._began = 0
        self._lapsed = 0
        """The number at which this edge was last found to be behind."""
        self._lives: dict[str, int] = {life.hex(): 0}
        self._floor_place: Position | None = None
        self._old_place: Position | None = None
        self._local_rules: list[tuple[int, Rule]] = []
        self.tell()

    # -- the cache's side ----------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """What a fetch that begins now carries."""
        return self.rules.number

    def judge(self, stored: StoredObject) -> Verdict:
        """What the rules say of a stored response that were applied since its fetch began.

        One that stays is marked as compared; a soft-purged one is not, so that every use of it comes here again.
        """
        mark, checked, rules = stored.mark, stored.checked, self.rules
        since = mark if isinstance(mark, int) and mark > checked else checked
        verdict = rules.judge(stored.key, stored.tags, stored.groups, since)
        if verdict is _GONE:
            self.verdicts[_GONE] += 1
        elif stored.soft:
            verdict = _SOFT
        elif verdict is _SOFT:
            self.verdicts[_SOFT] += 1
            stored.soft = True
        else:
            stored.checked = rules.number
        return verdict

    admits = judge
    """The same, at the moment of storing."""

    def may_concern(self, key: bytes, mark: object, now: float) -> bool:
        """Could a rule newer than `mark` concern the response of a fetch for `key` whose head has not come yet? Then a
        later request must not share it. Nor must it while this edge is behind, nor a fetch from before it was: there
        may be rules that it does not know."""
        if self.state(now) is State.BEHIND:
            return True
        since = mark if isinstance(mark, int) else -1
        return since < self._lapsed or self.rules.may_concern(key, since)

    def state(self, now: float) -> State:
        """What this edge's word about purges is worth at an instant."""
        before = self.standing.state
        state = self.standing.at(now)
        if state is not before:
            self.rules.number += 1  # what begins from now on can be told from what began before
            self._lapsed = self.rules.number
            self.tell()
        return state

    def behind(self, now: float) -> bool:
        """Is this edge not ready?"""
        return self.state(now) is State.BEHIND

    def line(self) -> bytes:
        """The request field line that tells a parent where this edge stands; nothing without a stream."""
        if self.place is None:
            return b""
        return b"%b: %b%b\r\n" % (FIELD, self.place.id.encode(), b";local" if self.spoilt else b"")

    def reached(self, said: bytes) -> bool:
        """Has this edge applied all that another one had when it sent `line`? If not, what is stored here may be older
        than what that one was told to drop: it is revalidated."""
        return positions.reached(said, self.place)

    def invalidate_groups(self, origin: bytes, groups: Iterable[bytes]) -> None:
        """A response to an unsafe request says that these groups of its origin have changed (RFC 9875 §3): drop them
        here at once, and tell the others without waiting for it."""
        named = tuple(groups)
        rules = tuple(Rule(Kind.GROUP, group_name(origin, group)) for group in named)
        if EVERY in named:  # more than are told apart: all that this origin has
            rules = (Rule(Kind.PREFIX, origin + b"/"),)
        if rules:
            self.apply(rules)
            if self.to_others is not None:
                self.to_others(rules)

    # -- the side of those who hear of purges --------------------------------------------------------------------------

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after rules were applied."""
        self._listeners.append(listener)

    def apply(self, rules: Iterable[Rule]) -> None:
        """From now on these hold."""
        for rule in rules:
            self.by_kind[rule.kind.value, "soft" if rule.soft else "hard"] += 1
            self._add(rule)
            equal = self.equal(rule.name) if rule.kind is Kind.URL and self.equal is not None else None
            if equal is not None:
                self._add(rule._replace(name=equal))
        self._changed()

    def _add(self, rule: Rule) -> None:
        if self.rules.add(rule):
            self.lost[Lost.FLOOD] += 1
            self._forgotten()

    def apply_local(self, rules: tuple[Rule, ...], wall: float) -> str:
        """A purge that was posted to this edge and that no stream carries; its id."""
        self.local += 1
        self.spoilt = self.place is not None
        self.apply(rules)
        self._local_rules += [(self.rules.number, rule) for rule in rules]
        if len(self._local_rules) > LOCAL_RULES_MAX:
            self.distrust(Lost.FLOOD)
        purge = f"{self.life.hex()}-{self.local}"
        self.applied.append(Applied(purge, wall, 0.0))
        return purge

    def apply_entry(
        self, entry: positions.Entry, rules: tuple[Rule, ...], *, own: bool, wall: float, lag: float
    ) -> None:
        """The next entry of the stream, which `compare` has found to go on from here; `own` if it was applied here
        before it was sent."""
        assert self.place is not None
        if not own:
            self.apply(rules)
        self.place = self.place._replace(sequence=entry.sequence, link=entry.link)
        self.applied.append(Applied(self.place.id, wall, lag))

    def adopt(self, look: positions.Look, lost: Lost | None) -> None:
        """Go on from where a look ends. With a reason, everything older is stale."""
        first, self.place = self.place is None, Position(look.generation, look.epoch, look.last, look.link)
        if lost is not None:
            self.distrust(lost)
        elif first:
            self._floor_place = self._old_place = self.place
            self._keep()

    def distrust(self, lost: Lost) -> None:
        """Everything stored before now is to be revalidated."""
        self.lost[lost] += 1
        self.rules.distrust()
        self._forgotten()
        self._changed()

    def swept(self, number: int) -> None:
        """A pass that began when this was the newest rule has compared all that is in memory."""
        floor = self.rules.floor
        if self.rules.swept(number):
            old, self._old_place = self._old_place, self.place
            if self.rules.floor > floor:
                self._floor_place = old
                self._rise()

    def _forgotten(self) -> None:
        """No rule is kept any more."""
        self._floor_place = self._old_place = self.place
        self._rise()

    def _rise(self) -> None:
        """The floor is higher: what was marked before it, in this life or an earlier one, can't be compared."""
        floor = self.rules.floor
        self._lives = {self.life.hex(): floor}
        self._local_rules = [row for row in self._local_rules if row[0] > floor]
        self._keep()

    def _keep(self) -> None:
        if self.on_kept is not None:
            self.on_kept()

    def heard(self, *, asked: float, now: float, current: bool) -> State:
        """A read of the store, sent at `asked`, has ended: everything in it is applied, or it failed."""
        if current:
            if self.standing.current(asked, now) is State.CONFIRMED:
                self.spoilt = False
        else:
            self.standing.failed(now)
        self.tell()
        return self.standing.state

    def tell(self) -> None:
        """Bring what the hot path compares up to date."""
        standing = self.standing
        self.confirmed_until = standing.usable_until
        self.position = BEHIND if standing.usable_until < standing.until else self.rules.number
        if standing.state is State.BEHIND:
            self.position = BEHIND

    def _changed(self) -> None:
        self.tell()
        for listener in self._listeners:
            listener()

    # -- what outlives the process -------------------------------------------------------------------------------------

    def kept(self) -> Kept:
        """What the next process is to know."""
        lives = tuple(list(self._lives.items())[-LIVES_MAX:])
        rules = tuple(dict.fromkeys(rule for _, rule in self._local_rules))
        return Kept(self._floor_place, lives, self.local, rules)

    def begin_from(self, kept: Kept | None) -> None:
        """Before anything is read from disk: what the process before this one left. With None, or a word that does not
        fit (there was a stream and now is none, or the other way round), nothing on disk can be trusted."""
        alone = self.standing.state is State.ALONE
        if kept is None or (kept.place is None) is not alone:
            self.rules.distrust()
            self._began = self.rules.number
            self._rise()
            self.tell()
            return
        self.place = self._floor_place = self._old_place = kept.place
        self.local = kept.local
        self._lives = {**dict(kept.lives), self.life.hex(): 0}
        self.apply(kept.rules)
        self._local_rules = [(self.rules.number, rule) for rule in kept.rules]
        self._keep()

    def pack(self, stored: StoredObject) -> bytes:
        """The mark of an object that was just judged, as it is written to disk: 16 bytes."""
        mark = stored.mark if isinstance(stored.mark, int) else -1
        return _MARK.pack(self.life, max(mark, stored.checked))

    def unpack(self, raw: bytes) -> int:
        """The mark of an object on disk. One of an earlier process has met the rules that were forgotten by then, or
        counts as older than all."""
        if len(raw) != _MARK.size:
            return -1
        life, mark = _MARK.unpack(raw)
        if life == self.life:
            return int(mark)
        threshold = self._lives.get(life.hex())
        return self._began if threshold is not None and mark >= threshold else -1

    def status(self, now: float) -> dict[str, Any]:
        """The "purges" of /status."""
        state = self.state(now)
        until = self.standing.until
        return {
            "state": state.value,
            "sentence": state.sentence,
            "position": self.place.id if self.place is not None else None,
            "local": self.local,
            "when_blind": "revalidate" if self.standing.revalidates else "serve",
            "unconfirmed": max(0.0, round(now - (until - self.standing.lag_max), 3))
            if state is State.CONFIRMED
            else None,
            "rules": self.rules.count,
            "swept_to": self.rules.floor,
            "number": self.rules.number,
        }

"""What may be done to a node on purpose while it runs, how that is asked for, and what it means together.  Pure.

Theory. Faults are asked for as a set, and a new set takes the place of the old one. A connection, then each request on
it, meets them in this order:

    refuse     who connects is refused; what is open ends as soon as it is idle
    delay      the request waits, and then meets the rest
    hang       it is held until the faults end, and then goes on as if nothing had been
    reset      its connection is reset
    errors     with this chance it is answered 503
    slow_body  what is answered by then comes slowly after its head

So `delay` with `errors` gives late errors, `errors` with `slow_body` gives both. `hang` or `reset` leave nothing for
what follows, and exclude each other.

Health checks meet them like any request, but for the node's own answer (`/.well-known/cdnlab/alive`), which `errors`
passes over: it speaks for the process, never for what an application answers, and a share of errors is what ejection
is there to find. A check that failed by chance would take the backend out and in again before that could be seen. The
admin API meets none.

A store has no bodies, and its faults are met in the client of each node: `slow_body` is not among them, `delay` holds
the answer back, and `errors` are answers that refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from math import inf, isfinite
from typing import Any

LONGEST = 3600.0
"""Seconds of a delay, at the most."""
FOREVER = 30 * 86400.0
"""Seconds that faults may be asked for."""


class Fault(StrEnum):
    """One kind; the sentence says what clients meet."""

    REFUSE = "refuse"
    DELAY = "delay"
    HANG = "hang"
    RESET = "reset"
    ERRORS = "errors"
    SLOW_BODY = "slow_body"

    @property
    def sentence(self) -> str:
        """What happens, in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Fault.REFUSE: "connections are refused",
    Fault.DELAY: "requests wait before they are handled",
    Fault.HANG: "requests are not answered",
    Fault.RESET: "the connections of requests are reset",
    Fault.ERRORS: "a share of the requests is answered 503",
    Fault.SLOW_BODY: "bodies come slowly",
}


class BadFaults(ValueError):
    """Faults that can't be understood: what is wrong, and the remedy."""

    def __init__(self, error: str, remedy: str) -> None:
        super().__init__(f"{error}; {remedy}")
        self.error = error
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Faults:
    """A set of them. `delay` in seconds, `errors` a share from 0 to 1, `slow_body` in bytes a second; 0 is none."""

    refuse: bool = False
    delay: float = 0.0
    hang: bool = False
    reset: bool = False
    errors: float = 0.0
    slow_body: int = 0

    @property
    def kinds(self) -> tuple[Fault, ...]:
        """Those that are set, in the order in which they are met."""
        return tuple(kind for kind in Fault if getattr(self, kind))

    @property
    def words(self) -> str:
        """As people read them: "delay 300 ms, errors 20 %"."""
        return ", ".join(_WORDS[kind].format(_figure(kind, getattr(self, kind))) for kind in self.kinds)

    def as_json(self) -> dict[str, Any]:
        """Those that are set, as `parse` takes them."""
        return {str(kind): getattr(self, kind) for kind in self.kinds}


_WORDS = {
    Fault.REFUSE: "refuse",
    Fault.DELAY: "delay {}",
    Fault.HANG: "hang",
    Fault.RESET: "reset",
    Fault.ERRORS: "errors {} %",
    Fault.SLOW_BODY: "bodies at {}B/s",
}


def _figure(kind: Fault, value: float) -> str:
    if kind is Fault.DELAY:
        return f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"
    if kind is Fault.ERRORS:
        return f"{value * 100:g}"
    return f"{value / 1000:g} k" if value >= 1000 else f"{value:g} "


def parse(asked: Mapping[str, Any], *, store: bool = False) -> tuple[Faults, float | None]:
    """The faults in a JSON object, and for how many seconds (None: until they are cleared). BadFaults.

    `store`: they are the store's, which has no bodies.
    """
    known = [field.name for field in fields(Faults) if not (store and field.name == Fault.SLOW_BODY)]
    unknown = sorted(set(asked) - {*known, "for"})
    if unknown:
        what = "the store" if store else "a node"
        raise BadFaults(f'{what} has no fault "{unknown[0]}"', f"known: {', '.join(known)}, for")
    found = Faults(
        refuse=_flag(asked, "refuse"),
        delay=_number(asked, "delay", LONGEST, "seconds, such as 0.3"),
        hang=_flag(asked, "hang"),
        reset=_flag(asked, "reset"),
        errors=_number(asked, "errors", 1.0, "a share from 0 to 1, such as 0.2"),
        slow_body=int(_number(asked, "slow_body", 1e12, "bytes a second, such as 10000")),
    )
    if not found.kinds:
        raise BadFaults("no fault is named", f"name at least one: {', '.join(known)}; or clear")
    if found.hang and found.reset:
        raise BadFaults("a request cannot both hang and be reset", "choose one")
    seconds = _number(asked, "for", FOREVER, "seconds, such as 30")
    return found, seconds or None


def _flag(asked: Mapping[str, Any], name: str) -> bool:
    value = asked.get(name, False)
    if not isinstance(value, bool):
        raise BadFaults(f'"{name}" is {value!r:.60}', "write true or false")
    return value


def _number(asked: Mapping[str, Any], name: str, most: float, unit: str) -> float:
    if name not in asked:
        return 0.0
    value = asked[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFaults(f'"{name}" is {value!r:.60}', f"write {unit}")
    try:
        value = float(value)
    except OverflowError:
        value = inf
    if not isfinite(value):
        raise BadFaults(f'"{name}" is {value!r}', f"write {unit}")
    least = 1 if name == Fault.SLOW_BODY else 0
    if not least <= value <= most or not value:
        raise BadFaults(f'"{name}" is {value:g}', f"write {unit}; above 0 and at most {most:g}")
    return value

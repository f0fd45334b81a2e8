"""Fields in any combination: what the edge reuses is what a second, plain reading of the RFCs reuses.

The reading below is an oracle of its own: it takes the fields as they were chosen, never as bytes, and decides by the
sentences of RFC 9111 §3, §4, §5.2, RFC 5861, RFC 8246 and RFC 9213, in their order. Numbers are chosen so that no
answer depends on a second more or less.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import GONE, Answer, answer
from tests.edge.conformance.site import Site

GUESSABLE = {200, 203, 404, 501}
KNOWN = {200, 203, 302, 404, 501}
Directives = dict[str, int | None]
Pool = dict[str, tuple[float, list[int | None]]]
"""Directive to how often it is there, and its values."""


@dataclass
class Case:
    """One response, and the request that comes after it."""

    status: int = 200
    control: Directives = field(default_factory=dict)
    targeted: Directives | None = None
    spoilt: bool = False
    """CDN-Cache-Control is there and does not parse."""
    expires: int | None = None
    """Seconds from now; 0: `Expires: 0`, which is no date; None: not there."""
    age: int = 0
    date: int | None = 0
    changed: int | None = None
    """Seconds since Last-Modified."""
    authorized: bool = False
    ask: Directives = field(default_factory=dict)
    then: int = 200
    """What the origin answers when it is asked again; 0: nothing."""

    # -- the reading -----------------------------------------------------------------------------------------------

    @property
    def decides(self) -> Directives:
        """RFC 9213 §2.2."""
        return self.control if self.targeted is None else self.targeted

    @property
    def storable(self) -> bool:
        """RFC 9111 §3, §3.5, §5.2.2.3."""
        said, understood = self.decides, self.status in KNOWN
        if "must-understand" in said and not understood:
            return False
        if "no-store" in said and "must-understand" not in said:
            return False
        if self.authorized and not {"public", "must-revalidate", "s-maxage"} & said.keys():
            return False
        return "private" not in said and self.lifetime is not None

    @property
    def lifetime(self) -> float | None:
        """RFC 9111 §4.2.1, §4.2.2: a guess is a tenth of the time since the change, at most an hour, and nothing where
        there is no ground for one. None: the response is not one that may have any (§3)."""
        for name in ("s-maxage", "max-age"):
            if name in self.decides:
                return self.decides[name] or 0
        if self.expires is not None and self.targeted is None:
            return self.expires - (self.date or 0) if self.expires else 0
        if self.status not in GUESSABLE and "public" not in self.decides:
            return None
        return 0 if self.changed is None else min((self.changed + (self.date or 0)) / 10, 3600)

    @property
    def current_age(self) -> int:
        """RFC 9111 §4.2.3, the more conservative way."""
        return max(self.age, -(self.date or 0), 0)

    @property
    def reused(self) -> bool:
        """Without asking: RFC 9111 §4, §4.2.4, §5.2.1, RFC 5861 §3, RFC 8246 §2."""
        if not self.storable or "no-cache" in self.decides or "no-cache" in self.ask:
            return False
        assert self.lifetime is not None
        left, ask = self.lifetime - self.current_age, self.ask
        if "max-age" in ask and self.current_age > (ask["max-age"] or 0):
            return left > 0 and "immutable" in self.decides
        if "min-fresh" in ask and left < (ask["min-fresh"] or 0):
            return False
        if left > 0:
            return True
        if self.forbids_stale:
            return False
        willing = "max-age" not in ask or "max-stale" in ask
        if willing and -left < (self.decides.get("stale-while-revalidate") or 0):
            return True
        return "max-stale" in ask and (ask["max-stale"] is None or -left <= ask["max-stale"])

    @property
    def forbids_stale(self) -> bool:
        return bool({"no-cache", "must-revalidate", "proxy-revalidate", "s-maxage"} & self.decides.keys())

    @property
    def stands_in(self) -> bool:
        """For an origin that fails: RFC 9111 §4.2.4, §4.3.3, RFC 5861 §4."""
        if not self.storable or self.forbids_stale or {"no-cache", "max-age", "min-fresh"} & self.ask.keys():
            return False
        assert self.lifetime is not None
        stale_for = self.current_age - self.lifetime
        if "stale-if-error" in self.decides:
            return stale_for < (self.decides["stale-if-error"] or 0)
        return self.then == 0 and stale_for < 3600

    # -- as bytes --------------------------------------------------------------------------------------------------

    def says(self, choose: random.Random) -> Answer:
        lines = ['ETag: "1"', *written("Cache-Control", self.control, choose)]
        if self.targeted is not None:
            members = [name if value is None else f"{name}={value}" for name, value in self.targeted.items()]
            lines.append(f"CDN-Cache-Control: {', '.join(members)}")
        elif self.spoilt:
            lines.append(choose.choice(["CDN-Cache-Control: max-age=9999,", "CDN-Cache-Control: No-Store"]))
        if self.expires is not None:
            lines.append(f"Expires: {{{self.expires:+d}}}" if self.expires else "Expires: 0")
        if self.age or choose.random() < 0.2:
            lines.append(f"Age: {self.age}{choose.choice(['', '', ', 7'])}")
        if self.changed is not None:
            lines.append(f"Last-Modified: {{{-self.changed:+d}}}")
        choose.shuffle(lines)
        return answer(*lines, status=self.status, date=self.date)


def written(name: str, directives: Directives, choose: random.Random) -> list[str]:
    """The directives in one of the many ways to write them."""
    words = []
    for directive, value in directives.items():
        spelt = choose.choice([directive, directive, directive.upper(), directive.title()])
        argument = "" if value is None else "=" + choose.choice([str(value), str(value), f'"{value}"'])
        words.append(spelt + argument)
    words += choose.sample(['foo="max-age=1, no-store"', "x-private", "bar=1"], choose.choice([0, 0, 1]))
    choose.shuffle(words)
    at = choose.randrange(len(words) + 1)
    lines = [words[:at], words[at:]] if choose.random() < 0.3 else [words]
    return [f"{name}: {choose.choice([', ', ',', ' ,  ']).join(line)}" for line in lines if line]


def drawn(choose: random.Random) -> Case:
    """Any case."""

    def some(pool: Pool) -> Directives:
        names = [name for name, (chance, _) in pool.items() if choose.random() < chance]
        return {name: choose.choice(pool[name][1]) for name in names}

    none: list[int | None] = [None]
    response: Pool = {
        "max-age": (0.6, [0, 50, 3600]),
        "s-maxage": (0.15, [0, 50, 3600]),
        "no-store": (0.07, none),
        "no-cache": (0.07, none),
        "private": (0.07, none),
        "public": (0.2, none),
        "must-revalidate": (0.12, none),
        "proxy-revalidate": (0.07, none),
        "must-understand": (0.07, none),
        "immutable": (0.1, none),
        "stale-while-revalidate": (0.15, [20, 600]),
        "stale-if-error": (0.2, [20, 600]),
    }
    request: Pool = {
        "max-age": (0.12, [30, 500]),
        "min-fresh": (0.1, [1000]),
        "max-stale": (0.15, [None, 20, 600]),
        "no-cache": (0.05, none),
    }
    targeted = some(response) if choose.random() < 0.25 else None
    return Case(
        status=choose.choice([200, 200, 200, 203, 302, 404, 599]),
        control=some(response),
        targeted=targeted or None,
        spoilt=choose.random() < 0.1,
        expires=choose.choice([None, None, 3600, -60, 50, 0]),
        age=choose.choice([0, 0, 100, 300]),
        date=choose.choice([0, 0, 0, None, -200, 1000]),
        changed=choose.choice([None, None, 864000, 4500]),
        authorized=choose.random() < 0.1,
        ask=some(request),
        then=choose.choice([200, 200, 503, 0]),
    )


@shows(
    "9111/4.2-1",
    "9111/4.2.1-1",
    "9111/4.2.1-4",
    "9111/4-4",
    "9111/4.2.4-1",
    "9111/4.2.4-2",
    "9111/3-8",
    "9213/2.2-1",
)
@pytest.mark.parametrize("seed", range(16))
def test_any_combination_is_reused_exactly_where_the_rfcs_let_it(site: Site, seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(25):
        case = drawn(choose)
        says, page = case.says(choose), site.page()
        first = page.get(*(("Authorization: Basic a",) if case.authorized else ()), answer=says)
        assert (first.status, first.body) == (case.status, says.body)
        ask = written("Cache-Control", case.ask, choose) if case.ask else []
        then = answer(status=case.then, body=b"then") if case.then else GONE
        again = page.get(*ask, answer=then)
        expected = case.reused or (case.then != 200 and case.stands_in)
        what = f"{case}\n{says.fields}\n{ask}\n{again}"
        assert (again.body == says.body) == expected, what
        if case.reused and again.status == case.status and again.body == says.body:
            assert again.age in range(case.current_age, case.current_age + 10), what
        if not expected:
            assert again.asked, what
            assert again.status in ((case.then,) if case.then else (502, 504)), what

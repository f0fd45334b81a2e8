"""Did one user receive what is another's? Pure.

What is a user's own is learnt by asking past the cache, each user several times: a mark (a word, a pair of words, a
field, the whole body) that every answer to one user bears and no answer to the other is that user's. So times, request
numbers and tokens that are new in each answer are nobody's: they are not in every answer to one user. Answers are asked
for in the order that ORDER says. Between any two of one user's there is one of the other's, so a clock that stands
still for one user stands still for the other; and two or three servers that take turns serve each user both ways.

Two more things need no comparison: a cookie that the cache hands to somebody else, and a secret (the value of a
session's cookie, a word of the login) that stands in somebody else's answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cdnlab.lab.audit_sample import WHOLE, Sample
from cdnlab.lab.worded import Worded

ORDER = (0, 1, 0, 1, 1, 0)
"""Which of the two users asks next, past the cache."""
SECRET_LENGTH = 8
"""Characters from which a cookie's value is sought in what others receive: shorter ones stand anywhere by chance."""
SHOWN = 40


class Kind(Worded):
    """What was received that is another's."""

    BODY = "body", "a body that is made for one user was given to another"
    COOKIE = "cookie", "a cookie that was set for one user was given to another"
    SECRET = "secret", "what only one user and the site should know stands in another's answer"


@dataclass(frozen=True, slots=True)
class Leak:
    """One user's `what`, received by another."""

    kind: Kind
    owner: str
    receiver: str
    place: str
    what: str
    """A piece of it that a person recognises, shortened."""


@dataclass(slots=True)
class Party:
    """One who asks: a user, or a visitor who comes with no cookie."""

    name: str
    label: str = ""
    """The first word of its login: what its pages likely call it."""
    secrets: set[str] = field(default_factory=set)
    """What was told only to this party, or by it: values of its cookies, words of its login."""
    given: set[tuple[str, str]] = field(default_factory=set)
    """The cookies that it was the first to be set, by way of the cache or past it: (name, value)."""
    own: set[tuple[str, str]] = field(default_factory=set)
    """Those of them that it was set past the cache."""


@dataclass(slots=True)
class Owned:
    """What past the cache was seen to be whose."""

    marks: Mapping[str, frozenset[bytes]]
    """By user: what all answers to it bear and none to the other."""
    common: frozenset[bytes]
    """What every answer to either bears."""
    noisy: bool
    """Whether one user's answers differ among themselves."""

    @property
    def private(self) -> bool:
        """Whether the two users get different answers."""
        return any(self.marks.values())


def owned(references: Sequence[Sample], users: Sequence[str]) -> Owned:
    """What the answers past the cache have in common, and what is one user's alone."""
    by_user = {user: [one.marks for one in references if one.who == user] for user in users}
    if not all(by_user.values()):
        return Owned({user: frozenset() for user in users}, frozenset(), noisy=False)
    always = {user: frozenset.intersection(*found) for user, found in by_user.items()}
    marks = {
        user: always[user].difference(
            *(found for other in users if other != user for found in by_user[other])
        )
        for user in users
    }
    noisy = any(len({one.digest for one in references if one.who == user}) > 1 for user in users)
    return Owned(marks, frozenset.intersection(*always.values()), noisy)


def leaks(samples: Iterable[Sample], parties: Mapping[str, Party], own: Owned) -> list[Leak]:
    """What the answers by way of the cache show: each kind once for each owner, receiver and place."""
    found: dict[tuple[str, str, str, str], Leak] = {}
    for sample in samples:
        for owner in parties.values():
            if owner.name == sample.who:
                continue
            for leak in _between(sample, owner, parties, own):
                found.setdefault((leak.kind, leak.owner, leak.receiver, leak.place), leak)
    return list(found.values())


def _between(sample: Sample, owner: Party, parties: Mapping[str, Party], own: Owned) -> Iterable[Leak]:
    receiver = parties[sample.who]

    def leak(kind: Kind, what: str) -> Leak:
        return Leak(kind, owner.name, receiver.name, sample.place, shortened(what))

    strange = sample.marks & own.marks.get(owner.name, frozenset())
    if strange:
        yield leak(Kind.BODY, _telling(strange, owner))
    for name, value in sample.cookies if sample.told.hit or not sample.told.known else ():
        if (name, value) in owner.given and individual(name, value, receiver, parties.values()):
            yield leak(Kind.COOKIE, f"{name}={_hidden(value)}")
    if not strange:
        known = receiver.secrets | {value for _, value in sample.cookies}
        for secret in sorted(owner.secrets - known):
            if sample.holds(secret):
                yield leak(Kind.SECRET, _hidden(secret))
                break


def individual(name: str, value: str, receiver: Party, parties: Iterable[Party]) -> bool:
    """Whether a cookie is one party's own: past the cache it is not what everybody is set, nor what `receiver` is.

    Where nobody could ask past the cache, a long value is taken for somebody's.
    """
    everybody = list(parties)
    holders = sum((name, value) in party.own for party in everybody)
    compared = any(party.own for party in everybody)
    return (
        (compared or len(value) >= SECRET_LENGTH)
        and bool(value)
        and holders < 2
        and (name, value) not in receiver.own
    )


def learn_secrets(parties: Iterable[Party], references: Iterable[Sample]) -> None:
    """Make the values of each party's own cookies its secrets; what two are set, or others' answers bear, is none."""
    everybody = list(parties)
    seen = list(references)
    for party in everybody:
        for name, value in party.given:
            shared = any((name, value) in other.given for other in everybody if other is not party)
            shown = any(one.holds(value) for one in seen if one.who != party.name)
            if len(value) >= SECRET_LENGTH and not shared and not shown:
                party.secrets.add(value)


def _telling(marks: frozenset[bytes], owner: Party) -> str:
    """The mark that says most to a person: its login's first word, else a long word that is no secret, else any."""
    texts = sorted(mark.decode("utf-8", "replace") for mark in marks if not mark.startswith(WHOLE))
    if owner.label in texts:
        return owner.label
    texts = [text for text in texts if not any(secret in text for secret in owner.secrets)]
    words = [text for text in texts if " " not in text]
    best = max(words or texts, default="the whole body", key=lambda text: (len(text) <= SHOWN, len(text)))
    return best if best.isprintable() else "the whole body"


def shortened(text: str) -> str:
    """At most SHOWN characters of it."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _hidden(value: str) -> str:
    """Enough of a secret to find it, and not enough to use it."""
    return value if len(value) < SECRET_LENGTH else f"{value[: min(6, len(value) // 3)]}…"

"""What would surprise the author of a page behind a shared cache. Pure.

Decides from the answers of an audit, by fields and by comparing bodies, never from a path or a file's name. Each
surprise is a member with a sentence; what is particular to the page goes beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cdnlab.lab.audit_leaks import Owned
from cdnlab.lab.audit_rules import Ruling, in_words
from cdnlab.lab.audit_sample import Sample, is_field
from cdnlab.lab.worded import Worded

WORTH_CODING = 1024
"""Bytes from which compressing a body saves packets."""
_TEXTS = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "image/svg+xml",
)
LONG_GUESS = 60
"""Seconds: a shorter guess surprises nobody."""


class Surprise(Worded):
    """What is worth a look."""

    NOT_CACHED = "not-cached", "nothing is cached"
    NOT_SEEN = "not-seen", "its fields let a shared cache store it, and no answer came from one"
    PRIVATE_STORED = "private-stored", "what differs for each user is stored in a shared cache"
    STRANGERS = "strangers-answer", "who has logged in gets what was made for strangers"
    CHANGES = (
        "changes-by-itself",
        "each answer of the site is another one for the same user, and the cache repeats one",
    )
    NOT_PASSED = (
        "not-passed",
        "the cache would not be passed, so whose a body is could not be learnt by comparing",
    )
    GUESSED = "guessed", "the site says nothing about how long it is fresh, so caches guess"
    VARY_SPLITS = "vary-splits", "Vary keeps copies apart that are the same"
    VARY_ANY = "vary-any", "Vary: * makes each answer good for one request only"
    NO_VALIDATOR = (
        "no-validator",
        "it has neither ETag nor Last-Modified, so a stale copy has to be sent anew",
    )
    VALIDATOR_CHANGES = "validator-changes", "its ETag is another one each time though the body is the same"
    NO_304 = "no-304", "a client that has it is sent it again: the condition is answered with the whole body"
    COOKIE_STORED = "set-cookie-stored", "answers from the cache set a cookie"
    QUERY_SPLITS = "query-splits", "a parameter that changes nothing makes another copy"
    BY_PLACE = "differs-by-place", "the two places give different answers"
    AGE_BACK = "age-backwards", "the Age of one stored answer ran backwards"
    NOT_CODED = "not-compressed", "it is text, and is sent without compression to clients that take it"


@dataclass(frozen=True, slots=True)
class Finding:
    """A surprise and what is particular to it here."""

    kind: Surprise
    detail: str = ""


@dataclass(slots=True)
class Evidence:
    """Everything that was asked about one page. Samples in the order in which they came."""

    users: frozenset[str]
    logged_in: bool
    """Whether the two are known to the site, and so no strangers to it."""
    references: list[Sample] = field(default_factory=list)
    """Past the cache, as the two users."""
    strangers: list[Sample] = field(default_factory=list)
    """Past the cache, without cookies."""
    cached: list[Sample] = field(default_factory=list)
    """Through the cache."""
    varied: dict[str, list[Sample]] = field(default_factory=dict)
    """Past the cache with other values of a request field, by the field's lower-case name."""
    conditional: Sample | None = None
    """Through the cache, by a client that holds the last answer."""
    coded: Sample | None = None
    """Through the cache, by a client that takes compressed bodies."""
    noisy_query: Sample | None = None
    """Through the cache, with a parameter that no application reads."""

    @property
    def judged(self) -> list[Sample]:
        """The answers by which it is said whether the page is cached: the users', where they have logged in."""
        return [one for one in self.cached if one.who in self.users or not self.logged_in]


def was_cached(evidence: Evidence) -> bool:
    """Whether any of the answers that are judged came from a cache."""
    return any(one.told.hit for one in evidence.judged)


def why_not(evidence: Evidence, ruling: Ruling | None) -> tuple[str, str]:
    """(reason, sentence) why nothing is cached: what the cache says, else what the rules say; "" and "" if it is."""
    if was_cached(evidence):
        return "", ""
    for one in reversed(evidence.judged):
        if one.told.detail and not one.told.stored:
            return one.told.detail, in_words(one.told.detail) or "the cache gave this word and no other"
    return (ruling.refused, ruling.sentence) if ruling is not None else ("", "")


def surprises(evidence: Evidence, ruling: Ruling | None, own: Owned) -> list[Finding]:
    """All that is worth a look, what matters most first."""
    found: list[Finding] = []
    if not evidence.cached:
        return found
    cached = was_cached(evidence)
    found += _about_storing(evidence, ruling, cached)
    found += _about_privacy(evidence, own)
    if cached or (ruling is not None and not ruling.refused):
        found += _about_answers(evidence, own)
        found += _about_vary(evidence, ruling, own)
        found += _about_validators(evidence)
    found += _about_coding(evidence)
    return found


def _about_storing(evidence: Evidence, ruling: Ruling | None, cached: bool) -> Iterable[Finding]:
    reason, sentence = why_not(evidence, ruling)
    if ruling is not None and "*" in ruling.vary:
        yield Finding(Surprise.VARY_ANY)
    elif reason:
        yield Finding(Surprise.NOT_CACHED, f"{reason}: {sentence}")
    elif not cached:
        yield Finding(Surprise.NOT_SEEN, _unseen(evidence))
    if cached and ruling is not None and ruling.heuristic and ruling.lifetime >= LONG_GUESS:
        yield Finding(Surprise.GUESSED, f"a tenth of the time since Last-Modified: {ruling.lifetime} s")
    carrying = [one for one in evidence.cached if one.told.hit and one.cookies]
    if carrying:
        names = sorted({name for one in carrying for name, _ in one.cookies})
        yield Finding(Surprise.COOKIE_STORED, ", ".join(names))


def _unseen(evidence: Evidence) -> str:
    if not any(one.told.known for one in evidence.cached):
        return "no field of any answer names a cache on the way"
    return "" if any(one.told.stored for one in evidence.cached) else "the cache did not say why"


def _about_privacy(evidence: Evidence, own: Owned) -> Iterable[Finding]:
    if not evidence.references:
        yield Finding(Surprise.NOT_PASSED)
        return
    hits = [one for one in evidence.cached if one.told.hit and one.who in evidence.users]
    if own.private and any(one.marks & own.marks[one.who] for one in hits):
        yield Finding(Surprise.PRIVATE_STORED, "say private, or no-store, where a page is made for one user")
    bare = [one for one in hits if own.marks[one.who] and not one.marks & own.marks[one.who]]
    others = frozenset().union(*own.marks.values())
    if evidence.logged_in and any(not one.marks & others for one in bare):
        yield Finding(Surprise.STRANGERS, "their own answers differ: say private, or Vary: Cookie")
    if own.noisy and hits:
        yield Finding(
            Surprise.CHANGES, "a time, a number or a token; see that none of it may be used once only"
        )


def _about_answers(evidence: Evidence, own: Owned) -> Iterable[Finding]:
    by_place: dict[str, list[Sample]] = {}
    for one in evidence.cached:
        by_place.setdefault(one.place, []).append(one)
    difference = _by_place(by_place, own)
    if difference:
        yield Finding(Surprise.BY_PLACE, difference)
    backwards = next((text for samples in by_place.values() if (text := _age_back(samples))), "")
    if backwards:
        yield Finding(Surprise.AGE_BACK, backwards)
    noisy = evidence.noisy_query
    if noisy is not None and not noisy.told.hit and _same(noisy, evidence.references, own):
        yield Finding(Surprise.QUERY_SPLITS, "such as utm_source: let the route keep or drop parameters")


def _by_place(by_place: Mapping[str, Sequence[Sample]], own: Owned) -> str:
    """How two places differ in what is the same for everybody past the cache."""
    if len(by_place) < 2:
        return ""
    one, other, *_ = by_place.items()
    statuses = [sorted({sample.status for sample in samples}) for _, samples in (one, other)]
    if statuses[0] != statuses[1]:
        return f"status {_list(statuses[0])} in {one[0]}, {_list(statuses[1])} in {other[0]}"
    if own.private or not own.common:
        return ""
    shared = [
        frozenset.intersection(*(sample.marks for sample in samples)) & own.common
        for _, samples in (one, other)
    ]
    if not own.noisy and shared[0] != shared[1]:
        ages = [max((sample.told.age or 0) for sample in samples) for _, samples in (one, other)]
        return f"{one[0]} has one of {ages[0]} s, {other[0]} one of {ages[1]} s"
    return ""


def _list(numbers: Iterable[int]) -> str:
    return " and ".join(map(str, numbers))


def _age_back(samples: Sequence[Sample]) -> str:
    """Two hits on one stored answer (its Date and its body tell) whose Age went down. By a second it may: two caches
    round differently."""
    last: dict[tuple[str, bytes], int] = {}
    for one in samples:
        age = one.told.age
        if not one.told.hit or age is None:
            continue
        stored = (one.answer.field("date"), one.digest)
        before = last.get(stored, 0)
        if age < before - 1:
            return f"{before} s, then {age} s{' in ' + one.place if one.place else ''}"
        last[stored] = age
    return ""


def _same(sample: Sample, references: Sequence[Sample], own: Owned) -> bool:
    """Whether an answer's body is, but for what changes by itself, what everybody gets."""
    if not references or own.private or not own.common or sample.status != references[0].status:
        return False
    if not own.noisy:
        return sample.digest == references[0].digest
    return all(is_field(mark) for mark in own.common - sample.marks)


def _same_fields(sample: Sample, references: Sequence[Sample]) -> bool:
    """Whether it bears no field that none of the references bears."""
    known = frozenset().union(*(one.marks for one in references))
    return not any(is_field(mark) for mark in sample.marks - known)


def _about_vary(evidence: Evidence, ruling: Ruling | None, own: Owned) -> Iterable[Finding]:
    needless = []
    for name in ruling.vary if ruling is not None else ():
        if name == "cookie":
            if evidence.references and not own.private and _strangers_same(evidence, own):
                needless.append("Cookie (users and strangers get the same)")
        elif name == "accept-encoding":
            if evidence.coded is not None and not evidence.coded.answer.field("content-encoding"):
                needless.append("Accept-Encoding (it is never compressed)")
        elif name in evidence.varied and all(
            _same(one, evidence.references, own) and _same_fields(one, evidence.references)
            for one in evidence.varied[name]
        ):
            needless.append(f"{name.title()} (other values get the same)")
    if needless:
        yield Finding(Surprise.VARY_SPLITS, ", ".join(needless))


def _strangers_same(evidence: Evidence, own: Owned) -> bool:
    return bool(evidence.strangers) and all(
        _same(one, evidence.references, own) for one in evidence.strangers
    )


def _about_validators(evidence: Evidence) -> Iterable[Finding]:
    answers = [one for one in evidence.cached if one.status == 200] or evidence.cached
    last = answers[-1].answer
    tags = {one.answer.field("etag") for one in evidence.references}
    if not last.field("etag") and not last.field("last-modified"):
        if answers[-1].status == 200:
            yield Finding(Surprise.NO_VALIDATOR)
    elif len({one.digest for one in evidence.references}) == 1 and len(tags) > 1:
        yield Finding(Surprise.VALIDATOR_CHANGES, " and ".join(sorted(tags)[:2]))
    elif (
        evidence.conditional is not None and evidence.conditional.status == 200 and answers[-1].status == 200
    ):
        yield Finding(
            Surprise.NO_304, "with If-None-Match" if last.field("etag") else "with If-Modified-Since"
        )


def _about_coding(evidence: Evidence) -> Iterable[Finding]:
    coded = evidence.coded
    if coded is not None and worth_coding(coded):
        kind = coded.answer.field("content-type").lower().partition(";")[0]
        yield Finding(Surprise.NOT_CODED, f"{coded.answer.size:,} bytes of {kind}")


def worth_coding(sample: Sample) -> bool:
    """Whether an answer came as it is, although it would be smaller in a content coding."""
    answer = sample.answer
    text = answer.field("content-type").lower().startswith(_TEXTS)
    transformable = "no-transform" not in answer.field("cache-control").lower()
    large = sample.status == 200 and answer.size >= WORTH_CODING
    return text and large and transformable and not answer.field("content-encoding")

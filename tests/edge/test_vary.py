"""Normal forms: values that ask the same have the same one, and no others do."""

from __future__ import annotations

from random import Random
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.preferences import LONGEST, codings, languages
from edge.vary import variant_key

SAME_CODINGS = [
    [b"gzip, br", b"br,gzip", b"BR , gZip", b"gzip;q=1, br;q=1.000", b",br,, gzip,", b"x-gzip, br", b"br, gzip, gzip"],
    [b"gzip;q=0.5, br", b"br, gzip;q=0.500", b"br,gzip ; Q=0.5", b"br, gzip\t;\tq=0.5", b"br, gzip;q=0.5, deflate;q=0"],
    [b"", b"identity", b"identity;q=0.1", b"gzip;q=0", b"br;q=0, gzip;q=0.000", b",", b"identity, gzip;q=0"],
    [b"*;q=0", b"identity;q=0", b"gzip;q=0, *;q=0", b"identity;q=0, *;q=0.0"],
    [b"gzip, *;q=0", b"gzip, identity;q=0", b"identity;q=0,gzip"],
    [b"gzip, identity, *;q=0", b"identity, gzip", b"gzip,identity;q=1.0"],
    [b"gzip;q=0, *", b"*, gzip;q=0.0"],
    [b"*", b"*;q=1"],
    [b"gzip, *;q=0.5", b"*;q=0.5,gzip"],
    [b"gzip"],
    [b"x-gzip;q=0.3", b"gzip;q=0.3"],
    [b"gzip, identity;q=0.5", b"identity;q=0.50,gzip"],
    # not of the grammar, or at odds with itself: itself
    [b"gzip;q=2"],
    [b"gzip;q=0.1234"],
    [b"gzip;level=1"],
    [b"gzip;q"],
    [b"gzip, gzip;q=0.5"],
    [b"gzip;q=0.5, gzip"],
    [b'"gzip"'],
    [b"gzip br"],
]  # fmt: skip

SAME_LANGUAGES = [
    [b"ko, en;q=0.5", b"en;q=0.5, ko", b"KO,EN;q=0.500", b"ko;q=1 , en ; q=0.5", b"ko, ko, en;q=0.5"],
    [b"ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", b"en;q=0.7, en-us;q=0.8, ko;q=0.9, ko-kr"],
    [b"en, de"],
    [b"de, en"],
    [b"en"],
    [b"en;q=0.5"],
    [b"en-US"],
    [b"*"],
    [b"en, *;q=0.1", b"*;q=0.1, en"],
    [b"en, *;q=0", b"*;q=0.0, en"],
    [b"en, fr;q=0, de;q=0", b"de;q=0, en, fr;q=0.000"],
    [b"en, fr;q=0"],
    [b"fr;q=0"],
    [b"", b","],
    [b"en_US"],
    [b"en-*"],
    [b"abcdefghi"],
    [b"en;q=1.1"],
    [b"en, en;q=0.5"],
]  # fmt: skip


@pytest.mark.parametrize("normal, groups", [(codings, SAME_CODINGS), (languages, SAME_LANGUAGES)])
def test_the_table(normal: object, groups: list[list[bytes]]) -> None:
    """Each row is one preference in several spellings, and no two rows share a form."""
    assert callable(normal)
    forms = [{normal(value) for value in group} for group in groups]
    assert [(group, form) for group, form in zip(groups, forms, strict=True) if len(form) != 1] == []
    assert len(set.union(*forms)) == len(groups)


# -- two independent readings of what a value asks ----------------------------------------------------------------

TOKENS = ["gzip", "x-gzip", "br", "identity", "*"]
RANGES = ["en", "en-us", "de", "*"]
WEIGHTS = [None, 1000, 900, 500, 1, 0]


def members(names: list[str]) -> st.SearchStrategy[list[tuple[str, int | None]]]:
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(WEIGHTS))
    return st.lists(pairs, max_size=5, unique_by=lambda pair: pair[0].removeprefix("x-"))


def spelt(pairs: list[tuple[str, int | None]], random: Random) -> bytes:
    """One of the many ways to write it."""
    pieces = []
    for name, weight in pairs:
        name = "".join(random.choice((letter.upper(), letter)) for letter in name)
        space = [random.choice(("", " ", "\t", "  ")) for _ in range(4)]
        if weight is None or (weight == 1000 and random.random() < 0.3):
            pieces.append(f"{space[0]}{name}{space[1]}")
            continue
        number = f"{weight / 1000:.3f}"
        if random.random() < 0.7:
            number = number.rstrip("0").rstrip(random.choice((".", "_")))
        pieces.append(f"{space[0]}{name}{space[1]};{space[2]}{random.choice('qQ')}={number}{space[3]}")
        if random.random() < 0.2:
            pieces.append(space[0])
    return ",".join(pieces).encode()


def coding_weights(pairs: list[tuple[str, int | None]]) -> object:
    """What RFC 9110 §12.5.3 makes of it: the weight of each coding there could be, 0 for what is refused."""
    said = {name.removeprefix("x-"): 1000 if weight is None else weight for name, weight in pairs}
    star = said.get("*")
    weights: dict[str, object] = {
        name: said.get(name, star or 0) for name in ("gzip", "br", "any other", "identity")
    }
    if star is None and "identity" not in said:
        weights["identity"] = "taken when nothing else is"
    if not any(weights[name] for name in ("gzip", "br", "any other")):
        weights["identity"] = bool(weights["identity"])  # the only one left: compared with nothing
    return weights


def language_wishes(pairs: list[tuple[str, int | None]]) -> object:
    said = [(1000 if weight is None else weight, name) for name, weight in pairs]
    ordered = {weight: [name for other, name in said if other == weight] for weight, _ in said if weight}
    return ordered, {name for weight, name in said if not weight}


@settings(deadline=None)
@given(members(TOKENS), st.randoms(use_true_random=False))
def test_equal_codings_are_equal(pairs: list[tuple[str, int | None]], random: Random) -> None:
    shuffled = random.sample(pairs, len(pairs))
    assert codings(spelt(pairs, random)) == codings(spelt(shuffled, random))


@settings(deadline=None)
@given(members(TOKENS), members(TOKENS), st.randoms(use_true_random=False))
def test_codings_that_share_a_form_ask_the_same(
    one: list[tuple[str, int | None]], two: list[tuple[str, int | None]], random: Random
) -> None:
    same = codings(spelt(one, random)) == codings(spelt(two, random))
    if same:
        assert coding_weights(one) == coding_weights(two)
    elif not {"*"} & {name for name, _ in (*one, *two)}:
        assert coding_weights(one) != coding_weights(two)


@settings(deadline=None)
@given(members(RANGES), st.randoms(use_true_random=False))
def test_equal_languages_are_equal(pairs: list[tuple[str, int | None]], random: Random) -> None:
    """Whatever the order, as long as that of languages of one weight stays."""
    places = {weight: random.random() for _, weight in pairs if weight}
    places |= {None: places.setdefault(1000, random.random())}
    moved = sorted(pairs, key=lambda pair: places.get(pair[1], random.random()))
    assert languages(spelt(pairs, random)) == languages(spelt(moved, random))
    assert language_wishes(pairs) == language_wishes(moved)


@settings(deadline=None)
@given(members(RANGES), members(RANGES), st.randoms(use_true_random=False))
def test_languages_share_a_form_exactly_where_they_wish_the_same(
    one: list[tuple[str, int | None]], two: list[tuple[str, int | None]], random: Random
) -> None:
    same = languages(spelt(one, random)) == languages(spelt(two, random))
    assert same is (language_wishes(one) == language_wishes(two))


@settings(deadline=None)
@given(st.text('gzipbr*;q=01.,- \t"x', max_size=24))
def test_a_form_is_its_own_form(text: str) -> None:
    """So a value of its own never meets the form of another."""
    for normal in (codings, languages):
        form = normal(text.encode())
        assert normal(form) == form
        assert b"\n" not in form
        assert b"\0" not in form


# -- what it costs, and where it is used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"," * 100_000,
        b"a," * 50_000,
        b"gzip;q=" + b"0" * 100_000,
        b"a" * 1024,
        b"a;" + b" " * 1020,
        b"a-" * 512,
    ],
    ids=lambda value: f"{value[:6].decode()} {len(value)}",
)
def test_hostile_values_cost_little(value: bytes) -> None:
    """A thousand different ones in a generous second each; what is long is not looked into."""
    began = process_time()
    for number in range(1000):
        for normal in (codings, languages):
            odd = value[: -len(b"%d" % number)] + b"%d" % number
            form = normal(odd)
            assert len(value) <= LONGEST or form is odd
    assert process_time() - began < 4.0


def test_variant_keys_use_them_for_these_two_fields_only() -> None:
    names = (b"accept", b"accept-encoding", b"accept-language")

    def key(**fields: bytes) -> bytes:
        return variant_key(names, lambda name: fields.get(name.decode().replace("-", "_")))

    assert key(accept_encoding=b"gzip, br", accept_language=b"en;q=0.5,ko") == key(
        accept_encoding=b"BR,x-gzip", accept_language=b"KO, en;q=0.50"
    )
    assert key(accept=b"a, b") != key(accept=b"b, a")
    assert key(accept=b"A") != key(accept=b"a")
    distinct = [
        key(), key(accept_encoding=b""), key(accept_language=b""), key(accept_encoding=b"", accept_language=b""),
        key(accept_encoding=b"gzip"), key(accept_language=b"gzip"), key(accept=b"gzip"),
    ]  # fmt: skip
    assert len(set(distinct)) == len(distinct)

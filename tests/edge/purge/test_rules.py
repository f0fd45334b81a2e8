"""Rules against stored responses: what each kind covers, what is forgotten, and a model that forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.purge import rules as module
from edge.purge.prefixes import Prefixes
from edge.purge.rules import Kind, Newest, Rule, Rules, group_name, origin_of
from edge.purge.tags import EVERY
from edge.purging import Verdict

KEY = b"http://shop.example/a/b?c=1"
ORIGIN = b"http://shop.example"


def verdict(
    rule: Rule, key: bytes = KEY, tags: tuple[bytes, ...] = (), groups: tuple[bytes, ...] = ()
) -> Verdict:
    rules = Rules()
    since = rules.number
    rules.add(rule)
    assert rules.judge(key, tags, groups, rules.number) is Verdict.KEEP, "what was fetched later is clean"
    return rules.judge(key, tags, groups, since)


@pytest.mark.parametrize(
    ("rule", "hit"),
    [
        (Rule(Kind.URL, KEY), True),
        (Rule(Kind.URL, b"http://shop.example/a/b"), False),
        (Rule(Kind.URL, b"https://shop.example/a/b?c=1"), False),
        (Rule(Kind.TAG, b"shoes"), True),
        (Rule(Kind.TAG, b"Shoes"), False),
        (Rule(Kind.TAG, b"news"), False),
        (Rule(Kind.GROUP, group_name(ORIGIN, b"news")), True),
        (Rule(Kind.GROUP, group_name(b"https://shop.example", b"news")), False),
        (Rule(Kind.GROUP, group_name(b"http://shop.example:80", b"news")), False),
        (Rule(Kind.GROUP, group_name(ORIGIN, b"shoes")), False),
        (Rule(Kind.ALL, b""), True),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
def test_what_a_rule_names(rule: Rule, hit: bool, soft: bool) -> None:
    expected = (Verdict.SOFT if soft else Verdict.GONE) if hit else Verdict.KEEP
    assert verdict(rule._replace(soft=soft), tags=(b"x", b"shoes"), groups=(b"news",)) is expected


@pytest.mark.parametrize(
    ("prefix", "covered", "spared"),
    [
        ("http://h/", ["/", "/a", "/a/b", "/?q", "//"], []),
        ("http://h", ["/", "/a"], []),
        ("http://h/a", ["/a", "/a?x", "/a/", "/a/b", "/a//b"], ["/", "/ab", "/b/a", "/A"]),
        ("http://h/a/", ["/a/", "/a/b", "/a//b", "/a/?x"], ["/a", "/a?x", "/ab", "/"]),
        ("http://h/a/b", ["/a/b", "/a/b/c", "/a/b?/x"], ["/a", "/a/bc", "/a?/b"]),
        ("http://h/a//", ["/a//", "/a//b"], ["/a/", "/a/b", "/a"]),
    ],
)
def test_a_prefix_ends_where_a_segment_does(prefix: str, covered: list[str], spared: list[str]) -> None:
    rule = Rule(Kind.PREFIX, prefix.encode())
    for path in covered:
        assert verdict(rule, b"http://h" + path.encode()) is Verdict.GONE, path
        assert verdict(rule, b"https://h" + path.encode()) is Verdict.KEEP
        assert verdict(rule, b"http://hh" + path.encode()) is Verdict.KEEP
    for path in spared:
        assert verdict(rule, b"http://h" + path.encode()) is Verdict.KEEP, path


def test_the_harder_of_two_rules_counts_and_the_later_of_each() -> None:
    rules = Rules()
    rules.add(Rule(Kind.URL, KEY))
    fetched = rules.number
    rules.add(Rule(Kind.TAG, b"t", soft=True))
    assert rules.judge(KEY, (b"t",), (), fetched) is Verdict.SOFT
    assert rules.judge(KEY, (b"t",), (), fetched - 1) is Verdict.GONE
    rules.add(Rule(Kind.URL, KEY, soft=True))
    assert rules.judge(KEY, (), (), fetched) is Verdict.SOFT, "the hard one is older than the fetch"
    assert rules.judge(KEY, (), (), 0) is Verdict.GONE, "the soft one does not hide the hard one"


def test_a_response_with_too_many_names_bears_every_one() -> None:
    assert verdict(Rule(Kind.TAG, b"x"), tags=(EVERY,)) is Verdict.GONE
    assert verdict(Rule(Kind.GROUP, group_name(b"http://other", b"x")), groups=(EVERY,)) is Verdict.GONE
    assert verdict(Rule(Kind.URL, b"http://other/"), tags=(EVERY,), groups=(EVERY,)) is Verdict.KEEP


def test_what_is_older_than_the_forgotten_is_never_clean() -> None:
    rules = Rules(keep=0)
    before = rules.number
    rules.add(Rule(Kind.TAG, b"t"))
    between = rules.number
    assert rules.swept(rules.number)
    assert rules.floor == 0, "a rule is kept for one pass more than its own"
    rules.add(Rule(Kind.TAG, b"u"))
    assert rules.swept(rules.number)
    assert rules.floor == between
    assert rules.judge(KEY, (), (), before) is Verdict.SOFT, "nobody can know any more"
    assert rules.judge(KEY, (b"t",), (), before) is Verdict.SOFT
    assert rules.judge(KEY, (b"u",), (), before) is Verdict.GONE
    assert rules.judge(KEY, (b"t",), (), between) is Verdict.KEEP
    assert rules.may_concern(KEY, before)
    assert rules.count == 1


def test_a_pass_that_is_older_than_the_rules_lets_none_be_forgotten() -> None:
    rules = Rules(keep=0)
    begun = rules.number
    rules.add(Rule(Kind.TAG, b"t"))
    rules.swept(begun)
    rules.add(Rule(Kind.TAG, b"u"))
    assert not rules.swept(begun)
    assert (rules.floor, rules.count) == (0, 2)


def test_few_rules_are_kept_for_fetches_that_take_long() -> None:
    rules = Rules(keep=10)
    for _ in range(10):
        rules.add(Rule(Kind.TAG, b"t"))
        assert not rules.swept(rules.number)
    assert rules.judge(KEY, (), (), 0) is Verdict.KEEP


def test_a_flood_of_rules_ends_in_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RULES_MAX", 100)
    rules = Rules()
    for number in range(100):
        assert not rules.add(Rule(Kind.URL, b"http://h/%d" % number))
    fetched = rules.number
    assert rules.add(Rule(Kind.URL, KEY))
    assert rules.count == 0
    assert rules.judge(b"http://h/clean", (), (), fetched) is Verdict.SOFT
    assert rules.judge(b"http://h/clean", (), (), rules.number) is Verdict.KEEP


def test_distrust_softens_everything_older_and_nothing_newer() -> None:
    rules = Rules()
    rules.distrust()
    assert rules.judge(KEY, (), (), rules.number - 1) is Verdict.SOFT
    assert rules.judge(KEY, (), (), rules.number) is Verdict.KEEP


def test_a_fetch_whose_head_has_not_come_may_be_meant_by_any_name() -> None:
    rules = Rules()
    begun = rules.number
    rules.add(Rule(Kind.URL, b"http://shop.example/other"))
    assert not rules.may_concern(KEY, begun)
    rules.add(Rule(Kind.TAG, b"t"))
    assert rules.may_concern(KEY, begun)
    assert not rules.may_concern(KEY, rules.number)


def test_the_origin_of_a_key() -> None:
    assert origin_of(KEY) == ORIGIN
    assert origin_of(b"https://h:8443/") == b"https://h:8443"
    assert origin_of(b"http://h") == b"http://h"


def test_a_key_of_slashes_is_looked_at_once() -> None:
    """Work counted, not time: each node below a rule is asked for once."""
    prefixes = Prefixes()
    prefixes.newest(b"http://h" + b"/a" * 100, Newest)
    asked = []

    class Counting(dict):  # type: ignore[type-arg]
        def get(self, key: object, default: object = None) -> object:
            asked.append(key)
            return super().get(key, default)

    root = prefixes._origins[b"http://h"]
    root.below = Counting(root.below)
    assert list(prefixes.covering(b"http://h" + b"/" * 8000)) == []
    assert len(asked) <= 2


# -- a model that forgets nothing ------------------------------------------------------------------------------------

NAMES = st.sampled_from([b"t", b"u", b"v"])
PATHS = st.sampled_from([b"", b"/", b"/a", b"/a/", b"/a/b", b"/a/b?q", b"/b", b"/ab"])
ORIGINS = st.sampled_from([b"http://h", b"https://h"])
RULES = st.one_of(
    st.builds(lambda o, p, s: Rule(Kind.URL, o + (p or b"/"), s), ORIGINS, PATHS, st.booleans()),
    st.builds(lambda n, s: Rule(Kind.TAG, n, s), NAMES, st.booleans()),
    st.builds(lambda o, n, s: Rule(Kind.GROUP, group_name(o, n), s), ORIGINS, NAMES, st.booleans()),
    st.builds(lambda o, p, s: Rule(Kind.PREFIX, o + p.partition(b"?")[0], s), ORIGINS, PATHS, st.booleans()),
    st.builds(lambda s: Rule(Kind.ALL, b"", s), st.booleans()),
)


def covers(rule: Rule, key: bytes, tags: tuple[bytes, ...], groups: tuple[bytes, ...]) -> bool:
    """The same, said plainly."""
    if rule.kind is Kind.PREFIX:
        path, name = key.partition(b"?")[0], rule.name
        name = name + b"/" if name.count(b"/") == 2 else name
        return path.startswith(name) if name.endswith(b"/") else path == name or path.startswith(name + b"/")
    if rule.kind is Kind.GROUP:
        return rule.name in [b"/".join(key.split(b"/")[:3]) + b" " + group for group in groups]
    return rule.kind is Kind.ALL or (rule.name == key if rule.kind is Kind.URL else rule.name in tags)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(RULES, st.sampled_from(["sweep", "lost"])), max_size=12),
    st.data(),
)
def test_no_purge_is_ever_overlooked(steps: list[Rule | str], data: st.DataObject) -> None:
    """Whatever is applied, swept and forgotten: a response is kept only if no rule since its fetch covers it, and one
    that a rule covers is at least soft."""
    rules, history = Rules(keep=data.draw(st.sampled_from([0, 2, 100]))), []
    for step in steps:
        if step == "sweep":
            rules.swept(rules.number)
        elif step == "lost":
            rules.distrust()
            history.append((rules.number, None))
        else:
            rules.add(step)
            history.append((rules.number, step))
    key = data.draw(ORIGINS) + (data.draw(PATHS) or b"/")
    tags = tuple(data.draw(st.sets(NAMES)))
    groups = tuple(data.draw(st.sets(NAMES)))
    since = data.draw(st.integers(0, rules.number))
    meant = [
        rule
        for number, rule in history
        if number > since and (rule is None or covers(rule, key, tags, groups))
    ]
    said = rules.judge(key, tags, groups, since)
    if any(rule is None or rule.soft for rule in meant):
        assert said is not Verdict.KEEP
    if any(rule is not None and not rule.soft for rule in meant):
        assert said is Verdict.GONE or (said is Verdict.SOFT and since < rules.floor)
    if not meant:
        assert said is Verdict.KEEP or (said is Verdict.SOFT and since < rules.floor)
    if meant and since >= rules.floor:
        assert rules.may_concern(key, since) or not any(
            rule is not None and covers(rule, key, (), ()) for rule in meant
        )

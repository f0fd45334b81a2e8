"""What users ask for and where they stand: the rules, without a socket."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.plan.errors import PlanError
from cdnlab.plan.load import load, parse
from loadtests.popularity import Zipf
from loadtests.sites import ITEMS, PAGES, BadPaths, DemoSite, OwnSite, read_paths
from loadtests.standing import SHARES, BadPlaces, Crowd, addresses, shares
from loadtests.visits import Browser, Parsed, directives, references, span
from origin.items import Items
from origin.pages import PAGES as SITE_PAGES
from tests.support.labs import ROOT, SMALL

TOPOLOGY = load()


# -- popularity -----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.floats(0, 2), st.integers(0, 2**32))
def test_picks_follow_zipfs_law(count: int, exponent: float, seed: int) -> None:
    zipf, chance, picks = Zipf(count, exponent), Random(seed), 4000
    found = Counter(zipf.pick(chance) for _ in range(picks))
    assert set(found) <= set(range(count))
    whole = sum(1 / (rank + 1) ** exponent for rank in range(count))
    for rank in range(count):
        share = 1 / (rank + 1) ** exponent / whole
        assert zipf.share(rank) == pytest.approx(share)
        deviation = (picks * share * (1 - share)) ** 0.5
        assert abs(found[rank] - picks * share) <= 6 * deviation + 1, rank  # one in 500 million


def test_one_seed_is_one_sequence() -> None:
    def asked(seed: int) -> list[str]:
        site, chance = DemoSite(50, 0.9, seed), Random(7)
        return [path for _ in range(30) for path in (site.page(chance), *site.more(chance))]

    assert asked(1) == asked(1) != asked(2)


# -- sites ----------------------------------------------------------------------------------------------------


def test_the_demo_sites_things_exist() -> None:
    assert set(PAGES) == set(SITE_PAGES)
    assert set(range(1, ITEMS + 1)) == set(Items().rows)


@pytest.mark.parametrize(
    "path, name",
    [
        ("/", "/"),
        ("/?a=1", "/?"),
        ("/users/17/orders", "/users/:id/orders"),
        ("/o/9f86d081884c7d65/x", "/o/:id/x"),
        ("/o/3b241101-e2bb-4255-8caf-4136c566a962", "/o/:id"),
        ("/static/app.3f9a2c1d88.js", "/static/app.*.js"),
        ("/static/bootstrap.min.js", "/static/bootstrap.min.js"),
        ("/cafe", "/cafe"),
    ],
)
def test_own_paths_are_grouped(path: str, name: str) -> None:
    assert OwnSite((path,), 1).name(path) == name


def test_own_paths_make_few_names() -> None:
    site = OwnSite(("/",), 1)
    assert (
        len({site.name(f"/page-{chr(97 + number % 26)}{'x' * (number // 26)}") for number in range(500)})
        == 61
    )


def test_demo_objects_share_one_name() -> None:
    site, chance = DemoSite(100, 0.5, 1), Random(1)
    paths = {path for _ in range(200) for path in site.more(chance)}
    assert len(paths) > 50
    assert {site.name(path) for path in paths} == {"/behave", "/api/items/:id"}


def test_a_file_of_paths() -> None:
    assert read_paths(["/a  # first", "", "# none", "/b?c=1"]) == ("/a", "/b?c=1")
    for lines, said in ((["/a", "b"], "line 2"), (["/a b"], "line 1"), ([], "no path")):
        with pytest.raises(BadPaths, match=said):
            read_paths(lines)


# -- standing -------------------------------------------------------------------------------------------------


def test_the_shares_are_those_of_the_readme() -> None:
    text = (ROOT / "loadtests" / "README.md").read_text()
    assert all(f"| `{code}` | {share} |" in text for code, share in SHARES.items())
    assert set(SHARES) == set(TOPOLOGY.place_codes())


def test_places_as_told() -> None:
    assert shares("", TOPOLOGY) == SHARES
    assert shares("icn=3, fra", TOPOLOGY) == {"icn": 3, "fra": 1}
    for text in ("icn=0", "icn=x", "icn=", "icn,icn", "icn=1001", "icn=²"):
        with pytest.raises(BadPlaces):
            shares(text, TOPOLOGY)
    with pytest.raises(PlanError, match="icm"):
        shares("icm", TOPOLOGY)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(list(SHARES)), st.integers(1, 9), min_size=1), st.integers(0, 8))
def test_users_stand_by_their_shares_whoever_comes_and_goes(wanted: dict[str, int], offset: int) -> None:
    crowd = Crowd(wanted, {code: addresses(code, TOPOLOGY) for code in wanted}, offset)
    total = sum(wanted.values())
    there = [crowd.enter() for _ in range(3 * total)]
    assert crowd.present == Counter({code: 3 * share for code, share in wanted.items()})
    for code in there[::2]:
        crowd.leave(code)
    for _ in there[::2]:
        crowd.enter()
    assert crowd.present == crowd.most == Counter({code: 3 * share for code, share in wanted.items()})


def test_every_client_has_an_address_of_its_place() -> None:
    table = TOPOLOGY.prefix_table()
    for code in SHARES:
        found = addresses(code, TOPOLOGY)
        assert len(set(found)) == 155
        assert {table.lookup(address) for address in found} == {code}
    crowd = Crowd({"icn": 1}, {"icn": addresses("icn", TOPOLOGY)})
    assert len({crowd.address("icn") for _ in range(155)}) == 155


def test_a_place_without_a_prefix_has_no_address() -> None:
    topology = parse(SMALL + "places: {sin: {prefixes: []}, ams: {latitude: 52, longitude: 4}}")
    assert addresses("sin", topology) == addresses("ams", topology) == ()
    assert not Crowd({"sin": 1}, {"sin": ()}).addressed


def test_addresses_are_taken_on_loopback_only() -> None:
    here, there = addresses("icn", TOPOLOGY), ("198.18.82.228", "198.18.82.229")
    assert Crowd({"icn": 1, "nrt": 1}, {"icn": here, "nrt": addresses("nrt", TOPOLOGY)}).addressed
    assert not Crowd({"icn": 1, "nrt": 1}, {"icn": here, "nrt": there}).addressed


# -- browsers -------------------------------------------------------------------------------------------------


def test_what_a_page_names() -> None:
    html = """<link rel="preload" href="/no.css"><link rel="Shortcut ICON" href="i.png">
      <link rel=stylesheet href=../s.css>
      <script src="/a.js?v=1"></script><script>x</script><img src="http://elsewhere.example/p.png"><img src="data:,x">
      <img src="/a.js?v=1"><img src=" /b.png#top "><img src="//here:99/x"><img src="http://[bad">"""
    assert references("/x/y/", html) == ("/x/y/i.png", "/x/s.css", "/a.js?v=1", "/b.png")


def test_html_is_read_although_it_is_coded_and_only_html() -> None:
    import gzip

    html, parsed = b"<img src=/a>", Parsed()
    coded = {"content-type": "text/html; charset=utf-8", "content-encoding": "gzip"}
    assert parsed.names("/", coded, gzip.compress(html), b"1") == ("/a",)
    assert parsed.names("/", coded, b"not gzip", b"2") == ()
    assert parsed.names("/", {"content-type": "text/plain"}, html, b"3") == ()


@pytest.mark.parametrize(
    "fields, fresh, conditions",
    [
        ({"cache-control": "max-age=60", "etag": '"a"'}, (True, True, False), {"If-None-Match": '"a"'}),
        ({"cache-control": "max-age=60", "age": "30"}, (True, False, False), {}),
        ({"cache-control": "max-age=60, no-cache", "etag": '"a"'}, (False,) * 3, {"If-None-Match": '"a"'}),
        (
            {"cache-control": "s-maxage=60", "last-modified": "Mon"},
            (False,) * 3,
            {"If-Modified-Since": "Mon"},
        ),
        ({"cache-control": "no-store", "etag": '"a"'}, (False,) * 3, {}),
        ({"vary": "*", "etag": '"a"', "cache-control": "max-age=60"}, (False,) * 3, {}),
    ],
)
def test_what_a_browser_keeps(
    fields: dict[str, str], fresh: tuple[bool, bool, bool], conditions: dict[str, str]
) -> None:
    browser = Browser("en")
    assert not browser.fresh("/", 0)
    assert browser.conditions("/") == {}
    browser.keep("/", fields, ("/a",), 1000.0)
    assert tuple(browser.fresh("/", 1000.0 + later) for later in (1, 45, 61)) == fresh
    assert browser.conditions("/") == conditions


def test_a_304_makes_it_fresh_again() -> None:
    browser = Browser("en")
    browser.keep("/", {"cache-control": "max-age=1", "etag": '"a"'}, ("/a",), 0)
    assert browser.confirm("/", {"cache-control": "max-age=100"}, 50) == ("/a",)
    assert browser.fresh("/", 149)
    assert browser.conditions("/") == {"If-None-Match": '"a"'}


def test_directives() -> None:
    assert directives('public, Max-Age="5", s-maxage=9, no-cache') == {"max-age": 5, "no-cache": 0}


@given(st.integers(0, 2**32), st.integers(1, 2**21))
def test_a_span_lies_in_the_whole_and_its_range_says_the_same(seed: int, size: int) -> None:
    from origin.ranges import parse as ranges

    first, end, asked = span(Random(seed), size)
    assert 0 <= first < end <= size
    assert ranges(asked, size) == [(first, end)]


def test_the_configuration_is_the_one_that_is_documented() -> None:
    settings_ = dict(
        line.split(" = ") for line in Path(ROOT / "locust.conf").read_text().splitlines() if " = " in line
    )
    assert settings_["host"] == "http://127.0.0.1:8080"
    assert (settings_["web-host"], settings_["web-port"]) == ("127.0.0.1", "8089")

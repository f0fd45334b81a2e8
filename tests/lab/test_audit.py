"""`cdnlab audit` of an application with sessions, behind a real edge and behind a cache that nobody should build."""

from __future__ import annotations

import itertools
import json
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cdnlab.lab import audit
from tests.support.commands import Typed
from tests.support.leaky_site import App, Asked, Reply, leaky_site
from tests.support.naive_cache import naive_cache
from tests.support.one_edge import one_edge
from tests.support.peers import free_port
from tests.support.scripted_site import scripted_site

LOGINS = (
    "--login", "POST /login user=alice&password=x",
    "--login", "POST /login user=bob&password=x",
)  # fmt: skip


def hello(*fields: str) -> Callable[[Asked], Reply]:
    """A page that greets the user."""
    return lambda asked: ([*fields], f"<h1>Hello {asked.user or 'stranger'}</h1><p>the same for all")


def same(*fields: str, size: int = 0) -> Callable[[Asked], Reply]:
    """A page that is the same for all."""
    return lambda asked: ([*fields], "<p>the same for all" + "." * size)


@pytest.fixture(scope="module")
def edge_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the edge leaves its secrets."""
    return tmp_path_factory.mktemp("edge")


@pytest.fixture(scope="module")
def site(edge_state: Path) -> Iterator[tuple[App, str]]:
    """The application, and the URL of a real edge before it."""
    with ExitStack() as stack:
        app = stack.enter_context(leaky_site())
        admin = ("--state", str(edge_state), "--admin", f"127.0.0.1:{free_port()}")
        yield app, stack.enter_context(one_edge(app.url, *admin))


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(audit.command, tmp_path / "no-lab", monkeypatch)


def found(typed: Typed, *words: str, code: int) -> dict[str, Any]:
    """What --json says, by the last part of each page's path."""
    result = typed(*words, "--json")
    assert result.exit_code == code, result.output
    pages = {page["url"].rpartition("/")[2]: page for page in json.loads(result.stdout)["pages"]}
    return pages


def kinds(page: dict[str, Any]) -> set[str]:
    return {one["kind"] for one in page["surprises"]}


# ---- leaks ----


def test_a_page_with_a_name_that_says_max_age_leaks(site: tuple[App, str], typed: Typed) -> None:
    app, url = site
    app.pages["/leaks"] = hello("Cache-Control: max-age=60")
    page = found(typed, f"{url}/leaks", *LOGINS, code=1)["leaks"]
    assert {(one["kind"], one["owner"], one["receiver"], one["what"]) for one in page["leaks"]} >= {
        ("body", "user 1", "user 2", "alice")
    }
    assert page["cached"] is True
    assert (page["lifetime"], page["by"]) == (60, "max-age")


@pytest.mark.parametrize(
    "fields", [("Cache-Control: private, max-age=60",), ("Cache-Control: no-store",), ()]
)
def test_a_page_with_a_name_that_says_so_does_not(
    site: tuple[App, str], typed: Typed, fields: tuple[str, ...]
) -> None:
    app, url = site
    app.pages["/safe"] = hello(*fields)
    page = found(typed, f"{url}/safe", *LOGINS, code=0)["safe"]
    assert page["leaks"] == []
    assert page["cached"] is False
    assert page["reason"] == ("no-lifetime" if not fields else fields[0].split()[1].strip(","))
    assert "not-cached" in kinds(page)


def test_what_is_kept_apart_by_cookie_is_no_leak_but_private(site: tuple[App, str], typed: Typed) -> None:
    app, url = site
    app.pages["/apart"] = hello("Cache-Control: max-age=60", "Vary: Cookie")
    page = found(typed, f"{url}/apart", *LOGINS, code=0)["apart"]
    assert "private-stored" in kinds(page)


def test_what_changes_by_itself_is_no_leak(site: tuple[App, str], typed: Typed) -> None:
    app, url = site

    def form(asked: Asked) -> Reply:
        token, now = secrets.token_hex(16), time.time()
        return ["Cache-Control: max-age=60", 'ETag: "1"'], f"<input name=csrf value={token}>{now}<p>Hello you"

    app.pages["/form"] = form
    page = found(typed, f"{url}/form", *LOGINS, code=0)["form"]
    assert page["cached"] is True
    assert "changes-by-itself" in kinds(page)


def test_a_token_of_the_session_is_the_users_own(site: tuple[App, str], typed: Typed) -> None:
    app, url = site
    app.pages["/token"] = lambda asked: (
        ["Cache-Control: max-age=60"],
        f"<input name=csrf value={asked.session[:12]}>",
    )
    page = found(typed, f"{url}/token", *LOGINS, code=1)["token"]
    assert {(one["owner"], one["receiver"]) for one in page["leaks"]} >= {("user 1", "user 2")}


def test_a_clock_that_ticks_between_two_answers_is_nobodys(site: tuple[App, str], typed: Typed) -> None:
    """A page that shows whole periods: two answers in a row often agree, and the next ones do not."""
    app, url = site
    for period in (1, 2, 3, 4, 5):
        count = itertools.count()
        app.pages[f"/clock{period}"] = lambda asked, n=count, p=period: (
            ["Cache-Control: max-age=60"],
            f"<p>It is {next(n) // p} o'clock",
        )
    urls = [f"{url}/clock{period}" for period in (1, 2, 3, 4, 5)]
    pages = found(typed, *urls, *LOGINS, code=0)
    assert all(page["cached"] for page in pages.values())


def test_servers_that_take_turns_are_nobodys(site: tuple[App, str], typed: Typed) -> None:
    app, url = site
    for servers in (2, 3):
        turn = itertools.count()
        app.pages[f"/turns{servers}"] = lambda asked, n=turn, of=servers: (
            ["Cache-Control: max-age=60"],
            f"<p>served by host{next(n) % of}",
        )
    found(typed, f"{url}/turns2", f"{url}/turns3", *LOGINS, code=0)


def test_users_by_a_field_of_their_own(site: tuple[App, str], typed: Typed) -> None:
    app, url = site
    app.pages["/key"] = lambda asked: (
        ["Cache-Control: public, max-age=60"],
        f"<p>key of {asked.fields.get('authorization', '')[-5:]}",
    )
    each = ("--as", "Authorization: Bearer first-alice", "--as", "Authorization: Bearer second-carol")
    page = found(typed, f"{url}/key", *each, code=1)["key"]
    assert page["leaks"][0]["kind"] == "body"
    app.pages["/closed"] = lambda asked: (
        ["Cache-Control: max-age=60"],
        f"<p>key of {asked.fields.get('authorization', '')[-5:]}",
    )
    page = found(typed, f"{url}/closed", *each, code=0)["closed"]
    assert page["reason"] == "authorization"


def test_a_cookie_of_a_first_visit_that_the_edge_stores_as_it_may(
    site: tuple[App, str], typed: Typed
) -> None:
    """RFC 9111 lets a cache store Set-Cookie, and the edge does by default: that is the application's leak."""
    app, url = site
    app.pages["/visit"] = lambda asked: (
        [
            "Cache-Control: max-age=60",
            *([] if "cookie" in asked.fields else [f"Set-Cookie: visit={secrets.token_hex(8)}"]),
        ],
        "<p>the same for all",
    )
    page = found(typed, f"{url}/visit", code=1)["visit"]
    assert {one["kind"] for one in page["leaks"]} == {"cookie"}
    assert "set-cookie-stored" in kinds(page)


def test_an_edge_that_shares_its_directory_is_purged_first(
    site: tuple[App, str], edge_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, url = site
    app.pages["/again"] = hello("Cache-Control: max-age=60")
    with urllib.request.urlopen(f"{url}/again", timeout=10) as answer:
        assert b"stranger" in answer.read()  # what is stored now, and would be given to everybody
    page = found(Typed(audit.command, edge_state, monkeypatch), f"{url}/again", *LOGINS, code=1)["again"]
    assert "purged" in page["cold"]
    ways = {(one["owner"], one["receiver"]) for one in page["leaks"]}
    assert {("user 1", "user 2"), ("user 2", "user 1")} <= ways


# ---- a cache that stores cookies ----


def test_a_cookie_that_a_cache_hands_on_is_a_leak(typed: Typed) -> None:
    with leaky_site() as app, naive_cache(app.url) as cache:
        app.pages["/first"] = lambda asked: (
            ["Cache-Control: max-age=60", f"Set-Cookie: visit={secrets.token_hex(8)}; Path=/"],
            "<p>the same for all",
        )
        page = found(typed, f"{cache.url}/first", code=1)["first"]
    assert {one["kind"] for one in page["leaks"]} == {"cookie"}
    assert page["leaks"][0]["what"].startswith("visit=")
    assert "set-cookie-stored" in kinds(page)


def test_a_cookie_that_everybody_gets_is_none(typed: Typed) -> None:
    with leaky_site() as app, naive_cache(app.url) as cache:
        app.pages["/theme"] = same("Cache-Control: max-age=60", "Set-Cookie: theme=light-and-bright; Path=/")
        page = found(typed, f"{cache.url}/theme", code=0)["theme"]
    assert "set-cookie-stored" in kinds(page)


def test_a_cache_that_is_not_passed_still_shows_the_secrets(typed: Typed) -> None:
    with leaky_site() as app, naive_cache(app.url, obeys=False, cookies_too=False) as cache:
        app.pages["/mine"] = lambda asked: ([], f"<script>sid='{asked.session}'</script>")
        page = found(typed, f"{cache.url}/mine", *LOGINS, code=1)["mine"]
        assert page["past"] == ""
        assert {one["kind"] for one in page["leaks"]} == {"secret"}
        assert all(len(one["what"]) < 12 for one in page["leaks"]), "it can't be used"
        assert "not-passed" in kinds(page)


def test_the_origin_itself_can_be_compared_with(typed: Typed) -> None:
    with leaky_site() as app, naive_cache(app.url, obeys=False) as cache:
        app.pages["/mine"] = hello()
        page = found(typed, f"{cache.url}/mine", *LOGINS, "--origin", app.url, code=1)["mine"]
    assert {one["kind"] for one in page["leaks"]} == {"body"}
    assert app.url in page["past"]


def test_who_has_logged_in_gets_what_strangers_get(typed: Typed) -> None:
    with leaky_site() as app, naive_cache(app.url) as cache:
        app.pages["/home"] = hello()
        cache.stored["/home"] = (200, [], b"<h1>Hello stranger</h1><p>the same for all")
        page = found(typed, f"{cache.url}/home", *LOGINS, code=0)["home"]
    assert "strangers-answer" in kinds(page)
    assert "stored already" in page["cold"]


def test_an_age_that_runs_backwards(typed: Typed) -> None:
    with (
        leaky_site() as app,
        naive_cache(app.url, ages=itertools.chain([3, 90, 4], itertools.count(5))) as cache,
    ):
        app.pages["/aged"] = same("Date: Sun, 06 Nov 1994 08:49:37 GMT", "Cache-Control: max-age=600")
        page = found(typed, f"{cache.url}/aged", code=0)["aged"]
    assert "90 s, then 4 s" in next(
        one["detail"] for one in page["surprises"] if one["kind"] == "age-backwards"
    )


def test_a_condition_that_is_answered_with_everything(typed: Typed) -> None:
    with leaky_site() as app, naive_cache(app.url) as cache:
        app.pages["/tag"] = same("Cache-Control: max-age=600", 'ETag: "a"')
        assert "no-304" in kinds(found(typed, f"{cache.url}/tag", code=0)["tag"])


def test_text_that_nobody_compresses(typed: Typed) -> None:
    with leaky_site() as app, naive_cache(app.url) as cache:
        app.pages["/long"] = same("Cache-Control: max-age=600", size=4000)
        app.pages["/fixed"] = same("Cache-Control: max-age=600, no-transform", size=4000)
        app.pages["/picture"] = same("Cache-Control: max-age=600", "Content-Type: image/png", size=4000)
        pages = found(typed, *(f"{cache.url}/{name}" for name in ("long", "fixed", "picture")), code=0)
    assert [name for name, page in pages.items() if "not-compressed" in kinds(page)] == ["long"]


# ---- surprises behind a real edge ----


def test_what_would_surprise(site: tuple[App, str], typed: Typed) -> None:
    app, url = site
    tags = itertools.count()
    browsers = {"cdnlab-audit": "plain"}
    pages_here = {
        "/splits": same("Cache-Control: max-age=60", "Vary: User-Agent, Cookie, Accept-Encoding", "ETag: W/\"1\""),
        "/phones": lambda asked: (
            ["Cache-Control: max-age=60", "Vary: User-Agent"],
            "<p>for " + browsers.get(asked.fields["user-agent"], "phones"),
        ),
        "/korean": lambda asked: (
            ["Cache-Control: max-age=60", "Vary: Accept-Language"],
            "<p>안녕" if asked.fields.get("accept-language", "").startswith("ko") else "<p>hello",
        ),
        "/cors": lambda asked: (
            ["Cache-Control: max-age=60", "Vary: Origin"]
            + ["Access-Control-Allow-Origin: *"] * ("origin" in asked.fields),
            "<p>hello",
        ),
        "/large": same("Cache-Control: s-maxage=60, max-age=5", size=4000),
        "/tags": lambda asked: (["Cache-Control: max-age=60", f'ETag: "{next(tags)}"'], "<p>hello"),
        "/any": same("Cache-Control: max-age=60", "Vary: *"),
        "/guess": same("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"),
    }  # fmt: skip
    app.pages |= pages_here
    pages = found(typed, *(f"{url}{path}" for path in pages_here), *LOGINS, code=0)
    detail = {name: {one["kind"]: one["detail"] for one in page["surprises"]} for name, page in pages.items()}
    assert {"User-Agent", "Cookie", "Accept-Encoding"} <= set(
        detail["splits"]["vary-splits"].replace("(", " ").replace(",", " ").split()
    )
    for name in ("phones", "korean", "cors"):
        assert "vary-splits" not in detail[name], name
    assert "no-validator" in detail["phones"]
    assert "no-validator" not in detail["splits"]
    assert "not-compressed" not in detail["large"], "the edge compresses, a moment after it has been asked to"
    assert (pages["large"]["lifetime"], pages["large"]["by"]) == (60, "s-maxage")
    assert "validator-changes" in detail["tags"]
    assert "vary-any" in detail["any"]
    assert (pages["guess"]["lifetime"], "guessed" in detail["guess"]) == (3600, True)
    assert "no-304" not in detail["guess"]
    assert "query-splits" in detail["guess"]


# ---- what is typed ----


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ftp://127.0.0.1/",), "no path and no URL"),
        (("127.0.0.1:9000/",), "no path and no URL"),
        (("http://127.0.0.1:99999/",), "no URL"),
        (("http://a@127.0.0.1/",), "no path and no URL"),
        (("http://127.0.0.1/%zz",), "RFC 3986"),
        (("http://127.0.0.1/", "--from", "icn"), "not the lab"),
        (("http://127.0.0.1/", "--login", "POST /login a=b"), "twice"),
        (("http://127.0.0.1/", "--as", "A: b"), "twice"),
        (("http://127.0.0.1/", "--login", "POST", "--login", "POST"), "'POST /login"),
        (("http://127.0.0.1/", "--as", "A b", "--as", "A: b"), "'Name: value'"),
        (("http://127.0.0.1/", "-H", "A: b\r\nC: d"), "'Name: value'"),
        (("http://127.0.0.1/", "--origin", "127.0.0.1:80"), "--origin"),
        (("http://127.0.0.1/", "--from", "icn", "--from", "fra", "--from", "gru"), "two places"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_named_with_exit_code_2(
    typed: Typed, words: tuple[str, ...], told: str
) -> None:
    result = typed(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_a_path_without_a_lab_is_exit_code_1_since_it_works_once_one_runs(typed: Typed) -> None:
    result = typed("/path")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "none runs\n  start one: cdnlab up" in result.stderr


def test_nobody_there_is_exit_code_1_and_the_other_pages_are_audited(
    site: tuple[App, str], typed: Typed
) -> None:
    app, url = site
    app.pages["/there"] = same("Cache-Control: max-age=60")
    with scripted_site() as gone:
        pass
    result = typed(f"http://127.0.0.1:{gone.port}/", f"{url}/there")
    assert result.exit_code == 1
    assert "refused" in result.stdout
    assert "/there" in result.stdout
    assert "1 of 2 pages gave no answer" in result.stdout


def test_a_login_that_fails_ends_it(site: tuple[App, str], typed: Typed) -> None:
    _, url = site
    wrong = ("--login", "POST /login user=alice&password=y", *LOGINS[2:])
    result = typed(f"{url}/home", *wrong)
    assert result.exit_code == 1
    assert "user 1 could not log in by POST /login: no cookie came of it" in result.stderr
    assert "password" not in result.output.replace("could not log in", "")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_fits_the_terminal(site: tuple[App, str], typed: Typed, columns: int) -> None:
    app, url = site
    app.pages["/leaks"] = hello("Cache-Control: max-age=60")
    result = typed(f"{url}/leaks?{columns}", *LOGINS, columns=columns)
    assert result.exit_code == 1
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert "alice" in result.stdout
    assert "leak" in result.stdout.splitlines()[-1]

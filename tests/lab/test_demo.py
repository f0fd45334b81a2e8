"""Demonstrations: the list, the whole of `demo sessions` on real labs, and nothing left of it however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from cdnlab.lab.choices import Choices, choose
from cdnlab.lab.cli import app
from cdnlab.lab.demo import DEMOS
from cdnlab.lab.demo_sessions_count import Fate, busiest, row
from cdnlab.lab.lessons import LESSONS
from tests.support.labs import ROOT, alive, cdnlab, environment, family, free_base, until
from tests.test_readme import options, rows, section

pytestmark = pytest.mark.scenario


def test_the_list_has_every_demonstration_and_lesson() -> None:
    listed = cdnlab("demo").stdout
    for name, entry in DEMOS.items():
        assert f"cdnlab demo {name} " in listed
        assert entry.sentence in listed
    for lesson in LESSONS:
        assert lesson.title in listed
        assert lesson.korean in listed
        assert all(f"    {words}\n" in listed for words in lesson.commands)
    found = json.loads(cdnlab("demo", "--json").stdout)
    assert [each["name"] for each in found["demos"]] == list(DEMOS)
    assert [each["commands"] for each in found["lessons"]] == [list(each.commands) for each in LESSONS]


@pytest.mark.parametrize("name", DEMOS)
def test_the_page_of_commands_has_every_option(name: str) -> None:
    made = typer.main.get_command(app)
    context = made.make_context("cdnlab", [], resilient_parsing=True)
    command = made.get_command(context, "demo").get_command(context, name)  # type: ignore[attr-defined]
    text = section((ROOT / "docs" / "cli.md").read_text(), f"cdnlab demo {name}")
    assert set(rows(text)) == {*rows(text)}
    documented = {cell.split()[0].strip("`,") for cell in rows(text)}
    assert documented == options(command)
    assert f"    cdnlab demo {name}" in text


OWN = ["--origin", "http://a", "--origin", "http://b", "--login", "POST /a", "--check", "GET /b c"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["--login", "POST /login a=b"], "none is given"),
        (["--origin", "http://a:1"], "given once"),
        (["--origin", "http://a:1", "--origin", "http://a:2"], "needs --login and --check"),
        (["--origin", "x", "--origin", "y", "--login", "POST /a", "--check", "GET /b c"], "is no server"),
        (
            ["--origin", "http://a", "--origin", "http://b", "--login", "a", "--check", "GET /b c"],
            "--login a",
        ),
        (
            ["--origin", "http://a", "--origin", "http://b", "--login", "POST /a", "--check", "GET /b"],
            "the text",
        ),
        (
            ["--origin", "https://a", "--origin", "https://b", "--login", "POST /a", "--check", "GET /b c"],
            "--kill",
        ),
        ([*OWN, "--put", "POST /c"], "go together"),
        ([*OWN, "--cart", "GET /c d"], "go together"),
        ([*OWN, "--put", "c", "--cart", "GET /c d"], "--put c"),
        (["--clients", "0"], "--clients"),
        (["--items", "51"], "--items"),
    ],
)
def test_what_cannot_be_meant(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["demo", "sessions", *words])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


FATES = {
    "kept all": (Fate(True, "a", 3, 3, 0, True, True), (0, 0)),
    "refused one item": (Fate(True, "a", 3, 2, 0, True, False), (0, 1)),
    "forgotten": (Fate(True, "b", 3, 3, 0, False, False), (1, 1)),
    "no answer to the end": (Fate(True, "b", 3, 3, 9, None, False), (1, 1)),
    "never in": (Fate(False, "", 0, 0, 1, None, None), (0, 0)),
    "without a cart": (Fate(True, "a", 0, 0, 0, False, None), (1, 0)),
}


@pytest.mark.parametrize("case", FATES)
def test_what_counts_as_lost(case: str) -> None:
    fate, lost = FATES[case]
    assert (fate.login_lost, fate.cart_lost) == tuple(map(bool, lost))


def test_a_row_sums_up_its_clients() -> None:
    fates = [fate for fate, _ in FATES.values()]
    found = row(fates, sticky="off", sessions="local", event="nothing", there=None, seconds=1.0)
    assert (found.clients, found.logged_in, found.tried, found.put) == (6, 5, 12, 11)
    assert (found.logins_lost, found.carts_lost, found.errors) == (3, 3, 10)
    bare = row([Fate(True, "a", still_in=True)], sticky="", sessions="", event="", there=1, seconds=1.0)
    assert (bare.carts_lost, bare.there) == (None, 1)
    assert busiest(fates) == "a"
    assert busiest([Fate(server="b"), Fate(server="a"), Fate()]) == "a"
    assert busiest([Fate()]) is None


@pytest.mark.parametrize("kind", ["local", "clustered", None])
def test_up_is_told_where_sessions_lie(kind: str | None) -> None:
    assert choose(Choices(sessions=kind)).origin.sessions == (kind or "local")


@contextmanager
def started(*words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cdnlab", *words], cwd="/", env=environment(**env), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_whole_lesson(tmp_path: Path) -> None:
    """Seven lines, of which six can come out in one way only; then nothing is left."""
    clients, items = 9, 9 * 6  # more than the shop has kinds of
    words = ["demo", "sessions", "--json", "--clients", str(clients), "--items", "6"]
    done = cdnlab(*words, TMPDIR=str(_short(tmp_path)))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["rows"]
    plain, sticky, killed, clustered, forgot, any_server, logged = found
    assert all(each["logged_in"] == each["clients"] == clients for each in found)
    assert all(each["tried"] == items for each in found)
    assert plain["logins_lost"] > 0
    assert plain["put"] < plain["tried"]
    assert plain["carts_lost"] > 0
    assert (sticky["put"], sticky["logins_lost"], sticky["carts_lost"]) == (items, 0, 0)
    assert killed["put"] == items
    assert killed["logins_lost"] == killed["carts_lost"] == killed["there"] >= clients / 3
    assert (clustered["logins_lost"], clustered["carts_lost"]) == (0, 0)
    assert clustered["there"] >= clients / 3
    assert forgot["logins_lost"] == forgot["carts_lost"] == clients
    for each in (any_server, logged):
        assert (each["put"], each["logins_lost"], each["carts_lost"]) == (items, 0, 0)
    assert sum(each["errors"] for each in found[:4]) == 0, (
        "GETs of clients whose server is gone are sent again"
    )
    assert list(_short(tmp_path).iterdir()) == []


def _short(path: Path) -> Path:
    """A directory for sockets: their paths may have 107 bytes, which pytest's own nearly take."""
    made = Path(f"/tmp/demo-{path.parent.name[-8:]}-{os.getpid()}")
    made.mkdir(exist_ok=True)
    return made


@pytest.fixture(autouse=True)
def _swept(tmp_path: Path) -> Iterator[None]:
    yield
    shutil.rmtree(f"/tmp/demo-{tmp_path.parent.name[-8:]}-{os.getpid()}", ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    folder = _short(tmp_path)
    with started("demo", "sessions", TMPDIR=str(folder)) as demo:
        until(lambda: len(family(demo.pid)) > 5, "a lab of the demonstration's own")
        pids = family(demo.pid)
        demo.send_signal(number)
        demo.communicate(timeout=30)
        until(lambda: not any(alive(pid) for pid in pids), "the end of its processes")
    assert demo.returncode == (-9 if number is signal.SIGKILL else 130)
    if number is not signal.SIGKILL:
        assert list(folder.iterdir()) == []


def test_on_other_peoples_servers(tmp_path: Path) -> None:
    """Two demo origins in the part of a person's application, which go on to live."""
    base = free_base()
    urls = [f"http://127.0.0.1:{base + offset}" for offset in (0, 1)]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                started("origin", "--listen", url.removeprefix("http://"), "--name", f"app-{n}")
            )
            for n, url in enumerate(urls)
        ]
        until(lambda: all(_listens(base + offset) for offset in (0, 1)), "two servers")
        done = cdnlab(
            "demo", "sessions", "--json", "--clients", "8", "--items", "2",
            *("--origin", urls[0], "--origin", urls[1]), "--login", "POST /login user=u{client}&password=x",
            "--check", 'GET /cart "user": "u{client}"', "--put", "POST /cart item={n}",
            "--cart", 'GET /cart "id": {n},', TMPDIR=str(_short(tmp_path)),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        plain, sticky, cut = json.loads(done.stdout)["rows"]
        assert all(server.poll() is None for server in servers)
    assert all(each["logged_in"] == each["clients"] == 8 for each in (plain, sticky, cut))
    assert plain["put"] < plain["tried"] == 16
    assert (sticky["put"], sticky["logins_lost"], sticky["carts_lost"]) == (16, 0, 0)
    assert 0 < cut["logins_lost"] == cut["carts_lost"] < 8
    assert cut["put"] == 16
    assert "cut off" in cut["event"]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    base = free_base()
    words = [*("--origin", f"http://127.0.0.1:{base}") * 2, *OWN[4:]]
    done = CliRunner(env={"TMPDIR": str(_short(tmp_path))}).invoke(app, ["demo", "sessions", *words])
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"origin http://127.0.0.1:{base} does not answer: Connection refused" in done.stderr


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

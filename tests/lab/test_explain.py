"""`cdnlab explain` of one real edge that shares a state directory."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from cdnlab.lab import explain
from cdnlab.plan.load import load
from tests.support.commands import Typed
from tests.support.leaky_site import App, leaky_site
from tests.support.one_edge import one_edge
from tests.support.peers import free_port


class Around(NamedTuple):
    app: App
    edge: str
    state: Path


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    state = tmp_path_factory.mktemp("edge")
    with ExitStack() as stack:
        app = stack.enter_context(leaky_site())
        admin = f"127.0.0.1:{free_port()}"
        edge = stack.enter_context(one_edge(app.url, "--state", str(state), "--admin", admin))
        app.pages["/page"] = lambda asked: (["Cache-Control: max-age=60", 'ETag: "1"'], "<p>hello")
        app.pages["/kinds"] = lambda asked: (["Cache-Control: max-age=60", "Vary: X-Kind"], "<p>hello")
        yield Around(app, edge, state)


@pytest.fixture
def typed(around: Around, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(explain.command, around.state, monkeypatch)


def get(url: str, **fields: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=fields), timeout=10) as answer:
        return str(answer.headers["Cache-Status"])


def test_nothing_is_stored_and_nobody_is_asked(around: Around, typed: Typed) -> None:
    asked = len(around.app.asked)
    result = typed("/page?unseen")
    assert result.exit_code == 0, result.output
    assert "nothing is stored under this key" in result.stdout
    assert "origin-1, of the pool origins" in result.stdout
    assert len(around.app.asked) == asked


def test_what_it_says_is_what_happens(around: Around, typed: Typed) -> None:
    said = [json.loads(typed("/page?seen", "--json").stdout)]
    told = [get(f"{around.edge}/page?seen")]
    said.append(json.loads(typed(f"{around.edge}/page?seen", "--json").stdout))
    told.append(get(f"{around.edge}/page?seen"))
    said.append(json.loads(typed("/page?seen", "-H", "Cache-Control: no-cache", "--json").stdout))
    told.append(get(f"{around.edge}/page?seen", **{"Cache-Control": "no-cache"}))
    assert [one["result"] for one in said] == ["miss", "hit", "miss"]
    assert [one["fwd"] for one in said] == ["uri-miss", None, "request"]
    assert ["; hit" in one for one in told] == [False, True, False]
    assert "fwd=uri-miss" in told[0]
    assert "fwd=request" in told[2]
    assert said[2]["reason"] in told[2]
    assert said[2]["validates"] is True
    assert (said[1]["stored"]["lifetime"], said[1]["stored"]["by"]) == (60, "max-age")


@pytest.mark.parametrize("columns", [70, 120])
def test_fits_the_terminal(around: Around, typed: Typed, columns: int) -> None:
    get(f"{around.edge}/kinds", **{"X-Kind": "one"})
    result = typed("/kinds", "-H", "X-Kind: one", columns=columns)
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert "/kinds" in head
    assert max(map(len, lines)) <= columns
    for part in ("hit: from the store", "x-kind: one (1 stored)", "lifetime 60 s by max-age"):
        assert part in " ".join(result.stdout.split()), part


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ftp://a/",), "no http:// or https:// URL\n  write such as /path"),
        (("/%zz",), "no listener would take this"),
        (("/", "-H", "A b"), "'Name: value'"),
        (("/", "-H", "A: b\r\nC: d"), "line break"),
        (("/", "-X", "G T"), "no listener would take this"),
        (("/", "--from", "xyz"), "--from xyz"),
        (("/", "--node", "edge-icn"), "no edge named"),
    ],
)
def test_what_is_no_question_is_exit_code_2(typed: Typed, words: tuple[str, ...], told: str) -> None:
    result = typed(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_without_a_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Typed(explain.command, tmp_path / "none", monkeypatch)("/")
    assert result.exit_code == 1
    assert "no lab is running" in result.stderr


def test_it_needs_the_token(around: Around) -> None:
    host, port = load(around.state / "topology.yaml").admin_address("edge") or ("", 0)
    request = urllib.request.Request(
        f"http://{host}:{port}/explain",
        b'{"url": "http://a/"}',
        {"Content-Type": "application/json", "Host": "edge"},
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=10)
    assert error.value.code == 401
    error.value.close()

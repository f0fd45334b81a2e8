"""`cdnlab observe` while nobody is there to be observed: what it serves, what it refuses, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server, gaierror

import pytest

from cdnlab.lab.errors import MISUSED
from cdnlab.lab.node_api import NodeApi
from cdnlab.lab.observe import _until as until_ended
from cdnlab.lab.observe import _where as find_where
from cdnlab.lab.observe import command
from cdnlab.lab.observe_nodes import Observer
from cdnlab.lab.observe_orders import COMPOSE
from cdnlab.node.secrets import load, make
from cdnlab.plan.topology import Topology
from tests.support.apart import NODES, Apart, apart
from tests.support.commands import Typed
from tests.support.labs import cdnlab, free_base, state_directory, until


@pytest.fixture(scope="module")
def lonely() -> Iterator[Apart]:
    with apart() as made:
        port = free_base()  # nobody listens there
        yield made.observe(ORIGIN_URL=f"http://127.0.0.1:{port}", CDNLAB_PUBLISHED="127.0.0.1:18080")


def test_a_node_never_heard_is_waited_for_and_the_reason_is_given(lonely: Apart) -> None:
    def told() -> bool:
        return "connection refused" in lonely.node("edge-icn")["reason"]

    until(told, "the first refused connection")
    node = lonely.node("edge-icn")
    assert node["state"] == "waiting"
    assert node["reason"] == f"no answer yet from 127.82.1.10:{lonely.base + 1021}: connection refused"
    assert (node["ready"], node["pid"]) == (False, None)
    line = next(text for text in lonely.cdnlab("status").stdout.splitlines() if text.startswith("edge-icn"))
    assert "… waiting" in line
    assert lonely.events("edge-icn") == []


def test_the_store_is_known_by_the_nodes_words_only(lonely: Apart) -> None:
    store = lonely.ask("/lab")["store"]
    assert (store["kind"], store["state"]) == ("external", "unknown")


def test_an_application_that_does_not_answer_is_said_once_with_the_remedy(lonely: Apart) -> None:
    until(lambda: "does not answer" in lonely.said("observe"), "the warning")
    lines = [line for line in lonely.said("observe").splitlines() if "origin http" in line]
    assert len(lines) == 1
    assert "connection refused" in lines[0].lower()
    assert "listen on 0.0.0.0 rather than 127.0.0.1" in lines[0]
    assert "origin-1" not in [node["name"] for node in lonely.ask("/lab")["nodes"]]


def test_the_vip_is_shown_as_people_reach_it(lonely: Apart) -> None:
    assert lonely.ask("/lab")["vips"] == [{"name": "main", "address": "127.0.0.1", "port": 18080}]


@pytest.mark.parametrize(
    "words,command",
    [
        (("kill", "lb-a"), "docker compose kill lb-a"),
        (("pause", "lb-b"), "docker compose pause lb-b"),
        (("resume", "edge-gru"), "docker compose unpause edge-gru"),
        (("start", "edge-icn"), "docker compose start edge-icn"),
        (("kill", "store"), "docker compose kill redis"),
        (("down",), "docker compose down"),
    ],
)
def test_orders_name_the_command_for_it(lonely: Apart, words: tuple[str, ...], command: str) -> None:
    done = lonely.cdnlab(*words)
    assert (done.returncode, done.stdout) == (MISUSED, "")
    assert len(done.stderr.splitlines()) == 1
    assert f": {command}   (in the directory of docker-compose.yml)\n" in done.stderr
    assert lonely.processes["observe"].poll() is None


def test_an_unknown_node_is_that_first(lonely: Apart) -> None:
    done = lonely.cdnlab("kill", "edge-ico")
    assert (done.returncode, done.stderr) == (
        2,
        "cdnlab: no node named 'edge-ico'\n  did you mean edge-icn or edge-gru?\n",
    )


def test_every_order_has_its_words() -> None:
    assert set(COMPOSE.verbs) == {"kill", "pause", "resume", "start", "down"}


@pytest.mark.parametrize(
    "host,status",
    [
        ("127.0.0.1:9100", 200),
        ("localhost:1", 200),
        ("localhost", 200),
        ("lab:9100", 403),
        ("198.18.0.9:9100", 403),
        ("evil.example", 403),
    ],
)
def test_the_page_answers_to_this_machines_names_only(lonely: Apart, host: str, status: int) -> None:
    for path in ("/", "/status", "/lab", "/page.js"):
        assert lonely.at_page(path, host)[0] == status


def test_the_pages_port_takes_no_orders(lonely: Apart) -> None:
    assert lonely.at_page("/kill", "127.0.0.1", "POST")[0] in (404, 405)


def test_a_second_one_is_refused(lonely: Apart) -> None:
    done = cdnlab("observe", str(lonely.file), "--state", str(lonely.state.path), "--page", "127.0.0.1:1")
    assert done.returncode == 1
    assert f"(pid {lonely.processes['observe'].pid})" in done.stderr
    assert "--state" in done.stderr
    assert lonely.ask("/lab")["pid"] == lonely.processes["observe"].pid


def test_prometheus_is_told_whom_to_scrape(tmp_path: Path) -> None:
    file = tmp_path / "for others" / "targets.json"
    with apart() as made:
        made.observe(CDNLAB_TARGETS=str(file))
        groups = json.loads(file.read_text())
    assert [group["labels"]["node"] for group in groups] == list(NODES)
    assert groups[2]["targets"] == [f"127.82.1.10:{made.base + 1021}"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_it_ends_at_once_and_leaves_what_is_the_nodes() -> None:
    with apart() as made:
        secrets = make(made.state.secrets)  # a node came first
        made.observe()
        made.processes["observe"].terminate()
        assert made.processes["observe"].wait(10) == 0
        assert load(made.state.secrets) == secrets
        assert not made.state.socket.exists()
        assert made.said("observe").splitlines()[-1] == "Ending: SIGTERM. The nodes run on."
        assert "Traceback" not in made.said("observe")


def test_after_a_kill_a_new_one_starts_in_the_same_directory() -> None:
    with apart() as made:
        made.observe()
        made.signal("observe", signal.SIGKILL)
        assert made.state.socket.exists()
        made.observe()
        assert made.ask("/lab")["pid"] == made.processes["observe"].pid


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Types `cdnlab observe` in this process; what it says on standard error, once it has ended with this code."""
    for name in os.environ:
        if name.startswith(("CDNLAB_", "ORIGIN_")):
            monkeypatch.delenv(name)
    with state_directory() as state:

        def type_it(code: int, *words: str, state: Path = state / "state") -> str:
            done = Typed(command, state, monkeypatch)(*words)
            assert (done.exit_code, done.stdout) == (code, "")
            assert len(done.stderr.splitlines()) <= 2
            return done.stderr

        yield type_it


def test_a_taken_page_names_who_has_it(refused: Callable[..., str]) -> None:
    with closing(create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        said = refused(1, "--page", f"127.0.0.1:{port}")
    assert said.startswith(f"cdnlab: 127.0.0.1:{port}, needed for the page: is taken by ")
    assert f"(pid {os.getpid()})" in said
    assert said.endswith("give another address with --page HOST:PORT\n")


def test_a_page_whose_address_is_not_ours_is_not_called_taken(refused: Callable[..., str]) -> None:
    with closing(create_server(("0.0.0.0", 0))) as other:
        page = f"203.0.113.9:{other.getsockname()[1]}"
        said = refused(1, "--page", page)
    assert said.startswith(f"cdnlab: {page}, needed for the page: cannot assign requested address")


def test_a_page_whose_host_does_not_resolve(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    said = refused(1, "--page", "lab.test:9100")
    assert "lab.test:9100, needed for the page: the name does not resolve" in said


@pytest.mark.parametrize(
    "page,vip,shown",
    [
        ("127.0.0.1:9100", "0.0.0.0", ("http://127.0.0.1:9100/", ("127.0.0.1", 8080))),
        ("0.0.0.0:9100", "127.0.0.1", ("http://127.0.0.1:9100/", None)),
        ("[::]:9100", "::", ("http://localhost:9100/", ("::1", 8080))),
    ],
)
def test_page_and_site_are_shown_as_this_machine_calls_them(page: str, vip: str, shown: object) -> None:
    edge = {"tier": "edge", "place": "icn", "address": "127.82.1.10"}
    pools = {"origins": {"backends": [{"name": "o", "address": "127.0.0.1", "port": 9}]}}
    plan = Topology.build({"nodes": {"edge-icn": edge}, "pools": pools, "vips": [{"address": vip}]})
    where = find_where(plan, page, None, None, None)
    assert (where.page_url, where.site) == shown


async def test_it_goes_on_where_no_node_can_be_asked() -> None:
    edge = {"tier": "edge", "place": "icn", "address": "127.82.1.10", "admin_address": "off"}
    pools = {"origins": {"backends": [{"name": "o", "address": "127.0.0.1", "port": 9}]}}
    plan = Topology.build({"nodes": {"edge-icn": edge}, "pools": pools, "vips": []})
    api = NodeApi(plan)
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    try:
        observing = asyncio.create_task(until_ended(ended, Observer(plan, api, COMPOSE)))
        done, _ = await asyncio.wait((observing,), timeout=0.1)
        assert not done
        ended.set_result("Ctrl-C")
        await observing
    finally:
        await api.close()


@pytest.mark.parametrize(
    "words,env,named",
    [
        (["--page", "9100"], {}, "--page"),
        (["--page", "127.0.0.1:0"], {}, "port 0"),
        (["--published-page", "192.0.2.1:9100"], {}, "answers to the hosts 127.0.0.1 and localhost only"),
        (["--published", "here"], {}, "--published"),
        ([], {"CDNLAB_PAGE": "0.0.0.0"}, "--page"),
        (["/nonexistent.yaml"], {}, "/nonexistent.yaml"),
        ([], {"CDNLAB_DISTANCE": "far"}, "CDNLAB_DISTANCE far"),
        ([], {"ORIGIN_URL": "127.0.0.1:3000"}, "ORIGIN_URL"),
    ],
)
def test_bad_input_is_one_message(
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    env: dict[str, str],
    named: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert named in refused(2, *words)


def test_a_directory_with_other_things_is_left_alone(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "thesis.tex").write_text("mine")
    assert "holds files that no lab made" in refused(2, state=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"

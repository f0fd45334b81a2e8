"""`cdnlab status` against a control server with a lab's answers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from rich.console import Console

from cdnlab.lab import status
from tests.support import fake_lab as fake
from tests.support.commands import Typed
from tests.support.labs import state_directory


@pytest.fixture
def lab() -> Iterator[fake.FakeLab]:
    with state_directory() as state, fake.fake_lab(state) as served:
        yield served


@pytest.fixture
def typed(lab: fake.FakeLab, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(status.command, lab.state, monkeypatch)


def drawn(answer: fake.Json, width: int) -> str:
    console = Console(width=width, highlight=False, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(status.render(answer, fake.STARTED + 60, width))
    return console.export_text()


def line_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


def test_shows_every_node_with_state_and_reason(typed: Typed) -> None:
    result = typed()
    assert result.exit_code == 0
    for node in fake.status()["nodes"]:
        assert line_of(result.stdout, node["name"])
    assert "✗ dead" in line_of(result.stdout, "edge-icn")
    assert "‖ paused" in line_of(result.stdout, "edge-fra")
    assert "VIP" in line_of(result.stdout, "lb-a")


def test_says_who_holds_the_vip_and_who_waits() -> None:
    text = drawn(fake.status(), 100)
    assert "127.0.0.1:8080  held by lb-a (token 4), standby lb-b" in text


def test_says_when_nobody_holds_the_vip() -> None:
    answer = fake.status()
    answer["nodes"][0]["paused"] = True  # it said it was active before it was frozen
    assert "nobody holds it, standby lb-b" in drawn(answer, 100)


def test_names_backends_passed_over_once_with_all_who_do() -> None:
    text = drawn(fake.status(), 120)
    below = text[text.index("Backends passed over") :]
    assert "edge-icn  lb-a, lb-b  health check failed: connection refused · since 30 s" in below
    assert below.count("edge-icn") == 1


def test_a_store_out_of_reach_is_named() -> None:
    answer = fake.status()
    answer["nodes"][3]["store"] = {"state": "away"}
    assert "not reached by edge-nrt" in drawn(answer, 100)
    answer["lab"]["store"]["running"] = False
    assert "Store  embedded  away" in drawn(answer, 100)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_fits_the_terminal(width: int) -> None:
    text = drawn(fake.status(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "health check failed" in text


def test_a_node_that_says_nothing_is_silent() -> None:
    answer = fake.status()
    del answer["nodes"][4]["state"]
    answer["nodes"][4]["reason"] = "does not answer on its admin address: TimeoutError"
    answer["nodes"].append({"name": "edge-new", "running": True})
    text = drawn(answer, 120)
    assert "? silent" in line_of(text, "edge-new")


def test_json_is_the_labs_own_answer(typed: Typed) -> None:
    assert json.loads(typed("--json").stdout) == fake.status()


def test_no_lab_is_one_message_with_the_remedy_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    with state_directory() as state:
        result = Typed(status.command, state, monkeypatch)()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"no lab is running in {state}" in result.stderr
    assert "cdnlab up" in result.stderr


def test_watch_looks_again_and_goes_on_when_the_lab_goes_away(
    lab: fake.FakeLab, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def instead_of_waiting(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            (lab.state / "lab.sock").unlink()
        if looks == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", instead_of_waiting)
    result = typed("--watch")
    assert result.exit_code == 0
    assert lab.asked == ["/status", "/status"]
    assert "what follows is old" in result.stdout


def test_watch_as_json_is_one_object_per_look(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def instead_of_waiting(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", instead_of_waiting)
    lines = typed("--watch", "--json").stdout.splitlines()
    assert [json.loads(line)["lab"]["name"] for line in lines] == ["demo", "demo"]


def test_an_edge_that_may_not_have_heard_of_every_purge_is_a_risk_that_is_shown() -> None:
    answer = fake.status()
    assert "Purges" not in drawn(answer, 120)
    nodes = {node["name"]: node for node in answer["nodes"]}
    nodes["edge-nrt"]["purges"] = {"state": "blind", "when_blind": "serve"}
    nodes["edge-iad"]["purges"] = {"state": "blind", "when_blind": "revalidate"}
    nodes["edge-gru"]["purges"] = {"state": "behind", "when_blind": "serve"}
    nodes["edge-syd"]["purges"] = {"state": "confirmed", "when_blind": "serve"}
    nodes["edge-icn"]["purges"] = {"state": "blind", "when_blind": "serve"}  # it said so before it was killed
    lines = [line for line in drawn(answer, 120).splitlines() if line.startswith("Purges ")]
    assert [line.partition(":")[0] for line in lines] == [
        "Purges edge-nrt",
        "Purges edge-iad",
        "Purges edge-gru",
    ]
    assert "may serve what was purged elsewhere" in lines[0]


def test_says_which_version_the_nodes_go_by_once_it_is_not_the_first() -> None:
    answer = fake.status()
    for node in answer["nodes"]:
        node["configuration"] = {"version": 1, "digest": "0", "prepared": None}
    assert "Config" not in drawn(answer, 100)
    for node in answer["nodes"]:
        node["configuration"] = {"version": 3, "digest": "1", "prepared": None}
    assert line_of(drawn(answer, 100), "Config").strip() == "Config version 3"
    answer["nodes"][1]["configuration"]["version"] = 2
    assert f"an older one at {answer['nodes'][1]['name']} (2): cdnlab reload" in drawn(answer, 100)

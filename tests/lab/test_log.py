"""`cdnlab log`: filters, lines, following."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cdnlab.lab import log
from cdnlab.lab.errors import LabError
from tests.support import fake_lab as fake
from tests.support.commands import Typed
from tests.support.labs import state_directory


@pytest.fixture
def lab() -> Iterator[fake.FakeLab]:
    with state_directory() as state, fake.fake_lab(state) as served:
        yield served


@pytest.fixture
def typed(lab: fake.FakeLab, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(log.command, lab.state, monkeypatch)


@pytest.mark.parametrize(
    ("words", "sequence"),
    [
        ((), [1, 2, 3, 4, 5, 6, 7, 8]),
        (("edge-nrt",), [2, 4]),
        (("--miss",), [2, 6, 8]),
        (("--status", "5xx"), [7, 8]),
        (("--status", "201"), [5, 6]),
        (("--status", "200-299"), [1, 2, 3, 4, 5, 6]),
        (("--from", "gru"), [5, 6, 7, 8]),
        (("--from", "gru", "--miss", "--status", "503"), [8]),
        (("-n", "3"), [6, 7, 8]),
        (("-n", "0"), []),
    ],
)
def test_filters(typed: Typed, words: tuple[str, ...], sequence: list[int]) -> None:
    result = typed("--json", *words)
    assert result.exit_code == 0
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == sequence


def test_an_unknown_place_is_not_an_empty_list(typed: Typed) -> None:
    result = typed("--from", "gru-1")
    assert result.exit_code == 2
    assert '--from gru-1: there is no place "gru-1"' in result.stderr
    assert "icn, gru" in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [("404", (404, 404)), ("5xx", (500, 599)), ("5XX", (500, 599)), ("500-504", (500, 504))],
)
def test_statuses(text: str, expected: tuple[int, int]) -> None:
    assert log.status_range(text) == expected


@pytest.mark.parametrize("text", ["", "5", "5x", "xxx", "500-", "504-500", "0xx", "2000"])
def test_what_is_no_status_is_refused(text: str) -> None:
    with pytest.raises(LabError) as refused:
        log.status_range(text)
    assert refused.value.code == 2
    assert "5xx" in refused.value.remedy


def test_bad_usage_is_one_message_and_exit_code_2(typed: Typed) -> None:
    result = typed("--status", "bad")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'bad'" in result.stderr


def test_a_line_says_who_what_and_how_fast(typed: Typed) -> None:
    line = typed("edge-nrt", "--miss").stdout
    for part in ("edge-nrt", "icn", "200", "miss", "180 ms", "GET /", "→ origin-1"):
        assert part in line


def test_verbose_says_why(typed: Typed) -> None:
    text = typed("edge-gru", "-v").stdout
    assert "why the method is not cacheable" in text
    assert "client 127.82.1.100" in text
    assert "id a3" in text


@pytest.mark.parametrize("width", [80, 120])
def test_a_long_target_is_cut_and_not_wrapped(width: int) -> None:
    entry = fake.requests()[1] | {"target": "/" + "x" * 300}
    (line,) = log.render(entry, width)
    assert line.cell_len <= width
    assert line.plain.endswith("… → origin-1")


def test_control_characters_from_a_client_do_not_reach_the_terminal(typed: Typed, lab: fake.FakeLab) -> None:
    lab.requests[0]["target"] = "/\x1b[31mred[bold]"
    text = typed("lb-a").stdout
    assert "\x1b" not in text
    assert "[bold]" in text


def test_follow_shows_each_request_once(
    typed: Typed, lab: fake.FakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def instead_of_waiting(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            lab.requests.append(lab.requests[-1] | {"seq": 9, "target": "/new"})
        if looks == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(log.time, "sleep", instead_of_waiting)
    result = typed("--json", "-f", "-n", "1")
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [8, 9]
    assert [path.partition("after=")[2] for path in lab.asked] == ["0", "8", "9"]
    assert result.exit_code == 0

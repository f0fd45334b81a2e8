"""What a Prometheus is told about a lab: whom it scrapes, under which labels, how often, by which rules."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdnlab.lab import monitor, prometheus
from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.plan.load import load
from cdnlab.plan.topology import Topology
from tests.support.labs import ROOT, SMALL

COMPOSE = ROOT / "deploy" / "prometheus" / "prometheus.yml"


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(monitor.ENVIRONMENT, raising=False)


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def small(**changes: Any) -> Topology:
    """The small lab with other settings of edge-icn."""
    data = yaml.safe_load(SMALL)
    data["nodes"]["edge-icn"].update(changes)
    return Topology.build(data)


def groups(topology: Topology) -> dict[str, dict[str, Any]]:
    return {group["labels"]["node"]: group for group in monitor.targets(topology)}


def test_every_node_of_the_default_lab_is_a_target_with_its_labels() -> None:
    topology = load(None)
    found = groups(topology)
    assert list(found) == list(topology.nodes)
    assert found["lb-a"] == {"targets": ["127.0.1.10:9101"], "labels": {"node": "lb-a", "tier": "lb"}}
    assert found["edge-gru"] == {
        "targets": ["127.55.1.10:9101"],
        "labels": {"node": "edge-gru", "tier": "edge", "place": "gru"},
    }
    assert found["origin-2"]["labels"] == {"node": "origin-2", "tier": "origin", "place": "iad"}


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"admin_port": 9}, "127.82.1.10:9"),
        ({"admin_address": "127.0.0.5"}, "127.0.0.5:9101"),
        ({"address": "::1"}, "[::1]:9101"),
    ],
)
def test_the_target_is_the_admin_address(changes: dict[str, Any], target: str) -> None:
    assert groups(small(**changes))["edge-icn"]["targets"] == [target]


def test_a_node_without_an_admin_api_is_no_target() -> None:
    assert "edge-icn" not in groups(small(admin_address="off"))
    assert "edge-fra" in groups(small(admin_address="off"))


@pytest.mark.usefixtures("strict_umask")
def test_the_files_are_for_anybody_to_read(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "prometheus"
    monitor.write(small(), directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {
        "targets.json": 0o644,
        "prometheus.yml": 0o644,
    }
    assert json.loads((directory / "targets.json").read_text()) == monitor.targets(small())


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file, long, short = tmp_path / "targets.json", load(None), small()
    monitor.write_targets(long, file)

    def write() -> None:
        for topology in (short, long) * 100:
            monitor.write_targets(topology, file)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(len(json.loads(file.read_text())))
    writer.join()
    assert seen <= {len(long.nodes), len(short.nodes)}
    assert [path.name for path in tmp_path.iterdir()] == ["targets.json"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "targets.json").mkdir()
    with pytest.raises(OSError):
        monitor.write_targets(small(), tmp_path / "targets.json")
    assert [path.name for path in tmp_path.iterdir()] == ["targets.json"]


@pytest.mark.parametrize(
    ("every", "timeout"), [("5s", "2s"), ("1s", "1s"), ("500ms", "500ms"), ("2500ms", "2s"), ("15s", "2s")]
)
def test_a_node_has_no_longer_than_its_turn(every: str, timeout: str) -> None:
    settings = yaml.safe_load(monitor.configuration(every))["global"]
    assert settings == {"scrape_interval": every, "scrape_timeout": timeout, "evaluation_interval": every}


def test_the_interval_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert monitor.interval() == "5s"
    monkeypatch.setenv(monitor.ENVIRONMENT, "1s")
    monitor.write(small(), tmp_path)
    assert "scrape_interval: 1s" in (tmp_path / "prometheus.yml").read_text()


@pytest.mark.parametrize(
    "word", ["0s", "5", "-1s", "1.5s", "5 s", "1s\nx: 1", "fast", "1m", "16s", "15001ms"]
)
def test_an_interval_that_prometheus_would_not_read_or_rates_of_a_minute_not_do_with(
    word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(monitor.ENVIRONMENT, word)
    with pytest.raises(LabError, match="CDNLAB_SCRAPE_INTERVAL") as error:
        monitor.write(small(), tmp_path / "prometheus")
    assert error.value.code == MISUSED
    assert list(tmp_path.iterdir()) == []


def test_containers_and_the_lab_are_watched_alike() -> None:
    ours, theirs = yaml.safe_load(monitor.configuration()), yaml.safe_load(COMPOSE.read_text())
    assert theirs["global"] == ours["global"]
    assert [job["job_name"] for job in theirs["scrape_configs"]] == [monitor.JOB]
    assert [job["job_name"] for job in ours["scrape_configs"]] == [monitor.JOB]
    assert [Path(name).name for name in ours["rule_files"]] == ["alerts.yml", "recording.yml"]
    assert all(Path(name).is_file() for name in ours["rule_files"])


@pytest.mark.parametrize(
    ("ports", "why"),
    [
        ({"base": 65000, "page": 1, "admin": 2}, "does not exist"),
        ({"base": 8080, "page": 9090}, "is the page's"),
    ],
)
def test_a_base_that_leaves_no_port_for_prometheus(ports: dict[str, int], why: str) -> None:
    topology = Topology.build({**yaml.safe_load(SMALL), "ports": ports})
    with pytest.raises(LabError, match=why) as error:
        prometheus.address(topology)
    assert error.value.code == MISUSED


def test_prometheus_is_where_people_look_for_it() -> None:
    assert prometheus.url(load(None)) == "http://127.0.0.1:9090/"

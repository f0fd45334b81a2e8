"""`cdnlab check`: the verdict on a topology, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdnlab.lab import check
from cdnlab.plan.load import DEFAULT
from tests.support.commands import Typed


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(check.command, None, monkeypatch)


def wrong(tmp_path: Path) -> str:
    path = tmp_path / "lab.yaml"
    path.write_text(DEFAULT.read_text().replace("default_place:", "default_plaec:"))
    return str(path)


def test_the_shipped_default_is_fine(typed: Typed) -> None:
    result = typed(str(DEFAULT))
    assert result.exit_code == 0
    assert "fine" in result.stdout
    assert "2 lb, 6 edge, 2 origin" in result.stdout
    assert typed().exit_code == 0


def test_an_unknown_key_is_named_with_the_nearest_one(typed: Typed, tmp_path: Path) -> None:
    result = typed(wrong(tmp_path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "lab.yaml:" in result.stderr
    assert "default_plaec" in result.stderr
    assert "default_place" in result.stderr


def test_a_missing_file_is_named(typed: Typed, tmp_path: Path) -> None:
    result = typed(str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "none.yaml" in result.stderr


def test_verdicts_as_json(typed: Typed, tmp_path: Path) -> None:
    found = json.loads(typed("--json").stdout)
    assert (found["ok"], found["nodes"]) == (True, {"lb": 2, "edge": 6, "origin": 2})
    result = typed("--json", wrong(tmp_path))
    found = json.loads(result.stdout)
    assert result.exit_code == 2
    assert found["ok"] is False
    assert all(set(error) == {"problem", "where", "remedy"} for error in found["errors"])


def test_the_schema_describes_a_topology(typed: Typed) -> None:
    schema = json.loads(typed("--schema").stdout)
    assert {"nodes", "pools", "routes", "vips"} <= set(schema["properties"])

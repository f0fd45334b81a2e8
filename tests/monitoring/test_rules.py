"""The shipped rules: named in the documentation, fit to be read, and right by promtool's own unit tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdnlab.lab import monitor
from cdnlab.plan.load import load
from tests.support.labs import ROOT

PROMTOOL = shutil.which("promtool")
UNIT_TESTS = Path(__file__).with_name("rules_test.yml")
PAGE = (ROOT / "docs" / "metrics.md").read_text()

peers = pytest.mark.peers
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")


def rules(file: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((monitor.RULES / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


RECORDED = [rule["record"] for rule in rules("recording.yml")]
ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


def promtool(*words: str) -> str:
    """What it says of something that it finds right."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def named(heading: str) -> list[list[str]]:
    """The cells of the documentation's table under a heading, names without their quotes."""
    section = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    return [
        [cell.strip(" `") for cell in row.split(" | ")]
        for row in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    ]


def test_every_recording_rule_is_documented_and_no_other() -> None:
    assert [row[0] for row in named("Recording rules")] == RECORDED


def test_every_alert_is_documented_with_its_severity() -> None:
    assert {row[0]: row[1] for row in named("Alerts")} == {
        name: rule["labels"]["severity"] for name, rule in ALERTS.items()
    }


def test_rules_are_named_level_metric_operations() -> None:
    assert [
        name for name in RECORDED if not re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]*rate\d+m\w*", name)
    ] == []


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["for"] == "10s"
    assert len(rule["annotations"]["summary"]) < 80
    assert "`" in rule["annotations"]["description"], "a command or a metric to look at"


@pytest.mark.parametrize("file", ["recording.yml", "alerts.yml"])
def test_every_rule_has_its_reason_written_above_it(file: str) -> None:
    text = (monitor.RULES / file).read_text()
    blocks = re.split(r"\n\n", text.partition("rules:\n")[2])
    assert [block[:60] for block in blocks if "      - " in block and "      # " not in block] == []


def test_every_rule_has_a_unit_test() -> None:
    tests = yaml.safe_load(UNIT_TESTS.read_text())["tests"]
    asked = "\n".join(
        each["expr"] for test in tests for each in test["promql_expr_test"] if each["exp_samples"]
    )
    fired = UNIT_TESTS.read_text()
    assert [name for name in RECORDED if not re.search(rf"{name}(?![\w:])", asked)] == []
    for name in ALERTS:
        assert f'alertname="{name}",alertstate="firing"' in fired


@peers
@needs_promtool
def test_promtool_finds_every_value() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(UNIT_TESTS))


@peers
@needs_promtool
def test_promtool_reads_what_up_writes(tmp_path: Path) -> None:
    monitor.write(load(None), tmp_path)
    said = promtool("check", "config", str(tmp_path / monitor.CONFIG))
    assert f"SUCCESS: {len(RECORDED)} rules found" in said
    assert f"SUCCESS: {len(ALERTS)} rules found" in said
    assert "WARNING" not in said


@peers
@needs_promtool
def test_promtool_reads_what_containers_mount(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "prometheus" / "prometheus.yml", tmp_path)
    shutil.copytree(monitor.RULES, tmp_path / "rules")
    said = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert f"SUCCESS: {len(RECORDED)} rules found" in said
    assert f"SUCCESS: {len(ALERTS)} rules found" in said

"""The command line: what it imports, what it lists, how it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cdnlab.lab.cli import COMMANDS
from tests.support.labs import ROOT, cdnlab, environment, state_directory

HEAVY = (
    "aiohttp",
    "uvloop",
    "redis",
    "yaml",
    "rich",
    "asyncio",
    "lb",
    "edge",
    "origin",
    "cdnlab.plan",
    "cdnlab.node",
)


@pytest.mark.parametrize("words", [["--help"], ["up", "--help"], ["down", "--help"], ["kill", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from cdnlab.lab.cli import app\n"
        f"try: app({words!r}, prog_name='cdnlab')\n"
        f"finally: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "Usage: cdnlab" in done.stdout


def test_help_lists_every_command_with_its_sentence() -> None:
    listed = cdnlab("--help").stdout
    for name, entry in COMMANDS.items():
        assert f"  {name} " in listed
        assert entry.sentence in " ".join(listed.split())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["nonsense"], 2),
        (["kill"], 2),
        (["up", "--port", "0"], 2),
        (["up", "--port", "x"], 2),
        (["--help"], 0),
    ],
)
def test_exit_codes_of_usage(words: list[str], code: int) -> None:
    assert cdnlab(*words).returncode == code


@pytest.mark.parametrize(
    "words", [["down"], ["kill", "lb-a"], ["pause", "lb-a"], ["resume", "lb-a"], ["start", "lb-a"]]
)
def test_orders_without_a_lab(words: list[str]) -> None:
    with state_directory() as state:
        done = cdnlab(*words, "--state", str(state))
    assert done.returncode == 1
    assert done.stderr == f"cdnlab: no lab is running in {state}\n  start one: cdnlab up\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with bin/cdnlab and nothing else."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "cdnlab"
    script.write_bytes((ROOT / "bin" / "cdnlab").read_bytes())
    script.chmod(0o755)
    return tmp_path


def run_script(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "bin" / "cdnlab", *words],
        env=environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_bin_without_an_environment_names_make(checkout: Path) -> None:
    done = run_script(checkout, "up")
    assert done.returncode == 1
    assert done.stderr == f"cdnlab: {checkout}/.venv is not there yet\n  make it: make -C {checkout}\n"


def test_bin_refuses_an_old_python_before_running_it(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho never run\n")
    python.chmod(0o755)
    (checkout / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.9.2\n")
    done = run_script(checkout, "up")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Python 3.11 or newer is needed" in done.stderr


def test_bin_passes_all_words_and_its_own_name(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$CDNLAB_COMMAND" "$@"\n')
    python.chmod(0o755)
    done = run_script(checkout, "kill", "a b")
    assert done.stdout == f"{checkout}/bin/cdnlab -P -m cdnlab kill a b\n"

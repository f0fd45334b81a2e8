"""Which directories a lab may take for its state, and what it removes from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory, default_directory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "s")


def test_a_directory_is_made_locked_and_named(state: StateDirectory) -> None:
    assert state.holder() is None
    lock = state.claim()
    assert state.path.stat().st_mode & 0o777 == 0o700
    assert state.holder() == os.getpid()
    os.close(lock)
    assert state.holder() is None


def test_one_lab_at_a_time(state: StateDirectory) -> None:
    lock = state.claim()
    with pytest.raises(LabError, match="already running"):
        state.claim()
    os.close(lock)
    os.close(state.claim())


def test_what_a_killed_lab_left_is_removed(state: StateDirectory) -> None:
    os.close(state.claim())
    left = [
        state.socket,
        state.store_socket,
        state.topology,
        state.log("edge-icn"),
        state.path / "secrets" / "admin_token",
    ]
    state.secrets.mkdir()
    for path in left:
        path.touch()
    (state.path / "mine.txt").touch()
    os.close(state.claim())
    assert not [path for path in left if path.exists()]
    assert (state.path / "mine.txt").exists()


def test_a_directory_with_other_things_is_not_taken(state: StateDirectory) -> None:
    state.path.mkdir()
    (state.path / "thesis.tex").touch()
    with pytest.raises(LabError, match="files that no lab made") as refused:
        state.claim()
    assert refused.value.code == 2


def test_a_file_or_a_link_is_not_taken(state: StateDirectory, tmp_path: Path) -> None:
    state.path.symlink_to(tmp_path)
    with pytest.raises(LabError, match="not a directory"):
        state.claim()


def test_a_path_too_long_for_a_socket_is_named() -> None:
    with pytest.raises(LabError, match=r"the kernel allows 107\n  give a shorter path with --state"):
        StateDirectory(Path("/" + "x" * 110)).claim()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CDNLAB_STATE": "/a/b", "XDG_RUNTIME_DIR": "{run}"}, "/a/b"),
        ({"XDG_RUNTIME_DIR": "{run}"}, "{run}/cdnlab"),
        ({"XDG_RUNTIME_DIR": "/nowhere"}, "{tmp}/cdnlab-{uid}"),
        ({}, "{tmp}/cdnlab-{uid}"),
    ],
)
def test_where_the_state_lies_by_default(
    environment: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"run": str(tmp_path), "tmp": str(tmp_path), "uid": str(os.getuid())}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("CDNLAB_STATE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(**names))
    assert str(default_directory()) == expected.format(**names)

"""`cdnlab node`: which node of which topology, and what is said where it can't be started."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cdnlab.lab.node_command import _announce as announce
from cdnlab.node.secrets import load, make
from cdnlab.plan.topology import Topology
from tests.support.labs import ROOT, SMALL, cdnlab, environment, free_base, until

APART = SMALL + "vips: [{provider: reuseport}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(SMALL)
    return path


def refused(code: int, *words: str, **env: str) -> str:
    done = cdnlab("node", *words, **env)
    assert (done.returncode, done.stdout) == (code, "")
    return done.stderr


def test_no_name() -> None:
    assert refused(2) == "cdnlab: which node?\n  cdnlab node NAME, or set CDNLAB_NODE\n"


def test_a_name_that_is_not_there(file: Path) -> None:
    said = refused(2, "edge-ico", "--topology", str(file))
    assert 'there is no node "edge-ico"' in said
    assert 'did you mean "edge-icn"?' in said


def test_the_name_and_the_file_may_come_from_the_environment(file: Path) -> None:
    said = refused(2, CDNLAB_NODE="edge-frb", CDNLAB_TOPOLOGY=str(file))
    assert 'did you mean "edge-fra"?' in said


def test_balancers_need_a_vip_that_they_can_share(file: Path) -> None:
    said = refused(2, "lb-a", "--topology", str(file))
    assert said.startswith("cdnlab: vips[0].provider is lab")
    assert "provider: reuseport" in said


def test_balancers_need_a_store(file: Path, tmp_path: Path) -> None:
    file.write_text(APART)
    said = refused(2, "lb-b", "--topology", str(file), "--state", str(tmp_path))
    assert "no store" in said
    assert "CDNLAB_STORE" in said


@pytest.mark.parametrize(
    "name,value,words",
    [
        ("ORIGIN_URL", "127.0.0.1:3000", ("ORIGIN_URL", "did you mean http://127.0.0.1:3000 ?")),
        ("ORIGIN_HOST", "app.example.com", ("ORIGIN_HOST says how ORIGIN_URL is asked", "add ORIGIN_URL")),
        ("ORIGIN_PLACE", "seoul", ("ORIGIN_PLACE", '"icn" (Seoul)')),
        ("CDNLAB_DISTANCE", "far", ("CDNLAB_DISTANCE far", "on or off")),
        ("CDNLAB_TOPOLOGY", "/nonexistent.yaml", ("/nonexistent.yaml",)),
    ],
)
def test_the_environment_is_named_where_it_is_wrong(name: str, value: str, words: tuple[str, ...]) -> None:
    said = refused(2, "edge-icn", **{name: value})
    for word in words:
        assert word in said


def test_a_node_whose_place_the_application_takes_has_nothing_to_do(file: Path) -> None:
    done = cdnlab("node", "origin-1", "--topology", str(file), ORIGIN_URL="http://127.0.0.1:3000")
    assert done.returncode == 0
    assert done.stdout == "cdnlab: origin-1 has nothing to do: ORIGIN_URL stands in its place\n"


def test_an_unwritable_state_directory() -> None:
    said = refused(1, "edge-icn", "--state", "/proc/nothing")
    assert "/proc/nothing" in said
    assert "--state" in said


@contextmanager
def node(name: str, file: Path, state: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "cdnlab", "node", name, "--topology", str(file), "--state", str(state)]
    process = subprocess.Popen(words, cwd=ROOT, env=environment(**env))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_says_where_it_can_be_asked_and_takes_it_back(file: Path, tmp_path: Path) -> None:
    base = free_base()
    file.write_text(SMALL + f"ports: {{base: {base}}}\n")
    ready = tmp_path / "ready"
    with node("origin-1", file, tmp_path / "state", CDNLAB_READY_FILE=str(ready)) as process:
        until(lambda: ready.exists() and ready.read_text().endswith("\n"), "the file")
        assert ready.read_text() == f"127.1.1.20:{base + 1021}\n"

        def answers() -> bool:
            try:
                with closing(urllib.request.urlopen(f"http://{ready.read_text().strip()}/readyz", timeout=2)):
                    return True
            except OSError:
                return False

        until(answers, "the node is ready")
        process.terminate()
        assert process.wait(30) == 0
        assert not ready.exists()
    assert load(tmp_path / "state" / "secrets").admin_token


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")])
def test_where_it_can_be_asked_is_host_and_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    edge = {"tier": "edge", "address": address, "admin_port": 7}
    pools = {"origins": {"backends": [{"name": "o", "address": "127.0.0.1", "port": 9}]}}
    monkeypatch.setenv("CDNLAB_READY_FILE", str(tmp_path / "ready"))
    announce(Topology.build({"nodes": {"e": edge}, "pools": pools}), "e")
    assert (tmp_path / "ready").read_text() == f"{said}\n"


def test_the_state_directory_is_the_observers(tmp_path: Path, file: Path) -> None:
    (tmp_path / "lab").write_text("in the way")
    said = refused(1, "edge-icn", "--topology", str(file), CDNLAB_STATE="~/lab", HOME=str(tmp_path))
    assert f"{tmp_path}/lab/secrets" in said


def test_nodes_that_start_at_once_have_the_same_secrets(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        for round_ in range(20):
            directory = tmp_path / str(round_)
            made = list(pool.map(lambda _, to=directory: make(to), range(16)))
            assert all(each == made[0] for each in made)
            assert len(list(directory.iterdir())) == 5, "nothing is left over"

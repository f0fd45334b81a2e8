"""`up --prometheus`: a child of the lab like the store. A small program stands in for Prometheus; tests/monitoring has
the real one."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.lab.test_up_refusals import listening, refused
from tests.support.labs import SMALL, alive, free_base, lab, until

PROGRAM = """#!{python}
import http.server, sys
host, _, port = next(w for w in sys.argv if "listen-address" in w).partition("=")[2].rpartition(":")
print("began with", *sys.argv[1:], file=sys.stderr, flush=True)
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer((host, int(port)), Ready).serve_forever()
"""


def installed(directory: Path, program: str = PROGRAM) -> str:
    """A PATH on which there is a program called prometheus."""
    directory.mkdir()
    file = directory / "prometheus"
    file.write_text(program.format(python=sys.executable))
    file.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def accepts(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_lives_and_dies_with_the_lab(tmp_path: Path) -> None:
    with lab("--prometheus", PATH=installed(tmp_path / "bin")) as running:
        running.ready()
        seen = until(lambda: (it := running.ask("/lab")["prometheus"])["state"] == "up" and it, "Prometheus")
        assert seen["url"] == f"http://127.0.0.1:{running.base + 1010}/"
        assert f"{seen['url']}  up" in running.cdnlab("status").stdout
        directory = running.directory / "prometheus"
        began = running.state.log("prometheus").read_text()
        assert f"--config.file={directory / 'prometheus.yml'} " in began
        assert f"--storage.tsdb.path={directory / 'data'} " in began
        assert "--storage.tsdb.retention.size=" in began
        assert [node["name"] for node in running.ask("/lab")["nodes"]] == [
            group["labels"]["node"] for group in json.loads((directory / "targets.json").read_text())
        ]

        assert running.cdnlab("kill", "prometheus").returncode == 0
        assert running.ask("/lab")["prometheus"]["state"] == "dead"
        assert "dead (ended by SIGKILL (cdnlab kill))" in running.cdnlab("status").stdout
        assert running.cdnlab("start", "prometheus").returncode == 0
        assert accepts(running.base + 1010)
        pid = running.ask("/lab")["prometheus"]["pid"]
        assert running.cdnlab("down").returncode == 0
        assert not alive(pid)
        said, _ = running.process.communicate()
        assert f"metrics   {seen['url']}   (Prometheus)" in said


def test_it_is_no_reason_for_the_lab_to_end(tmp_path: Path) -> None:
    broken = "#!/bin/sh\necho cannot open the data >&2; exit 3\n"
    with lab("--prometheus", PATH=installed(tmp_path / "bin", broken)) as running:
        running.ready()
        until(lambda: running.ask("/lab")["prometheus"]["state"] == "dead", "its end")
        assert running.get()[0] == 200
        assert running.cdnlab("start", "prometheus").returncode == 1
        assert running.cdnlab("down").returncode == 0
        _, said = running.process.communicate()
        assert "prometheus did not start; it ended with exit code 3: cannot open the data" in said


def test_every_lab_says_whom_to_scrape_and_runs_no_prometheus_unasked(tmp_path: Path) -> None:
    with lab(PATH=installed(tmp_path / "bin"), CDNLAB_SCRAPE_INTERVAL="7s") as running:
        running.ready()
        assert running.ask("/lab")["prometheus"] is None
        assert "rometheus" not in running.cdnlab("status").stdout
        assert not accepts(running.base + 1010)
        written = yaml.safe_load((running.directory / "prometheus" / "prometheus.yml").read_text())
        assert written["global"]["scrape_interval"] == "7s"


def test_where_it_is_not_installed_nothing_starts(tmp_path: Path) -> None:
    said = refused(2, "--prometheus", PATH=str(tmp_path))
    assert said == (
        "cdnlab: --prometheus: there is no program called prometheus on this machine\n"
        "  install it (apt-get install prometheus), or leave the option out\n"
    )


def test_its_port_is_taken(tmp_path: Path) -> None:
    base = free_base()
    with listening("127.0.0.1", base + 1010):
        said = refused(1, "--prometheus", port=base, PATH=installed(tmp_path / "bin"))
    assert said.startswith(f"cdnlab: 127.0.0.1:{base + 1010}, needed for Prometheus, is taken by ")


@pytest.mark.parametrize("name", ["prometheus", "store"])
def test_a_node_of_its_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(SMALL.replace("edge-fra:", f"{name}:"))
    said = refused(2, str(file), "--prometheus", PATH=installed(tmp_path / "bin"))
    assert said == f"cdnlab: a node is called {name}, which is what the lab calls its own\n  rename it\n"


@pytest.mark.parametrize("word", ["often", "0s"])
def test_an_interval_that_is_none(word: str) -> None:
    assert f"CDNLAB_SCRAPE_INTERVAL={word}: that is no interval" in refused(2, CDNLAB_SCRAPE_INTERVAL=word)

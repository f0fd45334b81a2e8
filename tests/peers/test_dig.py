"""`dig` asks the network of docs/dns.yaml through the balancers' layer-4 port, and goes on asking while it breaks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.labs import ROOT, RunningLab, free_base, lab, until

pytestmark = pytest.mark.peers
#: From the lab's base to the port that is 8053 in the file.
DNS = 1010


@pytest.fixture(scope="module")
def dns_lab() -> Iterator[RunningLab]:
    if shutil.which("dig") is None:
        pytest.skip("dig is not installed (Debian: bind9-dnsutils)")
    base = free_base()
    text = (
        (ROOT / "docs" / "dns.yaml").read_text().replace("8080", str(base)).replace("8053", str(base + DNS))
    )
    with lab("--port", str(base), module="cdnlab", topology=text) as started:
        started.base = base
        yield started.ready()


def dig(running: RunningLab, *words: str, client: str = "127.82.1.100") -> str:
    """What it prints; it must end well."""
    asked = ["dig", "@127.0.0.1", "-p", str(running.base + DNS), "-b", client, "+tries=6", "+time=1", *words]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=30)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


def test_dig_understands_the_answers(dns_lab: RunningLab) -> None:
    said = dig(dns_lab, "icn.cdn.test")
    assert "status: NOERROR" in said
    assert "127.82.1.10" in said
    assert "WARNING: Message parser" not in said
    assert dig(dns_lab, "+short", "fra.cdn.test", "A").strip() == "127.49.1.10"
    assert "status: NXDOMAIN" in dig(dns_lab, "nowhere.cdn.test")
    assert "127.0.1.1" in dig(dns_lab, "+short", "whoami.cdn.test", "TXT")  # a balancer's, not dig's


@pytest.mark.parametrize(("client", "origin"), [("127.82.1.100", "origin-1"), ("127.49.1.100", "origin-2")])
def test_the_nearest_server_answers(dns_lab: RunningLab, client: str, origin: str) -> None:
    assert f"answered by {origin}" in dig(dns_lab, "icn.cdn.test", client=client)


def test_dig_gets_its_answer_while_a_server_and_then_a_balancer_die(dns_lab: RunningLab) -> None:
    assert dns_lab.cdnlab("kill", "origin-1").returncode == 0
    assert "answered by origin-2" in dig(
        dns_lab, "icn.cdn.test"
    )  # its port is shut: the next candidate is asked
    assert dns_lab.cdnlab("start", "origin-1").returncode == 0
    assert dns_lab.cdnlab("kill", "lb-a").returncode == 0
    assert "answered by" in dig(dns_lab, "icn.cdn.test")
    assert dns_lab.cdnlab("start", "lb-a").returncode == 0
    until(lambda: "answered by origin-1" in dig(dns_lab, "icn.cdn.test"), "the nearest one answers again")

"""docker-compose.yml, the Dockerfile and their topology: what they promise, and that they agree with each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdnlab.lab.choices import from_environment
from cdnlab.plan.load import load
from cdnlab.plan.topology import Topology
from tests.compose import steps
from tests.support.standins import images

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
PLAN = ROOT / "deploy/compose/topology.yaml"
Json = dict[str, Any]


@cache
def compose() -> Json:
    """The file, with anchors and merges resolved and variables as they stand."""
    return dict(yaml.safe_load(FILE.read_text()))


@cache
def plan() -> Topology:
    """The topology that it mounts."""
    return load(PLAN)


def service(name: str) -> Json:
    """One service."""
    return dict(compose()["services"][name])


def fixed(name: str) -> set[str]:
    """A service's fixed addresses; the balancers have those of `vip`."""
    mode = str(service(name).get("network_mode", ""))
    networks = service(mode.removeprefix("service:") or name)["networks"]
    return {each["ipv4_address"] for each in networks.values() if "ipv4_address" in each}


def subnet(network: str) -> Json:
    """A network's only pool."""
    (pool,) = compose()["networks"][network]["ipam"]["config"]
    return dict(pool)


def test_its_services_are_those_of_the_task() -> None:
    assert set(compose()["services"]) == {*steps.SERVICES, "grafana", "locust"}
    assert service("locust")["profiles"] == ["load"]


def test_every_node_has_a_service_with_its_addresses() -> None:
    nodes = {name for name in compose()["services"] if service(name).get("command", [""])[0] == "node"}
    assert nodes == set(plan().nodes)
    for name, node in plan().nodes.items():
        assert service(name)["command"] == ["node", name]
        assert fixed(name) == {node.address, *node.addresses}, name


def test_no_two_services_have_one_address() -> None:
    everybody = [
        address for name in compose()["services"] if "networks" in service(name) for address in fixed(name)
    ]
    assert len(everybody) == len(set(everybody))


@pytest.mark.parametrize("code", ["icn", "nrt", "fra", "iad", "gru", "syd"])
def test_a_place_is_the_half_of_its_network_that_the_engine_hands_out(code: str) -> None:
    assert plan().place(code).prefixes == (subnet(code)["ip_range"],)
    assert {node.place for node in plan().nodes.values() if node.tier == "edge"} >= {code}
    mine = ip_address(plan().node(f"edge-{code}").address)
    assert mine in IPv4Network(subnet(code)["subnet"])


def test_no_place_holds_a_gateway_or_anything_with_a_fixed_address() -> None:
    table = plan().prefix_table()
    for network in compose()["networks"]:
        pool = subnet(network)
        gateway = ip_address(pool["gateway"])
        assert gateway in IPv4Network(pool["subnet"])
        assert IPv4Network(pool["ip_range"]).subnet_of(IPv4Network(pool["subnet"]))
        assert gateway not in IPv4Network(pool["ip_range"])
        assert table.lookup(str(gateway)) is None, network
    for name in compose()["services"]:
        for address in fixed(name) if "networks" in service(name) else ():
            assert table.lookup(address) is None, f"{name} {address}"


def test_a_region_has_its_code_as_everywhere() -> None:
    octets = {code: place.prefixes[0].split(".")[1] for code, place in load(None).all_places.items()}
    for code in set(compose()["networks"]) - {"front", "backbone"}:
        assert subnet(code)["subnet"] == f"198.18.{octets[code]}.0/24"


@pytest.mark.parametrize("page", ["docs/compose.md", "deploy/compose/topology.yaml"])
def test_all_of_it_moves_by_the_command_that_is_advised(page: str, tmp_path: Path) -> None:
    (advised,) = re.findall(
        r"\b((?:sed|perl) -.*? docker-compose\.yml \S+?\.yaml)", (ROOT / page).read_text()
    )
    for file in (FILE, PLAN):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    subprocess.run(advised, shell=True, cwd=tmp_path, check=True, timeout=20)
    for file in (FILE, PLAN):
        moved = (tmp_path / file.relative_to(ROOT)).read_text()
        assert moved == file.read_text().replace("198.18.", "198.19.")


def test_everything_published_is_on_this_machine_only_and_no_admin_api_is() -> None:
    published: set[tuple[str, str]] = set()
    for name in compose()["services"]:
        for port in service(name).get("ports", ()):
            found = re.fullmatch(r"(.+):\$\{(\w+:-\d+)\}:(\d+(?:/udp)?)", port)
            assert found is not None, port
            host, variable, inside = found.groups()
            assert host == "127.0.0.1", name
            published.add((name, f"{variable} -> {inside}"))
    assert published == {
        ("vip", "CDNLAB_PORT:-8080 -> 8080"),
        ("vip", "CDNLAB_TCP_PORT:-8081 -> 8081"),
        ("vip", "CDNLAB_UDP_PORT:-8082 -> 8082/udp"),
        ("lab", "CDNLAB_PAGE_PORT:-9100 -> 9100"),
        ("prometheus", "CDNLAB_PROMETHEUS_PORT:-9090 -> 9090"),
        ("grafana", "CDNLAB_GRAFANA_PORT:-3001 -> 3000"),
        ("locust", "CDNLAB_LOCUST_PORT:-8089 -> 8089"),
    }
    admin = {address[1] for name in plan().nodes if (address := plan().admin_address(name))}
    assert admin == set(steps.BALANCERS.values())
    assert not admin & {int(each.rpartition(" ")[2].partition("/")[0]) for _, each in published}


@pytest.mark.parametrize("name", sorted({*steps.SERVICES, "grafana", "locust"}))
def test_nothing_comes_back_by_itself_and_nothing_has_rights(name: str) -> None:
    assert service(name)["restart"] == "no"
    assert service(name)["cap_drop"] == ["ALL"]
    assert service(name)["security_opt"] == ["no-new-privileges:true"]
    assert service(name).get("read_only") is True or name == "grafana"
    assert "privileged" not in service(name)


def test_the_environment_is_the_one_that_nodes_read() -> None:
    said = {"ORIGIN_URL": "http://a:1 http://b:2", "ORIGIN_HOST": "a.example", "ORIGIN_PLACE": "fra"}
    said |= {"FORWARDED_PROTO": "https", "CDNLAB_DISTANCE": "off"}
    choices = from_environment(PLAN, said)
    assert (choices.origins, choices.origin_host) == (("http://a:1", "http://b:2"), "a.example")
    assert (choices.origin_place, choices.forwarded_proto, choices.distance) == ("fra", "https", False)
    for name in (*plan().nodes, "lab"):
        passed = service(name)["environment"]
        assert {key: f"${{{key}:-}}" for key in said}.items() <= passed.items(), name


def test_what_is_mounted_is_there() -> None:
    for name in compose()["services"]:
        for mount in service(name).get("volumes", ()):
            source = mount.split(":")[0]
            assert source in compose()["volumes"] or (ROOT / source).exists(), mount
            if source.startswith("."):
                assert mount.endswith(":ro,z"), mount


def test_whoever_reads_the_topology_has_the_one_that_can_be_changed() -> None:
    for name in (*plan().nodes, "lab", "locust"):
        assert "./deploy/compose/topology.yaml:/etc/cdnlab/topology.yaml:ro,z" in service(name)["volumes"], (
            name
        )


def test_the_images_are_the_ones_that_the_smoke_test_has() -> None:
    named = {service(name)["image"] for name in compose()["services"]}
    base = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    assert named - {"cdnlab:node", "cdnlab:load", "grafana/grafana:12.1.0"} | {base[1]} == set(
        images.STANDINS
    )


def test_the_image_holds_what_the_checkout_has() -> None:
    """Whatever the Dockerfile copies passes .dockerignore."""
    passes = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {word for line in copied for word in line.split()} == passes


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
@pytest.mark.peers
def test_docker_compose_reads_it_without_any_environment(tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        ["docker-compose", "-f", str(FILE), "--profile", "load", "config"],
        capture_output=True,
        text=True,
        env=bare,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    read = yaml.safe_load(done.stdout)
    assert set(read["services"]) == set(compose()["services"])
    assert read["services"]["edge-icn"]["environment"]["ORIGIN_URL"] == ""

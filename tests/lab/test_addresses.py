"""The VIPs' sockets before anything runs: opened, each under its name, or found taken, and by whom."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from cdnlab.lab.addresses import open_vips
from cdnlab.lab.errors import LabError
from cdnlab.plan.topology import Topology
from tests.support.labs import free_base

VIP = "127.0.7.7"


def topology(base: int) -> Topology:
    return Topology.build(
        {
            "name": "sockets",
            "ports": {"base": base},
            "vips": [{"name": "main", "address": VIP}],
            "nodes": {"lb-a": {"tier": "lb", "address": "127.0.1.10"}},
            "pools": {
                "servers": {
                    "backends": [{"name": "a", "address": "127.0.0.1", "port": 1}],
                    "health": {"kind": "none"},
                }
            },
            "routes": [{"pool": "servers"}],
            "l4": {"t": {"protocol": "tcp", "pool": "servers"}, "u": {"protocol": "udp", "pool": "servers"}},
        }
    )


def test_each_port_of_a_vip_is_opened_once_for_all_balancers() -> None:
    base = free_base()
    found = open_vips(topology(base))
    try:
        assert {name: sock.getsockname() for name, sock in found.items()} == {
            "main": (VIP, base),
            "main/t": (VIP, base + 1),
            "main/u": (VIP, base + 2),
        }
        assert {name: sock.type for name, sock in found.items() if sock.type != socket.SOCK_STREAM} == {
            "main/u": socket.SOCK_DGRAM
        }
        with closing(socket.create_connection((VIP, base + 1), 5)):
            pass  # it waits for whoever holds the VIP
    finally:
        for sock in found.values():
            sock.close()


@pytest.mark.parametrize(("kind", "offset"), [(socket.SOCK_STREAM, 1), (socket.SOCK_DGRAM, 2)])
def test_a_taken_port_is_named_with_who_has_it(kind: socket.SocketKind, offset: int) -> None:
    base = free_base()
    with closing(socket.socket(socket.AF_INET, kind)) as taken:
        taken.bind((VIP, base + offset))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(LabError, match=rf"{VIP}:{base + offset}, needed for .*pid {os.getpid()}"):
            open_vips(topology(base))

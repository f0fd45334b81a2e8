"""The lab's addresses before anything runs: opened, or found taken, and by whom.

It opens the VIPs' listening sockets, and tries every address that a node or the page will take, so that a taken port is
one message at the start and not eleven logs later.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from cdnlab.lab.errors import FAILED, MISUSED, LabError
from cdnlab.net.listening import bound_datagrams, listeners
from cdnlab.plan.topology import Topology

#: Connections that wait for a holder during a takeover; the kernel caps it at net.core.somaxconn.
BACKLOG = 4096

Address = tuple[str, int]


def open_vips(topology: Topology) -> dict[str, socket.socket]:
    """All sockets of the VIPs, by the names under which balancers inherit them: those for HTTP by the VIP's, those at
    layer 4 as lb.l4_listeners.inherited_key has it. Whoever holds the VIP accepts from them, or reads UDP's. LabError
    if one is taken."""
    found: dict[str, socket.socket] = {}
    try:
        for vip in topology.vips:
            host, port = topology.vip_address(vip)
            if vip.http:
                found[vip.name] = open_vip((host, port))
            for name, spec in topology.l4.items():
                where, udp = (host, topology.l4_port(spec)), spec.protocol == "udp"
                found[f"{vip.name}/{name}"] = open_vip(where, udp=udp, purpose=f"the VIP's {name}")
    except BaseException:
        for sock in found.values():
            sock.close()
        raise
    return found


def open_vip(address: Address, *, udp: bool = False, purpose: str = "the VIP") -> socket.socket:
    """A listening TCP socket, or a bound UDP one, on a VIP's address. LabError if it is taken."""
    return _bind(address, listen=not udp, purpose=purpose, udp=udp)


def check_free(addresses: Iterable[tuple[Address, str]], *, udp: bool = False) -> None:
    """Try each (address, who will need it); LabError for the first that cannot be had."""
    for address, purpose in addresses:
        _bind(address, listen=False, purpose=purpose, udp=udp).close()


def _bind(address: Address, *, listen: bool, purpose: str = "the VIP", udp: bool = False) -> socket.socket:
    if address[1] == 0:
        remedy = "set ports.base in the topology, or use --port BASE"
        raise LabError(
            f"{purpose} has port 0, and nobody in the lab would know which that is", remedy, MISUSED
        )
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    try:
        if not udp:  # UDP's would share the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.setblocking(False)
        if listen:
            bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise _refusal(address, purpose, error, udp=udp) from None
    return bound


def _refusal(address: Address, purpose: str, error: OSError, *, udp: bool) -> LabError:
    where = show(address)
    if error.errno == errno.EADDRINUSE:
        holder = find_holder(address, udp=udp)
        by = f" by {holder[1]} (pid {holder[0]})" if holder else ""
        stop = f"stop it (kill {holder[0]})" if holder else "stop whatever listens there"
        return LabError(
            f"{where}, needed for {purpose}, is taken{by}", f"{stop}, or use other ports: --port BASE", FAILED
        )
    if error.errno == errno.EACCES:
        return LabError(
            f"{where}, needed for {purpose}: ports below 1024 are root's", "use other ports: --port BASE"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        remedy = "give addresses of this machine (on Linux all of 127.0.0.0/8 are)"
        return LabError(f"{where}, needed for {purpose}, is not an address of this machine", remedy)
    return LabError(
        f"{where}, needed for {purpose}, cannot be had: {error.strerror}", "use other ports: --port BASE"
    )


def show(address: Address) -> str:
    """host:port, IPv6 in brackets."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def find_holder(address: Address, *, udp: bool = False) -> tuple[int, str] | None:
    """(pid, command) of a process that listens on the address, if this user may see it; proc(5)."""
    try:
        inodes = set(bound_datagrams(*address) if udp else listeners(*address, covering=True))
    except OSError:  # a host's name, or no /proc
        return None
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _has_socket(process, inodes):
            return int(process.name), _command(process)
    return None


def _has_socket(process: Path, inodes: set[str]) -> bool:
    try:
        with os.scandir(process / "fd") as entries:
            return any(
                os.readlink(entry.path).removeprefix("socket:[").removesuffix("]") in inodes
                for entry in entries
            )
    except OSError:
        return False


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return " ".join(word.decode("utf-8", "replace") for word in words)[:80]
    except OSError:
        return "?"

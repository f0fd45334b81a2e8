"""Which TCP sockets listen on an address of this network namespace, as proc_net_tcp(5) tells.

Decides nothing. The kernel lists listening sockets before all others, so reading stops at the first that is not:
the ten thousand connections of a busy node cost nothing here.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

LISTENING = "0A"
UNCONNECTED = "07"
ANY4, ANY6 = "0" * 8, "0" * 32


def listeners(host: str, port: int, *, covering: bool = False) -> Iterator[str]:
    """The inode of each socket that listens on exactly `host` and `port`.

    `covering`: also of those that listen on every address, or on this one mapped into IPv6. OSError if `host` is no
    address, or where no descriptor is left to look with.
    """
    exact = spell(host)
    wanted = {exact} if not covering else {exact, ANY4, ANY6}
    if covering and ":" not in host:
        wanted.add(f"0000000000000000FFFF0000{exact}")
    for table in ("tcp", "tcp6"):
        for local, inode in _rows(Path("/proc/net", table)):
            address, _, number = local.partition(":")
            if address in wanted and int(number, 16) == port:
                yield inode


def bound_datagrams(host: str, port: int) -> Iterator[str]:
    """The inode of each UDP socket that is bound to exactly `host` and `port`, connected ones left out."""
    exact = spell(host)
    for table in ("udp", "udp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except FileNotFoundError:  # no IPv6 here
            continue
        for fields in map(str.split, lines):
            address, _, number = fields[1].partition(":")
            if address == exact and int(number, 16) == port and fields[3] == UNCONNECTED:
                yield fields[9]


def _rows(table: Path) -> Iterator[tuple[str, str]]:
    """(local address, inode) of each listening socket."""
    try:
        with table.open(buffering=4096) as lines:
            next(lines, None)
            for line in lines:
                fields = line.split()
                if fields[3] != LISTENING:
                    return
                yield fields[1], fields[9]
    except FileNotFoundError:  # no IPv6 here
        return


def spell(host: str) -> str:
    """How the table writes an address: each 32 bits of it in the machine's byte order, as hexadecimal."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words)

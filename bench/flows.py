"""`python -m bench.flows`: what a million entries cost the flow table, in memory and in time at once.

It fills the table with as many different clients, looks flows up at random, has all of them expire, and fills another
table with what the first one says, as a balancer that starts does. Every call is timed in CPU seconds of this process,
since a machine that does something else beside it would look like a stall. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import thread_time
from typing import TYPE_CHECKING

from lb.flow_entry import Address, Ended
from lb.flow_table import FlowTable

if TYPE_CHECKING:
    from bench.run import Bench

GOAL_BYTES, GOAL_SECONDS, GOAL_RATIO = 300, 0.005, 1.5
FEW = 1000
LOOKUPS = 100_000
SLICE = 500
LIFE = 30.0
VIP: Address = ("127.0.0.1", 8082)
LOCAL: Address = ("127.0.1.10", 40000)

#: What is measured: IPv4 without and with source affinity, and IPv6 with it, which is the most that an entry has.
KINDS = ("ipv4", "ipv4-affinity", "ipv6-affinity")


class Server:
    """A backend as the table needs it."""

    name, host, port = "origin-1", "127.1.1.20", 8082


def client(kind: str, number: int) -> Address:
    """A client's address and port, another one for each number."""
    if kind.startswith("ipv6"):
        return f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", 1024 + number % 60000
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1024 + number % 60000


def measured(kind: str, count: int) -> dict[str, float]:
    """The figures of one kind: bytes of an entry, seconds of the longest calls and of a lookup."""
    rng = random.Random(1)
    before = resident()
    table = FlowTable(count)
    table.serve("echo", "udp", VIP, LIFE, (32, 64) if kind.endswith("affinity") else None)
    opened = _longest(lambda number: table.open(client(kind, number), VIP, LOCAL, Server, "udp", 1.0), count)
    found = {"bytes": (resident() - before) / count, "open": opened}
    some = [client(kind, rng.randrange(min(FEW, count))) for _ in range(min(LOOKUPS, 2 * count))]
    found["find_few"] = _each(lambda one: table.find("udp", one, VIP, 2.0), some)
    some = [client(kind, rng.randrange(count)) for _ in range(min(LOOKUPS, 2 * count))]
    found["find_all"] = _each(lambda one: table.find("udp", one, VIP, 2.0), some)
    successor = FlowTable(count)
    successor.serve("echo", "udp", VIP, LIFE, (32, 64) if kind.endswith("affinity") else None)
    words = table.each(2.0)
    found["learn"] = _longest(lambda _: successor.learn(*next(words), 2.0), count)
    for handle in range(1, count + 1):
        table.close(handle, 2.0, Ended.IDLE)
    found["expire"] = _longest(lambda _: table.tick(100.0, SLICE), count // SLICE + 2)
    assert len(table) == 0, "entries are left"
    assert len(successor) == count, "the successor did not learn all"
    return found


def _longest(call: Callable[[int], object], count: int) -> float:
    worst = 0.0
    for number in range(count):
        begun = thread_time()
        call(number)
        worst = max(worst, thread_time() - begun)
    return worst


def _each(call: Callable[[Address], object], some: list[Address]) -> float:
    begun = thread_time()
    for one in some:
        call(one)
    return (thread_time() - begun) / len(some)


def resident() -> int:
    """Bytes of memory that this process has in fact."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def apart(kind: str, count: int) -> dict[str, float]:
    """`measured` in a process of its own, so that each kind begins with an empty heap."""
    heard, told = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            gc.disable()
            os.write(told, json.dumps(measured(kind, count)).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(told)
    with os.fdopen(heard) as said:
        text = said.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"bench.flows: measuring {kind} failed")
    figures: dict[str, float] = json.loads(text)
    return figures


def flows(bench: Bench, directory: Path) -> Mapping[str, float]:
    """The parts of `make bench`: the worst of all kinds, in bytes and seconds."""
    every = [apart(kind, bench.objects) for kind in KINDS]
    return {
        "bytes": max(each["bytes"] for each in every),
        "stall": max(max(each[name] for name in ("open", "learn", "expire")) for each in every),
        "ratio": every[0]["find_all"]
        / every[0]["find_few"],  # addresses of IPv6 take longer to read than to find
    }


def main() -> int:
    """Print a line per kind; 0 if the goals are met."""
    parser = argparse.ArgumentParser(prog="python -m bench.flows", description=__doc__)
    parser.add_argument("--flows", type=int, default=1_000_000)
    count = parser.parse_args().flows
    print(
        f"{count:,} entries. Goals: {GOAL_BYTES} bytes each, {GOAL_SECONDS * 1e3:g} ms for the longest call"
    )
    print(f"{'':14} bytes  longest ms: open  learn  expire {SLICE}   lookup µs: of {FEW:,}  of all")
    met = True
    for kind in KINDS:
        got = apart(kind, count)
        times = " ".join(f"{got[name] * 1e3:6.2f}" for name in ("open", "learn", "expire"))
        lookups = f"{got['find_few'] * 1e6:8.2f} {got['find_all'] * 1e6:8.2f}"
        print(f"{kind:14} {got['bytes']:5.0f}        {times}             {lookups}")
        worst = max(got[name] for name in ("open", "learn", "expire"))
        met &= got["bytes"] <= GOAL_BYTES and worst <= GOAL_SECONDS
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

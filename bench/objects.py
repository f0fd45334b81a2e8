"""What a hit costs when an edge holds a million objects, under each eviction policy, beside a hit on a thousand.

One edge is filled over the wire and keeps its objects; POST /policy changes who decides over them. Under each policy
wrk asks for targets at random, among the first thousand and among all, in turns, so that what disturbs the machine
disturbs both.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

from bench.alone import PATH, Alone, edge_alone, longest_stall
from bench.cost import resident_bytes
from bench.fill import fill
from bench.load import THREADS, Shape, run_load
from bench.peers import Contender
from bench.programs import NotStarted
from bench.rows import CONNECTIONS, SMALL, Row
from bench.run import Bench, Started
from edge.eviction.registry import names

#: Longest time that a change of policy may take, in seconds per object, and at least.
_EACH, _LEAST = 100e-6, 10.0
#: What our own answer adds to the stored head; RFC 9111 §5.1, RFC 9211.
_OURS = (b"age:", b"cache-status:", b"connection:")


def hits_among_many(bench: Bench, directory: Path) -> Mapping[str, float]:
    """By part: `ratio`, the worst of all policies; `memory`, bytes per object beyond what is stored of it; `fill` and
    `change`, the longest stall of the loop in seconds while objects came and while the policy changed; and each
    policy's ratio by its name."""
    objects = bench.objects
    with edge_alone(directory, (bench.server_core, bench.load_core), objects) as edge:
        found = _fill(bench, edge, objects)
        ratios, change = {}, 0.0
        for policy in names():
            change = max(change, _change(bench, edge, policy, objects))
            ratios[policy] = _ratio(bench, edge, policy, objects)
    return {"ratio": max(ratios.values()), **found, "change": change, **ratios}


def _fill(bench: Bench, edge: Alone, objects: int) -> dict[str, float]:
    run_load(edge.port, _shape(SMALL), 1)  # warm: connections, memos, the allocator
    held, before, stalls = edge.storage()["objects"], resident_bytes(edge.pids[0]), edge.stalls()
    began = time.monotonic()
    fill(edge.port, PATH, objects)
    took = time.monotonic() - began
    longest = longest_stall(edge, stalls, partial(bench.complain, "fill"))
    grown, storage = resident_bytes(edge.pids[0]) - before, edge.storage()
    if storage["objects"] < objects or storage["evictions"]:
        raise NotStarted(f"of {objects:,} objects the edge holds {storage['objects']:,}")
    each = grown / (storage["objects"] - held) - _stored_bytes(edge.port)
    bench.say(
        f"  objects: filled with {objects:,} in {took:.0f} s, {each:.0f} bytes each beyond head and body"
    )
    return {"memory": each, "fill": longest}


def _stored_bytes(port: int) -> int:
    """Bytes of head and body that the edge stores of each object: those of a hit without what is said of the hit."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", f"{PATH}0", headers={"Host": "www.example.com"})
        response = connection.getresponse()
        body = response.read()
    lines = [f"{name}: {value}\r\n".encode() for name, value in response.getheaders()]
    head = len(b"HTTP/1.1 200 OK\r\n") + sum(
        len(line) for line in lines if not line.lower().startswith(_OURS)
    )
    return head + len(body)


def _change(bench: Bench, edge: Alone, policy: str, objects: int) -> float:
    """Let `policy` decide; the longest stall until every object is its own."""
    stalls, deadline = edge.stalls(), time.monotonic() + max(_LEAST, objects * _EACH)
    edge.ask("POST", "/policy", {"policy": policy})
    while True:
        storage = edge.storage()
        if storage["policy"] == policy and not storage["changing"]:
            return longest_stall(edge, stalls, partial(bench.complain, "change"))
        if time.monotonic() > deadline:
            raise NotStarted(f"the change to {policy} did not come to an end")
        time.sleep(0.05)


def _ratio(bench: Bench, edge: Alone, policy: str, objects: int) -> float:
    """A hit among all to one among the first thousand; medians over the rounds."""
    costs: dict[int, list[float]] = {SMALL: [], objects: []}
    for round_ in range(bench.rounds):
        for count in list(costs) if round_ % 2 else reversed(list(costs)):
            costs[count].append(_cost(bench, edge, policy, count))
    few, many = median(costs[SMALL]), median(costs[objects])
    bench.say(
        f"  objects, {policy}: {few * 1e6:.2f} us among {SMALL:,}, {many * 1e6:.2f} us among {objects:,}: "
        f"{many / few:.2f}"
    )
    return many / few


def _cost(bench: Bench, edge: Alone, policy: str, count: int) -> float:
    row = Row("objects", "", _shape(count), 0, (), None, cached=True)
    started = Started(Contender(policy, None, lambda site: []), edge.port, edge.pids)
    sample = bench.sample(row, started, edge.upstream)
    for complaint in sample.complaints:
        bench.complain(policy, f"among {count:,}: {complaint}")
        bench.complaints.setdefault("ratio", []).append(complaint)
    return sample.cost


def _shape(objects: int) -> Shape:
    return Shape(PATH, objects, CONNECTIONS, THREADS, random=True)

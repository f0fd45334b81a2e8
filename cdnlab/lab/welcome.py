"""What `up` says: the progress of the start, then the page, the VIP, what runs where and what to try.

Text only, made from the topology; every printed command can be pasted as it stands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from cdnlab.lab.addresses import show
from cdnlab.lab.state import StateDirectory
from cdnlab.plan.topology import Topology

#: Set by bin/cdnlab, so that what is printed works where the console script is not on the path.
COMMAND = "CDNLAB_COMMAND"
TITLES = {"lb": "balancers", "edge": "edges", "origin": "origins"}


def tell(text: str, *, failed: bool = False) -> None:
    """Print to a person, failures on standard error; a closed terminal or a full disk is no reason to end the lab."""
    try:
        print(text, file=sys.stderr if failed else sys.stdout, flush=True)
    except OSError:
        pass


def command(state: StateDirectory, words: str) -> str:
    """`cdnlab words`, as this person must type it for this lab."""
    parts = [os.environ.get(COMMAND, "cdnlab"), words, f"--state {state.path}" if state.given else ""]
    return " ".join(part for part in parts if part)


def page_url(topology: Topology) -> str:
    """The page's address."""
    return f"http://127.0.0.1:{topology.ports.page}/"


def welcome(
    topology: Topology,
    state: StateDirectory,
    seconds: float,
    *,
    detached: bool,
    prometheus: str | None = None,
) -> str:
    """Everything a newcomer needs, once the lab is ready after `seconds`; `prometheus` is the address of one."""
    lines = [
        _bold(f"Ready after {seconds:.1f} s."),
        "",
        f"  page      {page_url(topology)}",
        *(
            f"  site      http://{show(topology.vip_address(vip))}/   (VIP {vip.name})"
            for vip in topology.vips
        ),
        *_layer4(topology),
        *([f"  metrics   {prometheus}   (Prometheus)"] if prometheus else []),
        "",
        *_nodes(topology),
        f"  logs      {state.logs}/",
        "",
        "Try:",
        *(f"  {line}" for line in _try(topology, state)),
        "",
        f"End it: {command(state, 'down')}" if detached else "End it: Ctrl-C",
    ]
    return "\n".join(lines)


def _layer4(topology: Topology) -> Iterator[str]:
    for vip in topology.vips:
        for name, spec in topology.l4.items():
            where = show((topology.vip_address(vip)[0], topology.l4_port(spec)))
            yield f"  {spec.protocol:<9} {where}   ({name}, layer 4)"


def _nodes(topology: Topology) -> Iterator[str]:
    for tier, title in TITLES.items():
        for index, name in enumerate(n for n, spec in topology.nodes.items() if spec.tier == tier):
            place = topology.nodes[name].place
            city = topology.place(place).city if place else "with the client"
            yield f"  {title if index == 0 else '':<9} {name:<10} {city:<15} {show(topology.data_address(name))}"
    behind = topology.backends(topology.edge.pool) if topology.edge.pool in topology.pools else ()
    foreign = [backend for backend in behind if not topology.ours(backend)]
    for index, backend in enumerate(foreign):
        city = topology.place(backend.place).city if backend.place else "at no distance"
        where = f"{'https' if backend.tls else 'http'}://{show((backend.address, backend.port))}"
        yield f"  {'origins' if index == 0 else '':<9} {backend.name:<10} {city:<15} {where}"


def _try(topology: Topology, state: StateDirectory) -> Iterator[str]:
    places = [spec.place for spec in topology.nodes.values() if spec.tier == "edge" and spec.place]
    if places and topology.vips:
        vip = f"http://{show(topology.vip_address(topology.vips[0]))}/"
        yield f"curl -si --interface {topology.client_address(places[0])} {vip}"
    yield command(state, f"get / --from {places[-2] if len(places) > 1 else topology.default_place} --direct")
    balancers = topology.tier("lb")
    if len(balancers) > 1:
        yield f"{command(state, f'kill {balancers[0]}')}; {command(state, 'status')}"


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text

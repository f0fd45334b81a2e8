"""`cdnlab purge`: drop what every edge has stored, and see that it was dropped.

Decides whom to tell. Any edge takes a purge, and with a store every edge hears of it; then each is asked until it has
applied it. Without one, each edge is told itself. What a URL names is the edges' to say: they know their routes.

Exit code 0 when every edge has acknowledged, 1 when one has not, 2 when what was typed names nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.lab.addresses import show
from cdnlab.lab.ask import ask, no_lab
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, MISUSED, LabError, unknown_node
from cdnlab.lab.purge_round import Edge, Round, Said
from cdnlab.lab.state import StateDirectory
from cdnlab.plan.topology import Topology

Json = dict[str, Any]

ANSWER = 2.0
"""Seconds for the lab to say what people call its VIP."""
AT_ONCE = 500
BYTES = 128 * 1024
"""Names in one purge, and their characters: an edge takes a thousand names, and a mebibyte of JSON."""


def command(
    urls: Annotated[
        list[str] | None,
        typer.Argument(
            help="URLs to drop, with all their variants; or paths of the lab's own site.", metavar="URL"
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="TAG", help="A tag of Surrogate-Key or Cache-Tag. Repeatable."),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", metavar="URL", help="A path and all below it. Repeatable."),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="'ORIGIN GROUP'", help="A group of Cache-Groups. Repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is stored.")] = False,
    soft: Annotated[
        bool, typer.Option("--soft", help="Keep it, and ask the origin before it is used again.")
    ] = False,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="NODE", help="Hand it to this edge first. Repeatable."),
    ] = None,
    within: Annotated[
        float, typer.Option("--within", metavar="SECONDS", help="How long to wait for the edges.", min=0.1)
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Drop what every edge has stored, by URL, tag, prefix or group, and wait until each has.

    Example: cdnlab purge / --tag news --prefix http://127.0.0.1:8080/assets/
    """

    def work(where: StateDirectory) -> int:
        if not where.topology.exists():
            raise no_lab(where)
        topology = topology_of(where)
        own = _site(where, topology)
        asked = {
            "urls": [_url(name, own) for name in urls or ()],
            "tags": list(tag or ()),
            "prefixes": [_url(name, own) for name in prefix or ()],
            "groups": [name if "://" in name else f"{own} {name}" for name in group or ()],
        }
        if not everything and not any(asked.values()):
            raise LabError("nothing was named", "give a URL, --tag, --prefix, --group or --all", MISUSED)
        found = _edges(topology, node or [])
        purges = list(_parts(asked, everything, soft))
        said = Round(found, _token(where), within).run(purges)
        print(json.dumps(_as_json(said), ensure_ascii=False) if as_json else _as_text(said, len(purges)))
        return 0 if all(edge["applied"] for edge in said.edges) else FAILED

    run(state, work)


def _site(where: StateDirectory, topology: Topology) -> str:
    """The origin of the lab's own site: what people call its VIP, or its one edge."""
    try:
        published = ask(where, "/lab", within=ANSWER).get("published")
    except LabError:
        published = None  # an edge by itself has a state directory, and no lab
    if published:
        host, port = str(published["address"]), int(published["port"])
    elif topology.tier("lb"):
        host, port = topology.dial_address(topology.vips[0])
    else:
        host, port = topology.data_address(topology.tier("edge")[0])
    return f"http://{show((host, port))}".removesuffix(":80")


def _url(name: str, own: str) -> str:
    return own + name if name.startswith("/") else name


def _edges(topology: Topology, first: list[str]) -> list[Edge]:
    names = topology.tier("edge")
    for name in first:
        if name not in names:
            raise unknown_node(name, names, "edge")
    ordered = dict.fromkeys([*first, *names])
    return [Edge(name, topology.admin_address(name)) for name in ordered]


def _token(where: StateDirectory) -> str:
    from cdnlab.node.secrets import SecretsError, load

    try:
        return load(where.secrets).admin_token
    except SecretsError:
        raise no_lab(where) from None


def _parts(asked: dict[str, list[str]], everything: bool, soft: bool) -> Iterator[Json]:
    """One purge, or several if it names more than one may."""
    part: Json = {"soft": soft, **({"all": True} if everything else {})}
    count = size = 0
    for kind, names in asked.items():
        for name in names:
            if count == AT_ONCE or (count and size + len(name) > BYTES):
                yield part
                part, count, size = {"soft": soft}, 0, 0
            part.setdefault(kind, []).append(name)
            count, size = count + 1, size + len(name)
    yield part


def _as_json(said: Said) -> Json:
    return {"id": said.id, "accepted_by": said.accepted_by, "edges": said.edges}


def _as_text(said: Said, purges: int) -> str:
    width = max(len(edge["node"]) for edge in said.edges)
    lines = [_headline(said, purges)]
    for edge in said.edges:
        how = "applied" if edge["seconds"] is None else f"applied after {edge['seconds'] * 1000:.1f} ms"
        lines.append(f"{edge['node']:<{width}}  {how if edge['applied'] else 'not reached: ' + edge['why']}")
    missing = [edge["node"] for edge in said.edges if not edge["applied"]]
    if missing:
        lines.append(
            f"{', '.join(missing)} may still hold what was purged"
            + (
                "; one that starts, or thaws, catches up before it is ready"
                if said.id
                else "; purge again once it is back"
            )
        )
    return "\n".join(lines)


def _headline(said: Said, purges: int) -> str:
    if said.id is not None:
        more = f", the last of {purges}" if purges > 1 else ""
        return f"accepted by {said.accepted_by} as {said.id}{more}"
    if said.why:
        return f"told to each edge itself: {said.why}"
    return "no edge took it"

"""`cdnlab explain`: what an edge would do with a request now. Nothing is sent to anybody but the edge's admin API.

Decides which edge is asked: the one that a balancer would choose for a client at that place, by the same pool and the
same key; the next one where it does not answer. What is said is the edge's own (edge/explain.py).

Exit code 0 when an edge answered; 1 when none did; 2 for what is no question.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from cdnlab.forward.key import key_prefix, key_rules
from cdnlab.forward.owner import edge_key
from cdnlab.forward.upstreams import make_pool
from cdnlab.lab import explained_view
from cdnlab.lab.ask import ask, no_lab
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, MISUSED, LabError, unknown_node
from cdnlab.lab.state import StateDirectory
from cdnlab.node.secrets import Secrets, SecretsError, load
from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import Topology
from cdnlab.wire.errors import Malformed
from cdnlab.wire.fields import is_token
from cdnlab.wire.target import parse_target

Json = dict[str, Any]

WITHIN = 2.0
"""Seconds for an edge to answer; it does so in a millisecond unless it hangs."""
ANSWER = 2.0
"""Seconds for the lab to say what people call its VIP."""
LARGEST = 1 << 20


def command(
    url: Annotated[str, typer.Argument(help="A path of the lab, or http://HOST/path as clients ask for it.")],
    place: Annotated[str | None, typer.Option("--from", help="Where the client stands, such as icn.")] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="NAME:VALUE", help="A field of the request. Repeatable."),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-X", help="The request method.")] = "GET",
    node: Annotated[str | None, typer.Option("--node", help="This edge, and no other.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The edge's own answer.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Say what an edge would do with a request now, without asking the origin.

    Example: cdnlab explain / --from gru -H "Accept-Language: ko"
    """

    def work(where: StateDirectory) -> int:
        if not where.topology.exists():
            raise no_lab(where)
        topology = topology_of(where)
        secrets = _secrets(where)
        stands = _place(topology, place)
        question = {
            "url": _asked(url) or _site(where, topology) + (url if url[:1] == "/" else f"/{url}"),
            "method": method,
            "headers": [_header(text) for text in header or ()],
            "place": stands,
        }
        found, silent = _ask_one(_edges(topology, question, node, secrets), topology, secrets, question)
        if as_json:
            print(json.dumps({**found, "silent": silent}, indent=2, ensure_ascii=False))
        else:
            explained_view.show(found, question, topology, silent)
        return 0

    run(state, work)


def _secrets(where: StateDirectory) -> Secrets:
    try:
        return load(where.secrets)
    except SecretsError:
        raise no_lab(where) from None


def _place(topology: Topology, code: str | None) -> str:
    try:
        return topology.place(code or topology.default_place).code
    except PlanError as error:
        raise LabError(f"--from {code}: {error.problem}", error.remedy, MISUSED) from None


def _asked(url: str) -> str:
    """A whole URL as it is, empty for a path. LabError for a URL that no edge serves."""
    if "://" not in url:
        return ""
    if not url.lower().startswith(("http://", "https://")):
        raise LabError(
            f"{url}: it is no http:// or https:// URL",
            "write such as /path or http://127.0.0.1:8080/path",
            MISUSED,
        )
    return url


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not is_token(name.strip().encode("latin-1", "replace")):
        raise LabError(f"--header {text!r} is no field", "write 'Name: value'", MISUSED)
    return name.strip(), value.strip()


def _site(where: StateDirectory, topology: Topology) -> str:
    """The origin of the lab's own site: what people call its VIP, or its one edge."""
    try:
        published = ask(where, "/lab", within=ANSWER).get("published")
    except LabError:
        published = None  # an edge by itself has a state directory, and no lab
    if published:
        host, port = str(published["address"]), int(published["port"])
    elif topology.vips:
        host, port = topology.dial_address(topology.vips[0])
    else:
        host, port = topology.data_address(topology.tier("edge")[0])
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}" + (f":{port}" if port != 80 else "")


# ---- which edge ----


def _edges(topology: Topology, question: Json, node: str | None, secrets: Secrets) -> Sequence[str]:
    """The edges in the order in which a balancer would choose them for this request."""
    names = topology.tier("edge")
    if node is not None:
        if node not in names:
            raise unknown_node(node, names, "edge")
        return [node]
    pool = next((name for name, spec in topology.pools.items() if spec.tier == "edge"), None)
    if pool is None:
        return names
    made = make_pool(topology, pool, secrets.hash_key)
    order = [each.name for each in made.candidates(question["place"], key=_key(topology, question["url"]))]
    return list(dict.fromkeys([*order, *names]))


def _key(topology: Topology, url: str) -> bytes:
    """The key that balancer and edge choose by; for a URL that is none, the edge says so itself."""
    try:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.lower().encode()
        rules = key_rules(topology.routes)
        canonical = parse_target(target.encode(), b"GET").canonical
        return edge_key(
            key_prefix(parts.scheme.encode(), host), canonical, rules.host(host) if rules else None
        )
    except (ValueError, Malformed):
        return b""


# ---- asking ----


class _Silent(Exception):
    """An edge did not answer; str() says why."""


def _ask_one(
    edges: Sequence[str], topology: Topology, secrets: Secrets, question: Json
) -> tuple[Json, list[Json]]:
    """The first answer, and the edges before it that gave none. LabError if all are silent, or for no question."""
    silent: list[Json] = []
    for name in edges:
        try:
            return _post(name, topology.admin_address(name), secrets.admin_token, question), silent
        except _Silent as error:
            silent.append({"node": name, "why": str(error)})
    told = ", ".join(f"{each['node']}: {each['why']}" for each in silent) or "the topology has none"
    raise LabError(f"no edge answered ({told})", "see which are ready: cdnlab status", FAILED)


def _post(name: str, address: tuple[str, int] | None, token: str, question: Json) -> Json:
    if address is None:
        raise _Silent("its admin API is off")
    connection = http.client.HTTPConnection(*address, timeout=WITHIN)
    headers = {"Host": name, "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/explain", json.dumps(question), headers)
        response = connection.getresponse()
        text = response.read(LARGEST)
    except TimeoutError:
        raise _Silent(f"no answer within {WITHIN:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        number = getattr(error, "errno", None)
        raise _Silent(os.strerror(number).lower() if number else str(error) or type(error).__name__) from None
    finally:
        connection.close()
    return _checked(name, response.status, text)


def _checked(name: str, status: int, text: bytes) -> Json:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise _Silent("what listens there is no node of a lab")
    if status == 400:
        raise LabError(str(answer.get("error")), str(answer.get("remedy", "")), MISUSED)
    if status == 401:
        raise LabError(
            f"{name} does not take this lab's admin token", "name its state directory with --state", FAILED
        )
    if status != 200 or answer.get("node") != name:
        raise _Silent(str(answer.get("error") or f"{str(answer.get('node'))[:60]!r} listens there instead"))
    return answer

"""The topology as a person shapes it: a file, and what the command line or the environment changes of it.

Decides which topology is meant. It starts nothing, and does not look whether anything answers.

Two ways to say the same. `cdnlab up` has options. A node in a container has the environment, since there one file
speaks for all nodes at once and each must come to the very same topology: a person writes ORIGIN_URL once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.plan.errors import PlanError
from cdnlab.plan.load import load
from cdnlab.plan.single import parse_sticky
from cdnlab.plan.topology import Topology

#: Where an application stands that nobody has placed.
ORIGIN_PLACE = "iad"


@dataclass(frozen=True, slots=True)
class Choices:
    """What is said; None and empty leave it to the topology."""

    topology: Path | None = None
    detach: bool = False
    port: int | None = None
    state: Path | None = None
    origins: tuple[str, ...] = ()
    origin_host: str | None = None
    forwarded_proto: str | None = None
    origin_place: str | None = None
    distance: bool | None = None
    store: str | None = None
    prometheus: bool = False
    sessions: str | None = None
    sticky: str | None = None


_OF_THE_START = frozenset({"detach", "state", "prometheus"})
"""What matters when a lab is started, and to no topology."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a setting is called where the person said it, for messages."""

    origin: str = "--origin"
    origin_host: str = "--origin-host"
    forwarded_proto: str = "--forwarded-proto"
    origin_place: str = "--origin-place"
    distance: str = "--distance"


OPTIONS = Words()
ENVIRONMENT = Words("ORIGIN_URL", "ORIGIN_HOST", "FORWARDED_PROTO", "ORIGIN_PLACE", "CDNLAB_DISTANCE")


def choose(choices: Choices, words: Words = OPTIONS) -> Topology:
    """The topology as `choices` changes it. PlanError, LabError."""
    topology = load(choices.topology)
    if choices.port is not None:
        topology = topology.with_port(choices.port)
    if choices.distance is not None:
        topology = topology.with_distance(choices.distance)
    if choices.store is not None:
        topology = topology.with_store(choices.store)
    if choices.sessions is not None:
        topology = topology.with_sessions(_one_of(choices.sessions, "--sessions", ("local", "clustered")))
    if choices.sticky is not None:
        topology = topology.with_sticky(parse_sticky(choices.sticky))
    if choices.origin_place is not None:
        _check_place(topology, choices.origin_place, words)
    if choices.origins:
        topology = _with_origins(topology, choices, words)
    elif choices.origin_host or choices.forwarded_proto:
        given = words.origin_host if choices.origin_host else words.forwarded_proto
        raise LabError(
            f"{given} says how {words.origin} is asked, and none is given", f"add {words.origin} URL", MISUSED
        )
    return topology


def keep(choices: Choices, file: Path) -> None:
    """Write them down for `cdnlab reload`, which changes another file in the same way. OSError."""
    said = {name: value for name, value in asdict(choices).items() if name not in _OF_THE_START}
    said["topology"] = None if choices.topology is None else os.path.abspath(choices.topology)
    file.write_text(json.dumps(said) + "\n", encoding="utf-8")


def kept(file: Path) -> Choices:
    """What `keep` wrote. OSError, ValueError."""
    said = json.loads(file.read_text(encoding="utf-8"))
    path = said.pop("topology")
    said = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    return Choices(topology=None if path is None else Path(path), **said)


def from_environment(topology: Path | None = None, environment: Mapping[str, str] = os.environ) -> Choices:
    """What the environment says: CDNLAB_TOPOLOGY, ORIGIN_URL (several: with spaces between), ORIGIN_HOST,
    FORWARDED_PROTO, ORIGIN_PLACE (`none`: no distance), CDNLAB_DISTANCE (on, off), CDNLAB_STORE. An empty one is
    not set, since a compose file passes on what a person left out as empty. `topology` goes before CDNLAB_TOPOLOGY.
    """

    def said(name: str) -> str | None:
        return environment.get(name, "").strip() or None

    file = said("CDNLAB_TOPOLOGY")
    place = said(ENVIRONMENT.origin_place) or ORIGIN_PLACE
    return Choices(
        topology=topology or (Path(file) if file else None),
        origins=tuple((said(ENVIRONMENT.origin) or "").split()),
        origin_host=said(ENVIRONMENT.origin_host),
        forwarded_proto=said(ENVIRONMENT.forwarded_proto),
        origin_place=None if place == "none" else place,
        distance=on_off(said(ENVIRONMENT.distance), ENVIRONMENT.distance),
        store=said("CDNLAB_STORE"),
    )


def on_off(word: str | None, where: str) -> bool | None:
    """What `on` and `off` mean; LabError for any other word, named by `where` it stands."""
    if word is None:
        return None
    if word not in ("on", "off"):
        raise LabError(f"{where} {word}: it is on or off", "", MISUSED)
    return word == "on"


def _one_of(word: str, where: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise LabError(f"{where} {word}: it is {' or '.join(known)}", "", MISUSED)
    return word


def _with_origins(topology: Topology, choices: Choices, words: Words) -> Topology:
    try:
        return topology.with_origins(
            choices.origins,
            origin_host=choices.origin_host,
            forwarded_proto=choices.forwarded_proto,
            origin_place=choices.origin_place,
        )
    except PlanError as error:
        where = words.origin if error.where == OPTIONS.origin else error.where
        raise PlanError(error.problem, where, error.remedy, error.more) from None


def _check_place(topology: Topology, code: str, words: Words) -> None:
    try:
        topology.place(code)
    except PlanError as error:
        raise PlanError(error.problem, words.origin_place, error.remedy) from None

"""`cdnlab reload`: another version of the topology for a lab that runs.

Decides what the new version is and whether all nodes go by it or none. The file is read and compared here; then every
node is asked to prepare it, and only when all have is each told to switch. Connections, pins and flows stay.

    a bad file, or a change that needs a new lab   refused with its reason; nothing is different
    a node that refuses, or does not answer        all forget what they prepared; nothing is different
    a dead node                                    is left out: it starts with the new version
    a node that did not switch                     is named, and `status` shows its version; reload once more

Exit code 0 when all nodes that run go by it, 1 when one does not, 2 for a file that is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.lab.ask import ask, no_lab
from cdnlab.lab.choices import choose, kept
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, LabError
from cdnlab.lab.state import StateDirectory
from cdnlab.lab.tell import NoAnswer, admin_token, tell
from cdnlab.node.versions import first_number
from cdnlab.plan.changes import Change, changes, refusals
from cdnlab.plan.errors import PlanError
from cdnlab.plan.section import Section
from cdnlab.plan.topology import Topology

Json = dict[str, Any]


def command(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The topology file; by default the one that `up` was given."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what would change, and change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Have every node go by a changed topology. Connections, pins and flows stay; a bad file changes nothing.

    Example: cdnlab reload my.yaml
    """

    def work(where: StateDirectory) -> int:
        if not where.topology.exists() or where.holder() is None:
            raise no_lab(where)
        with _alone(where):
            old, new = topology_of(where), _meant(where, file)
            found = changes(old, new)
            refused = refusals(found)
            if refused:
                first, *more = refused
                raise PlanError(first.problem, first.where, first.remedy, more)
            number = first_number(where.path)
            if not found or dry_run:
                _say(as_json, number, found, [], applied=False)
                return 0
            one = Round(where, new, number + 1)
            silent = one.run()
            _say(as_json, one.number, found, silent, applied=True)
            return FAILED if silent else 0

    run(state, work)


class Round:
    """One reload: all nodes of a lab, one version."""

    def __init__(self, where: StateDirectory, topology: Topology, number: int) -> None:
        self._where = where
        self._topology = topology
        self.number = number
        """At least; a node that read its file again by itself may be at a higher one."""
        self._token = admin_token(where)
        dead = {row["name"] for row in ask(where, "/lab")["nodes"] if row.get("running") is False}
        self._nodes = [name for name in topology.nodes if name not in dead]

    def run(self) -> list[str]:
        """Prepare, write down, switch; who did not switch, and why. LabError if one could not prepare."""
        prepared: list[str] = []
        self.number = max([self.number, *(self._version(name) + 1 for name in self._nodes)])
        body: Json = {"do": "prepare", "version": self.number, "topology": self._topology.dump()}
        for name in self._nodes:
            try:
                self._tell(name, body)
            except (NoAnswer, LabError) as error:
                self._forget(prepared)
                if isinstance(error, LabError):
                    raise LabError(f"{name} refuses it: {error.problem}", error.remedy, error.code) from None
                raise LabError(
                    f"{name} can't prepare it ({error}), so nothing has changed",
                    f"bring it back, or kill it: cdnlab resume {name}, cdnlab kill {name}",
                ) from None
            prepared.append(name)
        # written before the switch: a node that starts from here on starts with the new version
        _replace(self._where.topology, self._topology.dump())
        _replace(self._where.version, f"{self.number}\n")
        return [said for name in prepared if (said := self._switch(name))]

    def _version(self, name: str) -> int:
        """What a node goes by; 0 where it does not say: it will not prepare, either."""
        try:
            said = tell(name, self._topology.admin_address(name), "/status", None, self._token)
        except (NoAnswer, LabError):
            return 0
        return int((said.get("configuration") or {}).get("version") or 0)

    def _switch(self, name: str) -> str:
        try:
            self._tell(name, {"do": "switch", "version": self.number})
        except NoAnswer as error:
            return f"{name}: {error}"
        except LabError as error:
            return f"{name}: {error.problem}"
        return ""

    def _forget(self, prepared: list[str]) -> None:
        for name in prepared:
            try:
                self._tell(name, {"do": "forget"})
            except (NoAnswer, LabError):
                continue  # what it prepared is replaced by what it is asked to prepare next

    def _tell(self, name: str, body: Json) -> Json:
        return tell(name, self._topology.admin_address(name), "/reload", body, self._token)


def _meant(where: StateDirectory, file: Path | None) -> Topology:
    """The file with what `up` was told beside it. PlanError, LabError."""
    from dataclasses import replace

    try:
        choices = kept(where.choices)
    except (OSError, ValueError, TypeError):
        raise LabError(
            f"{where.choices} can't be read", "start the lab anew: cdnlab down, cdnlab up"
        ) from None
    return choose(choices if file is None else replace(choices, topology=file))


@contextmanager
def _alone(where: StateDirectory) -> Iterator[None]:
    """One reload at a time in a lab."""
    descriptor = os.open(where.path / "reload.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LabError("another reload is under way", "wait for its end") from None
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """The whole new text, or the old one."""
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise LabError(
            f"cannot write {path}: {error.strerror}", "make room there; nothing has changed"
        ) from None


def _say(as_json: bool, number: int, found: list[Change], silent: list[str], *, applied: bool) -> None:
    if as_json:
        said = {
            "version": number,
            "applied": applied,
            "changes": [change.path for change in found],
            "silent": silent,
        }
        print(json.dumps(said, ensure_ascii=False))
        return
    if not found:
        print(f"Nothing differs from version {number}.")
        return
    for change in found:
        print(f"  {change.path}: {_difference(change)}")
    if not applied:
        print(f"Nothing was changed; nodes go by version {number}.")
        return
    print(
        f"Every node that runs goes by version {number}." if not silent else f"Version {number}, but not at"
    )
    for line in silent:
        print(f"  {line}")
    if silent:
        print("Run cdnlab reload once more when they answer.")


def _difference(change: Change) -> str:
    """The two values, where a line can hold them."""
    before, after = change.before, change.after
    if before is None and isinstance(after, Section):
        return "added"
    if after is None and isinstance(before, Section):
        return "removed"
    return f"{_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and any(isinstance(each, Section) for each in value):
        return f"{len(value)} of them"
    if value is None or value == () or value == {}:
        return "none"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"

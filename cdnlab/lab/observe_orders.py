"""What a person types to kill, freeze or start a node that this lab only observes: whoever runs it has the words.

The table is all there is to another orchestrator. Text only; it knows neither nodes nor sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdnlab.lab.errors import MISUSED, LabError


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """Whoever runs the nodes. `verbs`: the lab's order -> its command, with NODE for the service."""

    verbs: Mapping[str, str]
    where: str
    """In which directory, or on which host, the commands are typed."""
    logs: str
    services: Mapping[str, str]
    """What it calls something otherwise than the lab does; else the names are the same."""

    def command(self, verb: str, name: str = "") -> str:
        """The command for an order of ours."""
        return self.verbs[verb].replace("NODE", self.services.get(name, name))

    def log_of(self, name: str) -> str:
        """The command that shows what a node wrote."""
        return self.logs.replace("NODE", self.services.get(name, name))

    def refusal(self, verb: str, name: str = "") -> LabError:
        """The error for an order that is not this lab's to carry out: one line that names the command."""
        deed = f"{verb} {name}" if name else "end them"
        why = f"the nodes of this lab run in containers of their own, and it cannot {deed}"
        return LabError(f"{why}: {self.command(verb, name)}   ({self.where})", "", MISUSED)


COMPOSE = Orchestrator(
    verbs={
        "kill": "docker compose kill NODE",
        "pause": "docker compose pause NODE",
        "resume": "docker compose unpause NODE",
        "start": "docker compose start NODE",
        "down": "docker compose down",
    },
    where="in the directory of docker-compose.yml",
    logs="docker compose logs NODE",
    services={"store": "redis"},
)

"""Labs whose nodes are started apart, as in containers: `cdnlab node` for each, a store, `cdnlab observe` beside."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cdnlab.lab import embedded_store
from cdnlab.lab.ask import ask
from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory
from tests.support.labs import cdnlab, environment, free_base, state_directory, until

Json = dict[str, Any]

#: The VIP is on every address, on a port of its own, and gru's prefix is nobody's here: as in containers.
TOPOLOGY = """
name: apart
clients: {{may_choose_place: true}}
distance: {{enabled: off}}
ports: {{base: {base}}}
vips: [{{name: main, address: 0.0.0.0, port: {vip}, provider: reuseport}}]
store: {{url: "unix://{store}"}}
places: {{gru: {{prefixes: [198.51.100.0/24]}}}}
nodes:
  lb-a: {{tier: lb, address: 127.0.1.10}}
  lb-b: {{tier: lb, address: 127.0.1.11}}
  edge-icn: {{tier: edge, place: icn, address: 127.82.1.10}}
  edge-gru: {{tier: edge, place: gru, address: 127.55.1.10}}
  origin-1: {{tier: origin, place: iad, address: 127.1.1.20}}
pools:
  edges: {{tier: edge, algorithm: nearest}}
  origins: {{tier: origin}}
"""
NODES = ("lb-a", "lb-b", "edge-icn", "edge-gru", "origin-1")


class Apart:
    """The processes of one such lab by name: the nodes', "store" and "observe". All are killed at the end."""

    def __init__(self, directory: Path, base: int) -> None:
        self.directory = directory
        self.base = base
        self.state = StateDirectory(directory / "state")
        self.file = directory / "lab.yaml"
        self.processes: dict[str, subprocess.Popen[str]] = {}
        socket = directory / "store.sock"
        self.file.write_text(TOPOLOGY.format(base=base, vip=base + 1, store=socket))

    @property
    def page(self) -> int:
        """The page's port."""
        return self.base + 1020

    def start(self, name: str, *words: str, **env: str) -> subprocess.Popen[str]:
        """Start a node, the store, or an observer with further `words`."""
        command = [sys.executable, "-m", "cdnlab"]
        if name == "observe":
            command += ["observe", str(self.file), "--state", str(self.state.path), *words]
        elif name == "store":
            found = embedded_store.find_binary()
            command = [
                str(found),
                *embedded_store.arguments(self.directory / "store.sock", self.directory)[1:],
            ]
        else:
            command += ["node", name, "--topology", str(self.file), "--state", str(self.state.path)]
        log = (self.directory / f"{name}.log").open("a")
        with closing(log):
            process = subprocess.Popen(
                command, cwd="/", env=environment(**env), stdout=log, stderr=log, text=True
            )
        self.processes[name] = process
        return process

    def said(self, name: str) -> str:
        """Everything that `name` printed."""
        return (self.directory / f"{name}.log").read_text()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send it, and wait for the end that SIGKILL is."""
        self.processes[name].send_signal(number)
        if number == signal.SIGKILL:
            self.processes[name].wait()

    def observe(self, *words: str, **env: str) -> Apart:
        """Start an observer, and wait until it serves."""
        process = self.start("observe", *words, **env)

        def serves() -> bool:
            assert process.poll() is None, self.said("observe")
            try:
                return bool(self.ask("/lab"))
            except LabError:
                return False

        until(serves, "the observer")
        return self

    def ask(self, path: str, **body: Any) -> Json:
        """GET the control API, or POST `body`."""
        return ask(self.state, path, body or None)

    def node(self, name: str) -> Json:
        """A node as /status shows it."""
        found: Json = next(node for node in self.ask("/status")["nodes"] if node["name"] == name)
        return found

    def until_state(self, name: str, state: str) -> Json:
        """Wait until the lab itself shows the node in this state; the node."""

        def shown() -> Json | None:
            node = self.node(name)
            return node if node.get("state") == state else None

        found: Json = until(shown, f"{name} is {state}")
        return found

    def usable(self) -> bool:
        """Does every node see all of its backends usable?"""
        nodes = self.ask("/status")["nodes"]
        return all(row["usable"] for node in nodes for row in node.get("backends") or ())

    def events(self, subject: str) -> list[str]:
        """What the observer itself saw of `subject`."""
        return [
            event["text"] for event in self.ask("/events?node=lab")["events"] if event["subject"] == subject
        ]

    def cdnlab(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command against this lab."""
        return cdnlab(*words, "--state", str(self.state.path))

    def at_page(self, path: str, host: str, method: str = "GET") -> tuple[int, str]:
        """(status, body) of a request to the page's port that bears this Host."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.page, timeout=10)) as connection:
            connection.request(method, path, headers={"Host": host})
            response = connection.getresponse()
            return response.status, response.read().decode()

    def rows(self, *words: str) -> list[Json]:
        """The JSON lines that a command prints."""
        done = self.cdnlab(*words, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def apart() -> Iterator[Apart]:
    """A lab of which nothing has been started yet."""
    with state_directory() as directory:
        made = Apart(directory, free_base())
        try:
            yield made
        finally:
            for process in made.processes.values():
                process.kill()
            for process in made.processes.values():
                process.wait()


@contextmanager
def running() -> Iterator[Apart]:
    """One in which everything runs and is ready."""
    with apart() as made:
        made.start("store")
        until(lambda: embedded_store.answers(made.directory / "store.sock"), "the store")
        for name in NODES:
            made.start(name)
        made.observe()
        until(lambda: all(node["ready"] for node in made.ask("/lab")["nodes"]), "all nodes are ready")
        # whoever started first has seen the others refuse connections, and looks again in a while
        until(made.usable, "every node sees its backends usable")
        yield made

"""`make compose-smoke`: the whole lab in containers, on a real engine, from build to the last volume removed.

Decides what a person who types `docker compose up` must get: steps.py says what is looked at, this file in which order,
and that everything is taken down again, whatever happens. One line per step, with its seconds. Where no engine is, it
says why and ends with 0, or with 1 if --required.

    COMPOSE="docker compose" make compose-smoke     that Compose instead of the first one found
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.compose.engine import (
    BUILD,
    ROOT,
    Compose,
    Failed,
    Skip,
    compose_command,
    engine,
    run,
    subnets_in_use,
)
from tests.compose.steps import Steps
from tests.support.standins import images

PROJECT = "cdnlab-smoke"
BASE = "python:3.11-slim-bookworm"
#: Ports that a compose file's user may choose, so that this runs beside a lab.
PORTS = tuple(
    f"CDNLAB_{name}PORT" for name in ("", "TCP_", "UDP_", "PAGE_", "PROMETHEUS_", "GRAFANA_", "LOCUST_")
)
TOPOLOGY = "./deploy/compose/topology.yaml"
BEGAN = time.monotonic()


def say(word: str, text: str) -> None:
    """One line of the report."""
    print(f"{word:<4} {time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


def free_ports(names: tuple[str, ...]) -> dict[str, str]:
    """A free port of 127.0.0.1 for each variable."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: str(each.getsockname()[1]) for name, each in zip(names, sockets, strict=True)}


def files(directory: Path) -> Path:
    """The compose file; where a lab has its addresses already, a copy that is moved as the files themselves advise."""
    taken = [subnet for subnet in subnets_in_use() if subnet.startswith("198.18.")]
    if not taken:
        return ROOT / "docker-compose.yml"
    topology = directory / "topology.yaml"
    topology.write_text((ROOT / TOPOLOGY).read_text().replace("198.18.", "198.19."))
    moved = directory / "docker-compose.yml"
    text = (ROOT / "docker-compose.yml").read_text().replace("198.18.", "198.19.")
    moved.write_text(text.replace(TOPOLOGY, str(topology)))
    say("--", f"a lab has {len(taken)} networks of 198.18.0.0/16: this one moves to 198.19.0.0/16")
    return moved


def build() -> None:
    """Build the images, and say how much of them is ours."""
    for target in ("node", "load"):
        name = f"cdnlab:{target}"
        # The build's containers may have no way out to PyPI but the host's own.
        run(
            "docker",
            "build",
            "--network",
            "host",
            "--target",
            target,
            "--tag",
            name,
            str(ROOT),
            timeout=BUILD,
        )
        sizes = [
            int(run("docker", "image", "inspect", "-f", "{{.Size}}", each).stdout) for each in (name, BASE)
        ]
        say("ok", f"built {name}: {(sizes[0] - sizes[1]) / 1e6:.0f} MB over its base")


@contextlib.contextmanager
def taken_down(compose: Compose) -> Iterator[None]:
    """Remove what an earlier run left and what this one makes; on failure, show what the containers said last."""
    clear(compose)
    try:
        yield
    except Exception as error:
        say("FAIL", f"{type(error).__name__}: {error}")
        show(compose)
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave half of it
        clear(compose)
    if left := compose.remains():
        raise Failed(f"after down, still there: {' '.join(left)}")
    say("ok", "everything is taken down: no container, network or volume is left")


def clear(compose: Compose) -> None:
    """Take down; once more where the engine was still at work on what had been asked before."""
    for _ in range(3):
        compose.down()
        if not compose.remains():
            return


def show(compose: Compose) -> None:
    """What runs, and the last lines of the services that are not well and of those that see the most."""
    with contextlib.suppress(Failed):
        unwell = [
            name
            for name, each in compose.containers().items()
            if not each["State"]["Running"] or each["State"].get("Health", {}).get("Status") == "unhealthy"
        ]
        print(
            compose("ps", "-a", check=False).stdout,
            compose.logs("lb-a", "lb-b", "lab", *unwell),
            sep="\n",
            flush=True,
        )


def smoke() -> None:
    """Everything, in order. Skip, Failed, images.CannotStandIn."""
    command = compose_command()
    with engine() as source, tempfile.TemporaryDirectory(prefix="cdnlab-smoke-") as scratch:
        version = run("docker", "version", "-f", "{{.Server.Version}}").stdout.strip()
        say(
            "--",
            f"{source}: {version}; {run(*command, 'version', '--short').stdout.strip()} is {' '.join(command)}",
        )
        for image in images.ensure():
            say("ok", f"{image.name}: {image.came}")
        build()
        ports = free_ports(PORTS)
        compose = Compose(command, files(Path(scratch)), PROJECT, ports)
        with taken_down(compose):
            for step in Steps(compose, ports).in_order():
                say("ok", step())


def main(arguments: list[str]) -> int:
    """The exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        smoke()
    except Skip as reason:
        say("SKIP", str(reason))
        return 1 if "--required" in arguments else 0
    except (Failed, images.CannotStandIn) as error:
        print(f"compose-smoke failed: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"compose-smoke: all of it holds, {time.monotonic() - BEGAN:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

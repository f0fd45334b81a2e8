"""A container engine and Compose for the smoke test: found, or dockerd started for the time of it.

Knows processes and words of the command line; nothing of what the lab is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: Seconds until dockerd must answer, until any one command must be done, and until `build` must.
ENGINE, COMMAND, BUILD = 60, 120, 900


class Skip(Exception):
    """There is no engine here to prove anything on; str() says why."""


class Failed(Exception):
    """Something did not come out as it should; str() says what."""


def run(
    *words: str, timeout: float = COMMAND, check: bool = True, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command, in a session of its own so that Ctrl-C does not reach what cleans up. Failed."""
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            start_new_session=True,
            **more,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{shlex.join(words)}: not done after {timeout:.0f} s") from None
    if check and done.returncode:
        raise Failed(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def answers() -> bool:
    """Whether an engine answers the docker command."""
    return run("docker", "info", timeout=30, check=False).returncode == 0


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """An engine while the context lasts; yields where it comes from. Skip where there is none."""
    if shutil.which("docker") is None:
        raise Skip("there is no docker command; apt-get install docker.io docker-compose")
    if answers():
        yield "the engine that runs here"
        return
    dockerd = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")  # not in everybody's PATH
    if dockerd is None or os.geteuid() != 0:
        raise Skip(
            "no engine answers the docker command, and only root can start one; start Docker, or run as root"
        )
    with (
        tempfile.TemporaryDirectory(prefix="cdnlab-dockerd-") as directory,
        _dockerd(dockerd, Path(directory)),
    ):
        yield "dockerd, started for this run"


@contextlib.contextmanager
def _dockerd(program: str, directory: Path) -> Iterator[None]:
    log = directory / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [program, "--pidfile", str(directory / "pid")],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + ENGINE
        while not answers():
            if daemon.poll() is not None or time.monotonic() > until:
                raise Skip(f"dockerd does not start here: {log.read_text().strip().splitlines()[-1]}")
            time.sleep(0.2)
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def compose_command() -> list[str]:
    """$COMPOSE, else the plugin, else docker-compose. Skip where there is none."""
    if chosen := os.environ.get("COMPOSE"):
        return shlex.split(chosen)
    if run("docker", "compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise Skip("there is neither docker compose nor docker-compose; apt-get install docker-compose")


class Compose:
    """One project of a compose file, with an environment of its own."""

    def __init__(self, command: list[str], file: Path, project: str, environment: Mapping[str, str]) -> None:
        self._command = [*command, "-f", str(file), "--project-directory", str(ROOT), "-p", project]
        self.project = project
        self._environment = dict(environment)

    def __call__(
        self, *words: str, timeout: float = COMMAND, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`compose WORDS`; keywords are added to the environment."""
        around = {**os.environ, "COMPOSE_PROFILES": "", **self._environment, **environment}
        return run(*self._command, *words, timeout=timeout, check=check, env=around, stdin=subprocess.DEVNULL)

    def exec(self, service: str, *words: str) -> str:
        """What a command prints in a service's container."""
        return self("exec", "-T", service, *words).stdout

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each of the project's containers, by service."""
        ids = self._listed("ps", "-a")
        found = json.loads(run("docker", "inspect", *ids).stdout) if ids else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def remains(self) -> list[str]:
        """Containers, networks and volumes of the project that the engine still has."""
        return [*self._listed("ps", "-a"), *self._listed("network", "ls"), *self._listed("volume", "ls")]

    def _listed(self, *words: str) -> list[str]:
        label = f"label=com.docker.compose.project={self.project}"
        return run("docker", *words, "-q", "--filter", label).stdout.split()

    def logs(self, *services: str, lines: int = 20) -> str:
        """The last lines of some services, or of all."""
        done = self("logs", "--no-color", "--tail", str(lines), *services, check=False)
        return done.stdout + done.stderr

    def down(self) -> None:
        """Take everything down, volumes and the load profile too."""
        self("down", "--volumes", "--remove-orphans", check=False, COMPOSE_PROFILES="load")


def subnets_in_use() -> set[str]:
    """The subnets of all networks that the engine has."""
    ids = run("docker", "network", "ls", "-q").stdout.split()
    networks = json.loads(run("docker", "network", "inspect", *ids).stdout)
    return {
        pool["Subnet"] for each in networks for pool in each["IPAM"].get("Config") or () if "Subnet" in pool
    }

"""Images that docker-compose.yml names, for a machine whose engine reaches no registry.

    python -m tests.support.standins.images          makes what is missing, and says what stands in

For each name: what the engine has is kept, whatever it is; else the registry is asked; else a stand-in is made under
the official name. All stand-ins come from one tree of Debian packages, made with debootstrap in a temporary directory
and imported, and bear the label `cdnlab.standin`. They are for tests only: Debian's redis and Prometheus are older
than the images they stand for. Grafana has no package in Debian, and so no stand-in.

Needs root (debootstrap makes device nodes), debootstrap, and the mirror of Debian that it knows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

LABEL = "cdnlab.standin"
#: What every stand-in is made from; only the engine has it.
TREE = "cdnlab-standin:bookworm"
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates,curl,redis-server,prometheus"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
#: Seconds until a registry that does not answer is given up, and until the tree has to be there.
PULL, BOOTSTRAP = 90, 600

#: What makes each image from the tree. Nobody is user 65534 in Debian and in the official images.
STANDINS = {
    "python:3.11-slim-bookworm": 'CMD ["python3"]\n',
    "redis:7.2-alpine": 'WORKDIR /data\nCMD ["redis-server"]\n',
    "prom/prometheus:v3.5.0": (
        "RUN install -d -o nobody -g nogroup /prometheus /etc/prometheus\n"
        "USER nobody\n"
        'ENTRYPOINT ["/usr/bin/prometheus"]\n'
    ),
}


class CannotStandIn(Exception):
    """An image is neither there nor to be had nor to be made; str() says why."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the engine has now, and where it came from."""

    name: str
    came: str


def ensure(names: tuple[str, ...] = tuple(STANDINS)) -> list[Image]:
    """Have every image in the engine, in this order. CannotStandIn."""
    return [_ensure(name) for name in names]


def present(name: str) -> bool:
    """Whether the engine has an image of this name."""
    return _docker("image", "inspect", name).returncode == 0


def is_standin(name: str) -> bool:
    """Whether the engine's image of this name is a stand-in."""
    found = _docker("image", "inspect", name)
    return found.returncode == 0 and LABEL in (json.loads(found.stdout)[0]["Config"].get("Labels") or {})


def pull(name: str) -> str | None:
    """Ask the registry for an image; None, or why it did not come."""
    try:
        asked = _docker("pull", "--quiet", name, timeout=PULL)
    except subprocess.TimeoutExpired:
        return f"no answer from the registry within {PULL} s"
    return None if asked.returncode == 0 else (asked.stderr.strip().splitlines() or ["it was refused"])[-1]


def _ensure(name: str) -> Image:
    if present(name):
        return Image(name, "stand-in, from an earlier run" if is_standin(name) else "was there")
    why = pull(name)
    if why is None:
        return Image(name, "pulled")
    if name not in STANDINS:
        raise CannotStandIn(f"{name}: {why}, and nothing stands in for it")
    if not present(TREE):
        _make_tree(name, why)
    _checked(_docker("build", "--quiet", "--tag", name, "-", text=f"FROM {TREE}\n{STANDINS[name]}"), name)
    return Image(name, "stand-in from Debian's packages, made now")


def _make_tree(name: str, why: str) -> None:
    debootstrap = shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if debootstrap is None or os.geteuid() != 0:
        raise CannotStandIn(
            f"{name}: {why}; to make a stand-in takes root and debootstrap (apt-get install debootstrap)"
        )
    with tempfile.TemporaryDirectory(prefix="cdnlab-standin-") as directory:
        tree = Path(directory) / "tree"
        command = [debootstrap, "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tree)]
        made = subprocess.run(command, capture_output=True, text=True, timeout=BOOTSTRAP, check=False)
        if made.returncode:
            raise CannotStandIn(
                f"{name}: debootstrap: {(made.stdout + made.stderr).strip().splitlines()[-1]}"
            )
        if AUTHORITIES.exists():  # this machine may trust a proxy of its own, which pip then meets too
            shutil.copyfile(AUTHORITIES, tree / AUTHORITIES.relative_to("/"))
        _import(tree)


def _import(tree: Path) -> None:
    pack = [
        "tar",
        "-C",
        str(tree),
        "--exclude=./var/cache/apt/*",
        "--exclude=./var/lib/apt/lists/*",
        "-c",
        ".",
    ]
    changes = [f"ENV PIP_CERT={AUTHORITIES}", f"LABEL {LABEL}=1", 'CMD ["bash"]']
    load = ["docker", "import", *(word for each in changes for word in ("-c", each)), "-", TREE]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        _checked(
            subprocess.run(load, stdin=packing.stdout, capture_output=True, text=True, check=False), TREE
        )


def _docker(
    *words: str, text: str | None = None, timeout: float = BOOTSTRAP
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *words], input=text, capture_output=True, text=True, timeout=timeout, check=False
    )


def _checked(done: subprocess.CompletedProcess[str], name: str) -> None:
    if done.returncode:
        raise CannotStandIn(f"{name}: {done.stderr.strip()}")


def main() -> int:
    """Make all of them; one line each."""
    try:
        for image in ensure():
            print(f"{image.name}: {image.came}")
    except CannotStandIn as error:
        print(f"standins: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

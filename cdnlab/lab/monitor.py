"""What a Prometheus beside the lab must know: whom to scrape, and under which labels.

Decides the target labels (node, tier, place), which are the scrape's to set and not the metrics' own, and writes them
as a file that Prometheus reads by file_sd. It starts no Prometheus (prometheus.py does) and asks no node anything.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from cdnlab.lab.addresses import show
from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.plan.topology import Topology

JOB = "cdnlab"
TARGETS = "targets.json"
CONFIG = "prometheus.yml"
#: The shipped recording rules and alerts.
RULES = Path(__file__).with_name("monitoring")
#: How often everything is scraped and every rule evaluated; the rules' windows are made for it.
INTERVAL = "5s"
#: Changes INTERVAL, for tests and demonstrations that cannot wait.
ENVIRONMENT = "CDNLAB_SCRAPE_INTERVAL"
#: The longest one, in seconds: every rate needs two scrapes within its minute, whichever minute that is.
LONGEST = 15.0
#: Seconds a node may take for its page. One that is frozen must be given up before its next turn.
TIMEOUT = 2.0

Json = dict[str, Any]


def targets(topology: Topology) -> list[Json]:
    """Prometheus' file_sd groups, one per node in the topology's order; none for a node without an admin API.

    https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
    """
    groups: list[Json] = []
    for name, spec in topology.nodes.items():
        address = topology.admin_address(name)
        if address is None:
            continue
        labels = {"node": name, "tier": spec.tier}
        if spec.place is not None and spec.tier != "lb":  # balancers stand where the client stands
            labels["place"] = spec.place
        groups.append({"targets": [show(address)], "labels": labels})
    return groups


def write_targets(topology: Topology, file: Path) -> None:
    """Write the groups to `file`, for any user to read, so that a reader never sees half of them. OSError."""
    _replace(file, json.dumps(targets(topology), indent=1) + "\n")


def write(topology: Topology, directory: Path) -> None:
    """Make `directory` and write the targets and a configuration that reads them. OSError, LabError."""
    text = configuration(interval())
    directory.mkdir(parents=True, exist_ok=True)
    os.chmod(directory, 0o755)
    write_targets(topology, directory / TARGETS)
    _replace(directory / CONFIG, text)


def interval() -> str:
    """The scrape interval, as Prometheus writes durations. LabError for one that it or the rules cannot do with."""
    chosen = os.environ.get(ENVIRONMENT) or INTERVAL
    if not re.fullmatch(r"[1-9]\d{0,5}(ms|s)", chosen):
        raise LabError(f"{ENVIRONMENT}={chosen}: that is no interval", "write 5s, 500ms or 15s", MISUSED)
    if _seconds(chosen) > LONGEST:
        why = "the rules look at the last minute, and need four scrapes of it"
        raise LabError(f"{ENVIRONMENT}={chosen} is too long: {why}", f"at most {LONGEST:.0f}s", MISUSED)
    return chosen


def configuration(every: str = INTERVAL) -> str:
    """prometheus.yml: scrape and evaluate `every` so long what targets.json beside it names, by the shipped rules."""
    import yaml

    settings = {
        "global": {
            "scrape_interval": every,
            "scrape_timeout": _timeout(every),
            "evaluation_interval": every,
        },
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yml"))],
        "scrape_configs": [{"job_name": JOB, "file_sd_configs": [{"files": [TARGETS]}]}],
    }
    return "# Written by `cdnlab up` at each start.\n" + yaml.safe_dump(settings, sort_keys=False)


def _timeout(every: str) -> str:
    """A node's time to answer: no longer than the interval, which Prometheus would refuse."""
    return every if _seconds(every) <= TIMEOUT else f"{TIMEOUT:.0f}s"


def _seconds(every: str) -> float:
    return int(every[:-2]) / 1000 if every.endswith("ms") else float(every.removesuffix("s"))


def _replace(file: Path, text: str) -> None:
    descriptor, made = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
            writing.write(text)
            os.fchmod(descriptor, 0o644)
        os.replace(made, file)
    except BaseException:
        os.unlink(made)
        raise

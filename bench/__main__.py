"""`python -m bench`: what our servers cost, beside the peers that are installed here."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.figures import FIGURES, Figure
from bench.load import LoadFailed
from bench.peers import version
from bench.programs import ROOT, NotStarted, find_program, two_cores
from bench.report import row_json, row_lines
from bench.rows import NOT_YET, ROWS, SMALL, Row
from bench.run import Bench
from cdnlab.lab.errors import LabError

_PROGRAMS = ("wrk", "nginx", "haproxy", "varnishd")
_METHOD = """\
Cost is the server's own CPU time (user + system, all its processes) per request answered, in microseconds. One core
({server}) is for the server under load, the other ({load}) for wrk and the upstream nginx together. 64 connections kept
alive, a Cookie for each eighth of them, twelve browser-like fields, 1,000 objects of 1 KiB or 16 of 1 MiB; access logs
off, limits and
counters at their defaults. ratio: ours / that server, of this run only. core: how busy the server's core was, and own:
the server's part of it; below 95 % the row has a complaint. p50, p99: at saturation, mostly the wait for 63 others.
"""


def main() -> int:
    """Run what was asked for; 0 if every row that could be measured was."""
    choices = _choices()
    signal.signal(signal.SIGTERM, _terminated)
    cores = two_cores()
    if cores is None:
        return _refuse("it needs two cores: one for the server, one for the load; this process may use one")
    os.sched_setaffinity(0, {cores[1]})
    facts = _facts(cores)
    print(
        f"cdnlab bench, {choices.rounds} rounds of {choices.seconds} s, {choices.objects:,} objects in a full cache."
    )
    print(_versions(facts))
    print(_METHOD.format(server=f"cpu{cores[0]}", load=f"cpu{cores[1]}"))
    with tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as directory:
        bench = Bench(*cores, choices.seconds, choices.rounds, Path(directory), _progress, choices.objects)
        rows = [row for row in ROWS if row.name in choices.row]
        measured = [_measure(bench, row) for row in rows]
        for figure in FIGURES:
            if figure.name in choices.row:
                measured += _figure(bench, figure)
    for title, reason in NOT_YET:
        print(f"{title}: not measured, {reason}")
    _keep(
        choices.json,
        {
            **facts,
            "rounds": choices.rounds,
            "seconds": choices.seconds,
            "objects": choices.objects,
            "rows": measured,
        },
    )
    return 1 if any("failed" in row for row in measured) else 0


def _choices() -> argparse.Namespace:
    names = [row.name for row in ROWS] + [figure.name for figure in FIGURES]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--row", action="append", choices=names, help="only this row; repeatable. Default: all"
    )
    parser.add_argument(
        "--seconds", type=int, default=4, help="seconds a sample, whole (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--objects", type=int, default=1_000_000, help="objects in a full cache (default: %(default)s)"
    )
    parser.add_argument(
        "--json", type=Path, help="where to keep the numbers (default: bench/results/<time>.json)"
    )
    choices = parser.parse_args()
    choices.row = choices.row or names
    choices.json = choices.json or ROOT / "bench" / "results" / time.strftime("%Y%m%d-%H%M%S.json")
    if choices.seconds < 1 or choices.rounds < 1:
        parser.error("--seconds and --rounds are at least 1")
    if choices.objects < SMALL:
        parser.error(f"--objects is at least {SMALL}")
    return choices


def _measure(bench: Bench, row: Row) -> dict[str, Any]:
    """One row, printed when it is done."""
    reason = _missing(("wrk", "nginx"))
    if reason is not None:
        print(f"{row.title}: not measured, {reason}\n")
        return {"row": row.name, "missing": reason}
    try:
        result = bench.measure(row)
    except (NotStarted, LoadFailed) as failure:
        print(f"{row.title}: failed: {failure}\n")
        return {"row": row.name, "failed": str(failure)}
    print("\n".join(row_lines(result)), flush=True)
    return row_json(result)


def _missing(programs: Sequence[str]) -> str | None:
    return next((f"{name} is not installed" for name in programs if not find_program(name)), None)


def _figure(bench: Bench, figure: Figure) -> list[dict[str, Any]]:
    """One figure, measured each round anew, printed when it is done; an entry for each part."""
    reason = _missing(figure.programs)
    if reason is not None:
        print(f"{figure.name}: not measured, {reason}")
        return [{"row": figure.name, "missing": reason}]
    values: list[Mapping[str, float]] = []
    try:
        for round_ in range(1 if figure.once else bench.rounds):
            directory = bench.directory / f"{figure.name}{round_}"
            directory.mkdir()
            values.append(figure.measure(bench, directory))
            said = [
                f"{part.name} {values[-1][part.name] * part.scale:.2f} {part.unit}" for part in figure.parts
            ]
            bench.say(f"  {figure.name} round {round_ + 1}: {', '.join(map(str.rstrip, said))}")
    except (NotStarted, LoadFailed, LabError, OSError) as failure:
        print(f"{figure.name}: failed: {failure}")
        return [{"row": figure.name, "failed": str(failure)}]
    parts = [
        (part, [each[part.name] for each in values], bench.complaints.get(part.name, ()))
        for part in figure.parts
    ]
    print("\n".join(part.line(found, complaints) for part, found, complaints in parts), flush=True)
    return [part.as_json(figure.name, found, complaints) for part, found, complaints in parts]


def _facts(cores: tuple[int, int]) -> dict[str, Any]:
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpu": models[0].partition(":")[2].strip() if models else "unknown",
        "cores": {"server": cores[0], "load": cores[1]},
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in _PROGRAMS},
    }


def _versions(facts: dict[str, Any]) -> str:
    programs = ", ".join(f"{name} {said or 'missing'}" for name, said in facts["versions"].items())
    return f"{facts['cpu']}, Linux {facts['kernel']}, Python {facts['python']}; {programs}."


def _keep(file: Path, numbers: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(numbers, indent=1) + "\n")
    print(f"The numbers: {file}")


def _progress(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _refuse(words: str) -> int:
    print(f"bench: {words}", file=sys.stderr)
    return 2


def _terminated(number: int, frame: object) -> NoReturn:
    """End as by Ctrl-C, so that every program that was started is ended too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

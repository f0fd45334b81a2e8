"""Measuring a row: all its servers up, then rounds in which each is loaded in turn.

Interleaved, so that what disturbs the machine disturbs all of them; servers that wait cost nothing. The server under
load has one core for itself; wrk and the upstream share the other. What makes a sample worthless (the server's core
was idle, requests failed, a cache asked its upstream) is kept with it as a complaint, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from bench.cost import core_time, cpu_seconds, family
from bench.load import Load, run_load
from bench.peers import Contender, Site, upstream_command
from bench.programs import NotStarted, ask, free_port, running, wait_for_answer
from bench.rows import LARGE, Row

#: A core less busy than this did not set the pace, and its cost per request is too high by waking up and sleeping.
BUSY = 0.95
#: Share of the core that others may take: more of it, and they cost the server its CPU's caches as well.
_FOREIGN = 0.10
#: CPU time of the upstream per request above which a "hit" was not one, in seconds.
_HIT_UPSTREAM = 0.2e-6


@dataclass(frozen=True)
class Sample:
    """One server, one round. `cost` in seconds of CPU per request; shares 0 to 1."""

    cost: float
    core_busy: float
    own_share: float
    load_core_busy: float
    load: Load
    complaints: tuple[str, ...]


@dataclass
class Result:
    """A row as measured; servers that could not be are in `missing` with the reason."""

    row: Row
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """A running contender."""

    contender: Contender
    port: int
    pids: list[int]


@dataclass(frozen=True)
class Bench:
    """Where and how long: cores, seconds a sample, rounds, a directory for everybody's files."""

    server_core: int
    load_core: int
    seconds: int
    rounds: int
    directory: Path
    say: Callable[[str], None]
    #: How many objects a cache that is full of them holds.
    objects: int = 1_000_000
    #: What makes a part of a figure worthless, by the part's name.
    complaints: dict[str, list[str]] = field(default_factory=dict)

    def complain(self, part: str, words: str) -> None:
        """Keep and show what makes a part of a figure worthless."""
        self.complaints.setdefault(part, []).append(words)
        self.say(f"  ! {part}: {words}")

    def measure(self, row: Row) -> Result:
        """The whole row. LoadFailed or NotStarted (the upstream) where nothing can be measured."""
        result = Result(row)
        with ExitStack() as stack:
            site = self._site(row, "upstream", 0)
            words = upstream_command(site, LARGE)
            upstream = self._start(stack, words, site, self.load_core, row)
            started = list(self._start_all(stack, row, site.port, result))
            for round_ in range(self.rounds):
                shift = round_ % max(1, len(started))
                for one in started[shift:] + started[:shift]:
                    sample = self.sample(row, one, upstream)
                    result.samples.setdefault(one.contender.name, []).append(sample)
                    self.say(_progress(row, round_, one, sample))
        return result

    def _site(self, row: Row, name: str, upstream: int) -> Site:
        directory = self.directory / f"{row.name}-{name.replace(' ', '-')}"
        directory.mkdir()
        return Site(directory, free_port(), upstream, large=row.body > 65536)

    def _start(self, stack: ExitStack, words: list[str], site: Site, core: int, row: Row) -> list[int]:
        log = site.directory / "log"
        process: Popen[bytes] = stack.enter_context(running(words, [core], log))
        length = wait_for_answer(process, site.port, f"{row.shape.prefix}0", log)
        if length != row.body:
            raise NotStarted(f"{words[0]} answered {length} bytes instead of {row.body}")
        for number in range(row.shape.objects):
            ask(site.port, f"{row.shape.prefix}{number}")
        return family(process.pid)

    def _start_all(self, stack: ExitStack, row: Row, upstream: int, result: Result) -> Iterator[Started]:
        for contender in row.contenders:
            reason = contender.missing()
            if reason is None:
                site = self._site(row, contender.name, upstream)
                try:
                    words = contender.command(site)
                    pids = self._start(stack, words, site, self.server_core, row)
                    run_load(
                        site.port, row.shape, 1
                    )  # warm: connections to the upstream, memos, the allocator
                    yield Started(contender, site.port, pids)
                    continue
                except NotStarted as failure:
                    reason = str(failure)
            result.missing[contender.name] = reason
            self.say(f"  {row.name}: {contender.name} not measured: {reason}")

    def sample(self, row: Row, one: Started, upstream: list[int]) -> Sample:
        """Load one server for the seconds of a sample; `upstream`: the processes that a cache must not ask."""
        core, other = core_time(self.server_core), core_time(self.load_core)
        own, behind = cpu_seconds(one.pids), cpu_seconds(upstream)
        load = run_load(one.port, row.shape, self.seconds)
        own, behind = cpu_seconds(one.pids) - own, cpu_seconds(upstream) - behind
        busy = core_time(self.server_core).busy_since(core)
        complaints = list(_complaints(row, load, busy, own / load.seconds, behind))
        return Sample(
            cost=own / max(1, load.requests),
            core_busy=busy,
            own_share=own / load.seconds,
            load_core_busy=core_time(self.load_core).busy_since(other),
            load=load,
            complaints=tuple(complaints),
        )


def _complaints(row: Row, load: Load, busy: float, own: float, behind: float) -> Iterator[str]:
    if busy < BUSY:
        yield f"its core was only {busy:.1%} busy"
    elif own < busy - _FOREIGN:
        yield f"others took {busy - own:.0%} of its core"
    if load.failed:
        yield f"{load.failed} requests failed"
    if row.cached and behind > _HIT_UPSTREAM * load.requests + 0.02:
        yield f"not only hits: the upstream spent {behind:.2f} s"


def _progress(row: Row, round_: int, one: Started, sample: Sample) -> str:
    words = f"  {row.name} round {round_ + 1}: {one.contender.name} {sample.cost * 1e6:.2f} us"
    return words + (f" ({'; '.join(sample.complaints)})" if sample.complaints else "")

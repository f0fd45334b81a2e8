"""Users who stand in places, for Locust: `make load`, or `locust` in a checkout. See loadtests/README.md.

Decides how a load test is wired into Locust: its options, its events, its reports among several processes, what it
prints at the end. What users do is in run.py.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
from locust import User, events, task
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner
from locust.user.task import LOCUST_STATE_STOPPING

ROOT = Path(__file__).resolve().parents[1]
if (
    str(ROOT) not in sys.path
):  # Locust adds this file's directory only, and our modules bear the package's name
    sys.path.insert(0, str(ROOT))

from cdnlab.plan.errors import PlanError  # noqa: E402
from cdnlab.plan.load import load  # noqa: E402
from cdnlab.plan.topology import Topology  # noqa: E402
from loadtests import places_tab  # noqa: E402
from loadtests.client import BadServer, Broken, Client, Server, server  # noqa: E402
from loadtests.run import Options, Run, Visitor, prepare  # noqa: E402
from loadtests.sites import BadPaths, read_paths  # noqa: E402
from loadtests.standing import BadPlaces, shares  # noqa: E402
from loadtests.strain import Strain, Watch  # noqa: E402
from loadtests.tally import PERCENTILES, Row, Tally, percent, size, table  # noqa: E402

log = logging.getLogger("cdnlab.load")
console = logging.getLogger("locust.stats_logger")

REMEDY = (
    "start the lab with `make up` (or `docker compose up`), or name another one with --host http://HOST:PORT"
)


class Unusable(Exception):
    """A test that can't begin: one line, and the exit code (1: nothing answers, 2: misuse)."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Fault(Exception):
    """Why a request failed, as Locust's tables show it: they print what repr() gives."""

    def __repr__(self) -> str:
        return str(self)


class State:
    """What this process holds, whatever its part: alone, master or worker."""

    def __init__(self) -> None:
        self.environment: Any = None
        self.run: Run | None = None
        self.tally = Tally()
        self.watch = Watch(log.warning)
        self.present: dict[str, dict[str, int]] = {}
        """Users by place, by the worker that reported them; then the most there were at once."""
        self.most: dict[str, dict[str, int]] = {}
        self.strains: dict[str, Strain] = {}
        """What was measured of each worker."""

    def clear(self) -> None:
        """Forget the test before."""
        self.run = None
        for reports in (self.present, self.most, self.strains):
            reports.clear()
        self.tally.clear()

    def users(self, most: bool = False) -> Counter[str]:
        """Users by place now, or the most there were at once, those of all workers together."""
        found: Counter[str] = Counter()
        if self.run:
            found.update(self.run.crowd.most if most else self.run.crowd.present)
        for reported in (self.most if most else self.present).values():
            found.update(reported)
        return found

    def processes(self) -> dict[str, Strain]:
        """What was measured, by process."""
        here = "master" if isinstance(self.environment.runner, MasterRunner) else "this process"
        workers = {f"worker {number}": strain for number, strain in enumerate(self.strains.values(), 1)}
        return {here: self.watch.strain, **workers}


state = State()


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Our own options, which Locust's form shows too where they may change between two tests."""
    group = parser.add_argument_group("cdnlab", "Where users stand and what they ask for")
    plain = Options()
    group.add_argument(
        "--places",
        default="",
        metavar="icn=3,fra",
        env_var="LOCUST_PLACES",
        help="Places with their shares of the users; all shipped places without it",
    )
    group.add_argument(
        "--zipf",
        type=float,
        default=plain.zipf,
        env_var="LOCUST_ZIPF",
        help="Exponent of popularity: 0 makes all things equally popular",
    )
    group.add_argument(
        "--objects",
        type=int,
        default=plain.objects,
        env_var="LOCUST_OBJECTS",
        help="How many different objects of /behave are asked for (demo site)",
    )
    group.add_argument(
        "--think",
        type=float,
        default=1.0,
        env_var="LOCUST_THINK",
        help="Mean seconds between two pages of one user",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=plain.seed,
        env_var="LOCUST_SEED",
        help="Another seed is another sequence of choices",
    )
    # Without a group: only the parser itself knows how to leave an option out of the form.
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    parser.add_argument(
        "--paths",
        default="",
        metavar="FILE",
        env_var="LOCUST_PATHS",
        **hidden,
        help="What to ask for instead of the demo site's things: a path a line, most popular first",
    )
    parser.add_argument(
        "--topology",
        default="",
        metavar="FILE",
        env_var="CDNLAB_TOPOLOGY",
        **hidden,
        help="The lab's topology, where it has places of its own",
    )
    parser.add_argument("--wait-for-lab", type=float, default=0.0, metavar="SECONDS", env_var="LOCUST_WAIT_FOR_LAB",
                        **hidden, help="How long to wait for a lab that does not answer yet")  # fmt: skip


def settings(parsed: Any) -> tuple[Options, Topology]:
    """The options, checked; Unusable."""
    options = Options(parsed.places or "", parsed.paths or "", parsed.zipf, parsed.objects, parsed.seed)
    try:
        topology = load(parsed.topology or None)
        shares(options.places, topology)
        if options.paths:
            read_paths(Path(options.paths).read_text().splitlines())
    except BadPaths as error:
        raise Unusable(f"--paths {options.paths}: {error}", 2) from None
    except OSError as error:
        raise Unusable(f"--paths {options.paths}: {error.strerror}", 2) from None
    except (BadPlaces, PlanError) as error:
        raise Unusable(str(error), 2) from None
    if not 0 <= options.zipf <= 10 or not 1 <= options.objects <= 100_000 or not 0 <= parsed.think <= 3600:
        raise Unusable("--zipf takes 0 to 10, --objects 1 to 100000, --think 0 to 3600 seconds", 2)
    return options, topology


def reach(host: str | None, patience: float = 0.0) -> Server:
    """The server under test, which takes a connection; Unusable."""
    try:
        found = server(host or "")
    except BadServer as error:
        raise Unusable(str(error), 2) from None
    until = monotonic() + patience
    while True:
        client = Client(found)
        try:
            client.connect()
        except Broken as broken:
            if monotonic() >= until:
                raise Unusable(
                    f"nothing answers at http://{found.authority}/: {broken}; {REMEDY}", 1
                ) from None
            gevent.sleep(0.5)
        else:
            return found
        finally:
            client.close()


@events.init.add_listener
def begin(environment: Any, runner: Any, web_ui: Any, **_: Any) -> None:
    """Refuse what can't work before anything starts, and add our tabs."""
    state.environment = environment
    parsed = environment.parsed_options
    try:
        settings(parsed)
        reach(environment.host, parsed.wait_for_lab)
    except Unusable as error:
        if not (isinstance(runner, WorkerRunner) and parsed.processes):  # their parent says it
            print(f"locust: {error}", file=sys.stderr)
        sys.exit(error.code)
    if web_ui is not None:
        places_tab.add(web_ui, place_rows, generator_rows)


@events.test_start.add_listener
def start(environment: Any, **_: Any) -> None:
    """A test begins, on each process."""
    state.clear()
    state.watch.start()
    try:
        options, topology = settings(environment.parsed_options)
        target = reach(environment.host)
        if not isinstance(environment.runner, MasterRunner):
            number = max(0, getattr(environment.runner, "worker_index", 0))
            run = prepare(target, options, topology, state.tally, report, number)
            run.look()
            state.run = run
    except (Unusable, Broken) as error:
        # Only in the web UI, where the host can be changed: begin() has looked already.
        log.error("The test can't begin: %s", error)
        gevent.spawn_later(0.5, environment.runner.stop)


def report(*, name: str, seconds: float, size: int, error: Exception | None) -> None:
    """One request for Locust's own statistics."""
    events.request.fire(  # type: ignore[no-untyped-call]
        request_type="GET",
        name=name,
        response_time=seconds * 1000,
        response_length=size,
        exception=Fault(str(error)) if error else None,
        context={},
    )


class PlaceUser(User):
    """One user at one place: visitors who come one after the other, each with a browser of their own."""

    def on_start(self) -> None:
        """Take a place."""
        if state.run is None:
            raise StopUser  # the test can't begin, and the log says why
        self.run_ = state.run
        self.code = self.run_.crowd.enter()
        self.visitor = Visitor(self.run_, self.code)

    def on_stop(self) -> None:
        """Leave it."""
        if hasattr(self, "visitor"):
            self.visitor.leave()
            self.run_.crowd.leave(self.code)

    @task
    def view(self) -> None:
        """One page of the visitor's; another visitor, if it was the last one."""
        if not self.visitor.pages_left:
            self.visitor.leave()
            self.visitor = Visitor(self.run_, self.code)
        self.visitor.view(lambda: self._state != LOCUST_STATE_STOPPING)

    def wait_time(self) -> float:
        """Seconds until the next page."""
        think = self.environment.parsed_options.think
        chosen = min(5 * think, self.visitor.chance.expovariate(1 / think)) if think else 0.0
        return max(chosen, 1.0) if self.visitor.lost else chosen


@events.test_stop.add_listener
def stop(**_: Any) -> None:
    """A test has ended, on each process."""
    state.watch.stop()


@events.reset_stats.add_listener
def reset(**_: Any) -> None:
    """The button of that name."""
    state.tally.clear()


@events.spawning_complete.add_listener
def spawned(**_: Any) -> None:
    """All users are there: with --reset-stats, counting begins now."""
    if state.environment is not None and state.environment.reset_stats:
        state.tally.clear()


@events.report_to_master.add_listener
def tell(data: dict[str, Any], **_: Any) -> None:
    """A worker's share of the counts since its last report."""
    strain = state.watch.strain
    data["cdnlab"] = {
        "rows": state.tally.take(),
        "present": dict(state.run.crowd.present) if state.run else {},
        "most": dict(state.run.crowd.most) if state.run else {},
        "strain": [getattr(strain, name) for name in Strain.__slots__],
    }


@events.worker_report.add_listener
def hear(client_id: str, data: dict[str, Any], **_: Any) -> None:
    """Such a report, at the master."""
    told = data.get("cdnlab")
    if told is not None:
        state.tally.give(told["rows"])
        state.present[client_id], state.most[client_id] = told["present"], told["most"]
        state.strains[client_id] = Strain(*told["strain"])


def place_rows() -> list[dict[str, Any]]:
    """The tab's table: a row a place, and all together."""
    users, rows = state.users(), state.tally.rows
    order = sorted({*rows, *users}, key=lambda code: (-rows.get(code, Row()).requests, code))
    total = {"name": "All", "users": users.total(), **_row(state.tally.total())}
    found = [{"name": code, "users": users[code], **_row(rows.get(code, Row()))} for code in order]
    limited = any(strain.limit for strain in state.processes().values())
    note = [{"name": "⚠ The generator was the limit: see its tab"}] if limited else []
    return [*note, *found, total]


def _row(row: Row) -> dict[str, Any]:
    times = {f"p{round(100 * share)}": row.percentile(share) for share in PERCENTILES}
    ratios = {"hit_ratio": percent(row.hit_ratio), "hit_byte_ratio": percent(row.hit_byte_ratio)}
    counts = {"requests": row.requests, "failures": row.failures, "hits": row.hits, "bytes": size(row.bytes)}
    return {**counts, **ratios, **times}


def generator_rows() -> list[dict[str, Any]]:
    """The other tab's: a row a process."""
    return [
        {
            "name": name,
            "cpu": f"{100 * strain.cpu:.0f} %",
            "worst_cpu": f"{100 * strain.worst_cpu:.0f} %",
            "late": f"{1000 * strain.late:.1f} ms",
            "worst_late": f"{1000 * strain.worst_late:.1f} ms",
            "verdict": strain.sentence(name) or "at ease",
        }
        for name, strain in state.processes().items()
    ]


@events.quit.add_listener
def finish(**_: Any) -> None:
    """The final print: the table by place, and the warning if one is due."""
    environment = state.environment
    if environment is None or isinstance(environment.runner, WorkerRunner) or environment.parsed_options.json:
        return
    if not state.tally.rows:
        return
    cities = {
        code: place.city
        for code, place in load(environment.parsed_options.topology or None).all_places.items()
    }
    console.info("By place (hits by Cache-Status, against the answers that edges gave)")
    for line in table(state.tally, state.users(most=True), cities):
        console.info(line)
    for name, strain in state.processes().items():
        if sentence := strain.sentence(name):
            console.info(f"WARNING: {sentence}")
    console.info("")

"""Users who stand in places, for Locust: `make load`, or `locust` in a checkout. See loadtests/README.md.

Decides how a load test is wired into Locust: its options, its events, its reports among several processes, what it
prints at the end. What users do is in run.py.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
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
from loadtests.strain import Watch  # noqa: E402
from loadtests.together import KEY, Together  # noqa: E402

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


together = Together(Watch(log.warning), {})
"""What this process knows, whatever its part: alone, master or worker."""


class Now:
    """The test that runs in this process, if its users are here."""

    run: Run | None = None


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Our own options, which Locust's form shows too where they may change between two tests."""
    plain = Options()
    shown = (
        (
            "places",
            str,
            plain.places,
            "Places with shares of the users, such as icn=3,fra; without it all shipped ones",
        ),
        ("think", float, 1.0, "Mean seconds between two pages of one user"),
        ("zipf", float, plain.zipf, "Exponent of popularity; 0 makes all things equally popular"),
        ("objects", int, plain.objects, "How many different objects of /behave are asked for (demo site)"),
        ("seed", int, plain.seed, "Another seed is another sequence of choices"),
    )
    for name, kind, default, text in shown:
        env = f"LOCUST_{name.upper()}"
        parser.add_argument(f"--{name}", type=kind, default=default, env_var=env, help=text)
    hidden = (
        (
            "paths",
            str,
            "",
            "LOCUST_PATHS",
            "A file with a path a line, most popular first, instead of the demo site",
        ),
        ("topology", str, "", "CDNLAB_TOPOLOGY", "The lab's topology file, where it has places of its own"),
    )
    for name, kind, default, env, text in hidden:
        parser.add_argument(
            f"--{name}", type=kind, default=default, env_var=env, help=text, include_in_web_ui=False
        )


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


def reach(host: str | None) -> Server:
    """The server under test, which takes a connection; Unusable."""
    try:
        found = server(host or "")
    except BadServer as error:
        raise Unusable(str(error), 2) from None
    client = Client(found)
    try:
        client.connect()
    except Broken as broken:
        raise Unusable(f"nothing answers at http://{found.authority}/: {broken}; {REMEDY}", 1) from None
    finally:
        client.close()
    return found


@events.init.add_listener
def begin(environment: Any, runner: Any, web_ui: Any, **_: Any) -> None:
    """Refuse what can't work before anything starts, and add our tabs."""
    parsed = environment.parsed_options
    try:
        topology = settings(parsed)[1]
        reach(environment.host)
    except Unusable as error:
        if not (isinstance(runner, WorkerRunner) and parsed.processes):  # their parent says it
            print(f"locust: {error}", file=sys.stderr)
        sys.exit(error.code)
    if web_ui is not None:
        places_tab.add(web_ui, together.place_rows, together.generator_rows)
    if parsed.reset_stats:
        events.spawning_complete.add_listener(reset)  # type: ignore[no-untyped-call]
    together.cities = {code: place.city for code, place in topology.all_places.items()}
    together.name = "master" if isinstance(runner, MasterRunner) else together.name
    together.prints = not isinstance(runner, WorkerRunner) and not parsed.json


@events.test_start.add_listener
def start(environment: Any, **_: Any) -> None:
    """A test begins, on each process."""
    together.clear()
    together.watch.start()
    Now.run = None
    try:
        options, topology = settings(environment.parsed_options)
        target = reach(environment.host)
        if not isinstance(environment.runner, MasterRunner):
            number = max(0, getattr(environment.runner, "worker_index", 0))
            run = prepare(target, options, topology, together.tally, report, number)
            run.look()
            Now.run, together.crowd = run, run.crowd
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
    """One user at one place: visitors who come one after the other, each with a browser of their own.

    It ends between two requests, never within one, as long as Locust's stop-timeout allows. Locust kills users who
    wait, and one whose wait is just over would be killed with a request under way, which only the lab had counted. So
    it waits itself, inside its task, until it is told to stop.
    """

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._leaving = Event()
        self._visitor: Visitor | None = None

    def on_start(self) -> None:
        """Take a place, if the test has begun."""
        if Now.run is not None:
            self._visitor = Visitor(Now.run, Now.run.crowd.enter())

    def on_stop(self) -> None:
        """Leave it."""
        if self._visitor is not None:
            self._visitor.leave()
            self._visitor.run.crowd.leave(self._visitor.code)
            self._visitor = None

    def stop(self, force: bool = False) -> bool:
        """Locust's order to end; whether it has ended at once."""
        if force:
            return bool(super().stop(force=True))
        self._state = LOCUST_STATE_STOPPING
        self._leaving.set()
        return False

    @task
    def view(self) -> None:
        """One page of the visitor's, or of another one if that was its last; then time to think."""
        visitor = self._visitor
        if visitor is None:
            raise StopUser  # the test can't begin, and the log says why
        if not visitor.pages_left:
            visitor.leave()
            visitor = self._visitor = Visitor(visitor.run, visitor.code)
        visitor.view(lambda: not self._leaving.is_set())
        think = self.environment.parsed_options.think
        chosen = min(5 * think, visitor.chance.expovariate(1 / think)) if think else 0.0
        self._leaving.wait(max(chosen, 1.0) if visitor.lost else chosen)


@events.test_stop.add_listener
def stop(**_: Any) -> None:
    """A test has ended, on each process."""
    together.watch.stop()


@events.reset_stats.add_listener
def reset(**_: Any) -> None:
    """The button of that name."""
    together.tally.clear()


@events.report_to_master.add_listener
def tell(data: dict[str, Any], **_: Any) -> None:
    """A worker's part of the counts."""
    data[KEY] = together.take()


@events.worker_report.add_listener
def hear(client_id: str, data: dict[str, Any], **_: Any) -> None:
    """Such a report, at the master."""
    if KEY in data:
        together.give(client_id, data[KEY])


@events.quit.add_listener
def finish(**_: Any) -> None:
    """The final print, after Locust's own."""
    if together.prints:
        for line in together.final():
            console.info(line)

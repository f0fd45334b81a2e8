"""The client of the store, which may go away at any moment and must never hold a node up.

A call ends within its time, with an answer or with StoreAway, and nothing else is ever raised. After the
first call that fails for want of an answer the store is *away*: further calls fail at once, and one task
asks again (0.1 s after, then twice as long each time, up to a second) until it is back. Each change
is an event.
So is one that answers too late for most: what has more patience gets its answer, and it stays away all the same.
A store that only reads, such as a replica that nobody made a master yet, is away, too: what is asked of it is mostly to
be written. It stays so until it takes a write, whatever it answers to questions meanwhile.
It decides nothing: what to do without the store is each caller's rule.

The server may be any that speaks the Redis protocol: redis://, rediss://, unix://, and
redis+sentinel://[user:password@]host:port,host:port/service[/db].
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from cdnlab.net.clock import now, wall
from cdnlab.net.dial import Resolver
from cdnlab.net.faults import Fault, Faults
from cdnlab.net.tasks import spawn
from cdnlab.node.log import Events
from cdnlab.node.metrics import Family, Histogram, MetricSpec, Series, family
from cdnlab.node.store_faults import FaultyClient

WITHIN = 0.5
"""Seconds an operation may take, connecting included: half of a lease, so that a hung store costs one try."""
CONNECTIONS = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds between attempts while the store is away
PROBE = "cdnlab:probe"
"""A key that nobody writes; asked to be deleted to see whether the store takes writes."""
UP_PAUSE = 1.0  # seconds between pings while it is up: an idle node notices too

ROUND_TRIPS = MetricSpec(
    "cdnlab_store_round_trip_seconds", "histogram", (), "Time from a command to the store's answer."
)
ERRORS = MetricSpec(
    "cdnlab_store_errors_total",
    "counter",
    ("reason",),
    "Commands without a good answer: timeout, connection, or refused by the store.",
)
UP = MetricSpec("cdnlab_store_up", "gauge", (), "1 while the store answers, 0 while it is away.")
STORE_METRICS = (ROUND_TRIPS, ERRORS, UP)

REASONS = ("timeout", "connection", "refused")
_AWAY_REPLIES = (BusyLoadingError, ReadOnlyError, AuthenticationError)  # it answers, but cannot serve


class StoreAway(Exception):
    """No answer: the store is down, hung, loading, or not ours to write to. The caller goes on without it."""


class StoreRefused(StoreAway):
    """The store is there and answered with an error: a script's, a wrong type, out of memory."""


class BadStoreUrl(ValueError):
    """str() names the URL (without its password) and the forms that are taken."""


class Store:
    """A client for one server or one Sentinel-managed service, used on the loop that start()ed it."""

    def __init__(self, url: str, events: Events) -> None:
        """`url` as above; raises BadStoreUrl. Nothing is connected yet."""
        self.url = redacted(url)
        self.up = False
        self.since = wall()
        self.reason = "not asked yet"
        self.client = _client(url)
        """For what has no method here (publish and subscribe); its errors are the library's."""
        self._events = events
        self._known = False
        self._reads_only = False
        self._changed = asyncio.Event()
        self._round_trips = Histogram(ROUND_TRIPS)
        self._errors = Series(ERRORS, REASONS)
        self._monitor: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask once, so that the first decisions know whether the store is there; then keep asking."""
        await self._ping()
        self._monitor = spawn(self._watch(), "store monitor")

    async def stop(self) -> None:
        """Close the connections."""
        if self._monitor:
            self._monitor.cancel()
        try:
            async with asyncio.timeout(WITHIN):
                await self.client.aclose()
        except (RedisError, OSError):
            pass

    async def call(self, *command: str | bytes | float, within: float = WITHIN) -> Any:
        """Send one command and return its answer. StoreAway at once while away, or after `within` seconds."""
        if not self.up:
            raise StoreAway(f"the store at {self.url} is away: {self.reason}")
        return await self._send(command, within)

    async def ask(self, *command: str | bytes | float, within: float = WITHIN) -> Any:
        """As call(), but the server itself is asked whatever this node believes about it: that may be a second old."""
        return await self._send(command, within)

    async def wait(self, *command: str | bytes | float, within: float) -> Any:
        """A command that waits in the server (XREAD BLOCK): as call(), and no round trip is counted."""
        if not self.up:
            raise StoreAway(f"the store at {self.url} is away: {self.reason}")
        return await self._send(command, within, counted=False)

    async def get(self, key: str | bytes, *, within: float = WITHIN) -> bytes | None:
        """The value of `key`, None without one."""
        value: bytes | None = await self.call("GET", key, within=within)
        return value

    async def set(
        self,
        key: str | bytes,
        value: str | bytes,
        *,
        seconds: float | None = None,
        only_new: bool = False,
        within: float = WITHIN,
    ) -> bool:
        """Set `key`, to expire after `seconds`; with `only_new` False says that it already existed."""
        expiry = () if seconds is None else ("PX", max(1, round(seconds * 1000)))
        condition = ("NX",) if only_new else ()
        return bool(await self.call("SET", key, value, *expiry, *condition, within=within))

    async def eval(
        self,
        script: str,
        keys: Iterable[str | bytes] = (),
        arguments: Iterable[str | bytes | float] = (),
        *,
        within: float = WITHIN,
    ) -> Any:
        """Run a Lua script on the server, atomically; its answer as the protocol carries it."""
        named = tuple(keys)
        return await self.call("EVAL", script, len(named), *named, *arguments, within=within)

    def meet(self, faults: Faults | None, done: dict[Fault, int]) -> None:
        """Let every command meet `faults` from now on; what was done is counted in `done`."""
        self.client.faults, self.client.done = faults, done

    def status(self) -> dict[str, Any]:
        """The "store" of /status."""
        state = "up" if self.up else "away"
        return {"state": state, "url": self.url, "reason": self.reason, "since": self.since}

    def families(self) -> Iterator[Family]:
        """The rows of STORE_METRICS, filled."""
        yield self._round_trips.family()
        yield self._errors.family()
        yield family(UP, [((), int(self.up))])

    async def changed(self) -> bool:
        """Wait until the store goes or comes; whether it is up then."""
        await self._changed.wait()
        return self.up

    async def _send(self, command: Iterable[str | bytes | float], within: float, counted: bool = True) -> Any:
        started = now()
        try:
            async with asyncio.timeout(within):
                answer = await self.client.execute_command(*command)
        except TimeoutError as error:
            raise self._away("timeout", f"no answer within {within:g} s") from error
        except _AWAY_REPLIES as error:
            self._reads_only = isinstance(error, ReadOnlyError)
            raise self._away("refused", str(error)) from error
        except ResponseError as error:
            self._errors.add("refused")
            raise StoreRefused(f"the store at {self.url} refused: {error}") from error
        except (RedisError, OSError) as error:
            raise self._away("connection", _reason(error)) from error
        took = now() - started
        if counted:
            self._round_trips.observe(took)
        if not self.up and not self._reads_only and took <= WITHIN:  # slower ones are no use to most who ask
            self._set(True, "answers")
        return answer

    def _away(self, kind: str, reason: str) -> StoreAway:
        self._errors.add(kind)
        if self.up or not self._known:
            self._set(False, reason)
        self.reason = reason
        return StoreAway(f"the store at {self.url} is away: {reason}")

    def _set(self, up: bool, reason: str) -> None:
        self.up, self.reason, self.since, self._known = up, reason, wall(), True
        self._events.add("store", self.url, f"the store is {'there' if up else 'away'}: {reason}", up=up)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _ping(self) -> bool:
        try:
            # a write that changes nothing, since a store that only reads would answer PING
            await self._send(("DEL", PROBE), WITHIN)
        except StoreRefused:
            pass  # it is there; that this user may not delete this key is nobody's affair
        except StoreAway:
            return False
        self._reads_only = False
        if not self.up:
            self._set(True, "takes writes")
        return True

    async def _watch(self) -> None:
        pause = FIRST_PAUSE
        while True:
            if self.up:
                pause = FIRST_PAUSE
                try:
                    async with asyncio.timeout(UP_PAUSE):
                        await self.changed()
                    continue
                except TimeoutError:
                    pass
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            await self._ping()


def redacted(url: str) -> str:
    """The URL as people may see it: without user and password, also those given as query parameters."""
    scheme, place, path, _, _ = urlsplit(url)
    return f"{scheme}://{place.rpartition('@')[2]}{path}"


def _client(url: str) -> FaultyClient:
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,  # each operation has its own
        "socket_connect_timeout": None,
    }
    try:
        if urlsplit(url).scheme == "redis+sentinel":
            return _sentinel_client(url, options)
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=WITHIN, **options)
        _resolve_once(pool)
    except ValueError as error:
        raise BadStoreUrl(
            f'store URL "{redacted(url)}": {error}; write redis://host:port/0, rediss://…, '
            "unix:///path/to/socket or redis+sentinel://host:port,host:port/service"
        ) from None
    return cast(FaultyClient, FaultyClient.from_pool(pool))


class _Resolved(Connection):
    """A connection to a server that is named: see cdnlab.net.dial for why the loop is not asked for the name."""

    def __init__(self, *, resolver: Resolver, **options: Any) -> None:
        super().__init__(**options)
        self._resolver = resolver
        self._address = self.host

    async def _connect(self) -> None:
        found = await self._resolver.addresses(self.host, self.port)
        error: Exception = OSError("the name has no address")
        for _, (self._address, _) in found:
            try:
                await super()._connect()  # type: ignore[no-untyped-call]
            except OSError as failed:
                error = failed
            else:
                return
        raise error

    def _connection_arguments(self) -> dict[str, Any]:
        arguments = {**super()._connection_arguments(), "host": self._address}
        return {**arguments, "server_hostname": self.host} if "ssl" in arguments else arguments


class _ResolvedTls(_Resolved, SSLConnection):
    """The same with TLS, whose certificate must bear the name and not the address."""


def _resolve_once(pool: BlockingConnectionPool) -> None:
    """Have a pool's connections resolve their server's name through one resolver."""
    classes: dict[type, type] = {Connection: _Resolved, SSLConnection: _ResolvedTls}
    if pool.connection_class in classes:
        pool.connection_class = classes[pool.connection_class]
        pool.connection_kwargs["resolver"] = Resolver()


def _sentinel_client(url: str, options: dict[str, Any]) -> FaultyClient:
    _, place, path, _, _ = urlsplit(url)
    login, _, hosts = place.rpartition("@")
    user, _, password = login.partition(":")
    service, _, db = path.strip("/").partition("/")
    if not service:
        raise ValueError("the service name is missing")
    sentinels = [_host_port(member, 26379) for member in hosts.split(",")]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        sentinels,
        sentinel_kwargs=dict(options),
        username=unquote(user) or None,
        password=unquote(password) or None,
        db=int(db or 0),
        **options,
    )
    return sentinel.master_for(service, redis_class=FaultyClient)  # type: ignore[no-any-return]


def _host_port(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f'"{text}" is not host:port')
    return parts.hostname, parts.port or default


def _reason(error: Exception) -> str:
    if isinstance(error, MasterNotFoundError):
        return "no Sentinel knows a master for the service"
    return str(error) or type(error).__name__

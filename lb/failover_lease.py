"""The lease in the store, and the task that acts on what the failover machine decides.

Decides nothing: it asks the store, tells the machine, and does what the machine says, in that order. It
must not know what a connection is.

In the store a VIP has three keys: `lease` (its value the owner, with an expiry), `token` (the fencing
counter, kept for ever) and `epoch` (a random name for the store's memory, which a store that has forgotten
everything lacks). Each question is one script, so that it happens as a whole or not at all. An owner's name
is new for every claim: a claim that was given up, and is carried out later by a store that was frozen,
makes nobody a holder.

The questions go past the node's own idea of whether the store is there, since that may be a second old: a
failed try must mean that the store was away at that moment.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cdnlab.net.clock import now as boottime
from cdnlab.net.tasks import spawn
from cdnlab.node.log import Events
from cdnlab.node.store import Store, StoreAway
from lb.failover import Action, Machine, State, Transition, Watched
from lb.vip import Vip

log = logging.getLogger("cdnlab.lb.failover")

WATCH = """
local epoch = redis.call('GET', KEYS[3]) or ARGV[1]
redis.call('SET', KEYS[3], epoch)
return {redis.call('GET', KEYS[1]) or '', tonumber(redis.call('GET', KEYS[2]) or '-1'), epoch}
"""
"""Look. ARGV: a name for the memory if it has none. Answer: owner or '', token or -1, epoch.

It writes in any case. A store that only reads can renew no lease, so a holder goes on by a deadline of its own; to who
waits it must be away as well, or else the one who watched it all along claims with the first write that it takes."""

CLAIM = """
local owner = redis.call('GET', KEYS[1])
local token = tonumber(redis.call('GET', KEYS[2]) or '-1')
if owner or token ~= tonumber(ARGV[3]) or redis.call('GET', KEYS[3]) ~= ARGV[4] then return 0 end
token = math.max(token, tonumber(ARGV[5])) + 1
redis.call('SET', KEYS[2], token)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return token
"""
"""Claim. ARGV: owner, lease in ms, the token and the epoch that were watched, the highest token ever seen.
Answer: the new token, or 0 if anything differs from what was watched."""

RENEW = """
local owner = redis.call('GET', KEYS[1])
local token = tonumber(redis.call('GET', KEYS[2]) or '-1')
if (owner and owner ~= ARGV[1]) or token > tonumber(ARGV[3]) then return 0 end
if token < tonumber(ARGV[3]) then redis.call('SET', KEYS[2], ARGV[3]) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
"""Renew, or put back after an outage what nobody has claimed since. ARGV: owner, lease in ms, own token.
Answer: 1, or 0 if another has it."""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
"""Give back. ARGV: owner."""


def keys(lab: str, vip: str) -> tuple[str, str, str]:
    """The keys of one VIP: lease, token, epoch. The braces keep them on one shard of a clustered store."""
    base = f"cdnlab:{{{lab}:vip:{vip}}}"
    return f"{base}:lease", f"{base}:token", f"{base}:epoch"


def seed(lab: str, vip: str) -> tuple[str, ...]:
    """The command with which the creator of a *new* store says that nobody has ever held the VIP.

    Then the first claim needs no watching, and a lab answers a lease earlier. Never send it to a store that
    was restarted: somebody may still hold the VIP by a deadline of its own.
    """
    return "SET", keys(lab, vip)[1], "0", "NX"


GRACE = 0.01
"""Seconds more for an answer that may lie unread, because this process was late and not the store."""


class Asks(Protocol):
    """Whatever runs a script in the store; StoreAway if there is no answer within `within` seconds."""

    async def eval(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | int], *, within: float
    ) -> Any:
        """Run `script`; return its answer as the protocol carries it."""


class Direct:
    """Asks the server itself, whatever the node believes about it."""

    __slots__ = ("_client",)

    def __init__(self, client: Redis) -> None:
        """`client` is the node's own (`Store.client`), with its pool of connections."""
        self._client = client

    async def eval(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | int], *, within: float
    ) -> Any:
        """Run `script`; StoreAway for every kind of no."""
        words = ("EVAL", script, len(keys), *keys, *arguments)
        asked = spawn(_outcome(self._client, words), "failover question")
        try:
            for patience in (within, GRACE):
                done, _ = await asyncio.wait({asked}, timeout=patience)
                if done:
                    return _answer(asked.result())
        finally:
            asked.cancel()
        raise StoreAway(f"no answer within {within:g} s")


class Lease:
    """The questions about one VIP, as one node puts them."""

    __slots__ = ("_asks", "_keys", "_milliseconds", "holder", "node", "owner")

    def __init__(self, asks: Asks, *, lab: str, vip: str, node: str, lease: float) -> None:
        """`lease` in seconds. Each call raises StoreAway if the store does not answer within its time."""
        self._asks = asks
        self._keys = keys(lab, vip)
        self._milliseconds = round(lease * 1000)
        self.node = node
        self.owner = ""
        self.holder = ""
        """The node that held the lease when it was last looked at, "" for none."""

    async def watch(self, within: float) -> Watched:
        """Look whether the lease has an owner."""
        owner, token, epoch = await self._eval(WATCH, secrets.token_hex(8), within=within)
        self.holder = _text(owner).partition("/")[0]
        return Watched(bool(owner), int(token), _text(epoch))

    async def claim(self, seen: Watched, highest: int, within: float) -> int | None:
        """Claim what was seen vacant; the token, or None if another was quicker."""
        self.owner = f"{self.node}/{secrets.token_hex(8)}"
        arguments = (self.owner, self._milliseconds, seen.token, seen.epoch, max(0, highest))
        token = int(await self._eval(CLAIM, *arguments, within=within))
        if token > 0:
            self.holder = self.node
        return token if token > 0 else None

    async def renew(self, token: int, within: float) -> bool:
        """Renew; False if another has it."""
        return bool(await self._eval(RENEW, self.owner, self._milliseconds, token, within=within))

    async def release(self, within: float) -> bool:
        """Give it back if it is ours; whether it was."""
        return bool(await self._eval(RELEASE, self.owner, within=within))

    async def _eval(self, script: str, *arguments: str | int, within: float) -> Any:
        return await self._asks.eval(script, self._keys, arguments, within=within)


class Failover:
    """One VIP's failover on one node: run() until stop()."""

    def __init__(
        self,
        vip: Vip,
        lease: Lease,
        machine: Machine,
        *,
        events: Events | None = None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        """Join the three; `machine` and `lease` must have the same lease in seconds."""
        self.vip = vip
        self.lease = lease
        self.machine = machine
        self.events = events
        self.clock = clock
        self.transitions = dict.fromkeys(State, 0)
        self.on_change: Callable[[Transition], None] | None = None
        self._said: Transition | None = None
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Take part until stop(); whatever ends it, a VIP that is held is let go."""
        try:
            await self._do(self.machine.start(self.clock()))
            while not self._stopped.is_set():
                await self._round()
                await self._rest()
        finally:
            if self.machine.state is State.ACTIVE:
                self.vip.lose("failover has ended")

    async def stop(self) -> None:
        """Hand the VIP over as planned: stop accepting, give the lease back, let connections finish."""
        if self.machine.state is not State.INITIALIZE:
            await self._do(self.machine.stop(self.clock()))
        self._stopped.set()

    @property
    def held(self) -> bool:
        """Whether somebody is known to hold the VIP."""
        return self.machine.state is State.ACTIVE or bool(self.lease.holder)

    def status(self) -> dict[str, Any]:
        """This VIP's member of "vips" in /status; `since` is seconds ago."""
        machine = self.machine
        active = machine.state is State.ACTIVE
        return {
            "name": self.vip.name,
            "state": str(machine.state),
            "holder": self.lease.node if active else self.lease.holder,
            "token": machine.token if active else max(0, machine.watch.token),
            "since": round(self.clock() - machine.since, 3),
            "reason": machine.event.sentence,
        }

    async def _round(self) -> None:
        """Ask what the state wants to know, and do what follows."""
        clock, machine = self.clock, self.machine
        await self._do(machine.wake(clock()))
        sent = clock()
        try:
            if machine.state is State.ACTIVE:
                kept = await self.lease.renew(machine.token, machine.patience())
                actions = machine.renewed(sent, clock(), kept)
            else:
                actions = await self._look(sent)
        except StoreAway:
            actions = machine.away(sent, clock())
        await self._do(actions)

    async def _look(self, sent: float) -> tuple[Action, ...]:
        clock, machine = self.clock, self.machine
        seen = await self.lease.watch(machine.patience())
        actions = machine.watched(sent, clock(), seen)
        if Action.CLAIM not in actions:
            return actions
        sent = clock()
        token = await self.lease.claim(seen, machine.watch.token, machine.patience())
        return machine.claimed(sent, clock(), token)

    async def _do(self, actions: tuple[Action, ...]) -> None:
        """Carry out what the machine decided; the deadline always first."""
        machine, vip = self.machine, self.vip
        if Action.FINISH not in actions and machine.state is not State.INITIALIZE:
            vip.deadline = machine.deadline
        if Action.ABORT in actions:
            vip.lose(machine.event.sentence)
        self._tell()
        if Action.ACCEPT in actions:
            await self._accept()
        elif Action.EXTEND in actions:
            await self._steer_anew()
        if Action.FINISH in actions:
            vip.finish()
        if Action.RELEASE in actions:
            await self._release()

    async def _accept(self) -> None:
        try:
            await self.vip.start_accepting()
        except OSError as error:
            log.error("VIP %s: %s", self.vip.name, error)
            if self.machine.state is State.ACTIVE:
                await self._do(self.machine.unable(self.clock()))
        if self.machine.state is not State.ACTIVE:  # stopped in the meantime
            self.vip.stop_accepting()

    async def _steer_anew(self) -> None:
        try:
            await self.vip.steer_anew()
        except OSError as error:
            log.error("VIP %s: connections may still go to another balancer: %s", self.vip.name, error)

    async def _release(self) -> None:
        try:
            await self.lease.release(self.machine.patience())
        except StoreAway:
            log.warning("VIP %s: the lease could not be given back; it expires by itself", self.vip.name)

    async def _rest(self) -> None:
        pause = max(0.0, self.machine.next_ask() - self.clock())
        try:
            async with asyncio.timeout(pause):
                await self._stopped.wait()
        except TimeoutError:
            pass

    def _tell(self) -> None:
        change = self.machine.transition
        if change is None or change is self._said:
            return
        self._said = change
        self.transitions[change.after] += 1
        if self.events is not None:
            self.events.add(
                "failover",
                self.vip.name,
                f"{change.before} -> {change.after}: {change.event.sentence}",
                before=str(change.before),
                after=str(change.after),
                reason=str(change.event),
                token=self.machine.token,
            )
        if self.on_change is not None:
            self.on_change(change)


def make(
    vip: Vip, store: Store, *, lab: str, node: str, lease: float, renew: float, events: Events
) -> Failover:
    """Failover for `vip` through the node's store; `lease` and `renew` in seconds."""
    asked = Lease(Direct(store.client), lab=lab, vip=vip.name, node=node, lease=lease)
    return Failover(vip, asked, Machine(lease=lease, renew=renew), events=events)


async def _outcome(client: Redis, words: Sequence[str | int]) -> Any:
    """The answer, or the error as a value: a store that is away is no failure of a task.

    The command is made in here: one made for a task that is cancelled before it begins would be awaited by nobody.
    """
    try:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]
    except (RedisError, OSError) as error:
        return error


def _answer(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise StoreAway(str(outcome) or type(outcome).__name__) from outcome
    return outcome


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

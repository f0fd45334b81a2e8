"""What an operator changes in a node's pools while requests run: POST /pools.

Decides what was asked and whether it makes sense; what a change means is the pool's. Exchanges under way are not
touched: a drained or removed backend finishes what it has. A change holds for this process: `cdnlab reload` and a new
start go by the topology's file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cdnlab.forward.upstreams import backend_rows, make_backends
from cdnlab.node.node import BadRequest
from cdnlab.plan.errors import PlanError, did_you_mean
from cdnlab.plan.pools import BackendSpec, PoolSpec

if TYPE_CHECKING:
    from cdnlab.node.node import Node
    from cdnlab.pool.pool import Pool

Asked = Mapping[str, Any]

SAMPLE = 'send such as {"pool": "origins", "do": "drain", "backend": "origin-1"}'
HIGHEST = 1000
"""Of a weight, as in the topology."""


class PoolControl:
    """The pools of one node by name; several may share a name, as those of layer 4 and layer 7 do."""

    def __init__(self, node: Node, pools: Callable[[], list[Pool]]) -> None:
        self._node = node
        self._pools = pools
        self._do: dict[str, Callable[[Pool, Asked], str]] = {
            "drain": self._drain,
            "enable": self._enable,
            "weight": self._weight,
            "add": self._add,
            "remove": self._remove,
            "algorithm": self._algorithm,
        }

    def asked(self, asked: Asked) -> dict[str, Any]:
        """{"pool", "do", …}: the pool's rows after it. BadRequest for what there is not; nothing has changed then.

        drain, enable, remove {"backend"}; weight {"backend", "weight": 0 to 1000}; algorithm {"algorithm", "inner"};
        add {"backend": as in the topology's file}.
        """
        name, do = asked.get("pool"), asked.get("do")
        pools = [pool for pool in self._pools() if pool.name == name]
        if not pools:
            known = sorted({pool.name for pool in self._pools()})
            raise BadRequest(f"this node has no pool {name!r}", did_you_mean(str(name), known))
        if not isinstance(do, str) or do not in self._do:
            raise BadRequest(f"a pool can't {do!r}", f"it can {', '.join(self._do)}")
        said = [self._do[do](pool, asked) for pool in pools]
        self._node.events.add("control", f"{name}", said[0], pool=name)
        return {
            "pool": name,
            "done": said[0],
            "backends": [row for pool in pools for row in backend_rows(pool)],
        }

    def _drain(self, pool: Pool, asked: Asked) -> str:
        name = _backend(pool, asked)
        pool.drain(name)
        return f"{name} is drained: it finishes what it has"

    def _enable(self, pool: Pool, asked: Asked) -> str:
        name = _backend(pool, asked)
        pool.enable(name)
        return f"{name} may be used again"

    def _weight(self, pool: Pool, asked: Asked) -> str:
        name, weight = _backend(pool, asked), asked.get("weight")
        if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= HIGHEST:
            raise BadRequest(f"{weight!r} is no weight", f"give a whole number from 0 to {HIGHEST}")
        before = pool.backend(name).weight
        pool.set_weight(name, weight)
        return f"{name} has weight {weight}, after {before}"

    def _add(self, pool: Pool, asked: Asked) -> str:
        said = asked.get("backend")
        try:
            spec = BackendSpec.model_validate(said)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "backend"
            raise BadRequest(f"{where}: {first['msg']}", "describe it as in a topology's file") from None
        if any(backend.name == spec.name for backend in pool.backends):
            raise BadRequest(f"pool {pool.name} has a backend {spec.name} already", "choose another name")
        topology = self._node.topology
        try:
            if spec.place is not None:
                topology.place(spec.place)
        except PlanError as error:
            raise BadRequest(error.problem, error.remedy or "") from None
        pool.add(make_backends(topology, [spec])[0])
        return f"{spec.name} was added"

    def _remove(self, pool: Pool, asked: Asked) -> str:
        name = _backend(pool, asked)
        if len(pool.backends) == 1:
            raise BadRequest(
                f"{name} is the last backend of pool {pool.name}", "add another first, or drain it"
            )
        pool.remove(name)
        return f"{name} was removed: it finishes what it has"

    def _algorithm(self, pool: Pool, asked: Asked) -> str:
        name, inner = asked.get("algorithm"), asked.get("inner")
        known = _words(PoolSpec, "algorithm")
        if name not in known:
            raise BadRequest(f"there is no algorithm {name!r}", did_you_mean(str(name), known))
        within = _words(PoolSpec, "inner")
        if inner is not None and inner not in within:
            raise BadRequest(f"there is no inner algorithm {inner!r}", did_you_mean(str(inner), within))
        before = pool.algorithm_name
        pool.set_algorithm(name, inner)
        return f"chooses by {name}, after {before}"


def _backend(pool: Pool, asked: Asked) -> str:
    name = asked.get("backend")
    known = [backend.name for backend in pool.backends]
    if name not in known:
        raise BadRequest(f"pool {pool.name} has no backend {name!r}", did_you_mean(str(name), known))
    return str(name)


def _words(model: type[PoolSpec], setting: str) -> tuple[str, ...]:
    """The words that a setting may be."""
    return tuple(model.model_fields[setting].annotation.__args__)  # type: ignore[union-attr]

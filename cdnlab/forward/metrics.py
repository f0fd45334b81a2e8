"""What balancer and edge count alike: their pools, their upstream connections, their listeners.

One table declares the metrics; the numbers lie in plain slots of the pieces that act.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cdnlab.forward import health_metrics
from cdnlab.forward.connect import Connector
from cdnlab.forward.forwarder import Forwarder
from cdnlab.net.client import Broken
from cdnlab.net.listener import Listener, Refusal
from cdnlab.node.metrics import Family, MetricSpec, family
from cdnlab.pool.reasons import Reason
from cdnlab.pool.retry import NotAgain

UP = MetricSpec(
    "cdnlab_pool_backend_up", "gauge", ("pool", "backend"), "1 while new requests may go to the backend."
)
LIVE = MetricSpec("cdnlab_pool_backend_live", "gauge", ("pool", "backend"), "Exchanges in flight.")
SERVED = MetricSpec(
    "cdnlab_pool_backend_exchanges_total",
    "counter",
    ("pool", "backend"),
    "Exchanges ended, failed ones included.",
)
FAILED = MetricSpec(
    "cdnlab_pool_backend_failures_total",
    "counter",
    ("pool", "backend"),
    "Exchanges that failed at the backend.",
)
TRANSITIONS = MetricSpec(
    "cdnlab_pool_health_transitions_total",
    "counter",
    ("pool", "backend", "to"),
    "Verdicts of the health checks, by the new state.",
)
RETRIES = MetricSpec(
    "cdnlab_pool_retries_total",
    "counter",
    ("pool", "reason"),
    "Requests sent to a further candidate, and why.",
)
RETRIES_REFUSED = MetricSpec(
    "cdnlab_pool_retries_refused_total",
    "counter",
    ("pool", "reason"),
    "Failed or late attempts that were not followed by another, and why.",
)
CUT = MetricSpec(
    "cdnlab_pool_responses_cut_total",
    "counter",
    ("pool", "reason"),
    "Responses that broke off after their head had been forwarded, by how the backend's connection ended.",
)
MOVED = MetricSpec(
    "cdnlab_pool_moved_total",
    "counter",
    ("pool",),
    "Attempts without a head that were given up because their backend was out of use.",
)
FROZEN = MetricSpec(
    "cdnlab_pool_silences_total",
    "counter",
    ("pool",),
    "Times a silent backend did not answer when it was asked whether it is there.",
)
HEDGES = MetricSpec(
    "cdnlab_pool_hedges_total",
    "counter",
    ("pool", "result"),
    "Second attempts beside a slow first one: `sent`, and of these `won`.",
)
PENDING = MetricSpec("cdnlab_pool_pending", "gauge", ("pool",), "Requests that wait for a backend with room.")
QUEUED = MetricSpec(
    "cdnlab_pool_queue_total",
    "counter",
    ("pool", "result"),
    "Requests for which no backend had room: `served` after a wait, `left`, or refused: `queue_full`, `queue_timeout`.",
)
QUEUE_SECONDS = MetricSpec(
    "cdnlab_pool_queue_wait_seconds_total",
    "counter",
    ("pool",),
    "Seconds that those who were served had waited.",
)
OPENED = MetricSpec(
    "cdnlab_upstream_connections_opened_total", "counter", (), "Connections opened to backends."
)
OPEN_FAILED = MetricSpec(
    "cdnlab_upstream_connect_failures_total",
    "counter",
    (),
    "Connections to backends that could not be opened.",
)
ACCEPTED = MetricSpec("cdnlab_listener_connections_total", "counter", (), "Client connections accepted.")
REFUSED = MetricSpec(
    "cdnlab_listener_refusals_total",
    "counter",
    ("reason",),
    "Connections and requests refused before the tier saw them.",
)
TABLE = (
    UP, LIVE, SERVED, FAILED, TRANSITIONS, RETRIES, RETRIES_REFUSED, CUT, MOVED, FROZEN, HEDGES, PENDING, QUEUED,
    QUEUE_SECONDS, OPENED, OPEN_FAILED, ACCEPTED, REFUSED, *health_metrics.TABLE,
)  # fmt: skip

#: Reasons for which a request can go to a further candidate.
RETRY_REASONS = (Reason.CONNECT_FAILED, Reason.RESPONSE_FAILED, Reason.TIMED_OUT, Reason.BAD_STATUS)


def pool_families(forwarders: Iterable[Forwarder]) -> Iterator[Family]:
    """The families of these forwarders' pools and of the connector they share."""
    forwarders = list(forwarders)
    rows = [
        ((each.pool.name, backend.name), backend) for each in forwarders for backend in each.pool.backends
    ]
    yield family(UP, [(labels, int(backend.usable)) for labels, backend in rows])
    yield family(LIVE, [(labels, backend.live) for labels, backend in rows])
    yield family(SERVED, [(labels, backend.served) for labels, backend in rows])
    yield family(FAILED, [(labels, backend.failures) for labels, backend in rows])
    yield family(
        TRANSITIONS,
        [
            ((*labels, state), count)
            for labels, backend in rows
            for state, count in (("up", backend.health.ups), ("down", backend.health.downs))
        ],
    )
    yield from health_metrics.health_families(forwarders)
    yield family(
        RETRIES,
        [((each.pool.name, str(why)), each.retries[why]) for each in forwarders for why in RETRY_REASONS],
    )
    yield from _resilience(forwarders)
    connectors: set[Connector] = {each.connector for each in forwarders}
    yield family(OPENED, [((), sum(connector.opened for connector in connectors))])
    yield family(OPEN_FAILED, [((), sum(connector.failed for connector in connectors))])


def _resilience(forwarders: list[Forwarder]) -> Iterator[Family]:
    """What was done about failures, slowness and too much work."""
    named = [(each.pool.name, each) for each in forwarders]
    yield family(
        RETRIES_REFUSED, [((pool, str(why)), each.not_again[why]) for pool, each in named for why in NotAgain]
    )
    yield family(CUT, [((pool, str(how)), each.cut[how]) for pool, each in named for how in Broken])
    yield family(MOVED, [((pool,), each.abandoned) for pool, each in named])
    yield family(FROZEN, [((pool,), each.asked_in_vain) for pool, each in named])
    sent = [((pool, "sent"), each.hedges) for pool, each in named]
    yield family(HEDGES, sent + [((pool, "won"), each.hedges_won) for pool, each in named])
    yield family(PENDING, [((pool,), len(each.pending)) for pool, each in named])
    lines = [(pool, each.pending.line) for pool, each in named]
    yield family(
        QUEUED,
        [
            ((pool, result), count)
            for pool, line in lines
            for result, count in (
                ("served", line.served),
                ("left", line.left),
                (str(Reason.QUEUE_FULL), line.full),
                (str(Reason.QUEUE_TIMEOUT), line.late),
            )
        ],
    )
    yield family(QUEUE_SECONDS, [((pool,), line.waited) for pool, line in lines])


def listener_families(listeners: Iterable[Listener]) -> Iterator[Family]:
    """The families of these listeners."""
    listeners = list(listeners)
    yield family(ACCEPTED, [((), sum(listener.accepted for listener in listeners))])
    yield family(
        REFUSED, [((str(why),), sum(listener.refusals[why] for listener in listeners)) for why in Refusal]
    )

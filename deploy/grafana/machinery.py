"""The rows of the dashboard about the nodes themselves: health and failover, the store, the machines.

Decides what is asked and what each panel tells its reader. Must not know how a panel looks.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, statetimeline
from grafana_foundation_sdk.builders import timeseries as graphs

from deploy.grafana.kit import (
    BLUE,
    GREEN,
    PLACES,
    RED,
    YELLOW,
    Note,
    Query,
    bars,
    between,
    gauges,
    lines,
    now_and_then,
    quantiles,
    ratio,
    states,
)

CHOSEN = '{job="cdnlab", tier=~"$tier", node=~"$node"}'
ANY_TIER = '{node=~"$node"}'

HOLDER = (
    'max by (node) (2 * cdnlab_lb_failover_state{state="active"} or cdnlab_lb_failover_state{state="backup"})'
    ' or max by (node) (up{job="cdnlab", tier="lb"}) - 1'
)
"""2 active, 1 backup, 0 initialize; -1 where the balancer does not answer, so that it says nothing itself."""
LIFE = f"max by (node) (cdnlab_node_ready{CHOSEN}) + 1 or max by (node) (up{CHOSEN})"
"""2 ready, 1 answers but wants no requests, 0 does not answer."""

FULL = f"cdnlab_edge_stored_bytes{ANY_TIER} / cdnlab_edge_capacity_bytes{ANY_TIER}"


def health_and_failover() -> list[statetimeline.Panel | graphs.Panel]:
    """Who was what, when; and what it cost."""
    return [
        states(
            Note(
                "Failover",
                "What each balancer was for the virtual address: `active` holds it, `backup` waits, `initialize` takes "
                "no part yet. `no answer` is a dead or frozen process.",
                "when nobody is active, or two are, for longer than ten seconds. What a scrape saw stands until the "
                "next one, so a takeover of one second takes up to seven here.",
                "`cdnlab events` has each change with its reason. A balancer needs the store to take over.",
                "no balancer has been seen",
            ),
            Query(HOLDER, "{{node}}"),
            {2: ("active", GREEN), 1: ("backup", BLUE), 0: ("initialize", YELLOW), -1: ("no answer", RED)},
        ),
        states(
            Note(
                "Backends",
                "Whether those in front may send to each backend: balancers to edges, edges to origins. Each judges "
                "for itself; `some say down` means that they disagree.",
                "when one is down that you did not take away, or when they disagree for long.",
                "`cdnlab status` gives the reason, under *Backends passed over*.",
                "no pool has been seen",
            ),
            Query(f"avg by (tier, backend) (cdnlab_pool_backend_up{ANY_TIER})", "{{backend}} from {{tier}}"),
            {1: ("up", GREEN), 0: ("down", RED)},
            between(0.001, 0.999, "some say down", YELLOW),
        ),
        states(
            Note(
                "Nodes",
                "Whether each node answers Prometheus, and wants requests. `not ready` is one that starts or drains.",
                "when one does not answer and you did not kill or pause it.",
                "`cdnlab status` says how it ended, its log file what it said last; `cdnlab start NODE`.",
                "no node has been seen",
            ),
            Query(LIFE, "{{node}}"),
            {2: ("ready", GREEN), 1: ("not ready", YELLOW), 0: ("no answer", RED)},
        ),
        bars(
            Note(
                "Health transitions",
                "Verdicts of the health checks in the last minute: who changed its mind about which backend, and to "
                "what.",
                "when a backend goes up and down in turns.",
                "look at that node's load and loop stalls below, and at `cdnlab events`.",
            ),
            "short",
            now_and_then("backend, to", f"cdnlab_pool_health_transitions_total{ANY_TIER}", share="increase"),
            colors={"up": GREEN, "down": RED},
        ).decimals(0),
        bars(
            Note(
                "Retries",
                "Requests per second that were sent to a further candidate, and why.",
                "when they go on after a failure has been noticed: something fails that the health checks do not see.",
                "*Failed exchanges* beside this names the backend.",
            ),
            "reqps",
            now_and_then("reason", f"cdnlab_pool_retries_total{ANY_TIER}"),
        ),
        bars(
            Note(
                "Failed exchanges",
                "Exchanges per second that failed at the backend, by backend.",
                "when it lasts longer than two minutes: health checks need two seconds, and a rate a minute to forget.",
                "`cdnlab log NODE` of the node in front has each one, with its reason.",
            ),
            "reqps",
            now_and_then("backend", f"cdnlab_pool_backend_failures_total{ANY_TIER}"),
            colors=PLACES,
        ),
    ]  # fmt: skip


def store() -> list[statetimeline.Panel | graphs.Panel]:
    """The store as its clients see it."""
    trips = f"sum by (le) (rate(cdnlab_store_round_trip_seconds_bucket{ANY_TIER}[1m]))"
    return [
        states(
            Note(
                "Store as each node sees it",
                "Whether the store answers each of the nodes that use it.",
                "when it is away. Requests go on, but no balancer can take over from another.",
                "`cdnlab start store`, or `docker compose start redis`. If only some nodes miss it, look at the "
                "network between.",
                "no node with a store has been seen",
            ),
            Query(f"max by (node) (cdnlab_store_up{ANY_TIER})", "{{node}}"),
            {1: ("up", GREEN), 0: ("away", RED)},
        ),
        quantiles(
            lines(
                Note(
                    "Store round trips",
                    "Time from a command to the store's answer: half of them (dotted), 99 % (thick).",
                    "above 60 ms: a lease's question is given up after a sixteenth of the lease, which is one second.",
                    "see whether the machine is short of CPU, below.",
                    "nobody has asked the store in the last minute",
                ),
                "s",
                Query(f"histogram_quantile(0.5, {trips}) >= 0", "p50"),
                Query(f"histogram_quantile(0.99, {trips}) >= 0", "p99"),
            )
        ),
        bars(
            Note(
                "Store errors",
                "Commands per second without a good answer: `timeout`, `connection`, or `refused` by the store.",
                "when there are any.",
                "`connection` and `timeout`: see whether the store runs. `refused`: read its own log.",
            ),
            "ops",
            now_and_then("reason", f"cdnlab_store_errors_total{ANY_TIER}"),
        ),
    ]  # fmt: skip


def machines() -> list[graphs.Panel | bargauge.Panel]:
    """What each process takes, and what it holds."""
    return [
        ratio(
            lines(
                Note(
                    "CPU",
                    "Share of one core that each node's process takes. A node has one event loop, so 100 % is all "
                    "that it can take.",
                    "above 80 %: requests begin to wait for the loop.",
                    "add nodes of that tier; see docs/topology.md. If all are low and it is slow all the same, the "
                    "machine is full: `top`.",
                ),
                "percentunit",
                Query(f"rate(process_cpu_seconds_total{CHOSEN}[1m])", "{{node}}"),
                colors=PLACES,
            ),
            ((None, GREEN), (0.8, RED)),
        ),
        lines(
            Note(
                "Memory",
                "Resident memory of each node's process.",
                "when one grows and does not stop. An edge grows until its store is full (256 MiB by default).",
                "compare *Stored* for edges; else restart the node and keep its log.",
            ),
            "bytes",
            Query(f"process_resident_memory_bytes{CHOSEN}", "{{node}}"),
            colors=PLACES,
        ),
        lines(
            Note(
                "Loop stalls",
                "Share of the time in which a node's event loop stood still: pauses of more than 5 ms, when no request "
                "moved on.",
                "above 1 %: the slowest requests wait for this.",
                "see whether the machine is short of CPU; a load generator beside the lab is the usual cause.",
            ),
            "percentunit",
            Query(f"sum by (node) (rate(cdnlab_loop_stall_seconds_sum{CHOSEN}[1m]))", "{{node}}"),
            colors=PLACES,
        ).decimals(1),
        lines(
            Note(
                "Connections",
                "Client connections open now, per node. For an edge the balancers are the clients.",
                "when it climbs without an end, or comes near the limit (16,000 by default).",
                "see *Latency by tier*: connections pile up in front of whoever is slow.",
            ),
            "none",
            Query(f"cdnlab_node_connections{CHOSEN}", "{{node}}"),
            colors=PLACES,
        ).decimals(0),
        gauges(
            Note(
                "Stored",
                "How much of its capacity each edge's store takes.",
                "from 90 % (yellow): the edge evicts. That is what a full cache does, and worth a thought only if the "
                "hit ratio falls too.",
                "give the edges more with `edge.memory` in the topology.",
                "no edge stores anything",
            ),
            "percentunit",
            Query(FULL, "{{node}}", instant=True),
            ((None, GREEN), (0.9, YELLOW)),
        ),
        bars(
            Note(
                "Evictions",
                "Objects per second that had to go so that others had room.",
                "when it lasts and the hit ratio falls: the working set is larger than the store.",
                "give the edges more with `edge.memory` in the topology.",
            ),
            "ops",
            now_and_then("node", f"cdnlab_edge_evictions_total{ANY_TIER}"),
            colors=PLACES,
        ),
    ]  # fmt: skip

"""The rows of the dashboard about requests: is it well, what clients wait for, the hit ratio, origin offload.

Decides what is asked and what each panel tells its reader. Must not know how a panel looks.

Rates are over one minute everywhere, as in the recording rules, so that two panels never disagree about the same thing.
`>= 0` (and `>= -Inf`) drops NaN, which is what a ratio or a quantile of no requests is: such a series would only fill
the legend. A tile shows the last value of its series, so it says when there is none (`or vector(NaN)`): a series that
merely ends would stand there as if nothing had happened.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import heatmap, stat
from grafana_foundation_sdk.builders import timeseries as graphs
from grafana_foundation_sdk.models.common import BigValueTextMode

from deploy.grafana.kit import (
    ANSWERS,
    BLUE,
    GREEN,
    ORANGE,
    OUTCOMES,
    PLACES,
    QUANTILES,
    RED,
    RESULTS,
    TIERS,
    YELLOW,
    Note,
    Query,
    Steps,
    bars,
    between,
    cells,
    lines,
    named,
    now_and_then,
    quantiles,
    ratio,
    stacked,
    tile,
)

WAIT: Steps = ((None, GREEN), (0.5, YELLOW), (1, RED))
"""Seconds. A miss from the other side of the world takes up to half a second by distance alone."""
ERRORS: Steps = ((None, GREEN), (0.0001, YELLOW), (0.01, RED))
HITS: Steps = ((None, ORANGE), (0.5, YELLOW), (0.8, GREEN))
"""Never red: a cold or a pointless cache is no outage."""
DOWN: Steps = ((None, RED), (1, GREEN))
HERE = '{client_place=~"$client_place"}'
HERE_AT_BALANCERS = '{tier="lb", client_place=~"$client_place"}'
MINE = '{node=~"$node", client_place=~"$client_place"}'
BUCKETS = f"sum by (le) (tier_client_place_le:request_duration_seconds_bucket:rate1m{HERE_AT_BALANCERS})"
NO_ORIGINS = "no requests in the last minute, or an application of your own stands in the origins' place"

ACTIVE = (
    "(cdnlab_lb_vip_active == 1) * on (vip) group_left () sum by (vip) (cdnlab_lb_vip_active)"
    ' or (label_replace(vector(0), "node", "nobody", "", "") unless on () (sum(cdnlab_lb_vip_active) > 0))'
)
"""Named after the holder; its value is how many hold the same address: 1 is right, 0 is nobody, 2 is two of them."""
NODES = (
    'count_values("up", sum(up{job="cdnlab"})) * on () group_left (all) count_values("all", count(up{job="cdnlab"}))'
    ' * scalar(avg(up{job="cdnlab"}))'
)
"""Named `9 of 10`; its value is their ratio, for the colour."""
ALERTS = (
    'count by (alert) (label_replace(ALERTS{alertname=~"Cdnlab.+", alertstate="firing"}, "alert", "$1", "alertname", '
    '"Cdnlab(.+)")) or on () label_replace(vector(0), "alert", "none", "", "")'
)


def is_it_well() -> list[stat.Panel]:
    """Eight tiles, for five seconds. The variables do not touch them."""
    return [
        tile(
            Note(
                "Active balancer",
                "The balancer that holds the virtual address. Green: exactly one does. Red: `nobody`, or two names.",
                "when it is red for longer than ten seconds. While a balancer takes over, the old one's last word may "
                "still stand beside the new one's.",
                "look at `cdnlab status`, start the dead one with `cdnlab start lb-a`, and see whether the store is "
                "up: without it nobody can take over.",
            ),
            "none", Query(ACTIVE, "{{node}}", instant=True), ((None, RED), (1, GREEN), (2, RED)),
            text=BigValueTextMode.NAME, spark=False,
        ),
        tile(
            Note(
                "Nodes up",
                "How many nodes answer Prometheus, of all that are in the topology.",
                "when it is red, unless you took the missing one away yourself.",
                "read which one in *Nodes* below, and why with `cdnlab events`; `cdnlab start NODE` brings it back.",
            ),
            "percentunit", Query(NODES, "{{up}} of {{all}}", instant=True), DOWN,
            text=BigValueTextMode.NAME, spark=False,
        ),
        tile(
            Note(
                "Requests",
                "Requests per second that the balancers answered, over the last minute.",
                "when it falls to zero while clients are at work.",
                "see *Active balancer*; ask by yourself with `cdnlab get /`.",
            ),
            "reqps", Query('sum(tier:requests:rate1m{tier="lb"}) or vector(0)'), ((None, BLUE),),
        ),
        tile(
            Note(
                "Errors",
                "Share of the requests that failed at the balancers: answers of 500 and above, whoever gave them, and "
                "responses that broke off. A dash: no requests.",
                "from one in ten thousand (yellow). From one in a hundred (red) clients notice.",
                "*How requests ended* below says in which way; `cdnlab log lb-a` shows the requests.",
            ),
            "percentunit", Query('sum(tier:error_ratio:rate1m{tier="lb"}) or vector(NaN)'), ERRORS,
        ),
        tile(
            Note(
                "Hit ratio",
                "Share of the edges' answers that came from the store without asking anybody. A dash: no requests.",
                "when it falls while the traffic stays the same. Low at the start only means that the caches are cold.",
                "see *Why not stored*, and read one page's way with `cdnlab get / --from icn`.",
            ),
            "percentunit", Query("cdnlab:edge_hit_ratio_requests:rate1m or vector(NaN)"), HITS,
        ),
        tile(
            Note(
                "99 % within",
                "99 of 100 requests took at most this long at the balancers, distance included. A dash: no requests.",
                "above one second (red). Up to half a second is what a miss costs on the longest ways.",
                "compare the places and tiers below: the tier whose own line is high is where the time goes.",
            ),
            "s", Query('sum(tier:request_duration_seconds:p99_rate1m{tier="lb"}) or vector(NaN)'), WAIT,
        ),
        tile(
            Note(
                "Store",
                "Whether the nodes that need the store can reach it.",
                "when it is not up for all of them. Requests go on without the store, but no balancer can take over "
                "from another.",
                "start it (`cdnlab start store`, or `docker compose start redis`), and see *Store errors* for the kind "
                "of failure.",
            ),
            "none", Query("avg(cdnlab_store_up) or vector(NaN)"), DOWN, spark=False,
            values=(named({1: ("up", GREEN), 0: ("away", RED)}), between(0.001, 0.999, "not for all", RED)),
        ),
        tile(
            Note(
                "Alerts",
                "The alerts that fire now, each with how many times.",
                "when there is one.",
                "read its description at Prometheus, under *Alerts*: it says what to do.",
            ),
            "none", Query(ALERTS, "{{alert}}", instant=True), ((None, GREEN), (1, RED)),
            text=BigValueTextMode.VALUE_AND_NAME, spark=False,
        ),
    ]  # fmt: skip


def what_clients_wait_for() -> list[graphs.Panel | heatmap.Panel]:
    """Durations by tier and place, and how requests ended."""
    by_tier = 'tier:request_duration_seconds:{}_rate1m{{tier=~"$tier"}} >= 0'
    return [
        quantiles(
            lines(
                Note(
                    "Latency by tier",
                    "From the end of a request's head to the end of its response, at each tier: half of the requests "
                    "(dotted), 95 % (thin), 99 % (thick). A balancer's time contains the edge's, and that one the "
                    "origin's, with the distance between them.",
                    "when a line leaves its usual height; the lowest tier that rises is the cause.",
                    "`cdnlab get / --from PLACE` shows one request's time at each hop.",
                ),
                "s",
                *(Query(by_tier.format(name), f"{name} {{{{tier}}}}") for name in QUANTILES),
                colors=TIERS,
            )
        ),
        cells(
            Note(
                "Durations at the balancers",
                "How many requests per second took how long. The hits lie in a band at the bottom; misses lie above "
                "it, at the round trip to the origins.",
                "when a new band appears, or the upper one darkens: more requests go all the way.",
                "choose single places above to see which of them make the band.",
            ),
            "s",
            Query(BUCKETS, "{{le}}"),
        ),
        stacked(
            Note(
                "How requests ended",
                "Requests per second at the balancers, by outcome. Statuses below 500 are `ok`; `client_gone` is a "
                "client that left early.",
                "about `no_backend`, `unreachable`, `timeout` and `cut`: the CDN could not do its work. "
                "`server_error` is what a backend itself answered.",
                "see the backends under *Health and failover*; `cdnlab log lb-a` has the single requests.",
            ),
            "reqps", Query(f"sum by (outcome) (rate(cdnlab_lb_requests_total{HERE}[1m]))", "{{outcome}}"),
            colors=OUTCOMES,
        ),
        *(_by_place(name, share) for name, share in (("p50", "Half"), ("p95", "95 %"), ("p99", "99 %"))),
    ]  # fmt: skip


def _by_place(name: str, share: str) -> graphs.Panel:
    return lines(
        Note(
            f"Latency by place, {name}",
            f"{share} of the requests from each place took at most this long at the balancers.",
            "when one place leaves the others: its edge is gone, and its clients are served from further away.",
            "see *Backends* for the edge of that place, and `cdnlab get / --from PLACE` for the way.",
        ),
        "s",
        Query(
            f"tier_client_place:request_duration_seconds:{name}_rate1m{HERE_AT_BALANCERS} >= 0",
            "{{client_place}}",
        ),
        colors=PLACES,
    )


def hit_ratio() -> list[graphs.Panel]:
    """The share of hits in every way one can count it, and why it is not higher."""
    less = "when it falls while the traffic stays the same."
    find = "see *Why not stored*; `cdnlab get /PATH --from PLACE` names the reason for one path."
    byte = "A few large bodies weigh more here than many small ones."
    return [
        ratio(
            lines(
                Note(
                    "Hit ratio by request and by byte",
                    "Answers from the edges' stores over all answers of the edges, by request and by byte of bodies. "
                    f"{byte}",
                    less,
                    find,
                ),
                "percentunit",
                Query("cdnlab:edge_hit_ratio_requests:rate1m >= 0", "by request"),
                Query("cdnlab:edge_hit_ratio_bytes:rate1m >= 0", "by byte"),
            ),
            HITS,
        ),
        ratio(
            lines(
                Note(
                    "Hit ratio by place of the clients",
                    "The same by request, for the clients of each place, whichever edge served them.",
                    less + " A place whose edge has just started begins with a cold cache.",
                    find,
                ),
                "percentunit",
                Query(f"client_place:edge_hit_ratio_requests:rate1m{HERE} >= 0", "{{client_place}}"),
                colors=PLACES,
            ),
            HITS,
        ),
        ratio(
            lines(
                Note(
                    "Hit ratio by place, by byte",
                    f"The same by byte of bodies, for the clients of each place. {byte}",
                    less,
                    find,
                ),
                "percentunit",
                Query(f"client_place:edge_hit_ratio_bytes:rate1m{HERE} >= 0", "{{client_place}}"),
                colors=PLACES,
            ),
            HITS,
        ),
        ratio(
            lines(
                Note(
                    "Hit ratio by edge",
                    "The same by request, for each edge. Edges do not share what they store.",
                    "when one edge stays below the others: it restarted, or its store is full (see *Evictions*).",
                    find,
                ),
                "percentunit",
                Query('node:edge_hit_ratio_requests:rate1m{node=~"$node"} >= 0', "{{node}}"),
                colors=PLACES,
            ),
            HITS,
        ),
        stacked(
            Note(
                "How edges answered",
                "Answers per second: `hit` from the store; `revalidated` after the origin confirmed it; `collapsed` "
                "from a fetch that another request had begun; `miss` from the origin; `pass` never stored; `refused`; "
                "`error`.",
                "about `error`, and about `pass` or `miss` where you expect hits.",
                "`cdnlab log edge-icn` shows each request with its result.",
            ),
            "reqps", Query(f"sum by (result) (rate(cdnlab_edge_requests_total{MINE}[1m]))", "{{result}}"),
            colors=RESULTS,
        ),
        bars(
            Note(
                "Why not stored",
                "Answers of the origin per second that an edge did not keep, by reason.",
                "when a reason that you did not mean leads: `no-lifetime` and `set-cookie` are the usual ones.",
                "change what the application sends. docs/http.md explains each reason.",
            ),
            "reqps",
            now_and_then("reason", 'cdnlab_edge_not_stored_total{node=~"$node"}'),
        ),
    ]  # fmt: skip


def origin_offload() -> list[graphs.Panel]:
    """What the caches keep away from the origins."""
    offload = ratio(
        lines(
            Note(
                "Origin offload",
                "Share of the requests that cost none at the origin, and of the body bytes that did not come from it. "
                "Below zero, edges fetch more than they send: whole bodies, for clients that want a part.",
                "when it falls: the origins get what the caches kept away.",
                "see *Hit ratio by request and by byte* first, then *Origin fetches*.",
            ),
            "percentunit",
            Query("cdnlab:origin_offload_requests:rate1m >= -Inf", "by request"),
            Query("cdnlab:origin_offload_bytes:rate1m >= -Inf", "by byte"),
            span=6,
            low=None,
        ),
        HITS,
    )
    return [
        offload,
        stacked(
            Note(
                "Origin fetches",
                "Requests per second from the edges to the origin, by its answer. `304` confirms what is stored; "
                "`none` is an origin that did not answer.",
                "about `5xx` and `none`.",
                "look at the origins in *Backends*, and at the application's own log.",
            ),
            "reqps",
            Query('sum by (answer) (rate(cdnlab_edge_origin_fetches_total{node=~"$node"}[1m]))', "{{answer}}"),
            colors=ANSWERS, span=6,
        ),
        lines(
            Note(
                "Bytes to clients and from the origin",
                "Bytes of bodies per second that edges sent on, and that they fetched. The gap is what the caches "
                "saved.",
                "when the lines meet: the caches save nothing.",
                "see *Why not stored*.",
            ),
            "Bps",
            Query('sum(rate(cdnlab_edge_response_bytes_total{node=~"$node"}[1m]))', "to clients"),
            Query('sum(rate(cdnlab_edge_fetched_bytes_total{node=~"$node"}[1m]))', "from the origin"),
            span=6,
        ),
        lines(
            Note(
                "Origin latency",
                "How long the origins themselves take, without the way to them.",
                "when it rises: neither cache nor balancer can help a request that must go to the origin.",
                "look at the application. With one of your own there are no numbers here; *Latency by tier* has what "
                "the edges waited.",
                NO_ORIGINS,
            ),
            "s",
            *(
                Query(f'tier:request_duration_seconds:{name}_rate1m{{tier="origin"}} >= 0', f"{name} {{{{tier}}}}")
                for name in QUANTILES
            ),
            colors=TIERS, span=6,
        ),
    ]  # fmt: skip

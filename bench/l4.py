"""Who is measured at layer 4: ours and HAProxy in mode tcp, each with what it takes to do the work.

Decides what is fair, as bench/peers.py does for HTTP. Bytes are passed on as they are, so what is asked is HTTP all the
same: wrk is the load and nginx the upstream. Flow table, health checks, limits and metrics are on, as they are in
`cdnlab lb --mode tcp`. For bodies of 1 MiB HAProxy's buffers have 64 KiB; and it stands there twice, as it can splice,
too (`option splice-auto`), which its users have to ask for.
"""

from __future__ import annotations

import sys

from bench.peers import Contender, Site
from bench.programs import find_program, free_port

_HAPROXY = """\
global
    nbthread 1
    maxconn 4000
    {buffers}
defaults
    mode tcp
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    {splice}
frontend in
    bind 127.0.0.1:{port} backlog 4096
    default_backend behind
backend behind
    server upstream 127.0.0.1:{upstream} check
"""


def _ours(site: Site) -> list[str]:
    listen, backend = f"127.0.0.1:{site.port}", f"127.0.0.1:{site.upstream}"
    words = [sys.executable, "-m", "lb", "--mode", "tcp", "--listen", listen, "--backend", backend]
    return [*words, "--admin", f"127.0.0.1:{free_port()}"]


def _haproxy(site: Site, splice: str = "") -> list[str]:
    program = find_program("haproxy")
    assert program is not None
    file = site.directory / "haproxy.cfg"
    buffers = "tune.bufsize 65536" if site.large else ""
    file.write_text(_HAPROXY.format(port=site.port, upstream=site.upstream, buffers=buffers, splice=splice))
    return [program, "-db", "-q", "-f", str(file)]


def _haproxy_splice(site: Site) -> list[str]:
    return _haproxy(site, "option splice-auto")


_OURS, _HAPROXY_TCP = Contender("cdnlab lb, L4", None, _ours), Contender("HAProxy", "haproxy", _haproxy)
RELAYS = (_OURS, _HAPROXY_TCP)
LARGE_RELAYS = (*RELAYS, Contender("HAProxy, splice", "haproxy", _haproxy_splice))

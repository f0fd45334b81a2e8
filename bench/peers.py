"""Who is measured: ours and the peers, each with the configuration it runs with.

Decides what is fair. One process or one thread each; access logs off; keep-alive to the upstream; the forwarding
fields a proxy ought to add; for the rest each program's defaults, except where a default would cost a peer something
that we don't do either (nginx's temporary files, Varnish's log, its not caching requests with a Cookie), and where it
is too small for the work: large bodies pass through buffers of 64 KiB, as an operator who serves them would have it.
With its defaults HAProxy costs nearly twice as much for 1 MiB, and nginx four times.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.fill import END
from bench.programs import find_program, free_port


@dataclass(frozen=True)
class Site:
    """Where one contender runs: a directory of its own, its port, and the upstream's; `large`: bodies of 1 MiB."""

    directory: Path
    port: int
    upstream: int
    large: bool


@dataclass(frozen=True)
class Contender:
    """A server to measure. `program`: what must be installed, None for ours; `command` writes its files."""

    name: str
    program: str | None
    command: Callable[[Site], list[str]]

    def missing(self) -> str | None:
        """Why it cannot be measured, or None."""
        if self.program is None or find_program(self.program):
            return None
        return f"{self.program} is not installed"


def version(program: str) -> str | None:
    """What an installed program says of its version, or None."""
    path = find_program(program)
    if path is None:
        return None
    flag = "-V" if program == "varnishd" else "-v"
    done = subprocess.run([path, flag], capture_output=True, text=True)
    found = re.search(r"\d+\.\d+[.\d-]*", done.stdout + done.stderr)
    return found.group().rstrip(".-") if found else "unknown"


def _installed(program: str) -> str:
    path = find_program(program)
    assert path is not None, program
    return path


# --- ours -------------------------------------------------------------------------------------------------------------


def _our_edge(site: Site) -> list[str]:
    listen, origin = f"127.0.0.1:{site.port}", f"http://127.0.0.1:{site.upstream}"
    admin = f"127.0.0.1:{free_port()}"
    return [sys.executable, "-m", "edge", "--listen", listen, "--origin", origin, "--admin", admin]


def _our_balancer(site: Site) -> list[str]:
    listen, backend = f"127.0.0.1:{site.port}", f"127.0.0.1:{site.upstream}"
    words = [sys.executable, "-m", "lb", "--listen", listen, "--backend", backend, "--sticky", "source"]
    return [*words, "--admin", f"127.0.0.1:{free_port()}"]


# --- nginx ------------------------------------------------------------------------------------------------------------

_NGINX = """\
{user}
daemon off;
worker_processes 1;
error_log stderr warn;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    default_type application/octet-stream;  # no type that an edge would compress: all contenders send the same bytes
    keepalive_requests 100000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    open_file_cache max=4096 inactive=1h;
{http}
}}
"""

_NGINX_PROXY = """\
    upstream behind {{ {keep} server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000; }}
    {cache_path}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_max_temp_file_size 0;
            {buffers}
            {cache}
        }}
    }}
"""

_NGINX_UPSTREAM = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /1k/ {{
            add_header ETag '"1k"';
            add_header Cache-Control "public, max-age=86400";
            return 200 "{text}";
        }}
        location /1m/ {{ alias {directory}/1m/; add_header Cache-Control "public, max-age=86400"; }}
    }}
"""

_NGINX_SMALL = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location {path} {{
            add_header Cache-Control "public, max-age=86400";
            {tag}
            return 200 "{text}";
        }}
    }}
"""


def _nginx(site: Site, http: str) -> list[str]:
    user = "user root;" if os.geteuid() == 0 else ""  # its worker must read what the bench writes
    file = site.directory / "nginx.conf"
    file.write_text(_NGINX.format(user=user, directory=site.directory, http=http))
    return [_installed("nginx"), "-p", str(site.directory), "-e", "stderr", "-c", str(file)]


def _nginx_proxy(site: Site) -> list[str]:
    return _nginx(site, _nginx_http(site, "", "", "ip_hash;"))


def _nginx_http(site: Site, cache_path: str, cache: str, keep: str = "") -> str:
    buffers = "proxy_buffers 8 64k; proxy_busy_buffers_size 128k;" if site.large else ""
    return _NGINX_PROXY.format(
        upstream=site.upstream, port=site.port, cache_path=cache_path, cache=cache, buffers=buffers, keep=keep
    )


def _nginx_cache(site: Site) -> list[str]:
    path = f"proxy_cache_path {site.directory}/cache keys_zone=bench:16m inactive=1h use_temp_path=off;"
    return _nginx(site, _nginx_http(site, path, "proxy_cache bench;"))


def upstream_command(site: Site, objects_1m: int) -> list[str]:
    """The upstream of every row: an nginx that answers 1 KiB from its configuration and 1 MiB from files."""
    directory = site.directory / "1m"
    directory.mkdir()
    for number in range(objects_1m):
        (directory / str(number)).write_bytes(os.urandom(1 << 20))
    text = "0123456789abcdef" * 64
    return _nginx(site, _NGINX_UPSTREAM.format(port=site.port, text=text, directory=site.directory))


def small_upstream_command(site: Site, path: str, size: int, tag: str) -> list[str]:
    """An nginx that answers whatever lies under `path` with `size` bytes, and `tag` as its Surrogate-Key if there is
    one."""
    line = f"add_header Surrogate-Key {tag};" if tag else ""
    text = END.decode().rjust(size, "x")
    return _nginx(site, _NGINX_SMALL.format(port=site.port, path=path, tag=line, text=text))


# --- HAProxy ----------------------------------------------------------------------------------------------------------

_HAPROXY = """\
global
    nbthread 1
    maxconn 4000
    {buffers}
defaults
    mode http
    timeout connect 3s
    timeout client 75s
    timeout server 60s
    timeout http-request 10s
    http-reuse always
    option forwardfor
{cache}
frontend in
    bind 127.0.0.1:{port} backlog 4096
    http-request set-header X-Forwarded-Proto http
{use}
    default_backend behind
backend behind
{keep}
    server upstream 127.0.0.1:{upstream} pool-max-conn 128 check
"""

_HAPROXY_CACHE = """\
cache bench
    total-max-size 256
    max-object-size 2097152
    max-age 86400
"""

_HAPROXY_USE = """\
    http-request cache-use bench
    http-response cache-store bench
"""


_HAPROXY_KEEP = """\
    stick-table type ip size 100k expire 1h
    stick on src
"""


def _haproxy(site: Site, cache: str, use: str, keep: str = "") -> list[str]:
    file = site.directory / "haproxy.cfg"
    buffers = "tune.bufsize 65536" if site.large else ""
    text = _HAPROXY.format(
        port=site.port, upstream=site.upstream, cache=cache, use=use, buffers=buffers, keep=keep
    )
    file.write_text(text)
    return [_installed("haproxy"), "-db", "-q", "-f", str(file)]


def _haproxy_proxy(site: Site) -> list[str]:
    return _haproxy(site, "", "", _HAPROXY_KEEP)


def _haproxy_cache(site: Site) -> list[str]:
    return _haproxy(site, _HAPROXY_CACHE, _HAPROXY_USE)


# --- Varnish ----------------------------------------------------------------------------------------------------------

_VCL = """\
vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv { unset req.http.Cookie; }
"""
#: What Varnish writes to its shared log for every request.
_VARNISH_LOG = (
    "Begin End Link SessOpen SessClose ReqStart ReqMethod ReqURL ReqProtocol ReqHeader ReqUnset ReqAcct RespProtocol "
    "RespStatus RespReason RespHeader RespUnset VCL_call VCL_return VCL_use Hit Timestamp Filters Hash"
)


def _varnish(site: Site) -> list[str]:
    file = site.directory / "bench.vcl"
    file.write_text(_VCL % site.upstream)
    words = [
        _installed("varnishd"),
        "-j",
        "none",
        "-F",
        "-n",
        str(site.directory / "varnish"),
        "-f",
        str(file),
    ]
    words += ["-a", f"127.0.0.1:{site.port}", "-T", "none", "-s", "malloc,256m"]
    # A thread per busy connection is how it works: one pool of them, all on the one core.
    words += ["-p", "thread_pools=1", "-p", "thread_pool_min=100"]
    return [*words, "-p", "vsl_mask=" + ",".join(f"-{tag}" for tag in _VARNISH_LOG.split())]


CACHES = (
    Contender("cdnlab edge", None, _our_edge),
    Contender("HAProxy", "haproxy", _haproxy_cache),
    Contender("nginx", "nginx", _nginx_cache),
    Contender("Varnish", "varnishd", _varnish),
)
PROXIES = (
    Contender("cdnlab lb", None, _our_balancer),
    Contender("nginx", "nginx", _nginx_proxy),
    Contender("HAProxy", "haproxy", _haproxy_proxy),
)

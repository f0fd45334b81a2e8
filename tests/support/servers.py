"""Servers that are processes of their own, so that they can be killed, frozen and started again on their port.

    with Server("a") as server:
        server.kill(); server.start(); server.freeze(); server.thaw(); server.fail_every(3)

Each answers every request on kept connections with 200 and its name; after `fail_every(n)` each n-th one with 500.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from types import TracebackType

from tests.support.peers import free_port

SCRIPT = """
import socket, sys, threading
name, port, fail = sys.argv[1].encode(), int(sys.argv[2]), [0, 0]
server = socket.create_server(("127.0.0.1", port), backlog=512)
print("ready", flush=True)

def serve(peer):
    with peer:
        while True:
            head = b""
            while b"\\r\\n\\r\\n" not in head:
                data = peer.recv(65536)
                if not data:
                    return
                head += data
            if head.startswith(b"PUT /fail/"):
                fail[:] = [int(head.split(b"/")[2].split()[0]), 0]
                status = b"200 OK"
            elif b"cdnlab-check" in head:
                status = b"200 OK"
            else:
                fail[1] += 1
                status = b"500 Oh" if fail[0] and fail[1] % fail[0] == 0 else b"200 OK"
            peer.sendall(b"HTTP/1.1 %b\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (status, len(name), name))

def guarded(peer):
    try:
        serve(peer)
    except OSError:
        pass

while True:
    threading.Thread(target=guarded, args=(server.accept()[0],), daemon=True).start()
"""


class Server:
    """One such process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Begin to serve; returns when it listens."""
        command = [sys.executable, "-S", "-c", SCRIPT, self.name, str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """SIGKILL, and wait for its end; nothing if it has ended."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()

    def freeze(self) -> None:
        """SIGSTOP: the kernel goes on taking its connections, and nobody answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def fail_every(self, n: int) -> None:
        """Answer each n-th request with 500 from now on; 0: none."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(b"PUT /fail/%d HTTP/1.1\r\nHost: a\r\n\r\n" % n)
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")

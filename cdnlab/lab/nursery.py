"""The nursery: one warmed process, without threads or loop, that forks a process for every node it is told to start.

Eleven interpreters importing everything cost seconds; a fork of one that has imported it costs milliseconds. The
nursery is forked by the supervisor before that has a loop or a thread, holds the VIPs' listening sockets so that every
balancer inherits the same open ones, also one started later, and is the parent of the nodes and of the embedded store:
it alone signals them (a pid it has not reaped cannot have become somebody else's) and it alone reaps them.

    supervisor ──socketpair──▶ nursery ──fork──▶ node, node, …, store
       orders: start, signal            reports: started, ready, failed, stopped, continued, exited, refused

Orders and reports are JSON, one per packet. When the supervisor goes, the nursery reads end of file or is killed by the
kernel; when the nursery goes, the kernel kills its children, stopped ones too. It decides nothing: a child that dies
stays dead until it is ordered anew.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from cdnlab.lab import lifeline
from cdnlab.lab.log_file import redirect

Run = Callable[[str, int], int]
"""What a child runs: called with its name and the descriptor on which it says, in one line, "ready" or "failed: why";
returns its exit code, or execs."""

Report = dict[str, Any]

PACKET_BYTES = 65536


class Nursery:
    """The loop of the nursery's process."""

    def __init__(self, channel: socket.socket, run: Run, log: Callable[[str], Path]) -> None:
        self._channel = channel
        self._run = run
        self._log = log
        self._names: dict[int, str] = {}
        self._pids: dict[str, int] = {}
        self._ready: dict[int, str] = {}
        self._poll = select.poll()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def loop(self) -> None:
        """Obey until the supervisor hangs up."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._poll.register(self._woken, select.POLLIN)
        self._poll.register(self._channel.fileno(), select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._woken:
                    os.read(self._woken, 512)
                elif descriptor == self._channel.fileno():
                    packet = self._channel.recv(PACKET_BYTES)
                    if not packet:
                        return
                    self._obey(json.loads(packet))
                elif descriptor in self._ready:
                    self._hear(descriptor)
            self._reap()

    def _obey(self, order: dict[str, Any]) -> None:
        name = str(order["name"])
        if order["do"] == "start":
            if name in self._pids:
                self._report("refused", name, why="it is running")
            else:
                self._fork(name)
        elif order["do"] == "signal" and name in self._pids:
            os.kill(self._pids[name], int(order["signal"]))

    def _fork(self, name: str) -> None:
        heard, told = os.pipe2(os.O_CLOEXEC)
        nursery = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(heard)
            os.close(told)
            self._report("refused", name, why=f"fork failed: {error.strerror}")
            return
        if pid == 0:
            os.close(heard)
            self._become(name, nursery, told)
        os.close(told)
        self._names[pid] = name
        self._pids[name] = pid
        self._ready[heard] = name
        self._poll.register(heard, select.POLLIN | select.POLLHUP)
        self._report("started", name, pid=pid)

    def _become(self, name: str, nursery: int, told: int) -> NoReturn:
        """In the child: hold on to the parent, let go of what is the nursery's, run, and never return."""
        code = 1
        try:
            lifeline.hold(nursery)
            lifeline.rename(name)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._channel.close()
            for descriptor in (self._woken, self._wake, *self._ready):
                os.close(descriptor)
            redirect(self._log(name))
            code = self._run(name, told)
        except SystemExit as stop:
            code = _exit_code(stop)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _hear(self, descriptor: int) -> None:
        name = self._ready.pop(descriptor)
        self._poll.unregister(descriptor)
        said = os.read(descriptor, 4096).decode("utf-8", "replace").strip()
        os.close(descriptor)
        if said.startswith("failed"):
            self._report("failed", name, why=said.removeprefix("failed:").strip())
        elif said:
            self._report("ready", name)

    def _reap(self) -> None:
        while self._names:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._tell(pid, status)

    def _tell(self, pid: int, status: int) -> None:
        name = self._names.get(pid)
        if name is None:
            return
        if os.WIFSTOPPED(status):
            self._report("stopped", name)
        elif os.WIFCONTINUED(status):
            self._report("continued", name)
        else:
            for descriptor in [heard for heard, said_by in self._ready.items() if said_by == name]:
                self._hear(descriptor)  # its last words come before its end
            del self._names[pid], self._pids[name]
            code = os.waitstatus_to_exitcode(status)
            self._report("exited", name, code=max(code, 0), signal=max(-code, 0))

    def _report(self, kind: str, name: str, **facts: object) -> None:
        self._channel.send(json.dumps({"is": kind, "name": name, **facts}).encode())


def _exit_code(stop: SystemExit) -> int:
    """What the interpreter would make of it: a text is printed and means 1."""
    if isinstance(stop.code, str):
        print(stop.code, file=sys.stderr)
        return 1
    return stop.code or 0


def fork_nursery(run: Run, log: Callable[[str], Path], keep: Iterable[int] = ()) -> tuple[int, socket.socket]:
    """Fork the nursery from this process, which must have neither a thread nor a loop.

    `keep`: open descriptors that the children inherit; all others but the standard ones are closed. Returns the
    nursery's pid and the supervisor's end of the channel. The child never returns from here.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()  # what is imported never dies: no collection needs to write to pages that the nodes share
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        lifeline.hold(supervisor)
        lifeline.rename("nursery")
        os.setsid()  # a Ctrl-C at the terminal is for the supervisor, which ends the nodes in order
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ours.detach()
        _close_all_but({0, 1, 2, theirs.fileno(), *keep})
        redirect(log("nursery"))
        Nursery(theirs, run, log).loop()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _close_all_but(keep: set[int]) -> None:
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:
                pass  # the one through which the directory was read


def reap(pid: int, timeout: float = 1.0) -> None:
    """Wait for the nursery's end, and see to it: by SIGKILL after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += 3600
        time.sleep(0.005)

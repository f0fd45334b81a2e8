"""`up -d`: the supervisor in a process of its own, while the one in front waits until the lab is ready, or is not.

Until it is ready the supervisor dies with the process in front; then it lets go of it and of the terminal.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from cdnlab.lab import lifeline
from cdnlab.lab.log_file import redirect

READY = b"r"


class Front:
    """In the supervisor: the process that waits."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def let_go(self, log: Path) -> None:
        """The lab is ready: write to `log` from now on, and outlive the process in front."""
        redirect(log)
        lifeline.release()
        os.write(self._descriptor, READY)
        os.close(self._descriptor)


def fork_supervisor() -> Front:
    """Fork. Returns in the child; the parent stays here until the lab is ready, then exits 0, or with its exit code.

    Must be called without threads or a loop.
    """
    heard, told = os.pipe2(os.O_CLOEXEC)
    front = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        lifeline.hold(front)
        os.close(heard)
        return Front(told)
    os.close(told)
    sys.exit(_wait(pid, heard))


def _wait(pid: int, heard: int) -> int:
    """0 when the supervisor says it is ready, else its exit code. Ctrl-C ends it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(pid, signal.SIGTERM))
    if os.read(heard, 1) == READY:
        return 0
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code

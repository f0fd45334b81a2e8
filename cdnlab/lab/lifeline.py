"""Ties a process to its parent, so that no way of ending the lab leaves one behind.

`hold` asks the kernel to kill the caller when the parent dies (PR_SET_PDEATHSIG, prctl(2)): SIGKILL, because it also
ends a process that is stopped, and because it needs no cooperation. The request is the caller's own: a fork clears it,
an exec keeps it. Between the fork and the request the parent may already have died, hence the check after it.
It knows nothing of what the processes do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
#: The kernel keeps 15 bytes of a process's name, prctl(2).
NAME_BYTES = 15

# Loaded once, before any fork: the child between fork and exec should not open libraries.
_libc = ctypes.CDLL(None, use_errno=True)


def hold(parent: int) -> None:
    """Die by SIGKILL with `parent` (a pid, the caller's parent as it was before the fork). Linux; elsewhere no-op."""
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)


def release() -> None:
    """Outlive the parent after all: for a supervisor that has detached."""
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, 0)


def rename(name: str) -> None:
    """Show as `name` in ps and top; cut to what the kernel keeps."""
    if sys.platform == "linux":
        _prctl(PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:NAME_BYTES]))


def _prctl(option: int, value: object) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")

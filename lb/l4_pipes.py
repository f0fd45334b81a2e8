"""Pipes to splice through: splice(2) moves bytes only between a pipe and something else.

Decides how many there may be. A pipe is taken for one burst of bytes and given back empty, so a few serve all flows;
only a flow whose receiver is slower than its sender keeps one until that is gone. Where none is left, the flow's bytes
are copied instead: slower, and as correct.
"""

from __future__ import annotations

import fcntl
import os

CAPACITY = 1 << 18
"""Bytes in one pipe. Measured with bodies of 1 MiB: 64 KiB cost a third more, 1 MiB nothing less."""
MOST = 64
"""Pipes, so at most 16 MiB that lie in them: an unprivileged user has 64 MiB in all (pipe-user-pages-soft, pipe(7))."""


class Pipe:
    """Both ends of a pipe."""

    __slots__ = ("capacity", "read", "write")

    def __init__(self) -> None:
        """Open one. OSError."""
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.capacity = fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, CAPACITY)
        except OSError:  # this user has enough of them; it works at its size, too
            self.capacity = fcntl.fcntl(self.write, fcntl.F_GETPIPE_SZ)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read)
        os.close(self.write)


class Pipes:
    """Those of one relay."""

    __slots__ = ("_free", "made", "most")

    def __init__(self, most: int = MOST) -> None:
        """At most `most`; 0: everything is copied."""
        self._free: list[Pipe] = []
        self.made = 0
        self.most = most

    def take(self) -> Pipe | None:
        """An empty pipe, or None."""
        if self._free:
            return self._free.pop()
        if self.made >= self.most:
            return None
        try:
            pipe = Pipe()
        except OSError:  # no descriptors
            return None
        self.made += 1
        return pipe

    def give(self, pipe: Pipe, *, empty: bool) -> None:
        """Give one back; what still lies in it is lost with it."""
        if empty and self.made <= self.most:
            self._free.append(pipe)
        else:
            pipe.close()
            self.made -= 1

    def close(self) -> None:
        """Close those that are free, and each other one when it is given back."""
        self.most = 0
        while self._free:
            self.give(self._free.pop(), empty=False)

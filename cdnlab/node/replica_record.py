"""What a replica writes into the store: records, their stamps, and the scripts that keep the newest of two.

A record is ASCII up to its value: stamp (µs since 1970, 14 hexadecimal digits), writer (8), life (ms, 8), kind (1).
Stamp and writer together order any two records of a key, and do so as text, since a script compares text; binary
integers would be shorter, but Lua compares strings by the server's locale.

The stamp is a hybrid logical clock (Kulkarni and others, "Logical Physical Clocks", 2014): the wall's time, but always
above every stamp read. So what follows from something else is newer than it, whatever the clocks of two machines say.

Decides which of two records is newer and how long one lives. Pure: it must not know the store, tables or time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

WRITER_DIGITS = 8
HEADER = 31  # characters before the value
ORDER = 22  # of them, stamp and writer: what orders records
PUT, REMOVED = b"P", b"R"

REMOVED_LIFE = 60.0
"""Seconds for which the store remembers that a key was removed: longer than a write may be under way."""
AHEAD = 86_400.0
"""Seconds that a stamp may lie in the future. One beyond was written by a clock that is wrong, or by no one of us; it
would win over everything until then."""
LONGEST = 0xFFFFFFFF / 1000  # seconds of life that a record can tell


class Record(NamedTuple):
    """What a record says."""

    stamp: int
    writer: bytes
    life: float
    """Seconds from its stamp on."""
    removed: bool
    value: bytes


class Clock:
    """A hybrid logical clock in microseconds."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def tick(self, wall: float) -> int:
        """A stamp above every one given or seen so far."""
        self.last = max(int(wall * 1_000_000), self.last + 1)
        return self.last

    def seen(self, stamp: int) -> None:
        """Another's stamp was read."""
        if stamp > self.last:
            self.last = stamp


def packed(stamp: int, writer: bytes, life: float, value: bytes | None) -> bytes:
    """A record; `value` None says that the key was removed."""
    milliseconds = int(min(max(life, 0.001), LONGEST) * 1000)
    return b"%014x%b%08x%b%b" % (
        max(stamp, 0),
        writer,
        milliseconds,
        REMOVED if value is None else PUT,
        value or b"",
    )


def unpacked(raw: bytes, wall: float) -> Record:
    """Read a record that anybody may have written. ValueError."""
    kind = raw[HEADER - 1 : HEADER]
    if kind not in (PUT, REMOVED) or not raw[: HEADER - 1].isalnum():
        raise ValueError("no record of ours")
    stamp = int(raw[:14], 16)
    if stamp > (wall + AHEAD) * 1_000_000:
        raise ValueError("its stamp lies in the future")
    life = int(raw[ORDER : HEADER - 1], 16) / 1000
    return Record(stamp, raw[14:ORDER], life, kind == REMOVED, raw[HEADER:])


def life_left(record: Record, wall: float) -> float:
    """Seconds that are left; never more than the record's life, should clocks differ."""
    return min(record.life, record.stamp / 1_000_000 + record.life - wall)


def keys(lab: str, topic: str) -> tuple[str, str]:
    """The keys of a topic: its table (a hash) and its news (a stream). The braces keep both on one shard."""
    base = f"cdnlab:{{{lab}:{topic}}}"
    return f"{base}:table", f"{base}:news"


def rows(answer: Any) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """The entries in what XREAD answers, as the client library brings it in either protocol; fields in order."""
    parts = answer.values() if isinstance(answer, dict) else [row for _, row in answer or ()]
    for part in parts:
        yield from part[0] if part and isinstance(part[0], list) else part


WRITE = """
local most, length, fill = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'
local fields = {}
for i = 4, #ARGV, 2 do fields[#fields + 1] = ARGV[i] end
local held = redis.call('HMGET', KEYS[1], unpack(fields))
local room = most - redis.call('HLEN', KEYS[1])
local newer, news, full = {}, {}, 0
for i, field in ipairs(fields) do
  local record, known = ARGV[2 * i + 3], held[i]
  local wins = not known or string.sub(known, 1, 22) < string.sub(record, 1, 22)
  if wins and known and fill and string.sub(known, 31) == string.sub(record, 31) then wins = false end
  if wins then
    news[#news + 1] = field
    news[#news + 1] = record
    if known or room > 0 then
      newer[#newer + 1] = field
      newer[#newer + 1] = record
      if not known then room = room - 1 end
    else
      full = full + 1
    end
  end
end
if #newer > 0 then redis.call('HSET', KEYS[1], unpack(newer)) end
if #news > 0 then
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  local before = last[1] and last[1][1] or '0-0'
  if fill then before = before .. ' offered' end
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', length, '*', '', before, unpack(news))
end
return full
"""
"""Write those records that are newer than what the table holds, and tell all readers about them in one entry of the
news. ARGV: how many records the table may hold, how many entries the news keep, about; 1 to fill in what a table of
ours knows (then the same value is not written twice); then field and record in turn. Each entry begins with the id of
the one before it, so that a reader sees a gap, and says whether it was filled in. Answer: how many new records found
no room in the table; they are told all the same."""

SWEEP = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local over = {}
for i = 1, #answer[2], 2 do
  local record = answer[2][i + 1]
  local stamp, life = tonumber(string.sub(record, 1, 14), 16), tonumber(string.sub(record, 23, 30), 16)
  if not stamp or not life or stamp / 1000 + life < now then over[#over + 1] = answer[2][i] end
end
for i = 1, #over, 1000 do
  redis.call('HDEL', KEYS[1], unpack(over, i, math.min(i + 999, #over)))
end
return {answer[1], #over, redis.call('HLEN', KEYS[1])}
"""
"""Remove the records of one slice of the table whose life is over. ARGV: the cursor and how many to look at. Answer:
the next cursor, how many went, how many there are. Fields of a hash expire by themselves only in servers that are too
new to ask for."""

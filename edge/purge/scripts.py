"""What the store is asked about the stream of purges, each question one script, so that it happens as a whole or not.

Two keys belong together: `state` (a hash: generation, epoch, last, link) and `stream`. An entry's id in the stream is
`epoch-number`. The epoch is the server's clock in milliseconds when the generation was made: a new generation's ids are
above all older ones, so whoever waits for the next entry of a stream that is gone is woken by the first of its
successor, whose first entry is made with it. Decides nothing. Pure.
"""

from __future__ import annotations

_COMMON = """
local known = redis.call('HMGET', KEYS[1], 'generation', 'epoch', 'last', 'link')
local function make()
  local time = redis.call('TIME')
  local epoch = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(known[2] or '0') + 1)
  epoch = string.format('%.0f', epoch)
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'epoch', epoch, 'last', '0', 'link', ARGV[1])
  redis.call('XADD', KEYS[2], epoch .. '-0', 'generation', ARGV[1])
  known = {ARGV[1], epoch, '0', ARGV[1]}
end
if not known[1] then make() end
"""

LOOK = (
    _COMMON
    + """
local entries = {}
if known[1] == ARGV[2] then
  local first = known[2] .. '-' .. string.format('%.0f', ARGV[3] + 1)
  entries = redis.call('XRANGE', KEYS[2], first, '+', 'COUNT', ARGV[4])
end
return {known[1], known[2], known[3], known[4], entries}
"""
)
"""Look. ARGV: a name for the generation if there is none; the generation and the number from which on entries are
wanted, and how many at most. Answer: generation, epoch, last number, its link, entries."""

RENEW = (
    _COMMON
    + """
if known[1] == ARGV[2] then make() end
return {known[1], known[2], known[3], known[4], {}}
"""
)
"""Make a new generation in the place of one that has lost entries. ARGV: its name; the one that it replaces, if it is
still there. Answer: as of a look."""

APPEND = (
    _COMMON
    + """
local last
local function add()
  last = string.format('%.0f', known[3] + 1)
  return redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], known[2] .. '-' .. last,
    'generation', known[1], 'sequence', last, 'before', known[4], 'link', ARGV[2], 'raw', ARGV[3])
end
local added = add()
if type(added) == 'table' and added.err then
  make()
  added = add()
  if type(added) == 'table' and added.err then return added end
end
redis.call('HSET', KEYS[1], 'last', last, 'link', ARGV[2])
return {known[1], last}
"""
)
"""Add an entry. ARGV: a name for the generation if there is none; the entry's link, what it says, and how many entries
are kept, about. A stream that does not fit its state is made anew. Answer: generation and number."""


def keys(lab: str) -> tuple[str, str]:
    """The keys of a lab's purges: state and stream. The braces keep them on one shard of a clustered store."""
    base = f"cdnlab:{{{lab}:purges}}"
    return f"{base}:state", f"{base}:stream"

-- What every request of the bench looks like: twelve fields as a browser sends them, over `objects` targets.
-- Arguments after "--": path prefix, number of objects, number of different Cookies, then "random" for targets at random
-- or "few" for Host and Cookie only: at layer 4 nobody reads fields, but wrk and the upstream pay for them.
--
-- wrk's scripts can't tell connections apart, but threads can: each thread has a Cookie of its own and an eighth of the
-- connections. So a connection repeats its own Cookie, as browsers do, and eight connections share one. (A thread per
-- connection would give each its own, and costs wrk twice the time per request.)

local requests, turn = {}, 0
local before, after, most -- of a target at random: what its number stands between, and how high it may be

local function few(path, cookie)
  return "GET " .. path .. " HTTP/1.1\r\nHost: www.example.com\r\nCookie: session=" .. cookie .. "\r\n\r\n"
end

local function one(path, cookie)
  return table.concat({
    "GET " .. path .. " HTTP/1.1",
    "Host: www.example.com",
    "Connection: keep-alive",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7",
    "Accept-Encoding: gzip, deflate, br",
    "Referer: http://www.example.com/index.html",
    "Cookie: session=" .. cookie .. "; theme=dark; consent=yes",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "", "",
  }, "\r\n")
end

function init(args)
  local prefix, objects, cookies = args[1], tonumber(args[2]), tonumber(args[3])
  local cookie = cookies > 1 and id or 0
  local session = string.format("%08x6f1c2a9be77d4405%08x", cookie * 2654435761 % 4294967296, cookie)
  if args[4] == "random" then
    local whole = one(prefix .. "#", session)
    local at = whole:find("#", 1, true)
    before, after, most = whole:sub(1, at - 1), whole:sub(at + 1), objects - 1
    math.randomseed(os.time() * 8 + id)
    request = at_random
    return
  end
  for i = 0, objects - 1 do
    requests[i + 1] = (args[4] == "few" and few or one)(prefix .. i, session)
  end
  turn = id * 131 % objects
end

local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

-- A million prepared requests for each of eight threads would not fit; a number between two strings costs little.
function at_random()
  return before .. math.random(0, most) .. after
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    "bench: requests=%d microseconds=%d bytes=%d p50=%d p99=%d failed=%d\n",
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end

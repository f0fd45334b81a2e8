// The lab's page: asks /status and /events each second and shows what they say. Read-only: it never changes the lab.
// Everything that comes from the network is set as text, never as markup.

import { Series, draw } from "./spark.js";

const PERIOD = 1000;         // ms between two looks
const PATIENCE = 3000;       // ms until an unanswered look counts as "away"
const KEPT_EVENTS = 60;
const TIERS = [["lb", "Balancers"], ["edge", "Edges"], ["origin", "Origins"]];

// What a state looks like: [colour, shape]. A shape as well as a colour, for eyes and screens without colours.
const SHAPES = {
  dot: "M5 0a5 5 0 1 0 0 10a5 5 0 1 0 0-10z",
  ring: "M5 0a5 5 0 1 0 0 10a5 5 0 1 0 0-10zm0 2.4a2.6 2.6 0 1 1 0 5.2a2.6 2.6 0 1 1 0-5.2z",
  bars: "M1 0h3v10h-3zM6 0h3v10h-3z",
  cross: "M1.5 0L5 3.5L8.5 0L10 1.5L6.5 5L10 8.5L8.5 10L5 6.5L1.5 10L0 8.5L3.5 5L0 1.5z",
};
const LOOKS = {
  ready: ["good", "dot"], waiting: ["", "ring"], starting: ["", "ring"], draining: ["warn", "ring"], behind: ["warn", "ring"], paused: ["warn", "bars"],
  dead: ["bad", "cross"], silent: ["bad", "ring"],
};

const $ = (id) => document.getElementById(id);
const series = new Map();    // name -> Series, kept here: the lab has no memory of what it was a minute ago
const rows = new Map();      // node name -> its row's parts
const seen = new Set();      // events already listed
let lastAnswer = 0;
let failures = 0;

// ---- words ------------------------------------------------------------------------------------------------

const known = (x) => typeof x === "number" && Number.isFinite(x);
const rate = (x) => !known(x) ? "–" : x === 0 ? "0" : x < 10 ? x.toFixed(1) : Math.round(x).toLocaleString("en");
const count = (x) => known(x) ? x.toLocaleString("en") : "–";
const percent = (x) => known(x) ? `${(100 * x).toFixed(x >= 0.9995 || x === 0 ? 0 : 1)} %` : "–";
function millis(seconds) {
  if (!known(seconds)) return "–";
  const ms = seconds * 1000;
  return ms < 0.995 ? `${ms.toFixed(2)} ms` : ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10000 ? `${Math.round(ms)} ms` : `${seconds.toFixed(1)} s`;
}
function span(seconds) {
  if (!known(seconds)) return "";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}
function ago(seconds) {
  const s = Math.max(0, seconds);
  return s < 90 ? `${Math.round(s)} s ago` : s < 5400 ? `${Math.round(s / 60)} min ago` : s < 129600 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} d ago`;
}
const clock = (wall) => new Date(wall * 1000).toLocaleTimeString("en-GB");

function set(element, text) { if (element.textContent !== text) element.textContent = text; }
function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
function push(name, value) {
  if (!series.has(name)) series.set(name, new Series());
  series.get(name).push(known(value) ? value : null);
  return series.get(name);
}

// ---- what the answers mean --------------------------------------------------------------------------------

// The state shown: what the supervisor sees of the process stands above what the node last said of itself.
function state(node) {
  if (node.running === false) return ["dead", node.reason || ended(node.exit)];
  if (node.paused) return ["paused", node.reason || "stopped by a signal, until it is resumed"];
  if (!node.state) return ["silent", node.reason || "does not answer on its admin address"];
  return [node.state, node.reason || ""];
}
function ended(exit) {
  if (!known(exit)) return "its process has ended";
  return exit < 0 ? `killed by signal ${-exit}` : `ended with exit code ${exit}`;
}

// node name -> what the others say against it: [["health check failed", ["lb-a", "lb-b"]], …]
function passedOver(nodes) {
  const found = new Map();
  for (const node of nodes) {
    for (const backend of node.backends || []) {
      if (backend.usable !== false) continue;
      const reasons = found.get(backend.name) || new Map();
      const reason = backend.reason || backend.state || "not usable";
      reasons.set(reason, [...(reasons.get(reason) || []), node.name]);
      found.set(backend.name, reasons);
    }
  }
  return found;
}

function virtualAddresses(lab, nodes) {
  const vips = new Map();
  for (const vip of lab.vips || []) {
    const port = vip.port ? `:${vip.port}` : "";
    vips.set(vip.name, { address: vip.address ? vip.address + port : vip.name, holder: null, standby: [], token: null });
  }
  for (const node of nodes) {
    if (node.running === false || node.paused) continue;
    for (const vip of node.vips || []) {
      if (!vips.has(vip.name)) vips.set(vip.name, { address: vip.address || vip.name, holder: null, standby: [], token: null });
      const entry = vips.get(vip.name);
      if (vip.state === "active") { entry.holder = node.name; entry.token = vip.token; }
      else entry.standby.push(node.name);
    }
  }
  return vips;
}

function totals(nodes, vips) {
  const live = nodes.filter((n) => n.running !== false && !n.paused && n.state);
  const of = (tier) => live.filter((n) => n.tier === tier);
  const sum = (list, pick) => list.reduce((total, n) => total + (pick(n) || 0), 0);
  const front = of("lb").length ? of("lb") : live;
  const edges = of("edge").filter((n) => known(n.requests?.hit_ratio));
  const weight = sum(edges, (n) => n.requests.per_second);
  const holders = new Set([...vips.values()].map((v) => v.holder));
  const p99 = front.filter((n) => holders.has(n.name)).map((n) => n.latency?.p99).filter(known);
  return {
    rate: sum(front, (n) => n.requests?.per_second),
    hit: weight > 0 ? sum(edges, (n) => n.requests.hit_ratio * n.requests.per_second) / weight : null,
    p99: p99.length ? Math.max(...p99) : null,
    errors: sum(front, (n) => n.requests?.errors),
  };
}

// ---- drawing ----------------------------------------------------------------------------------------------

function showVips(vips) {
  const list = $("vips");
  list.replaceChildren(...[...vips.values()].map((vip) => {
    const item = make("li");
    item.append(make("p", vip.holder ? "holder" : "holder none", vip.holder || "nobody holds it"));
    const line = make("p", "quiet small");
    line.append(make("span", "address", vip.address));
    const facts = [];
    if (vip.standby.length) facts.push(`standby ${vip.standby.join(", ")}`);
    if (known(vip.token)) facts.push(`token ${vip.token}`);
    item.append(line, make("p", "quiet small", facts.join(" · ")));
    return item;
  }));
}

function newRow(node) {
  const tr = make("tr");
  const cell = (className) => { const td = make("td", className); tr.append(td); return td; };
  const head = make("th");
  head.scope = "row";
  head.append(node.name, make("span", "place", node.place || ""));
  const holds = make("span", "holds", "VIP");
  head.append(holds);
  tr.append(head);
  const parts = { tr, holds, state: make("span"), icon: svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }) };
  parts.path = svg("path", { "fill-rule": "evenodd" });
  parts.icon.append(parts.path);
  parts.word = make("b");
  parts.state.append(parts.icon, parts.word);
  cell("state").append(parts.state);
  const why = cell("why");
  parts.reason = make("span"); parts.since = make("span", "for"); parts.passed = make("span", "passed");
  why.append(parts.reason, " ", parts.since, parts.passed);
  parts.connections = cell("n");
  parts.rate = cell("n rate");
  parts.trend = svg("svg", { class: "spark", role: "img" });
  cell("trend").append(parts.trend);
  const hit = cell("n");
  parts.hit = make("span"); parts.meter = make("span", "meter"); parts.bar = make("i");
  parts.meter.append(parts.bar);
  parts.meter.setAttribute("aria-hidden", "true");
  hit.append(parts.hit, parts.meter);
  parts.p50 = cell("n"); parts.p99 = cell("n"); parts.errors = make("span");
  cell("n").append(parts.errors);
  return parts;
}

function showRow(node, holder, against, now) {
  if (!rows.has(node.name)) rows.set(node.name, newRow(node));
  const parts = rows.get(node.name);
  const [word, reason] = state(node);
  const [look, shape] = LOOKS[word] || ["", "dot"];
  const alive = !["waiting", "dead", "silent", "paused"].includes(word);
  parts.tr.className = alive ? "" : "off";
  parts.holds.hidden = !holder;
  parts.state.className = look;
  parts.path.setAttribute("d", SHAPES[shape]);
  set(parts.word, word);
  set(parts.reason, reason);
  set(parts.since, known(node.since) ? `${reason ? "· " : ""}${ago(now - node.since)}` : "");
  set(parts.passed, [...(against || [])].map(([why, by]) => `passed over by ${by.join(", ")}: ${why}`).join("; "));
  set(parts.connections, alive ? count(node.connections) : "–");
  const perSecond = alive ? node.requests?.per_second : null;
  set(parts.rate, rate(perSecond));
  draw(parts.trend, push(node.name, perSecond ?? 0), `requests per second, last minute: now ${rate(perSecond)}`);
  const ratio = alive ? node.requests?.hit_ratio : null;
  set(parts.hit, percent(ratio));
  parts.meter.style.visibility = known(ratio) ? "visible" : "hidden";
  parts.bar.style.width = `${100 * (known(ratio) ? ratio : 0)}%`;
  set(parts.p50, millis(alive ? node.latency?.p50 : null));
  set(parts.p99, millis(alive ? node.latency?.p99 : null));
  set(parts.errors, count(node.requests?.errors));
  parts.errors.className = node.requests?.errors ? "errors" : "idle";
}

function showNodes(nodes, vips, now) {
  const table = $("nodes");
  const against = passedOver(nodes);
  const holders = new Set([...vips.values()].map((v) => v.holder));
  for (const node of nodes) showRow(node, holders.has(node.name), against.get(node.name), now);
  const names = nodes.map((n) => n.name).join(" ");
  if (table.dataset.names === names) return;
  table.dataset.names = names;
  table.querySelectorAll("tbody").forEach((body) => body.remove());
  for (const [tier, title] of TIERS) {
    const mine = nodes.filter((n) => n.tier === tier);
    if (!mine.length) continue;
    const body = make("tbody"), row = make("tr"), head = make("th", "tier", title);
    head.colSpan = 10;
    head.scope = "rowgroup";
    row.append(head);
    body.append(row, ...mine.map((n) => rows.get(n.name).tr));
    table.append(body);
  }
}

function showTotals(sums) {
  set($("sum-rate"), rate(sums.rate));
  set($("sum-hit"), percent(sums.hit));
  set($("sum-p99"), millis(sums.p99));
  set($("sum-errors"), count(sums.errors));
  $("sum-errors").style.color = sums.errors ? "var(--bad)" : "";
  draw($("spark-rate"), push(":rate", sums.rate), "requests per second, last minute");
  draw($("spark-hit"), push(":hit", sums.hit), "hit ratio, last minute", 1);
  draw($("spark-p99"), push(":p99", sums.p99), "p99, last minute");
}

function showStore(lab, nodes) {
  const store = lab.store || {};
  const without = nodes.filter((n) => n.store && n.running !== false && !n.paused && /down|away|lost/.test(n.store.state || ""));
  set($("store"), store.running === false ? "away" : without.length ? "unreachable" : store.state || "up");
  $("store").style.color = store.running === false || without.length ? "var(--bad)" : "";
  set($("store-note"), without.length ? `for ${without.map((n) => n.name).join(", ")}` : store.kind || store.url || "embedded");
}

function showTry(lab, nodes) {
  const vip = (lab.vips || [])[0] || {};
  const port = vip.port || 80;
  const places = lab.places?.length ? lab.places : [...new Set(nodes.filter((n) => n.tier === "edge").map((n) => n.place))];
  if ($("places").dataset.made === `${port} ${places}`) return;
  $("places").dataset.made = `${port} ${places}`;
  $("places").replaceChildren(...places.filter(Boolean).map((entry) => {
    const code = entry.code || entry;
    const link = make("a", "", entry.city ? `${entry.city}` : code);
    link.href = `http://${code}.localhost:${port}/`;
    const item = make("li");
    item.append(link);
    return item;
  }));
  const edge = nodes.find((n) => n.tier === "edge")?.name || "edge-icn";
  const [, program, where] = /^(.*?)\s*(--state .*)?$/.exec(lab.command || "cdnlab");
  const from = nodes.find((n) => n.tier === "edge")?.place || "icn";
  const ours = (words) => [program, words, where].filter(Boolean).join(" ");
  const order = (verb) => lab.orders?.[verb]?.replace("NODE", edge) || ours(`${verb} ${edge}`);  // who runs the nodes has the words
  set($("commands"), [ours(`get / --from ${from} --direct`), ours("log -f"), order("kill"), order("start")].join("\n"));
}

function showEvents(events) {
  const list = $("events");
  const first = seen.size === 0;
  for (const event of events) {
    const id = `${event.node}/${event.time}/${event.kind}/${event.subject}/${event.text}`;
    if (seen.has(id)) continue;
    seen.add(id);
    list.querySelector(".none")?.remove();
    const item = make("li", first ? "" : "new");
    const time = make("time", "", clock(event.time));
    time.dateTime = new Date(event.time * 1000).toISOString();
    const subject = event.subject && event.subject !== event.node ? `${event.subject}: ` : "";
    item.append(time, make("b", "", event.node || "lab"), make("span", "kind", event.kind || ""), make("span", "text", subject + event.text));
    list.prepend(item);
  }
  while (list.children.length > KEPT_EVENTS) list.lastElementChild.remove();
  if (seen.size > 5000) seen.clear();
}

function showPrometheus(prometheus) {
  $("prometheus").hidden = prometheus?.state !== "up";
  if (prometheus?.url) $("prometheus").href = prometheus.url;
}

function show(answer) {
  const lab = answer.lab || {};
  const nodes = (answer.nodes || []).map((n) => ({ ...n, name: n.name || n.node }));
  const now = Date.now() / 1000;
  const vips = virtualAddresses(lab, nodes);
  const up = nodes.filter((n) => state(n)[0] === "ready").length;
  set($("lab-name"), lab.name || "");
  set($("lab-line"), `${up} of ${nodes.length} nodes ready` + (lab.distance === undefined ? "" : lab.distance ? " · distance is felt" : " · distance is off"));
  showPrometheus(lab.prometheus);
  document.title = `${up}/${nodes.length} · cdnlab`;
  showVips(vips);
  showNodes(nodes, vips, now);
  showTotals(totals(nodes, vips));
  showStore(lab, nodes);
  showTry(lab, nodes);
}

function showLive(live) {
  document.body.dataset.live = live ? "yes" : "no";
  set($("live"), live ? "live" : "away");
  $("away").hidden = live;
  // the sentence is an alert, which is read out; its age changes each second and is not
  set($("away-text"), live ? "" : "The lab does not answer: it has ended, or is starting. Start it with: cdnlab up.");
  set($("away-age"), lastAnswer && !live ? `What is below is ${span((Date.now() - lastAnswer) / 1000)} old.` : "");
}

// ---- the loop ---------------------------------------------------------------------------------------------

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function look() {
  const started = performance.now();
  try {
    const [status, events] = await Promise.all([ask("/status"), ask("/events")]);
    lastAnswer = Date.now();
    failures = 0;
    show(status);
    showEvents(Array.isArray(events) ? events : events.events || []);
    showLive(true);
  } catch (error) {
    failures += 1;
    if (!(error instanceof TypeError) && error.name !== "TimeoutError") console.error(error);
    if (failures > 1 || !lastAnswer) showLive(false);
  }
  setTimeout(look, Math.max(50, PERIOD - (performance.now() - started)));
}

look();

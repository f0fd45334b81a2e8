/* The bar: says how this very page came here, from the fields of its own response.
 *
 * The browser does not show a script the fields of the page it runs in. But the same fetch with cache: "force-cache"
 * is answered from the browser's own copy of that response, so it reads what the navigation received.
 * It also gives the other script `cdnlab.facts` to read any response in the same way.
 */
"use strict";
(() => {
  /* Members of a list field; commas inside quotes do not count (RFC 9110 §5.6.1). */
  const members = (value) => (value || "").match(/(?:"(?:\\.|[^"\\])*"|[^,"])+/g)?.map((m) => m.trim()).filter(Boolean) || [];

  /* Via names the nodes from the origin's side to ours; the client meets them in the other order. */
  const hops = (value) => members(value).map((m) => m.split(/\s+/)[1]).filter(Boolean).reverse();

  /* The last member of Cache-Status is the cache nearest to the client (RFC 9211 §2). */
  const cacheStatus = (value) => {
    const last = members(value).pop();
    if (!last) return null;
    const [cache, ...parts] = last.match(/(?:"(?:\\.|[^"\\])*"|[^;"])+/g).map((part) => part.trim());
    const found = { cache: cache.replace(/^"|"$/g, "") };
    for (const part of parts) {
      const [name, ...rest] = part.split("=");
      found[name] = rest.length ? rest.join("=").replace(/^"|"$/g, "") : true;
    }
    return found;
  };

  /* What a response says about its way: all are null or empty where nothing was said. */
  const facts = (response) => {
    const field = (name) => response.headers.get(name);
    const status = cacheStatus(field("Cache-Status"));
    return {
      place: field("Cdnlab-Place"),
      hops: hops(field("Via")),
      origin: field("Cdnlab-Origin"),
      age: field("Age") === null ? null : Number(field("Age")),
      hit: status ? status.hit === true : null,
      why: status ? status.fwd || null : null,
      same: status ? status["fwd-status"] === "304" : false,
    };
  };

  const element = (name, text, style) => {
    const made = document.createElement(name);
    if (style) made.className = style;
    made.textContent = text;
    return made;
  };

  const bar = document.getElementById("bar");
  const words = JSON.parse(bar.dataset.words);
  const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const links = [...document.querySelectorAll("[data-place]")];
  const city = (code) => {
    const link = bar.querySelector(`[data-place="${CSS.escape(code)}"] b`);
    return link ? link.textContent : code;
  };

  const result = (seen) => {
    if (seen.own) return element("span", words.browser, "result plain");
    if (seen.hit === null) return element("span", words.unsaid, "result plain");
    if (seen.hit) return element("span", words.hit, "result hit");
    if (seen.same) return element("span", words.same, "result hit");
    const badge = element("span", words.miss, "result miss");
    const reason = seen.why && (words.reasons[seen.why] || seen.why);
    if (reason) badge.title = reason;
    if (seen.why && seen.why !== "uri-miss") badge.textContent = `${words.miss}: ${reason}`;
    return badge;
  };

  const milliseconds = (entry) => {
    const from = entry.requestStart || entry.fetchStart;
    return Math.max(0, entry.responseEnd - from);
  };
  const shownTime = (time) => say(words.ms, { n: time < 9.95 ? time.toFixed(1).replace(/\.0$/, "") : Math.round(time) });

  const show = (seen) => {
    const path = document.getElementById("path");
    const entry = performance.getEntriesByType("navigation")[0];
    const parts = [];
    if (!seen.hops.length) {
      parts.push(element("span", say(words.straight, { origin: seen.origin || "?" }), "fact"));
    } else {
      parts.push(element("span", seen.place ? say(words.you, { place: city(seen.place) }) : words.somewhere, "hop you"));
      const way = seen.hit || !seen.origin ? seen.hops : [...seen.hops, seen.origin];
      for (const hop of way) parts.push(element("span", "→", "arrow"), element("span", hop, "hop"));
      parts.push(result(seen));
      if (seen.age !== null) parts.push(element("span", say(words.age, { n: seen.age }), "fact"));
    }
    if (entry) {
      const own = entry.transferSize === 0 && entry.decodedBodySize > 0;
      parts.push(element("span", own ? words.browser : shownTime(milliseconds(entry)), "fact"));
    }
    path.replaceChildren(...parts);
  };

  /* Links to be elsewhere: the same page at <place>.localhost, on the port this page came from. */
  const offer = (seen) => {
    const local = /^(localhost|127(\.\d+){3}|\[::1\]|[a-z]{3}\.localhost)$/.test(location.hostname);
    if (!local || !seen.hops.length) return;
    for (const link of links) {
      const port = location.port ? `:${location.port}` : "";
      link.setAttribute("href", `${location.protocol}//${link.dataset.place}.localhost${port}${location.pathname}${location.search}`);
      link.removeAttribute("tabindex");
      if (link.dataset.place === seen.place) link.setAttribute("aria-current", "true");
    }
    document.getElementById("elsewhere").hidden = false;
  };

  const begin = async () => {
    try {
      const seen = facts(await fetch(location.href, { cache: "force-cache", credentials: "same-origin" }));
      show(seen);
      offer(seen);
    } catch {
      document.getElementById("path").textContent = words.failed;
    }
  };

  const menu = document.getElementById("elsewhere");
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    if (menu.open && !menu.contains(event.target)) menu.open = false;
  });

  window.cdnlab = { facts, element, result, shownTime, say };
  window.addEventListener("load", () => setTimeout(begin)); // responseEnd and the stored copy are there by then
})();

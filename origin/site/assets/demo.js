/* The experiments on the pages: each asks the network something and writes down what came back, and how. */
"use strict";
(() => {
  const { facts, element, result, shownTime, say } = window.cdnlab;
  const words = JSON.parse(document.body.dataset.words);
  const at = (id) => document.getElementById(id);
  const LOG_LENGTH = 12;

  /* Whether the last fetch of this path never left the browser: nothing was transferred, yet there is a body. */
  const ownCopy = async (path) => {
    await new Promise((resume) => setTimeout(resume)); // the entry is written just after the body ends
    const entry = performance.getEntriesByName(new URL(path, location.href).href).pop();
    performance.clearResourceTimings(); // else the buffer is full after 250
    return entry !== undefined && entry.transferSize === 0 && entry.decodedBodySize > 0;
  };

  /* Fetch and time it: {response, body, seen, ms}. */
  const ask = async (path, options) => {
    const started = performance.now();
    const response = await fetch(path, options);
    const body = await response.arrayBuffer();
    const ms = performance.now() - started;
    return { response, body, seen: { ...facts(response), own: await ownCopy(path) }, ms };
  };

  /* One row on top of a log: the cells are texts or elements. */
  const write = (log, cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      const made = document.createElement("td");
      made.append(cell);
      row.append(made);
    }
    log.prepend(row);
    while (log.rows.length > LOG_LENGTH) log.deleteRow(-1);
  };
  const age = (seen) => (seen.age === null ? "–" : `${seen.age} s`);
  const node = (seen) => seen.hops.join(" → ") || seen.origin || "–";
  const failing = (log, act) => async (event) => {
    event?.preventDefault?.();
    try {
      await act(event);
    } catch (error) {
      write(log, [`${words.failed}: ${error.message}`]);
    }
  };

  /* Freshness: ask the same URL under a chosen Cache-Control; the serial number tells whether the origin was asked. */
  const freshness = (form) => {
    const log = at("freshness-log"), meter = at("freshness-meter");
    let born = null, lifetime = 0, key = "shared", timer = null;
    const once = async () => {
      const [cc, more] = form.elements.policy.value.split("|");
      const answer = await ask(`/behave?size=64&key=${key}&cc=${encodeURIComponent(cc)}${more || ""}`);
      lifetime = Number(/s-maxage=(\d+)/.exec(cc)?.[1] || /max-age=(\d+)/.exec(cc)?.[1] || 0);
      born = performance.now() - 1000 * (answer.seen.age || 0);
      const number = answer.response.headers.get("Cdnlab-Serial");
      const serial = number ? `${answer.seen.origin || ""} ${number}` : "–"; // each origin counts its own
      write(log, [new Date().toLocaleTimeString(), result(answer.seen), age(answer.seen), serial, node(answer.seen), shownTime(answer.ms)]);
    };
    form.addEventListener("submit", failing(log, once));
    at("freshness-repeat").addEventListener("click", (event) => {
      const on = timer === null;
      event.currentTarget.setAttribute("aria-pressed", String(on));
      if (on) timer = setInterval(failing(log, once), 1000);
      else timer = clearInterval(timer) || null;
    });
    at("freshness-key").addEventListener("click", () => {
      key = Math.random().toString(36).slice(2, 8);
      log.replaceChildren();
      born = null;
    });
    setInterval(() => {
      const old = born === null ? 0 : (performance.now() - born) / 1000;
      meter.max = lifetime || 1;
      meter.value = born === null || !lifetime ? 0 : Math.max(0, lifetime - old);
      at("freshness-left").textContent = born === null || !lifetime ? words.unknown
        : old < lifetime ? say(words.fresh, { n: Math.ceil(lifetime - old) }) : words.stale;
    }, 200);
  };

  /* Variants: ask this page in several languages; each is stored by itself. */
  const variants = (panel) => {
    const log = at("variants-log");
    for (const button of panel.querySelectorAll("button[data-language]")) {
      button.addEventListener("click", failing(log, async () => {
        const answer = await ask("/variants", { headers: { "Accept-Language": button.dataset.language } });
        const got = answer.response.headers.get("Content-Language") || "–";
        const tag = (answer.response.headers.get("ETag") || "–").slice(0, 9);
        write(log, [button.dataset.language, got, tag + "…", result(answer.seen), age(answer.seen), shownTime(answer.ms)]);
      }));
    }
  };

  /* The shop: the list and the items are stored apart, so a changed item may be newer than the list that shows it. */
  const shop = (goods) => {
    const log = at("shop-log"), pictures = at("pictures").content;
    const newest = new Map();
    const note = (what, answer) => write(log, [what, String(answer.response.status), result(answer.seen), age(answer.seen), shownTime(answer.ms)]);
    const json = (answer) => JSON.parse(new TextDecoder().decode(answer.body));
    const act = async (method, path, body, fields) => {
      const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
      const headers = { ...(body ? { "Content-Type": type } : {}), ...fields };
      const answer = await ask(path, { method, headers, body: body && JSON.stringify(body) });
      write(log, [`${method} ${path}`, String(answer.response.status), element("span", words.changed, "result plain"), "–", shownTime(answer.ms)]);
      return answer;
    };
    const read = async (path) => {
      const answer = await ask(path);
      note(`GET ${path}`, answer);
      return answer;
    };
    const buy = async (item) => {
      const now = await read(`/api/items/${item.id}`);
      if (now.response.ok) {
        const held = json(now);
        const tag = now.response.headers.get("ETag");
        const left = Math.max(0, held.stock - 1);
        const answer = await act("PATCH", `/api/items/${item.id}`, { stock: left }, tag ? { "If-Match": tag } : {});
        if (answer.response.ok) newest.set(item.id, left);
      }
      await list();
    };
    const remove = async (item) => {
      await act("DELETE", `/api/items/${item.id}`);
      newest.set(item.id, null);
      await list();
    };
    const card = (item) => {
      const made = document.createElement("li"), text = document.createElement("div"), row = element("div", "", "row");
      const picture = pictures.querySelector(`[data-name="${CSS.escape(item.picture)}"]`) || pictures.firstElementChild;
      const later = newest.has(item.id) && newest.get(item.id) !== item.stock;
      const stock = element("p", say(words.stock, { n: item.stock }));
      if (later) {
        const now = newest.get(item.id);
        stock.append(" ", element("span", now === null ? words.gone : say(words.later, { n: now }), "late"));
      } else {
        newest.delete(item.id);
      }
      const one = element("button", words.buy), away = element("button", words.remove, "quiet");
      one.addEventListener("click", failing(log, () => buy(item)));
      away.addEventListener("click", failing(log, () => remove(item)));
      for (const button of [one, away]) button.setAttribute("aria-label", `${button.textContent}: ${item.name}`);
      row.append(one, away);
      text.append(element("h3", item.name), element("p", item.text), element("p", say(words.price, { n: item.price.toLocaleString() })), stock, row);
      made.append(picture.cloneNode(true), text);
      return made;
    };
    const list = async () => {
      const answer = await read("/api/items");
      at("shop-list").replaceChildren(result(answer.seen), element("span", say(words.listed, { n: answer.seen.age || 0 })));
      goods.replaceChildren(...json(answer).items.map(card));
    };
    at("shop-read").addEventListener("click", failing(log, list));
    at("shop-form").addEventListener("submit", failing(log, async (event) => {
      const form = at("shop-form");
      const value = { name: form.elements.name.value, price: Number(form.elements.price.value), stock: 10, text: words.yours, picture: form.elements.picture.value };
      const answer = await act("POST", "/api/items", value);
      if (!answer.response.ok) write(log, [json(answer).detail]);
      await list();
    }));
    failing(log, list)();
  };

  /* Ranges: ask for some bytes of a file; its blocks begin with their own offset in plain text. */
  const ranges = (form) => {
    const log = at("range-log");
    form.addEventListener("submit", failing(log, async () => {
      const range = `bytes=${form.elements.first.value}-${form.elements.last.value}`;
      const answer = await ask(`/files/${form.elements.file.value}`, { headers: { Range: range } });
      const start = new TextDecoder("latin1").decode(answer.body.slice(0, 40)).replace(/[^\x20-\x7e]/g, "·");
      write(log, [range, String(answer.response.status), answer.response.headers.get("Content-Range") || "–", result(answer.seen), element("code", start), shownTime(answer.ms)]);
    }));
  };

  const panels = { "freshness-form": freshness, "variants-panel": variants, goods: shop, "range-form": ranges };
  for (const [id, begin] of Object.entries(panels)) {
    const found = at(id);
    if (found) begin(found);
  }
})();

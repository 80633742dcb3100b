// Events as they happen, in <ol id="events">: told by the address in data-stream, drawn twice
// a second at most, the newest few alone. What comes between is counted and let go, so that
// a thousand a second cost no more than the few that can be seen.
"use strict";
(() => {
  // Rows on the page; milliseconds between two drawings, until a stream that broke is asked for
  // again, and that what is told may be late before the stream is begun anew at its end.
  const MOST = 200, EACH = 500, AGAIN = 3_000, LATE = 5_000, SPOKEN = 30_000;
  const list = document.getElementById("events"), turn = document.getElementById("turn");
  const [state, count, told] = ["state", "count", "told"].map((name) => document.getElementById(`tail-${name}`));
  const number = new Intl.NumberFormat();
  let waiting = [], seen = 0, unseen = 0, last = null, isPaused = false, isLive = false, lead = Infinity;
  // As htmx asks: a part of a page, and of which.
  const asked = { "HX-Request": "true", ...JSON.parse(document.body.getAttribute("hx-headers")) };
  let control = null, spokenAt = 0, why = "", appear = null;

  const make = (name, text = "", attributes = {}) => {
    const node = document.createElement(name);
    node.textContent = text;
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    return node;
  };
  const text = (value) => (["string", "number"].includes(typeof value) ? String(value) : "");
  const brief = (words) => ([...words.slice(0, 400)].length > 160 ? [...words].slice(0, 160).join("") + "…" : words);

  // The same as the page has from the gateway.
  const row = (event) => {
    const data = event.data ?? {};
    const first = (...names) => names.map((name) => text(data[name])).find((one) => one !== "");
    const about = [first("url", "recipient", "destination", "webhookId"), first("status", "error", "reason")];
    const item = make("li", "", { id: event.id }), details = make("details"), summary = make("summary");
    const words = make("span");
    if (list.hasAttribute("data-tenants")) {
      const tenant = make("small");
      tenant.append(make("bdi", event.tenant));
      words.append(tenant, " ");
    }
    words.append(make("bdi", brief(about.filter((one) => one !== undefined).join(" · "))));
    summary.append(make("time", event.timestamp, { datetime: event.timestamp }), " ", make("code", event.type), " ", words);
    details.append(summary);
    // The rest is made when somebody opens it.
    details.addEventListener("toggle", () => {
      if (details.childElementCount > 1) return;
      if (/^[0-9a-f]{16}(-\d+)?$/i.test(data.postId ?? "")) {
        const link = make("p");
        link.append(make("a", "The post", { href: `/posts/${data.postId}` }));
        details.append(link);
      }
      details.append(make("pre", JSON.stringify(event, null, 2), { class: "wrap", tabindex: 0, dir: "ltr" }));
    });
    item.append(details);
    return item;
  };

  const show = () => {
    turn.textContent = isPaused ? "Resume" : "Pause";
    state.textContent = why || (isPaused ? "paused" : isLive ? "live" : "connecting");
    state.className = `badge ${why ? "deferred" : isPaused ? "held" : isLive ? "active" : ""}`;
    const more = isPaused ? `, ${number.format(waiting.length + unseen)} since you paused` : "";
    const words = seen ? `${number.format(seen)} came${more}; the newest ${MOST} at most are shown` : "";
    if (count.textContent !== words) count.textContent = words;
  };

  // One sentence for who listens, now and then.
  const say = (words) => {
    told.textContent = words;
    spokenAt = Date.now();
  };

  // Rows above all others, the newest first; the oldest make room.
  const put = (rows) => {
    list.prepend(...rows);
    while (list.childElementCount > MOST) list.lastElementChild.remove();
    document.getElementById("none")?.remove();
    for (const detail of rows) document.dispatchEvent(new CustomEvent("postgate:shown", { detail }));
  };

  const draw = () => {
    if (!isPaused && waiting.length) {
      const events = waiting.splice(0).map((line) => JSON.parse(line));
      unseen = 0;
      put(events.filter(({ id }) => !document.getElementById(id)).map(row).reverse());
      if (Date.now() - spokenAt > SPOKEN) say(`${number.format(seen)} events came since this page is live`);
    }
    show();
  };

  // What one event of the stream says, as it came.
  const take = (block) => {
    let line = "";
    for (const field of block.split("\n")) {
      if (field.startsWith("id: ")) last = field.slice(4);
      if (field.startsWith("data: ")) line = field.slice(6);
    }
    if (!line) return;
    seen += 1;
    waiting.push(line);
    if (waiting.length > MOST) {
      waiting.shift();
      unseen += 1;
    }
  };

  // Whether what comes is old: clocks may differ, so it is old against the freshest so far.
  const isLate = () => {
    const at = /"timestamp":"([^"]+)"/.exec(waiting.at(-1) ?? "");
    if (!at) return false;
    const age = Date.now() - Date.parse(at[1]);
    lead = Math.min(lead, age);
    return age - lead > LATE;
  };

  // What happened before the stream began, which the page may not have had yet.
  const catchUp = async () => {
    const answer = await fetch(location.href, { headers: asked });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const missing = [...page.querySelectorAll("#events > li")].filter(({ id }) => !document.getElementById(id));
    if (!missing.length || isPaused) return;
    put(missing.map((one) => document.adoptNode(one)));
  };

  // Reads one stream to its end; answers whether another is to be begun.
  const listen = async () => {
    control = new AbortController();
    const headers = { ...asked, ...(last && { "Last-Event-ID": last }) };
    const answer = await fetch(turn.dataset.stream, { headers, signal: control.signal });
    const elsewhere = answer.headers.get("HX-Redirect");
    if (elsewhere) location.assign(elsewhere);
    if (elsewhere) return false;
    if (answer.status === 409) document.dispatchEvent(new CustomEvent("postgate:elsewhere"));
    why = answer.ok ? "" : answer.status === 409 ? "another tenant is chosen" : answer.status === 429 ? "too many live views are open" : `refused: ${answer.status}`;
    if (!answer.ok) return answer.status === 429 || answer.status >= 500;
    isLive = true;
    if (!last) await catchUp();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) return true;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      blocks.forEach(take);
      if (!isLate()) continue;
      // It tells of what is long past: another begins at the end.
      [last, waiting, lead] = [null, [], Infinity];
      control.abort();
      return true;
    }
  };

  // A browser has six connections for all pages of a gateway: a page that nobody sees keeps
  // none of them, and goes on behind the last event that it had.
  const seenAgain = () => new Promise((done) => (document.hidden ? (appear = done) : done()));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) control?.abort();
    else appear?.();
  });

  const stay = async () => {
    for (let goesOn = true; goesOn; ) {
      await seenAgain();
      goesOn = await listen().catch(() => {
        why = document.hidden ? "" : "no answer from the gateway";
        return true;
      });
      isLive = false;
      show();
      if (goesOn && !document.hidden) await new Promise((done) => setTimeout(done, AGAIN));
    }
  };

  const pause = (wanted) => {
    isPaused = wanted;
    say(isPaused ? "Paused" : "Live");
    draw();
  };
  turn.hidden = state.hidden = false;
  turn.addEventListener("click", () => pause(!isPaused));
  // Who reads one does not want it pushed away.
  list.addEventListener("toggle", ({ target }) => target.open && !isPaused && pause(true), true);
  window.addEventListener("pagehide", () => control?.abort());
  setInterval(draw, EACH);
  show();
  stay();
})();

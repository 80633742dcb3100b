// Times in the zone of whoever looks, with UTC beside them; the focus, kept where it was
// when a part of the page is replaced; and a word when what is shown has become old.
"use strict";
(() => {
  const today = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const other = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  // To the millisecond, of lines of the protocol log; with the day, where that is not said elsewhere.
  const precise = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" };
  const clock = new Intl.DateTimeFormat(undefined, precise);
  const stamp = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "2-digit", day: "2-digit", ...precise });
  const format = (time, isToday) => {
    const wanted = time.closest("[data-clock]")?.dataset.clock;
    if (wanted) return isToday || wanted === "time" ? clock : stamp;
    return isToday ? today : other;
  };

  const show = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const isToday = at.toDateString() === new Date().toDateString();
      // An age stays one.
      if (!("age" in time.dataset)) time.textContent = format(time, isToday).format(at);
      time.title = at.toISOString().replace("T", " ").replace("Z", " UTC");
    }
  };

  const stale = document.getElementById("stale"), elsewhere = document.getElementById("elsewhere");
  let last = new Date();
  const fresh = () => {
    last = new Date();
    stale.hidden = elsewhere.hidden = true;
  };
  const old = (event) => {
    // Somebody chose another tenant on another page.
    const isElsewhere = event.detail?.xhr?.status === 409;
    elsewhere.hidden = !isElsewhere;
    stale.hidden = isElsewhere;
    stale.querySelector("span").textContent = "since " + today.format(last);
  };

  // What an element is, before and after it was replaced by its like.
  const like = (element) => {
    const origin = element.form?.elements.origin?.value ?? "";
    return element.getAttribute("aria-label") ?? element.getAttribute("href") ?? element.value + " " + origin;
  };
  let focused = null;

  show(document);
  document.addEventListener("postgate:elsewhere", () => (elsewhere.hidden = false));
  document.addEventListener("postgate:shown", ({ detail }) => show(detail));
  // What nobody sees does not refresh itself; its next turn is soon after it is seen again.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const isLive = event.detail.elt.getAttribute("hx-trigger")?.startsWith("every");
    if (isLive && document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const active = document.activeElement;
    focused = event.target.contains(active) ? like(active) : null;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    show(event.target);
    fresh();
    // What only grows would fill the memory of a browser that is left open.
    for (const list of document.querySelectorAll("[data-most]")) {
      while (list.children.length > Number(list.dataset.most)) list.lastElementChild.remove();
    }
    if (focused === null) return;
    const all = event.target.querySelectorAll("a[href], button, [tabindex]");
    [...all].find((element) => like(element) === focused)?.focus({ preventScroll: true });
  });
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, old);
  }

  // What is shown once is copied; where that is not allowed, it is marked to be.
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const field = document.getElementById(button.dataset.copy);
    button.hidden = false;
    button.addEventListener("click", async () => {
      field.select();
      await navigator.clipboard?.writeText(field.value).then(() => (button.textContent = "Copied"), () => {});
    });
  }
})();

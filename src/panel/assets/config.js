// The configuration with the numbers of its lines; complaints lead to their places in it;
// and the browser asks before it forgets what was typed.
"use strict";
(() => {
  const form = document.querySelector("form[data-config]");
  const area = document.getElementById("config");
  if (!form || !area) return;
  const complaints = [...document.querySelectorAll("a[data-line]")];
  const typed = area.value;

  const gutter = document.createElement("pre");
  gutter.className = "gutter";
  gutter.setAttribute("aria-hidden", "true");
  area.before(gutter);
  let count = 0;
  const number = () => {
    const lines = area.value.split("\n").length;
    if (lines === count) return;
    count = lines;
    // Lines that came or went have moved what was complained of.
    const wrong = new Set(lines === typed.split("\n").length ? complaints.map((one) => Number(one.dataset.line)) : []);
    const row = (_, at) => {
      const mark = document.createElement("span");
      mark.textContent = `${at + 1}\n`;
      if (wrong.has(at + 1)) mark.className = "wrong";
      return mark;
    };
    gutter.replaceChildren(...Array.from({ length: lines }, row));
  };
  const follow = () => (gutter.scrollTop = area.scrollTop);
  area.addEventListener("input", () => { number(); follow(); });
  area.addEventListener("scroll", follow);

  // Columns count characters, the browser counts UTF-16.
  const place = (line, column) => {
    const lines = area.value.split("\n");
    const at = Math.min(line, lines.length) - 1;
    const before = lines.slice(0, at).reduce((all, one) => all + one.length + 1, 0);
    return [before + [...lines[at]].slice(0, column - 1).join("").length, at];
  };
  for (const one of complaints) {
    one.addEventListener("click", (event) => {
      event.preventDefault();
      const [offset, at] = place(Number(one.dataset.line), Number(one.dataset.column));
      area.focus();
      area.setSelectionRange(offset, offset);
      const height = area.scrollHeight / Math.max(count, 1);
      area.scrollTop = Math.max(0, at * height - area.clientHeight / 3);
      area.scrollLeft = 0;
      follow();
    });
  }

  let isSent = false;
  form.addEventListener("submit", () => (isSent = true));
  addEventListener("pageshow", () => { isSent = false; number(); });
  addEventListener("beforeunload", (event) => {
    if (!isSent && ("changed" in form.dataset || area.value !== typed)) event.preventDefault();
  });
  number();
})();

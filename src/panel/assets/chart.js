// Charts of what passed: fills each <figure data-history="/history?span=hour">.
//
// Attributes and classes, never a style: style-src 'self' is enough. A chart is a slider:
// arrow keys and the pointer go along its steps, told in words.
{
const SERIES = { in: "", delivered: "8 2", deferred: "5 4", failed: "2 2" };
const MOVES = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -1e9, End: 1e9 };
const LEFT = 44, TOP = 8, LOW = 158, HEIGHT = 180;
const format = (posts, notation) => Intl.NumberFormat([], { notation }).format(posts);

const set = (node, attributes) => {
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  return node;
};
const html = (name, kind, ...children) => {
  const node = set(document.createElement(name), { class: kind });
  node.append(...children);
  return node;
};
const svg = (name, kind, attributes, text = "") => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  node.textContent = text;
  return set(node, { class: kind, stroke: "currentColor", ...attributes });
};

// The least of 2, 5, 10, 20, … that is not less.
const ceiling = (most) => {
  const power = 10 ** Math.floor(Math.log10(most || 1));
  return [2, 5, 10].find((factor) => factor * power >= most) * power;
};

const chart = (figure) => {
  const legend = html("p", "chart-legend"), frame = html("div", "chart-frame");
  const name = figure.querySelector("figcaption")?.textContent.trim() ?? "Posts";
  const picture = svg("svg", "chart", { role: "slider", tabindex: 0, height: HEIGHT, "aria-label": name });
  const cursor = svg("line", "chart-cursor", { y1: TOP, y2: LOW });
  let steps, step, until, last, span, at = null, isLate;

  const x = (at) => LEFT + (span * at) / last;
  // When a step ended, in the browser's zone.
  const time = (at, second) =>
    new Date(until - (last - at) * step * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second });

  // Tells of one step, or of all of them together.
  const show = (wanted) => {
    at = wanted === null ? null : Math.min(Math.max(wanted, 0), last);
    const isHour = step < 60, isAll = at === null;
    const when = isAll ? `last ${isHour ? "hour" : "day"}` : time(at, isHour ? "2-digit" : undefined);
    const told = Object.entries(steps).map(([name, values]) => {
      const posts = isAll ? values.reduce((all, one) => all + one, 0) : values[at];
      return [name, posts === null ? "–" : format(posts)];
    });
    const keys = told.map(([name, posts]) => html("span", `chart-key chart-${name}`, ` ${name} `, html("b", "", posts)));
    legend.replaceChildren(html("span", "chart-when", when), ...keys);
    const words = told[0][1] === "–" ? "not running" : told.map((one) => one.join(" ")).join(", ");
    set(picture, { "aria-valuemax": last, "aria-valuenow": at ?? last, "aria-valuetext": `${when}: ${words}` });
    set(cursor, { visibility: isAll ? "hidden" : "visible", x1: x(at), x2: x(at) });
  };

  const draw = () => {
    const width = Math.max(frame.clientWidth, 240), top = ceiling(Math.max(...Object.values(steps).flat()));
    span = width - LEFT - 6;
    const y = (posts) => LOW - ((LOW - TOP) * posts) / top;
    const label = (text, x, y, anchor) =>
      svg("text", "chart-label", { x, y, "text-anchor": anchor, fill: "currentColor", stroke: "none" }, text);
    const grid = [0, top / 2, top].flatMap((posts) => [
      svg("line", "chart-grid", { x1: LEFT, x2: LEFT + span, y1: y(posts), y2: y(posts) }),
      label(format(posts, "compact"), LEFT - 6, y(posts) + 4, "end"),
    ]);
    const times = ["start", "middle", "end"].map((anchor, part) =>
      label(time((last * part) / 2), x((last * part) / 2), HEIGHT - 6, anchor));
    const lines = Object.entries(steps).map(([name, values]) => {
      const isGap = (at) => values[at] == null;
      const place = (at) => `${x(at).toFixed(1)} ${y(values[at]).toFixed(1)}`;
      const points = values.map((_, at) => (isGap(at) ? "" : isGap(at - 1) ? `M${place(at)}h2` : "L" + place(at)));
      return svg("path", `chart-line chart-${name}`, { fill: "none", "stroke-dasharray": SERIES[name], d: points.join("") });
    });
    set(picture, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    picture.replaceChildren(...grid, ...times, ...lines, cursor);
    // Once: who is moved loses the focus.
    picture.parentNode || frame.append(picture);
    show(at);
  };

  const load = async () => {
    isLate = document.hidden;
    if (isLate || !figure.isConnected) return;
    try {
      const answer = await fetch(figure.dataset.history, { headers: { "HX-Request": "true" } });
      if (!answer.ok) throw Error(answer.status);
      const { step_seconds, until: end, series } = await answer.json();
      [step, until, last] = [step_seconds, Date.parse(end), step_seconds < 60 ? 359 : 1439];
      // A part of the span may be known.
      const whole = (known) => [...Array(last + 1 - known.length).fill(null), ...known];
      steps = {};
      for (const name in SERIES) steps[name] = whole(series[name]);
      draw();
    } catch (error) {
      legend.textContent = `The chart cannot be brought up to date: ${error.message}`;
    }
    setTimeout(load, (step ?? 10) * 1000);
  };

  const point = ({ clientX }) => show(Math.round(((clientX - picture.getBoundingClientRect().left - LEFT) / span) * last));
  const away = () => show(null);
  const press = (event) => {
    if (!(event.key in MOVES)) return;
    event.preventDefault();
    show((at ?? last) + MOVES[event.key]);
  };
  const heeded = { pointermove: point, pointerdown: point, pointerleave: away, blur: away, keydown: press };
  for (const kind in heeded) picture.addEventListener(kind, heeded[kind]);
  document.addEventListener("visibilitychange", () => isLate && load());
  new ResizeObserver(() => steps && draw()).observe(frame);
  figure.append(legend, frame);
  load();
};

const begin = () => {
  for (const figure of document.querySelectorAll("figure[data-history]:not([data-drawn])")) {
    figure.dataset.drawn = "";
    chart(figure);
  }
};
document.addEventListener("htmx:load", begin);
document.addEventListener("DOMContentLoaded", begin);
}
